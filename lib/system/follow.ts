/**
 * A program that keeps running, read line by line.
 */
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { type ExecRequest, killGroup } from './exec.js';

export interface Followed {
  /** Resolves, never rejects, when the tool has ended or could not be started, with why in words. */
  readonly ended: Promise<string>;
  /** Ends it; safe to call twice. */
  readonly stop: () => void;
}

/**
 * Starts a tool that goes on, and tells what it prints a line at a time: 'out' of its standard output, 'err' of the
 * other.
 */
export type Follow = (
  request: Pick<ExecRequest, 'tool' | 'args'>, onLine: (line: string, from: 'out' | 'err') => void,
) => Followed;

/**
 * Runs one tool as {@link Follow} promises. It ends with this process, also when that is killed: see the guard's pipe.
 */
export const follow: Follow = ({ tool, args }, onLine) => {
  // A process that is killed cannot stop its children. The shell waits for the end of a pipe that only this process
  // holds.
  const guard = '"$@" 3<&- & child=$!; (read -r _ <&3; kill $child) 2>/dev/null & guard=$!; wait $child; status=$?; kill $guard; exit $status';
  const child = execa('sh', ['-c', guard, 'sh', tool, ...args], {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/' },
    extendEnv: false,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    detached: true,
    buffer: false,
    reject: false,
  });
  for (const from of ['out', 'err'] as const) {
    createInterface({ input: from === 'out' ? child.stdout : child.stderr }).on('line', (line) => {
      onLine(line, from);
    });
  }
  return {
    ended: child.then(({ exitCode, signal, code }) => (exitCode === undefined
      ? (signal ?? code ?? 'unknown')
      : `status ${exitCode}`)),
    stop: () => { killGroup(child.pid); },
  };
};
