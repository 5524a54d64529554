/** The door: from a URI to a connection. */
import type { Exec } from '../system/exec.js';
import { quote } from '../values/quote.js';
import type { CallOptions } from './calls.js';
import type { Connection } from './connection.js';
import { LibvirtArgumentError } from './errors.js';
import type { KeepaliveOptions } from './keepalive.js';
import { type BackoffOptions, openLasting } from './reconnecting.js';
import { createRegistrar } from './registrations.js';
import { openSession } from './session.js';
import { createSocketConnection, limitsOf } from './socket-connection.js';
import { findSocket, type LocalUri, parseUri } from './uri.js';
import { connectVirsh } from './virsh-connection.js';

/** How a connection is made and kept. */
export interface ConnectOptions extends CallOptions {
  /**
   * Milliseconds for each call that says no other, each step of the handshake, and each message to come whole; 30000
   * unless given.
   */
  readonly timeout?: number;
  /** Gives up the first attempt; close() ends a connection that was made. */
  readonly signal?: AbortSignal;
  /** VIR_CONNECT_RO: libvirt refuses all that changes anything. Of the system daemon it needs no rights. */
  readonly readOnly?: boolean;
  /** Pauses between attempts to connect again; false: the first loss is the last. */
  readonly reconnect?: Partial<BackoffOptions> | false;
  /** Pings to the daemon; false: none. Its own are always answered. */
  readonly keepalive?: Partial<KeepaliveOptions> | false;
  /** Where local sockets are looked for instead of /run/libvirt, or instead of the user's own directory. */
  readonly directory?: string;
  /** Runs virsh, for URIs of other hosts. */
  readonly exec?: Exec;
}

const TIMEOUT = 30_000;

/**
 * Returns a connection to what `uri` names. Absent: LIBVIRT_DEFAULT_URI, else whichever daemon is here. Without a host
 * it goes through the daemon's unix socket ('qemu:///system', 'qemu:///session', 'test:///default',
 * 'qemu+unix:///system?socket=/path'); any other ('qemu+ssh://host/system') goes through virsh, without events. Throws
 * what the Connection's methods throw, at the first failure: only a connection that was there once is made again. No
 * daemon is ever started.
 */
export async function connect(uri?: string, options: ConnectOptions = {}): Promise<Connection> {
  const { timeout, signal } = limitsOf(options, TIMEOUT);
  const wanted = uri ?? process.env['LIBVIRT_DEFAULT_URI'] ?? '';
  const parsed = parseUri(wanted);
  if (parsed.way === 'socket') return connectSocket(parsed, wanted, { ...options, timeout });
  const exec = options.exec ?? (await import('../system/exec-async.js')).execAsync;
  return connectVirsh({ exec, uri: parsed.uri, readOnly: options.readOnly ?? false, timeout }, { signal });
}

async function connectSocket(
  parsed: LocalUri, uri: string, options: ConnectOptions & { readonly timeout: number },
): Promise<Connection> {
  const { timeout, signal, readOnly = false, directory } = options;
  const registrar = createRegistrar(timeout);
  const keepalive = options.keepalive === false ? undefined : { interval: 5000, count: 5, ...options.keepalive };
  const backoff = options.reconnect === false ? undefined : { first: 100, most: 10_000, ...options.reconnect };
  for (const [name, value] of Object.entries({ ...keepalive, ...backoff })) {
    if (!Number.isInteger(value) || value < 1) throw new LibvirtArgumentError(`${name} is ${value}, not a whole number of at least 1`);
  }
  const lasting = await openLasting({
    where: `libvirt ${quote(uri)}`,
    // Looked for each time: the daemon that comes back may be another.
    open: async (hooks) => openSession({
      ...hooks, path: await findSocket(parsed, { readOnly, directory }), name: parsed.name, readOnly, keepalive,
      timeout,
    }),
    backoff, registrar, signal,
  });
  return createSocketConnection(lasting, registrar, timeout);
}
