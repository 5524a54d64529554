/**
 * The calls of one connection: which are under way, which wait, and whose the replies are. No sockets here.
 *
 * libvirtd stops reading from a client with max_client_requests (5) calls under way, its keepalive included, and would
 * be taken for dead while it works. So fewer are sent at a time and the others wait here. A call that its caller gave
 * up still keeps its place, because the daemon still works on it.
 */
import { locate } from '../errors.js';
import {
  LibvirtAbortError, LibvirtArgumentError, LibvirtConnectionError, LibvirtError, LibvirtProtocolError,
  LibvirtTimeoutError, refusalOf,
} from './errors.js';
import { encodeMessage, type Message } from './message.js';
import {
  type ArgsOf, CALL, ERROR, failure, OK, type ProcedureName, PROCEDURES, REMOTE_PROGRAM, REPLY, type ResultOf,
  VERSION,
} from './protocol.js';
import { type Codec, decode, encode } from './xdr.js';

/** One below libvirtd's default of max_client_requests. */
const MOST_AT_ONCE = 4;

/** How long a call may take, and how its caller gives it up. */
export interface CallOptions {
  /** Milliseconds until LibvirtTimeoutError, 1 to 2147483647; 30000 unless given, or what connect() was told. */
  readonly timeout?: number | undefined;
  /** Gives the call up with LibvirtAbortError. */
  readonly signal?: AbortSignal | undefined;
}

/** One call of remote_protocol.x. */
export type Call = <N extends ProcedureName>(name: N, args: ArgsOf<N>, options: LimitedOptions) => Promise<ResultOf<N>>;
export type LimitedOptions = CallOptions & { readonly timeout: number };

export interface Calls {
  readonly call: Call;
  /** Takes a reply. A reply to nothing, or that is none, is a LibvirtProtocolError. */
  reply(message: Message): void;
  /** Fails all calls that are under way or wait; later ones go through. */
  drain(error: Error): void;
  /** Fails all calls that are under way or wait, and every later one. */
  fail(error: Error): void;
}

interface Pending {
  readonly name: ProcedureName;
  readonly bytes: Uint8Array;
  readonly serial: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  givenUp: boolean;
}

export interface CallsOptions {
  readonly where: string;
  readonly send: (bytes: Uint8Array) => void;
  /** Called when all places are taken by calls that were given up: this connection will not do any more. */
  readonly onStuck: (error: LibvirtConnectionError) => void;
}

/** Returns the calls of one connection that is open. */
export function createCalls(options: CallsOptions): Calls {
  const table: Table = { ...options, sent: new Map(), waiting: new Set(), serial: 0, over: undefined };
  return {
    call: (name, args, limits) => begin(table, { name, args }, limits) as Promise<ResultOf<typeof name>>,
    reply: (message) => {
      const pending = pendingOf(options.where, table.sent, message);
      table.sent.delete(pending.serial);
      try {
        settle(options.where, pending, message);
      } finally {
        sendWaiting(table);
      }
    },
    drain: (error) => { drain(table, error); },
    fail: (error) => {
      table.over ??= error;
      drain(table, table.over);
      table.sent.clear();
    },
  };
}

interface Table extends CallsOptions {
  readonly sent: Map<number, Pending>;
  readonly waiting: Set<Pending>;
  serial: number;
  /** Why there are no more calls. */
  over: Error | undefined;
}

async function begin(
  table: Table, { name, args }: { readonly name: ProcedureName; readonly args: unknown },
  { timeout, signal }: LimitedOptions,
): Promise<unknown> {
  const { where, waiting } = table;
  if (table.over !== undefined) throw table.over;
  if (signal?.aborted === true) throw abortError(where, name, signal);
  // 32 bits on the wire; 0 belongs to events.
  table.serial = table.serial >= 0xffff_ffff ? 1 : table.serial + 1;
  const { serial } = table;
  const bytes = locate(LibvirtArgumentError, `${where}: ${name}`, () => callBytes(name, args, serial));
  let cleanUp = (): void => undefined;
  try {
    return await new Promise((resolve, reject) => {
      const pending: Pending = { name, bytes, serial, givenUp: false, resolve, reject };
      const onAbort = (): void => { giveUp(table, pending, abortError(where, name, signal)); };
      const timer = setTimeout(() => { giveUp(table, pending, new LibvirtTimeoutError(`${where}: ${name} got no answer within ${timeout} ms`)); }, timeout);
      signal?.addEventListener('abort', onAbort, { once: true });
      cleanUp = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      waiting.add(pending);
      sendWaiting(table);
    });
  } finally {
    cleanUp();
  }
}

function sendWaiting({ sent, waiting, send }: Table): void {
  for (const next of waiting) {
    if (sent.size >= MOST_AT_ONCE) return;
    waiting.delete(next);
    sent.set(next.serial, next);
    send(next.bytes);
  }
}

function giveUp({ where, sent, waiting, onStuck }: Table, pending: Pending, error: Error): void {
  pending.givenUp = true;
  pending.reject(error);
  waiting.delete(pending);
  if (sent.size < MOST_AT_ONCE || [...sent.values()].some(({ givenUp }) => !givenUp)) return;
  onStuck(new LibvirtConnectionError(`${where}: none of ${MOST_AT_ONCE} calls got an answer in time`, { cause: error }));
}

function drain({ sent, waiting }: Table, error: Error): void {
  for (const pending of [...sent.values(), ...waiting]) {
    pending.givenUp = true;
    pending.reject(error);
  }
  waiting.clear();
}

function callBytes(name: ProcedureName, args: unknown, serial: number): Uint8Array {
  const { number, args: codec } = PROCEDURES[name];
  return encodeMessage({
    header: { program: REMOTE_PROGRAM, version: VERSION, procedure: number, type: CALL, serial, status: OK },
    payload: encode(codec as Codec<unknown>, args),
  });
}

/** Returns the error that tells of an AbortSignal that fired. */
export function abortError(where: string, name: string, signal: AbortSignal | undefined): LibvirtAbortError {
  return new LibvirtAbortError(`${where}: ${name} was cancelled by its caller`, { cause: signal?.reason });
}

function pendingOf(where: string, sent: ReadonlyMap<number, Pending>, { header }: Message): Pending {
  const pending = sent.get(header.serial);
  if (header.type !== REPLY) throw new LibvirtProtocolError(`${where}: got a message of unexpected type ${header.type}, neither a reply nor an event`);
  if (pending === undefined) throw new LibvirtProtocolError(`${where}: a reply came to call ${header.serial}, which was never made`);
  const { number } = PROCEDURES[pending.name];
  if (header.procedure !== number) throw new LibvirtProtocolError(`${where}: the reply to ${pending.name} has procedure ${header.procedure} instead of ${number}`);
  return pending;
}

/** Settles the call. What cannot be read is thrown, too: the peer is none to talk to any more. */
function settle(where: string, { name, resolve, reject }: Pending, { header, payload }: Message): void {
  try {
    locate(LibvirtProtocolError, `${where}: reply to ${name}`, () => {
      if (header.status === OK) {
        resolve(decode(PROCEDURES[name].result as Codec<unknown>, payload));
        return;
      }
      if (header.status !== ERROR) throw new LibvirtProtocolError(`${where}: reply to ${name}: its status is ${header.status}`);
      reject(new LibvirtError(`${where}: ${name}`, refusalOf(decode(failure, payload))));
    });
  } catch (error) {
    reject(error as Error);
    throw error;
  }
}
