/** The versions of Node that guestwire runs on, as programs: test/lab/node fetches them. */
import { spawnSync } from 'node:child_process';

/** Ubuntu 24.04 has 18.19, Debian 12 18.20, Debian 13 20.19, Fedora 22 and 24. */
export const NODES = ['18.19.1', '18.20.8', '20.19.6', '22.23.5', '24.22.3'] as const;

/** Of Debian 11 and Ubuntu 22.04: too old, and a reader of files that newer ones were written for. */
export const OLD_NODE = '12.22.12';

/** Returns the path of the program. */
export function nodeOf(version: string): string {
  const { status, stdout, stderr } = spawnSync('test/lab/node', [version], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`Node ${version} is not there: ${stderr}`);
  return stdout.trim();
}

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command as it was built. */
export function guestwire(node: string, ...args: readonly string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(node, ['dist/cli.js', ...args], { encoding: 'utf8', input: '' });
  return { status, stdout, stderr };
}
