/**
 * The one door to other programs. A tool gets a clean locale, its own process group and a deadline; nothing it starts
 * keeps libvirt's pipes, because libvirt waits for every process that holds them (measured on 9.0).
 */
import { spawnSync } from 'node:child_process';
import { CommandError } from '../errors.js';
import { oneLine, quote } from '../values/quote.js';

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

/** Runs one tool to its end. Resolves whatever the outcome; {@link assertSuccess} throws unless the run succeeded. */
export type Exec = (request: ExecRequest) => Promise<ExecResult>;

/** Milliseconds one tool run may take: the slowest seen takes 0.1 s, and every second here freezes `virsh list`. */
export const DEADLINE = 10_000;

/** Bytes of output a tool may print: a million routes' worth. A mad tool that prints more is killed. */
const MOST_OUTPUT = 256 * 1024 * 1024;

/**
 * Runs `request` with `PATH` as it is and `LC_ALL=C`, because messages and numbers are parsed. Blocks until the tool
 * ends: a hook has nothing else to do, and without streams and event loop a guest starts 7 ms sooner (Node 20).
 */
export const exec: Exec = (request) => {
  const { pid, status, signal, error, stdout, stderr } = spawnSync(request.tool, request.args, {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/', ...request.env },
    stdio: ['pipe', 'pipe', 'pipe', request.fd ?? 'ignore'],
    input: request.input ?? '',
    timeout: request.deadline ?? DEADLINE,
    killSignal: 'SIGKILL',
    maxBuffer: MOST_OUTPUT,
    // A group of its own, so that the deadline ends what the tool started, too. The types have it for spawn() only.
    ...({ detached: true } as object),
  });
  const errno = (error as NodeJS.ErrnoException | undefined)?.code;
  // Without a pid nothing was started, and group 0 is that of libvirtd.
  const killed = pid > 0 && (errno === 'ETIMEDOUT' || errno === 'ENOBUFS');
  if (killed) killGroup(pid);
  return Promise.resolve({
    exitCode: killed ? undefined : (status ?? undefined),
    signal: killed ? 'SIGKILL' : (signal ?? undefined),
    // A tool that stops early closes its input; its exit status tells more than EPIPE does.
    errno: killed || status !== null || signal !== null ? undefined : errno,
    timedOut: killed && errno === 'ETIMEDOUT',
    stdout: outputText(stdout),
    stderr: outputText(stderr),
  });
};

/** Throws CommandError unless `result` is a success. `what` says what the tool was doing, for the message. */
export function assertSuccess(request: ExecRequest, result: ExecResult, what?: string): void {
  if (result.exitCode === 0) return;
  const { exitCode, signal, timedOut, errno } = result;
  const failure = {
    tool: request.tool, args: request.args, exitCode, signal, stderr: oneLine(result.stderr), timedOut, errno,
    line: lineOf(result.stderr),
  };
  throw new CommandError(toolFailure(request, result, what), failure);
}

/** Returns why a run failed: `ip failed at line 3 (reading links): RTNETLINK answers: ...`. */
export function toolFailure(request: ExecRequest, result: ExecResult, what?: string): string {
  const stderr = oneLine(result.stderr);
  const line = lineOf(result.stderr);
  const doing = what === undefined ? '' : ` (${what})`;
  return `${request.tool} ${failureReason(request, result)}${line === undefined ? '' : ` at line ${line}`}${doing}${stderr === '' ? '' : `: ${stderr}`}`;
}

/** Returns the 1-based line a batch stopped at: `Command failed -:4`. Blank and comment lines count. */
export function lineOf(stderr: string): number | undefined {
  const match = /^Command failed -:(\d+)$/m.exec(stderr);
  return match === null ? undefined : Number(match[1]);
}

/** Debian's names. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2', bridge: 'iproute2', nft: 'nftables', virsh: 'libvirt-clients',
};

function failureReason({ tool, deadline = DEADLINE }: ExecRequest, result: ExecResult): string {
  if (result.errno === 'ENOENT') return `is not installed: no ${quote(tool)} in PATH${tool in PACKAGES ? `, install package ${PACKAGES[tool] ?? ''}` : ''}`;
  if (result.errno !== undefined) return `could not be started (${result.errno})`;
  if (result.timedOut) return `did not end within ${deadline / 1000} s and was killed`;
  if (result.signal !== undefined) return `was killed by ${result.signal}`;
  return 'failed';
}

/** A tool that could not be started has no output at all. */
function outputText(output: Buffer | null): string {
  return output?.toString('utf8') ?? '';
}

/** Kills a tool that was started with `detached`, and all its children. A tool that has ended is not an error. */
export function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // The tool was alone in its group, and is dead.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
