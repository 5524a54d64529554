/**
 * What can go wrong with libvirt: one class for each cure. libvirt's own refusals carry its names for reason and
 * origin; `retryable` says whether the same call can succeed later without anybody changing anything.
 */
import { GuestwireError } from '../errors.js';
import { oneLine } from '../values/quote.js';
import { type Origin, originOf, type LibvirtReason, reasonNumbered } from './error-names.js';

/**
 * What libvirt said; see virterror.h. Through virsh only `message` and, where it can be told from the text, `reason`
 * are known.
 */
export interface Refusal {
  readonly reason: LibvirtReason;
  /** virErrorNumber; undefined when not even a number is known. */
  readonly reasonNumber: number | undefined;
  readonly origin: Origin;
  readonly originNumber: number | undefined;
  readonly level: 'none' | 'warning' | 'error';
  /** libvirt's own words, which may be several lines and hold whatever a tool or a hook printed. */
  readonly message: string;
}

const PASSING: ReadonlySet<LibvirtReason> = new Set<LibvirtReason>([
  'VIR_ERR_OPERATION_TIMEOUT', 'VIR_ERR_RESOURCE_BUSY', 'VIR_ERR_AGENT_UNRESPONSIVE', 'VIR_ERR_AGENT_COMMAND_TIMEOUT',
]);

/** The cure of a libvirt that is down. */
export const START_LIBVIRT = "start it with 'systemctl start libvirtd', or 'systemctl start virtqemud' where libvirtd is not installed";
/** The cure for a user other than root without a URI: libvirt's clients then ask a daemon of the user's own. */
export const ASK_HOSTS = 'LIBVIRT_DEFAULT_URI=qemu:///system selects the libvirt of the host';

/** libvirt was asked and refused. Test `refusal.reason`, for example 'VIR_ERR_NO_DOMAIN'. */
export class LibvirtError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT';
  override readonly retryable: boolean;
  readonly refusal: Refusal;

  constructor(what: string, refusal: Refusal, options?: ErrorOptions) {
    super(`${what}: ${oneLine(refusal.message)} (${refusal.reason}, ${refusal.origin})`, options);
    this.refusal = refusal;
    this.retryable = PASSING.has(refusal.reason);
  }
}

/**
 * No connection could be had, or the one there was is gone. Whether a call that was under way took effect is unknown.
 */
export class LibvirtConnectionError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_CONNECTION';
  override readonly retryable = true;
}

/** The peer sent what libvirt never sends. The connection it came on is given up. */
export class LibvirtProtocolError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_PROTOCOL';
}

/** No answer in time. Whether the call takes effect later is unknown. */
export class LibvirtTimeoutError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_TIMEOUT';
  override readonly retryable = true;
}

/** The caller's AbortSignal fired; `cause` is its reason. Whether the call takes effect is unknown. */
export class LibvirtAbortError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_ABORTED';
}

/** The connection was closed by the one who opened it. */
export class LibvirtClosedError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_CLOSED';
}

/** This client, or the way it was told to take, does not offer that: events through virsh, SASL. */
export class LibvirtUnsupportedError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_UNSUPPORTED';
}

/** The caller's own value cannot be sent: a bad URI or UUID, a NUL in a string, more bytes than libvirt takes. */
export class LibvirtArgumentError extends GuestwireError {
  readonly code = 'ERR_LIBVIRT_ARGUMENT';
}

const LEVELS = ['none', 'warning', 'error'] as const;

/** Returns what a virNetMessageError says. */
export function refusalOf(
  failure: { readonly code: number; readonly domain: number; readonly level: number; readonly message: string |
    undefined },
): Refusal {
  return {
    reason: reasonNumbered(failure.code),
    reasonNumber: failure.code,
    origin: originOf(failure.domain),
    originNumber: failure.domain,
    level: LEVELS[failure.level] ?? 'error',
    message: failure.message ?? `libvirt gave no message, only the number ${failure.code}`,
  };
}
