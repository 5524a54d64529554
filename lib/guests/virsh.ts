/**
 * What virsh says of a guest, for commands that run without the libvirt client.
 */
import { CommandError, HostError } from '../errors.js';
import { ASK_HOSTS, START_LIBVIRT } from '../libvirt/errors.js';
import { parseUri } from '../libvirt/uri.js';
import { assertSuccess, type ExecRequest } from '../system/exec.js';
import { oneLine, quote } from '../values/quote.js';
import type { Io } from './io.js';

/** Returns what is said of a guest that libvirt does not know. */
export function noSuchGuest(by: string): HostError {
  return new HostError(`guest ${quote(by)} does not exist: 'virsh list --all' lists all guests${isOwn() ? `, of this user only: ${ASK_HOSTS}` : ''}`);
}

/** Whether libvirt's clients ask a daemon of the user's own. */
export function isOwn(): boolean {
  return process.geteuid?.() !== 0 && (process.env['LIBVIRT_DEFAULT_URI'] ?? '') === '';
}

/**
 * Returns what `virsh` prints; `what` says what it was to do, for the message of a CommandError. Throws HostError when there
 * is no guest as `--domain` names it.
 */
export async function askLibvirt(io: Pick<Io, 'exec'>, args: readonly string[], what: string): Promise<string> {
  const uri = process.env['LIBVIRT_DEFAULT_URI'];
  const request: ExecRequest = { tool: 'virsh', args: ['--readonly', ...args], env: uri === undefined ? {} : { LIBVIRT_DEFAULT_URI: uri } };
  const result = await io.exec(request);
  const by = args[args.indexOf('--domain') + 1];
  if (by !== undefined && args.includes('--domain') && /^error: (failed to get domain|Domain not found)/m.test(result.stderr)) throw noSuchGuest(by);
  try {
    assertSuccess(request, result, what);
  } catch (error) {
    // Whoever asks another host has another cure.
    const why = /^error: failed to connect to the hypervisor\n(?:error: )?(.*)/m.exec(result.stderr)?.[1];
    if (!(error instanceof CommandError) || why === undefined || !isLocal(uri)) throw error;
    const sentence = isOwn() ? `this user's own libvirt does not answer: ${ASK_HOSTS}` : `libvirt does not answer: ${START_LIBVIRT}`;
    throw new CommandError(`${sentence} (${oneLine(why)})`, error.failure, { cause: error });
  }
  return result.stdout;
}

function isLocal(uri = ''): boolean {
  try {
    return parseUri(uri).way === 'socket';
  } catch {
    // An alias of libvirt.conf, which virsh knows.
    return false;
  }
}
