/**
 * One connection to a daemon from its handshake to its end. What it cannot do any more it says once, through `onEnd`;
 * making a new one is another file's work.
 */
import { locate } from '../errors.js';
import { quote } from '../values/quote.js';
import { type Call, type CallOptions, type Calls, createCalls, type LimitedOptions } from './calls.js';
import {
  type LibvirtClosedError, LibvirtConnectionError, LibvirtProtocolError, LibvirtUnsupportedError,
} from './errors.js';
import { type LibvirtObjectEvent, readEvent } from './events.js';
import { type Keepalive, type KeepaliveOptions, startKeepalive } from './keepalive.js';
import { encodeMessage, type Message } from './message.js';
import {
  AUTH_NONE, AUTH_POLKIT, EVENT, FEATURE_EVENT_CALLBACK, FEATURE_KEEPALIVE, KEEPALIVE_PROGRAM, OK, PING, PONG,
  REMOTE_PROGRAM, VERSION,
} from './protocol.js';
import { openWire, type Wire } from './wire.js';

export interface SessionOptions {
  /** The socket. */
  readonly path: string;
  /** What the daemon is asked to open: 'qemu:///system'; '' lets it choose. */
  readonly name: string;
  readonly readOnly: boolean;
  /** undefined: no pings are sent; those of the daemon are still answered. */
  readonly keepalive: KeepaliveOptions | undefined;
  /** Milliseconds for each call of the handshake, and for each message to come whole. */
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: (event: LibvirtObjectEvent) => void;
  /** Called once when the daemon has ended the session or it was given up; not after close(). */
  readonly onEnd: (error: LibvirtConnectionError | LibvirtProtocolError) => void;
}

export interface Session {
  readonly call: Call;
  /** What the daemon opened. */
  readonly uri: string;
  /** Says goodbye and ends. Calls under way fail with `error`. */
  close(error: LibvirtClosedError): Promise<void>;
}

/** VIR_CONNECT_RO. */
const READ_ONLY = 1;
/** Bytes that wait for a peer to read before its pings stay unanswered. */
const MOST_BACKLOG = 1024 * 1024;
/** Milliseconds for the goodbye; a daemon that hangs is left without one. */
const GOODBYE = 1000;

/**
 * Resolves when the daemon has opened what it was asked to. Throws LibvirtConnectionError or LibvirtProtocolError when
 * there is no such daemon, LibvirtUnsupportedError when it wants SASL or is older than libvirt 1.3.3, LibvirtError when
 * it refuses, LibvirtTimeoutError, LibvirtAbortError.
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  const where = `libvirt at ${quote(options.path)}`;
  let keepalive: Keepalive | undefined;
  let open = false;
  const end = (error: LibvirtConnectionError | LibvirtProtocolError): void => {
    keepalive?.stop();
    wire.destroy();
    calls.fail(error);
    if (open) options.onEnd(error);
    open = false;
  };
  const wire = await openWire({
    path: options.path,
    messageTimeout: options.timeout,
    onMessage: (message) => {
      keepalive?.heard();
      dispatch({ where, wire, calls, onEvent: options.onEvent }, message);
    },
    onEnd: end,
  });
  const calls = createCalls({ where, send: wire.send, onStuck: end });
  const limits: LimitedOptions = { timeout: options.timeout, signal: options.signal };
  try {
    const { uri, pings } = await shakeHands(calls.call, where, { ...options, limits });
    open = true;
    if (pings && options.keepalive !== undefined) {
      keepalive = startKeepalive(options.keepalive, () => { wire.send(keepaliveBytes(PING)); }, () => {
        end(new LibvirtConnectionError(`${where}: the daemon does not answer keepalives`));
      });
    }
    const quiet = (): void => {
      open = false;
      keepalive?.stop();
    };
    return { call: calls.call, uri, close: async (error) => { quiet(); await sayGoodbye({ wire, calls }, error); } };
  } catch (error) {
    wire.destroy();
    throw error;
  }
}

async function sayGoodbye(
  { wire, calls }: { readonly wire: Wire; readonly calls: Calls }, error: Error,
): Promise<void> {
  calls.drain(error);
  // Without it libvirtd logs an error. It may be gone, or hang: neither is of interest any more.
  await calls.call('connect_close', undefined, { timeout: GOODBYE }).catch(() => undefined);
  calls.fail(error);
  wire.destroy();
}

interface HandshakeOptions {
  readonly name: string;
  readonly readOnly: boolean;
  readonly limits: CallOptions & LimitedOptions;
}

async function shakeHands(
  call: Call, where: string, { name, readOnly, limits }: HandshakeOptions,
): Promise<{ uri: string; pings: boolean }> {
  const { types } = await call('auth_list', undefined, limits);
  if (!types.includes(AUTH_NONE)) {
    if (types.includes(AUTH_POLKIT)) await call('auth_polkit', undefined, limits);
    else throw new LibvirtUnsupportedError(`${where} requires authentication of type ${types.join(', ') || 'unknown'}, but this client offers only 'none' and 'polkit': set auth_unix_rw to one of them`);
  }
  // Asked before the connection is opened, as libvirt's own client does: the daemon's pings begin with the answer.
  const { supported: pings } = await call('connect_supports_feature', { feature: FEATURE_KEEPALIVE }, limits);
  await call('connect_open', { name, flags: readOnly ? READ_ONLY : 0 }, limits);
  const { supported: callbacks } = await call('connect_supports_feature', { feature: FEATURE_EVENT_CALLBACK }, limits);
  if (callbacks !== 1) throw new LibvirtUnsupportedError(`${where} is too old: it has no events by callback id`);
  const { uri } = await call('connect_get_uri', undefined, limits);
  return { uri, pings: pings === 1 };
}

interface Ends {
  readonly where: string;
  readonly wire: Wire;
  readonly calls: Calls;
  readonly onEvent: (event: LibvirtObjectEvent) => void;
}

/** Throws LibvirtProtocolError for what libvirt never sends. */
function dispatch({ where, wire, calls, onEvent }: Ends, message: Message): void {
  const { program, version, procedure, type, status } = message.header;
  if (
    program === KEEPALIVE_PROGRAM &&
    version === VERSION &&
    type === EVENT &&
    (procedure === PING || procedure === PONG)
  ) {
    // A peer that pings without end and reads nothing gets no further answers.
    if (procedure === PING && wire.backlog() < MOST_BACKLOG) wire.send(keepaliveBytes(PONG));
    return;
  }
  if (program !== REMOTE_PROGRAM || version !== VERSION) throw new LibvirtProtocolError(`${where}: got a message of program 0x${program.toString(16)} version ${version}`);
  if (type !== EVENT) {
    calls.reply(message);
    return;
  }
  // virnetprotocol.x says that an event's serial is 0; libvirtd 9.0 sends 1.
  if (status !== OK) throw new LibvirtProtocolError(`${where}: event ${procedure} came with status ${status}`);
  const event = locate(LibvirtProtocolError, `${where}: event ${procedure}`, () =>
    readEvent(procedure, message.payload));
  if (event !== undefined) onEvent(event);
}

function keepaliveBytes(procedure: number): Uint8Array {
  return encodeMessage({
    header: { program: KEEPALIVE_PROGRAM, version: VERSION, procedure, type: EVENT, serial: 0, status: OK },
    payload: new Uint8Array(0),
  });
}
