/**
 * `Exec` for the command, on execa. The hook has its own on node:child_process: execa costs 28 ms at every start, which
 * a command can afford and a guest start cannot. One contract test holds for both.
 */
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { DEADLINE, type Exec, type ExecRequest, killGroup } from '../exec.js';

/** Runs one tool as {@link Exec} promises. A batch that has begun is carried through even when the command is interrupted. */
export const exec: Exec = async ({ tool, args, input, deadline, env, fd }) => {
  const child = execa(tool, args, {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/', ...env },
    extendEnv: false,
    input: input ?? '',
    // execa passes a descriptor on at any place; its types know it for the first three only (9.6.1).
    stdio: ['pipe', 'pipe', 'pipe', (fd ?? 'ignore') as 'ignore'],
    // execa's own timeout kills the tool alone, and then waits for whatever else holds its output (9.6.1).
    detached: true,
    reject: false,
    stripFinalNewline: false,
  });
  const overrun = new AbortController();
  const timer = setTimeout(() => {
    overrun.abort();
    killGroup(child.pid);
    child.stdout.destroy();
    child.stderr.destroy();
  }, deadline ?? DEADLINE);
  const result = await child;
  clearTimeout(timer);
  const timedOut = overrun.signal.aborted;
  return {
    exitCode: timedOut ? undefined : result.exitCode,
    signal: timedOut ? 'SIGKILL' : result.signal,
    errno: !timedOut && result.exitCode === undefined && result.signal === undefined ? result.code : undefined,
    timedOut,
    stdout: result.stdout,
    stderr: result.stderr,
  };
};

export interface Followed {
  /** Resolves, never rejects, when the tool has ended or could not be started, with why in words. */
  readonly ended: Promise<string>;
  /** Ends it; safe to call twice. */
  readonly stop: () => void;
}

/** Starts a tool that goes on, and tells what it prints a line at a time: 'out' of its standard output, 'err' of the other. */
export type Follow = (request: Pick<ExecRequest, 'tool' | 'args'>, onLine: (line: string, from: 'out' | 'err') => void) => Followed;

/** Runs one tool as {@link Follow} promises. It ends with this process, also when that is killed: see the guard's pipe. */
export const follow: Follow = ({ tool, args }, onLine) => {
  // Whoever is killed cannot end its children. A shell waits for the end of a pipe that this process alone holds.
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
    createInterface({ input: from === 'out' ? child.stdout : child.stderr }).on('line', (line) => { onLine(line, from); });
  }
  return {
    ended: child.then(({ exitCode, signal, code }) => (exitCode === undefined ? (signal ?? code ?? 'unknown') : `status ${exitCode}`)),
    stop: () => { killGroup(child.pid); },
  };
};
