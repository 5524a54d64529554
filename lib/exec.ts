/**
 * The one door to other programs. A tool gets a clean locale, its own process group and a deadline; nothing it starts
 * keeps libvirt's pipes, because libvirt waits for every process that holds them (measured on 9.0).
 */
import { spawn } from 'node:child_process';
import { CommandError } from './errors.js';
import { oneLine, quote } from './quote.js';

export interface ExecRequest {
  readonly tool: string;
  readonly args: readonly string[];
  /** Fed to standard input; absent: standard input is empty. */
  readonly input?: string;
  /** Milliseconds until the tool and all it started are killed; default {@link DEADLINE}. */
  readonly deadline?: number;
  /** Added to the clean environment: virsh needs LIBVIRT_DEFAULT_URI. */
  readonly env?: Readonly<Record<string, string>>;
  /** A descriptor the tool gets as its number 3: the lock, which then holds until the tool ends. */
  readonly fd?: number;
}

export interface ExecResult {
  /** undefined when the tool could not be started or was killed. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly errno: string | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one tool to its end. Resolves whatever the outcome; {@link assertSuccess} throws for those who need success. */
export type Exec = (request: ExecRequest) => Promise<ExecResult>;

/** Milliseconds one tool run may take: the slowest seen takes 0.1 s, and every second here freezes `virsh list`. */
export const DEADLINE = 10_000;

/** Bytes of output kept: ten thousand links' worth; what a mad tool prints beyond is dropped. */
const MOST_OUTPUT = 64 * 1024 * 1024;

/** Runs `request` with `PATH` as it is and `LC_ALL=C`, because messages and numbers are parsed. */
export const exec: Exec = (request) =>
  new Promise((resolve) => {
    const child = spawn(request.tool, request.args, {
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/', ...request.env },
      stdio: ['pipe', 'pipe', 'pipe', request.fd ?? 'ignore'],
      // A group of its own, so that the deadline ends what the tool started, too.
      detached: true,
    });
    const stdout = collect(child.stdout as NodeJS.ReadableStream);
    const stderr = collect(child.stderr as NodeJS.ReadableStream);
    let timedOut = false;
    const finish = (end: { code?: number | null; signal?: string | null; errno?: string }): void => {
      clearTimeout(timer);
      child.stdio.forEach((stream) => stream?.destroy());
      resolve({
        exitCode: end.code ?? undefined,
        signal: end.signal ?? undefined,
        errno: end.errno,
        timedOut,
        stdout: stdout(),
        stderr: stderr(),
      });
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
      finish({ signal: 'SIGKILL' });
    }, request.deadline ?? DEADLINE);
    child.on('error', (error: NodeJS.ErrnoException) => { finish({ errno: error.code ?? error.message }); });
    child.on('close', (code, signal) => { finish({ code, signal }); });
    // A tool that stops early closes its input; its exit status tells more than EPIPE would.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(request.input ?? '');
  });

/** Throws CommandError unless `result` is a success. `what` says what the tool was doing, for the message. */
export function assertSuccess(request: ExecRequest, result: ExecResult, what?: string): void {
  if (result.exitCode === 0) return;
  const { tool } = request;
  const stderr = oneLine(result.stderr);
  const line = lineOf(result.stderr);
  const failure = { tool, args: request.args, exitCode: result.exitCode, signal: result.signal, stderr, timedOut: result.timedOut, errno: result.errno, line };
  const doing = what === undefined ? '' : ` (${what})`;
  throw new CommandError(`${tool} ${reasonOf(request, result)}${line === undefined ? '' : ` at line ${line}`}${doing}${stderr === '' ? '' : `: ${stderr}`}`, failure);
}

/** Returns the 1-based line a batch stopped at: `Command failed -:4`. Blank and comment lines count. */
export function lineOf(stderr: string): number | undefined {
  const match = /^Command failed -:(\d+)$/m.exec(stderr);
  return match === null ? undefined : Number(match[1]);
}

function reasonOf({ tool, deadline = DEADLINE }: ExecRequest, result: ExecResult): string {
  if (result.errno === 'ENOENT') return `is not installed: no ${quote(tool)} in PATH`;
  if (result.errno !== undefined) return `could not be started (${result.errno})`;
  if (result.timedOut) return `was killed after ${deadline / 1000} s without an end`;
  if (result.signal !== undefined) return `was killed by ${result.signal}`;
  return 'failed';
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MOST_OUTPUT) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Kills what was started with `detached` and all that it started. One that has ended is no error. */
export function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // The group ended by itself between the deadline and here.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
