/**
 * `Exec` for the command, on execa. The hook has its own on node:child_process: execa costs 28 ms at every start, which
 * a command can afford and a guest start cannot. One contract test holds for both.
 */
import { execa } from 'execa';
import { DEADLINE, type Exec } from '../exec.js';

/** Runs one tool as {@link Exec} promises; what it started dies with it and with this process. */
export const exec: Exec = async ({ tool, args, input, deadline, env, fd }) => {
  const result = await execa(tool, args, {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/', ...env },
    extendEnv: false,
    input: input ?? '',
    // execa passes a descriptor on at any place; its types know it for the first three only (9.6.1).
    stdio: ['pipe', 'pipe', 'pipe', (fd ?? 'ignore') as 'ignore'],
    timeout: deadline ?? DEADLINE,
    killSignal: 'SIGKILL',
    reject: false,
    stripFinalNewline: false,
  });
  return {
    exitCode: result.exitCode,
    signal: result.signal,
    errno: result.exitCode === undefined && result.signal === undefined ? result.code : undefined,
    timedOut: result.timedOut,
    stdout: result.stdout,
    stderr: result.stderr,
  };
};
