/**
 * `Exec` for the command, on execa. The hook has its own on node:child_process: execa costs 28 ms at every start, which
 * a command can afford and a guest start cannot. One contract test holds for both.
 */
import { execa } from 'execa';
import { DEADLINE, type Exec, killGroup } from './exec.js';

/**
 * Runs one tool as {@link Exec} promises. A batch that has begun is carried through even when the command is
 * interrupted.
 */
export const execAsync: Exec = async ({ tool, args, input, deadline, env, fd }) => {
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
