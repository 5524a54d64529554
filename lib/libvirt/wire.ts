/**
 * One unix socket that carries messages. Knows nothing of what they mean; sees to it that none takes for ever to come.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { locate } from '../errors.js';
import { quote } from '../values/quote.js';
import { LibvirtConnectionError, LibvirtProtocolError, START_LIBVIRT } from './errors.js';
import { createSplitter, type Message } from './message.js';

export interface Wire {
  readonly send: (bytes: Uint8Array) => void;
  /** How many bytes the peer has not taken yet. */
  readonly backlog: () => number;
  /** Ends it at once; `onEnd` is not called for it. Safe to call twice. */
  readonly destroy: () => void;
}

export interface WireOptions {
  readonly path: string;
  /** Milliseconds one message may take from its first byte to its last. */
  readonly messageTimeout: number;
  readonly onMessage: (message: Message) => void;
  /** Called once, when the peer has ended it or has sent what is no message. */
  readonly onEnd: (error: LibvirtConnectionError | LibvirtProtocolError) => void;
}

/** Milliseconds the kernel may take to connect; a daemon whose backlog is full leaves it hanging. */
const CONNECT_TIMEOUT = 10_000;

/**
 * Resolves when the socket is connected. Throws LibvirtConnectionError when it is not there, not permitted or silent.
 */
export async function openWire(options: WireOptions): Promise<Wire> {
  const { path, onMessage, onEnd } = options;
  const where = `libvirt at ${quote(path)}`;
  const socket = await connected(path);
  let ended = false;
  const destroy = (): void => {
    ended = true;
    incoming.stop();
    socket.destroy();
  };
  const end = (error: LibvirtConnectionError | LibvirtProtocolError): void => {
    if (ended) return;
    destroy();
    onEnd(error);
  };
  const isOver = (): boolean => ended;
  const incoming = createIncoming(options, where, end);
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const message of incoming.push(chunk)) if (!isOver()) onMessage(message);
    } catch (error) {
      if (!(error instanceof LibvirtProtocolError)) throw error;
      end(error);
    }
  });
  socket.on('error', (cause: Error) => { end(new LibvirtConnectionError(`${where}: the connection broke: ${cause.message}`, { cause })); });
  socket.on('close', () => { end(new LibvirtConnectionError(`${where}: the daemon closed the connection`)); });
  return { send: (bytes) => { if (!ended) socket.write(bytes); }, backlog: () => socket.writableLength, destroy };
}

interface Incoming {
  readonly push: (chunk: Uint8Array) => readonly Message[];
  readonly stop: () => void;
}

/** Splits what comes in, and sees to it that a message that has begun also ends. */
function createIncoming(
  { messageTimeout }: WireOptions, where: string, end: (error: LibvirtProtocolError) => void,
): Incoming {
  const splitter = createSplitter();
  let slow: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearTimeout(slow);
    slow = undefined;
  };
  return {
    stop,
    push: (chunk) => {
      const messages = locate(LibvirtProtocolError, where, () => splitter.push(chunk));
      if (messages.length > 0) stop();
      if (splitter.held() > 0) {
        slow ??= setTimeout(() => {
          end(new LibvirtProtocolError(`${where}: got only ${splitter.held()} bytes of a message within ${messageTimeout} ms`));
        }, messageTimeout);
      }
      return messages;
    },
  };
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ path });
    const fail = (why: string, cause?: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new LibvirtConnectionError(`libvirt at ${quote(path)}: ${why}`, { cause }));
    };
    const timer = setTimeout(() => { fail(`no connection after ${CONNECT_TIMEOUT} ms`); }, CONNECT_TIMEOUT);
    socket.once('error', (error: NodeJS.ErrnoException) => { fail(WHY[error.code ?? ''] ?? error.message, error); });
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: `there is no such socket: ${START_LIBVIRT}`,
  ECONNREFUSED: `no daemon listens there, it has ended or is starting: ${START_LIBVIRT}`,
  EACCES: 'not permitted: be root or in the group libvirt',
};
