/**
 * A connection through the command virsh, for URIs of other hosts: libvirt's own client has ssh, TLS and their
 * settings. Slower by a process and a login for each call. What virsh tells of an error is a sentence; those that say
 * by their beginning which error it is (virerror.c of 9.0, in LC_ALL=C) get libvirt's name, all others
 * 'VIR_ERR_UNKNOWN'.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Exec, ExecResult } from '../system/exec.js';
import { oneLine, quote } from '../values/quote.js';
import { abortError, type CallOptions, type LimitedOptions } from './calls.js';
import { reasonNumberOf, type LibvirtReason } from './error-names.js';
import {
  LibvirtArgumentError, LibvirtClosedError, LibvirtConnectionError, LibvirtError, LibvirtTimeoutError,
} from './errors.js';
import { limitsOf } from './socket-connection.js';

/** Runs virsh with one command and returns what it prints. */
export type Virsh = (words: readonly string[], options: CallOptions | undefined) => Promise<string>;

export interface VirshOptions {
  readonly exec: Exec;
  /** '': virsh chooses. */
  readonly uri: string;
  readonly readOnly: boolean;
  readonly timeout: number;
}

/** Bytes of one argument that the kernel takes (MAX_ARG_STRLEN), less what stands around a value. */
const ARGUMENT_MAX = 128 * 1024 - 64;
/** What ssh and libvirt's client need of the caller's own environment; all else stays out. */
const ENVIRONMENT = [
  'HOME', 'USER', 'LOGNAME', 'SSH_AUTH_SOCK', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME',
  'LIBVIRT_AUTH_FILE',
];

const REASONS: readonly (readonly [string, LibvirtReason])[] = [
  ['Domain not found', 'VIR_ERR_NO_DOMAIN'],
  ['Network not found', 'VIR_ERR_NO_NETWORK'],
  ['metadata not found', 'VIR_ERR_NO_DOMAIN_METADATA'],
  ['device not found', 'VIR_ERR_DEVICE_MISSING'],
  ['Requested operation is not valid', 'VIR_ERR_OPERATION_INVALID'],
  ['operation failed', 'VIR_ERR_OPERATION_FAILED'],
  ['operation forbidden', 'VIR_ERR_OPERATION_DENIED'],
  ['Operation not supported', 'VIR_ERR_OPERATION_UNSUPPORTED'],
  ['Timed out during operation', 'VIR_ERR_OPERATION_TIMEOUT'],
  ['argument unsupported', 'VIR_ERR_ARGUMENT_UNSUPPORTED'],
  ['invalid argument', 'VIR_ERR_INVALID_ARG'],
  ['XML error', 'VIR_ERR_XML_ERROR'],
  ['unsupported configuration', 'VIR_ERR_CONFIG_UNSUPPORTED'],
  ['this function is not supported by the connection driver', 'VIR_ERR_NO_SUPPORT'],
  ['access denied', 'VIR_ERR_ACCESS_DENIED'],
  ['authentication failed', 'VIR_ERR_AUTH_FAILED'],
  ['resource busy', 'VIR_ERR_RESOURCE_BUSY'],
  ['internal error', 'VIR_ERR_INTERNAL_ERROR'],
];

/**
 * Returns the way to run virsh, and how to end it: every call after that, or under way then, is a LibvirtClosedError.
 */
export function createVirsh({ exec, uri, readOnly, timeout }: VirshOptions): {
  readonly virsh: Virsh;
  readonly close: () => Promise<void>;
} {
  const where = uri === '' ? 'virsh' : `virsh of ${quote(uri)}`;
  const closing = new AbortController();
  const env = Object.fromEntries(ENVIRONMENT.flatMap((
    name,
  ) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))) as Record<string, string>;
  return {
    virsh: async (words, options = {}) => {
      const limits = limitsOf(options, timeout);
      checkWords(where, words);
      const connect = uri === '' ? [] : [`--connect=${uri}`];
      const args = ['--quiet', ...connect, ...(readOnly ? ['--readonly'] : []), ...words];
      const result = await unlessGivenUp(where, words[0] ?? '', {
        work: () => exec({ tool: 'virsh', args, deadline: limits.timeout, env }), limits, closing: closing.signal,
      });
      if (result.exitCode === 0) return result.stdout;
      throw errorOf(`${where}: ${words[0] ?? ''}`, result, limits);
    },
    close: () => {
      closing.abort();
      return Promise.resolve();
    },
  };
}

function checkWords(where: string, words: readonly string[]): void {
  for (const word of words) {
    if (word.includes('\0')) throw new LibvirtArgumentError(`${where}: a value holds a NUL`);
    if (Buffer.byteLength(word) > ARGUMENT_MAX) throw new LibvirtArgumentError(`${where}: a value is longer than the ${ARGUMENT_MAX} bytes that virsh accepts`);
  }
}

interface Work {
  readonly work: () => Promise<ExecResult>;
  readonly limits: LimitedOptions;
  readonly closing: AbortSignal;
}

/** The caller who gives up waits no longer; virsh itself runs on until it ends or its time is over. */
async function unlessGivenUp(
  where: string, name: string, { work, limits: { signal }, closing }: Work,
): Promise<ExecResult> {
  if (closing.aborted) throw new LibvirtClosedError(`${where}: closed`);
  if (signal?.aborted === true) throw abortError(where, name, signal);
  let onAbort = (): void => undefined;
  let onClose = (): void => undefined;
  const givenUp = new Promise<never>((_, reject) => {
    onAbort = () => { reject(abortError(where, name, signal)); };
    onClose = () => { reject(new LibvirtClosedError(`${where}: closed`)); };
    signal?.addEventListener('abort', onAbort, { once: true });
    closing.addEventListener('abort', onClose, { once: true });
  });
  try {
    return await Promise.race([work(), givenUp]);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    closing.removeEventListener('abort', onClose);
  }
}

function errorOf(what: string, { stderr, errno, timedOut, signal }: ExecResult, { timeout }: LimitedOptions): Error {
  if (timedOut) return new LibvirtTimeoutError(`${what} did not end in ${timeout} ms`);
  if (errno !== undefined) return new LibvirtConnectionError(`${what}: virsh could not be started (${errno})${errno === 'ENOENT' ? ': install package libvirt-clients' : ''}`);
  if (signal !== undefined) return new LibvirtConnectionError(`${what}: virsh was killed by ${signal}`);
  const sentences = stderr.split('\n').map((line) => line.replace(/^error: /, '').trim()).filter((line) => line !== '');
  const all = oneLine(sentences.join(': '));
  if (sentences[0] === 'failed to connect to the hypervisor') return new LibvirtConnectionError(`${what}: ${all}`);
  const reason = sentences.flatMap((sentence) => REASONS.filter(([start]) => sentence.startsWith(start))).at(0)?.[1] ??
    'VIR_ERR_UNKNOWN';
  return new LibvirtError(what, {
    reason, reasonNumber: reasonNumberOf(reason), origin: 'VIR_FROM_UNKNOWN', originNumber: undefined, level: 'error',
    message: all,
  });
}

/**
 * Calls `use` with the path of a file that holds `text`, which only this user can read and which is gone afterwards.
 */
export async function withFile<T>(text: string, use: (path: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'guestwire-virsh-'));
  try {
    const path = join(directory, 'device.xml');
    await writeFile(path, text, { mode: 0o600 });
    return await use(path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
