/**
 * Every error class guestwire throws. Callers test `code`, never the message; `retryable` says whether the same
 * call can succeed later without a change of its input. Messages are one sentence: where, what, why, cure. What an
 * error is about it carries as values, too, so that no caller reads them out of its sentence.
 */

export type ErrorCode =
  | 'ERR_DOMAIN_XML'
  | 'ERR_CONFIG'
  | 'ERR_UNSUPPORTED'
  | 'ERR_NOT_ALLOWED'
  | 'ERR_HOST'
  | 'ERR_CONFLICT'
  | 'ERR_COMMAND'
  | 'ERR_TOOL_OUTPUT'
  | 'ERR_VERIFY'
  | 'ERR_ROLLBACK'
  | 'ERR_JOURNAL'
  | 'ERR_USAGE'
  | 'ERR_LIBVIRT'
  | 'ERR_LIBVIRT_CONNECTION'
  | 'ERR_LIBVIRT_PROTOCOL'
  | 'ERR_LIBVIRT_TIMEOUT'
  | 'ERR_LIBVIRT_ABORTED'
  | 'ERR_LIBVIRT_CLOSED'
  | 'ERR_LIBVIRT_UNSUPPORTED'
  | 'ERR_LIBVIRT_ARGUMENT';

/** What an error is about, as far as that is known. */
export interface Place {
  readonly guest?: string | undefined;
  /** The NIC's position in the domain XML. */
  readonly nic?: number | undefined;
  readonly mac?: string | undefined;
  /** The link on the host. */
  readonly link?: string | undefined;
}

/** Base of all errors guestwire throws on purpose. Anything else that escapes is a bug. */
export abstract class GuestwireError extends Error implements Place {
  abstract readonly code: ErrorCode;
  readonly retryable: boolean = false;
  /** What a person can do about it, if that is one thing: the message ends with it. */
  readonly cure: string | undefined;
  guest: string | undefined;
  nic: number | undefined;
  mac: string | undefined;
  link: string | undefined;
  /** The message without the label that names the place. */
  readonly detail: string;

  constructor(message: string, options?: ErrorOptions & { readonly cure?: string }) {
    super(options?.cure === undefined ? message : `${message}: ${options.cure}`, options);
    this.name = new.target.name;
    this.cure = options?.cure;
    this.detail = this.message;
  }

  /**
   * Notes what the error is about, and begins its message with `label`, which names that. A place that is known stays;
   * a second label is ignored.
   */
  placeAt({ guest, nic, mac, link }: Place, label?: string): this {
    if (label !== undefined && this.message === this.detail) this.message = `${label}: ${this.detail}`;
    // A place of another guest says nothing of this one.
    if (this.guest !== undefined && guest !== undefined && this.guest !== guest) return this;
    this.guest ??= guest;
    this.nic ??= nic;
    this.mac ??= mac;
    this.link ??= link;
    return this;
  }
}

/** Returns what `act` returns; an error in it is about `place`, and its message begins with `label`. */
export function about<T>(place: Place, label: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof GuestwireError) error.placeAt(place, label);
    throw error;
  }
}

/** The domain XML is not well-formed, or a value in it is outside its grammar. */
export class DomainXmlError extends GuestwireError {
  readonly code = 'ERR_DOMAIN_XML';
}

/** The host config is not TOML, has unknown keys or wrong values, or is not safe to believe. */
export class ConfigError extends GuestwireError {
  readonly code = 'ERR_CONFIG';
  /** The file's text, when it could be read: configMentions() finds in it the guests that the file may configure. */
  readonly text: string | undefined;

  constructor(message: string, options?: ErrorOptions & { readonly text?: string }) {
    super(message, options);
    this.text = options?.text;
  }
}

/** The XML is valid libvirt, but asks for what this kind of NIC cannot give. */
export class UnsupportedError extends GuestwireError {
  readonly code = 'ERR_UNSUPPORTED';
}

/** The guest asks for what the host config does not permit. */
export class NotAllowedError extends GuestwireError {
  readonly code = 'ERR_NOT_ALLOWED';
}

/** The host lacks what the guest needs: a bridge, VLAN filtering, forwarding, a link. */
export class HostError extends GuestwireError {
  readonly code = 'ERR_HOST';
}

/** Another guest, or the host, holds what this guest claims; the message names the holder. */
export class ConflictError extends GuestwireError {
  readonly code = 'ERR_CONFLICT';
}

/** How a tool run ended, for {@link CommandError}. */
export interface CommandFailure {
  readonly tool: string;
  readonly args: readonly string[];
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stderr: string;
  readonly timedOut: boolean;
  /** errno of a tool that could not be started, for example 'ENOENT'. */
  readonly errno: string | undefined;
  /** 1-based line of the batch the tool stopped at, when the tool says so. */
  readonly line: number | undefined;
}

/** A tool could not be started, failed, was killed or overran its deadline. */
export class CommandError extends GuestwireError {
  readonly code = 'ERR_COMMAND';
  override readonly retryable: boolean;
  readonly failure: CommandFailure;

  constructor(message: string, failure: CommandFailure, options?: ErrorOptions & { readonly cure?: string }) {
    super(message, options);
    this.failure = failure;
    this.retryable = failure.timedOut || failure.signal !== undefined;
  }
}

/** A tool succeeded, but its output is not what its version documents. */
export class ToolOutputError extends GuestwireError {
  readonly code = 'ERR_TOOL_OUTPUT';
}

/** Every tool succeeded, and the kernel still differs from what was asked. */
export class VerifyError extends GuestwireError {
  readonly code = 'ERR_VERIFY';
  override readonly retryable = true;
}

/** A change failed and could not be undone either; `cause` is why it failed, the journal keeps what is left. */
export class RollbackError extends GuestwireError {
  readonly code = 'ERR_ROLLBACK';
}

/** The lock could not be acquired in time, or the state directory cannot be read or written. */
export class JournalError extends GuestwireError {
  readonly code = 'ERR_JOURNAL';
  override readonly retryable = true;
}

/** The command line is wrong; exit status 2. */
export class UsageError extends GuestwireError {
  readonly code = 'ERR_USAGE';
}

/** A value is outside its grammar. The message does not say where: the caller adds that with {@link locate}. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
}

/** Returns what `read` returns; a ValueError in it becomes `Located`, with `where: ` in front if that is given. */
export function locate<T>(
  Located: new (message: string, options?: ErrorOptions) => Error,
  where: string | undefined,
  read: () => T,
): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new Located(where === undefined ? error.message : `${where}: ${error.message}`, { cause: error });
  }
}
