/**
 * A daemon of our own making on a unix socket: answers the handshake as libvirtd does, and then whatever a test tells
 * it, however wrong. It fails on a call that nobody told it to answer, by closing the connection.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSplitter, encodeMessage, type Message } from '../../lib/libvirt/message.js';
import {
  ERROR, EVENT, type EventName, EVENTS, failure, KEEPALIVE_PROGRAM, OK, type ProcedureName, PROCEDURES,
  REMOTE_PROGRAM, REPLY, type ResultOf, VERSION,
} from '../../lib/libvirt/protocol.js';
import { type Codec, encode, type ValueOf } from '../../lib/libvirt/xdr.js';

/** One client, as the daemon sees it. */
export interface Peer {
  readonly socket: Socket;
  /** How many came before it. */
  readonly index: number;
  reply<N extends ProcedureName>(name: N, call: Message, result: ResultOf<N>): void;
  refuse(call: Message, code: number, message: string): void;
  event<E extends EventName>(name: E, body: ValueOf<(typeof EVENTS)[E]['body']>): void;
  send(message: Message): void;
}

export type Answer = (peer: Peer, call: Message) => void;
export type Answers = Partial<Record<ProcedureName | 'ping' | 'pong' | 'connection', Answer>>;

export interface FakeDaemon {
  readonly uri: string;
  readonly path: string;
  readonly peers: readonly Peer[];
  /** Names of what was called, in order, without the handshake. */
  readonly called: readonly string[];
  /** Changes what is answered from now on. */
  answer(answers: Answers): void;
  close(): Promise<void>;
}

const UUID = Uint8Array.from({ length: 16 }, (_, index) => index);
export const WEB1 = { name: 'web1', uuid: UUID, id: 1 };
export const WEB1_REF = { name: 'web1', uuid: '00010203-0405-0607-0809-0a0b0c0d0e0f', id: 1 };

/** What a daemon answers that has nothing in mind. */
const HANDSHAKE: Answers = {
  connection: () => undefined,
  auth_list: (peer, call) => { peer.reply('auth_list', call, { types: [0] }); },
  connect_supports_feature: (peer, call) => { peer.reply('connect_supports_feature', call, { supported: 1 }); },
  connect_open: (peer, call) => { peer.reply('connect_open', call, undefined); },
  connect_get_uri: (peer, call) => { peer.reply('connect_get_uri', call, { uri: 'fake:///system' }); },
  connect_close: (peer, call) => { peer.reply('connect_close', call, undefined); },
};

const USUAL: Answers = {
  ...HANDSHAKE,
  ping: (peer) => { peer.send(keepalive(2)); },
  pong: () => undefined,
  connect_domain_event_callback_register_any: (peer, call) => { peer.reply('connect_domain_event_callback_register_any', call, { callbackId: 1 }); },
  connect_domain_event_callback_deregister_any: (peer, call) => { peer.reply('connect_domain_event_callback_deregister_any', call, undefined); },
  connect_network_event_register_any: (peer, call) => {
    peer.reply('connect_network_event_register_any', call, { callbackId: 1 });
  },
  connect_network_event_deregister_any: (peer, call) => {
    peer.reply('connect_network_event_deregister_any', call, undefined);
  },
  connect_get_hostname: (peer, call) => { peer.reply('connect_get_hostname', call, { hostname: 'fake' }); },
};

/**
 * Starts a daemon that answers the handshake, events, pings and hostname as libvirtd does, and else what `answers` say.
 */
export async function startFakeDaemon(answers: Answers = {}): Promise<FakeDaemon> {
  const directory = mkdtempSync(join(tmpdir(), 'guestwire-fake-'));
  const path = join(directory, 'sock');
  const peers: Peer[] = [];
  const called: string[] = [];
  let all: Answers = { ...USUAL, ...answers };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const peer = createPeer(socket, peers.length);
    peers.push(peer);
    const splitter = createSplitter();
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) {
        const name = nameOf(message);
        if (!(name in HANDSHAKE)) called.push(name);
        const answer = all[name];
        if (answer === undefined) socket.destroy();
        else answer(peer, { ...message, payload: message.payload.slice() });
      }
    });
    socket.on('end', () => { socket.end(); });
    all.connection?.(peer, {
      header: { program: 0, version: 0, procedure: 0, type: 0, serial: 0, status: 0 }, payload: new Uint8Array(0),
    });
  });
  await new Promise<void>((resolve) => { server.listen(path, resolve); });
  return {
    uri: `qemu+unix:///system?socket=${path}`,
    path,
    peers,
    called,
    answer: (more) => { all = { ...all, ...more }; },
    close: async () => {
      for (const { socket } of peers) socket.destroy();
      await new Promise((resolve) => { server.close(resolve); });
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function createPeer(socket: Socket, index: number): Peer {
  const send = (message: Message): void => { if (socket.writable) socket.write(encodeMessage(message)); };
  return {
    socket,
    index,
    send,
    reply: (name, { header }, result) => {
      send({ header: { ...header, type: REPLY, status: OK }, payload: encode(
        PROCEDURES[name].result as Codec<unknown>, result,
      ) });
    },
    refuse: ({ header }, code, message) => {
      const nothing = {
        dom: undefined, str1: undefined, str2: undefined, str3: undefined, int1: 0, int2: 0, net: undefined,
      };
      send({
        header: { ...header, type: REPLY, status: ERROR },
        payload: encode(failure, { code, domain: 10, message, level: 2, ...nothing }),
      });
    },
    event: (name, body) => {
      const { number, body: codec } = EVENTS[name];
      send({
        header: { program: REMOTE_PROGRAM, version: VERSION, procedure: number, type: EVENT, serial: 1, status: OK },
        payload: encode(codec as Codec<unknown>, body),
      });
    },
  };
}

/** A ping (1) or a pong (2). */
export function keepalive(procedure: 1 | 2): Message {
  return {
    header: { program: KEEPALIVE_PROGRAM, version: VERSION, procedure, type: EVENT, serial: 0, status: OK },
    payload: new Uint8Array(0),
  };
}

function nameOf({ header: { program, procedure } }: Message): keyof Answers {
  if (program === KEEPALIVE_PROGRAM) return procedure === 1 ? 'ping' : 'pong';
  const found = Object.entries(PROCEDURES).find(([, { number }]) => number === procedure);
  if (found === undefined) throw new Error(`the client called procedure ${procedure}, which it does not know itself`);
  return found[0] as ProcedureName;
}

/** A lifecycle event of web1: event 2 is 'started', 5 'stopped'. */
export function lifecycle(peer: Peer, event: number, detail = 0): void {
  peer.event('domain_event_callback_lifecycle', { callbackId: 1, message: { domain: WEB1, event, detail } });
}
