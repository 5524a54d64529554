// @tier fast long
/**
 * A peer that is no libvirt, or one in trouble: every call ends with an error of a type, in bounded time, and none
 * hangs.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { connect, type ConnectOptions } from '../../lib/libvirt/connect.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { encodeMessage, type Message } from '../../lib/libvirt/message.js';
import { MESSAGE_MAX, STRING_MAX } from '../../lib/libvirt/protocol.js';
import {
  type Answer, type Answers, type FakeDaemon, keepalive, type Peer, startFakeDaemon, WEB1, WEB1_REF,
} from '../fakes/daemon.js';
import { bound } from '../tiers/bound.js';

let daemon: FakeDaemon;
let connection: Connection | undefined;
afterEach(async () => {
  await connection?.close();
  connection = undefined;
  await daemon.close();
});

/** A connection that is not made anew, for tests of one session. */
async function open(answers: Answers, options: ConnectOptions = {}): Promise<Connection> {
  daemon = await startFakeDaemon(answers);
  connection = await connect(daemon.uri, { timeout: 300, reconnect: false, ...options });
  return connection;
}

async function failureOf(promise: Promise<unknown>): Promise<{ code: unknown; message: string }> {
  const value = await promise.then(
    (got) => ({ code: 'none', message: JSON.stringify(got) }), (error: unknown) => error,
  );
  const { code, message } = value as { code: unknown; message: string };
  return { code, message: message.replaceAll(daemon.path, 'SOCK') };
}

const head = (call: Message, more: Partial<Message['header']> = {}): Message => ({
  header: { ...call.header, type: 1, ...more }, payload: new Uint8Array(0),
});
const words = (...numbers: readonly number[]): Buffer => Buffer.concat(
  numbers.map((number) => { const word = Buffer.alloc(4); word.writeUInt32BE(number >>> 0); return word; }),
);
const raw = (call: Message, payload: Buffer, type = 1): Buffer =>
  Buffer.from(encodeMessage({ header: { ...call.header, type }, payload }));

describe('a reply to hostname() that is wrong', () => {
  const [PROTOCOL, CONNECTION] = ['ERR_LIBVIRT_PROTOCOL', 'ERR_LIBVIRT_CONNECTION'];
  const writes = (bytes: Buffer | string): Answer => ({ socket }) => { socket.write(bytes); };
  const sends = (more: Partial<Message['header']>): Answer => (peer, call) => { peer.send(head(call, more)); };
  const holds = (...numbers: readonly number[]): Answer => (peer, call) => {
    peer.socket.write(raw(call, words(...numbers)));
  };
  test.each<[string, Answer, string, string]>([
    ['a length shorter than the header', writes(words(8, 0)), PROTOCOL, 'a message of 8 bytes is shorter than its header'],
    ['a length over the limit', writes(words(MESSAGE_MAX + 5)), PROTOCOL, `is longer than ${MESSAGE_MAX + 4}`],
    ['garbage', writes('HTTP/1.1 400 Bad Request\r\n\r\n'), PROTOCOL, 'bytes is longer than'],
    ['another program', sends({ program: 0x2000_8087 }), PROTOCOL, 'got a message of program 0x20008087 version 1'],
    ['another version', sends({ version: 2 }), PROTOCOL, 'got a message of program 0x20008086 version 2'],
    [
      'another serial', (peer, call) => { peer.send(head(call, { serial: call.header.serial + 1 })); }, PROTOCOL,
      'which was never made',
    ],
    ['another procedure', sends({ procedure: 157 }), PROTOCOL, 'the reply to connect_get_hostname has procedure 157 instead of 59'],
    ['a call where a reply is due', sends({ type: 0 }), PROTOCOL, 'got a message of unexpected type 0, neither a reply nor an event'],
    ['a reply with file descriptors', sends({ type: 5 }), PROTOCOL, 'got a message of unexpected type 5'],
    ['a status that is none', sends({ status: 2 }), PROTOCOL, 'reply to connect_get_hostname: its status is 2'],
    ['no payload', sends({}), PROTOCOL, 'the data ends at byte 0, inside a number'],
    ['a string longer than the message', holds(1000, 0), PROTOCOL, 'inside 1000 bytes that start at 4'],
    ['a string over the limit', holds(STRING_MAX + 1), PROTOCOL, `a length of ${STRING_MAX + 1} is more than ${STRING_MAX}`],
    ['bytes after the payload', holds(0, 0), PROTOCOL, '4 bytes are left over at 4'],
    ['an error that is none', sends({ status: 1 }), PROTOCOL, 'the data ends at byte 0, inside a number'],
    [
      'the end, in the middle of a message',
      (peer, call) => { peer.socket.end(raw(call, words(4, 0)).subarray(0, 20)); }, CONNECTION,
      'the daemon closed the connection',
    ],
    [
      'the end of its half, before any reply', ({ socket }) => { socket.end(); }, CONNECTION,
      'the daemon closed the connection',
    ],
    ['the end of both halves', ({ socket }) => { socket.destroy(); }, CONNECTION, 'the daemon closed the connection'],
    ['nothing', () => undefined, 'ERR_LIBVIRT_TIMEOUT', 'connect_get_hostname got no answer within 300 ms'],
  ])('%s', async (_, answer, code, says) => {
    const libvirt = await open({ connect_get_hostname: answer });
    const got = await failureOf(libvirt.hostname());
    expect(got).toEqual({ code, message: expect.stringContaining(says) });
    // Whatever it was, what comes after it does not hang either.
    if (code !== 'ERR_LIBVIRT_TIMEOUT') expect((await failureOf(libvirt.hostname())).code).toBe(code);
  });

  test('a slow one, byte by byte', async () => {
    const answer: Answer = (peer, call) => {
      const bytes = raw(call, words(8, 0, 0));
      let at = 0;
      const timer = setInterval(() => {
        if (peer.socket.writable && at < bytes.length - 1) peer.socket.write(bytes.subarray(at, (at += 1)));
        else clearInterval(timer);
      }, 30);
    };
    const libvirt = await open({ connect_get_hostname: answer });
    expect(await failureOf(libvirt.hostname({ timeout: 5000 }))).toEqual({
      code: 'ERR_LIBVIRT_PROTOCOL', message: expect.stringMatching(/got only \d+ bytes of a message within 300 ms$/),
    });
  });

  test('an error of libvirt is one, with its names', async () => {
    const libvirt = await open({
      connect_get_hostname: (peer, call) => { peer.refuse(call, 1, 'internal error: \u001b[31mno'); },
    });
    await expect(libvirt.hostname()).rejects.toMatchObject({
      code: 'ERR_LIBVIRT',
      retryable: false,
      refusal: { reason: 'VIR_ERR_INTERNAL_ERROR', reasonNumber: 1, origin: 'VIR_FROM_QEMU', level: 'error' },
    });
    expect((await failureOf(libvirt.hostname())).message).toBe("libvirt at 'SOCK': connect_get_hostname: internal error: \\u{1b}[31mno (VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU)");
  });

  test('a list that is too long is refused before anything is made for it', async () => {
    const libvirt = await open({
      connect_list_all_domains: (peer, call) => { peer.socket.write(raw(call, words(16_384, 0, 0))); },
    });
    expect((await failureOf(libvirt.listDomains())).message).toContain('an array of 16384 does not fit into the remaining bytes');
  });
});

describe('a handshake that is wrong', () => {
  const attempt = async (
    answers: Answers, options: ConnectOptions = {},
  ): Promise<{ code: unknown; message: string }> => {
    daemon = await startFakeDaemon(answers);
    return failureOf(connect(daemon.uri, { timeout: 300, ...options }));
  };

  test('silence', async () => {
    expect(await attempt({ auth_list: () => undefined })).toEqual({ code: 'ERR_LIBVIRT_TIMEOUT', message: "libvirt at 'SOCK': auth_list got no answer within 300 ms" });
  });
  test('SASL is not offered', async () => {
    expect(await attempt({ auth_list: (peer, call) => { peer.reply('auth_list', call, { types: [1] }); } })).toEqual({
      code: 'ERR_LIBVIRT_UNSUPPORTED', message: "libvirt at 'SOCK' requires authentication of type 1, but this client offers only 'none' and 'polkit': set auth_unix_rw to one of them",
    });
  });
  test('polkit is asked, and its no is libvirt\'s', async () => {
    const answers: Answers = {
      auth_list: (peer, call) => { peer.reply('auth_list', call, { types: [2] }); },
      auth_polkit: (peer, call) => { peer.refuse(call, 45, 'authentication failed: no'); },
    };
    expect(await attempt(answers)).toMatchObject({ code: 'ERR_LIBVIRT' });
  });
  test('no events by callback id', async () => {
    expect((await attempt({ connect_supports_feature: (peer, call) => {
      peer.reply('connect_supports_feature', call, { supported: 0 });
    } })).code).toBe('ERR_LIBVIRT_UNSUPPORTED');
  });
  test('an end at once', async () => {
    expect((await attempt({ connection: ({ socket }) => { socket.destroy(); } })).code).toBe('ERR_LIBVIRT_CONNECTION');
  });
  test('an abort while it hangs', async () => {
    const started = performance.now();
    expect(
      (await attempt({ connect_open: () => undefined }, { timeout: 10_000, signal: AbortSignal.timeout(100) })).code,
    ).toBe('ERR_LIBVIRT_ABORTED');
    expect(performance.now() - started).toBeLessThan(bound(2000));
  });
  test('nobody there', async () => {
    daemon = await startFakeDaemon();
    await daemon.close();
    expect(await failureOf(connect(daemon.uri))).toEqual({ code: 'ERR_LIBVIRT_CONNECTION', message: "libvirt at 'SOCK': there is no such socket: start it with 'systemctl start libvirtd', or 'systemctl start virtqemud' where libvirtd is not installed" });
  });
});

describe('calls', () => {
  test('that cannot be sent are refused, and the connection stays', async () => {
    const libvirt = await open({});
    for (const promise of [
      libvirt.lookupDomain({ name: 'a\0b' }), libvirt.lookupDomain({ uuid: 'nonsense' }),
      libvirt.attachDevice(WEB1_REF, 'x'.repeat(STRING_MAX + 1)),
      libvirt.hostname({ timeout: 0 }), libvirt.hostname({ timeout: 2 ** 31 }),
    ]) expect((await failureOf(promise)).code).toBe('ERR_LIBVIRT_ARGUMENT');
    expect(daemon.called).toEqual([]);
    expect(await libvirt.hostname()).toBe('fake');
  });

  test('are answered in any order, and at most four are under way', async () => {
    const held: (() => void)[] = [];
    const libvirt = await open({
      domain_lookup_by_name: (peer, call) => {
        const name = call.payload.at(4) ?? 0;
        held.push(() => {
          peer.reply('domain_lookup_by_name', call, { domain: { ...WEB1, name: String.fromCharCode(name) } });
        });
        if (held.length === 4) for (const answer of held.splice(0).reverse()) answer();
      },
    });
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const found = await Promise.all(names.map((name) => libvirt.lookupDomain({ name })));
    expect(found.map(({ name }) => name)).toEqual(names);
    expect(daemon.called).toHaveLength(8);
  });

  test('that were given up are answered late without harm', async () => {
    let late: (() => void) | undefined;
    const libvirt = await open({
      domain_get_state: (peer, call) => {
        late = () => { peer.reply('domain_get_state', call, { state: 1, reason: 1 }); };
      },
    });
    const aborter = new AbortController();
    const call = libvirt.domainState(WEB1_REF, { signal: aborter.signal });
    aborter.abort(new Error('enough'));
    await expect(call).rejects.toMatchObject({ code: 'ERR_LIBVIRT_ABORTED', cause: new Error('enough') });
    await expect(libvirt.domainState(WEB1_REF, { signal: aborter.signal }))
      .rejects.toMatchObject({ code: 'ERR_LIBVIRT_ABORTED' });
    expect(await libvirt.hostname()).toBe('fake');
    late?.();
    expect(await libvirt.hostname()).toBe('fake');
  });

  test('that are all given up end the connection', async () => {
    const libvirt = await open({ domain_get_state: () => undefined });
    const codes = await Promise.all([1, 2, 3, 4, 5, 6].map(async () =>
      (await failureOf(libvirt.domainState(WEB1_REF, { timeout: 100 }))).code));
    expect(new Set(codes)).toEqual(new Set(['ERR_LIBVIRT_TIMEOUT', 'ERR_LIBVIRT_CONNECTION']));
    expect(await failureOf(libvirt.hostname())).toEqual({ code: 'ERR_LIBVIRT_CONNECTION', message: "libvirt at 'SOCK': none of 4 calls got an answer in time" });
  });

  test('under way when the connection is closed fail at once; closing twice is one goodbye', async () => {
    let goodbyes = 0;
    const libvirt = await open({
      domain_get_state: () => undefined,
      connect_close: (peer, call) => { goodbyes += 1; peer.reply('connect_close', call, undefined); },
    });
    const call = failureOf(libvirt.domainState(WEB1_REF, { timeout: 10_000 }));
    await Promise.all([libvirt.close(), libvirt.close()]);
    await libvirt.close();
    expect((await call).code).toBe('ERR_LIBVIRT_CLOSED');
    expect((await failureOf(libvirt.hostname())).code).toBe('ERR_LIBVIRT_CLOSED');
    expect(goodbyes).toBe(1);
  });

  test('a daemon that does not say goodbye is left within its second', async () => {
    const libvirt = await open({ connect_close: () => undefined });
    const started = performance.now();
    await libvirt.close();
    expect(performance.now() - started).toBeLessThan(bound(2000));
  });
});

describe('keepalive', () => {
  test('pings of the daemon are answered', async () => {
    await open({ connect_get_uri: (peer, call) => {
      peer.send(keepalive(1));
      peer.reply('connect_get_uri', call, { uri: '' });
    } }, { keepalive: false });
    await connection?.hostname();
    expect(daemon.called).toContain('pong');
  });
  test('a daemon that pings without end and reads nothing gets no more than it may', async () => {
    let client: Peer | undefined;
    const libvirt = await open(
      { domain_get_state: (peer) => { client = peer; peer.socket.pause(); } }, { timeout: 240_000 },
    );
    const waiting = failureOf(libvirt.domainState(WEB1_REF));
    const pings = Buffer.concat(Array.from({ length: 10_000 }, () => Buffer.from(encodeMessage(keepalive(1)))));
    const before = process.memoryUsage().rss;
    for (let n = 0; n < 100; n += 1) await new Promise((resolve) => {
      if (client === undefined) setTimeout(resolve, 20); else client.socket.write(pings, resolve);
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
    client?.socket.destroy();
    expect((await waiting).code).toBe('ERR_LIBVIRT_CONNECTION');
  }, 300_000);
  test('a daemon that answers pings is left alone', async () => {
    const libvirt = await open({}, { keepalive: { interval: 30, count: 2 } });
    await new Promise((resolve) => { setTimeout(resolve, 400); });
    expect(daemon.called.filter((name) => name === 'ping').length).toBeGreaterThan(3);
    expect(await libvirt.hostname()).toBe('fake');
  });
  test('a daemon that answers none is given up, and so are the calls', async () => {
    const libvirt = await open(
      { ping: () => undefined, domain_get_state: () => undefined }, { keepalive: { interval: 30, count: 2 } },
    );
    expect(await failureOf(libvirt.domainState(WEB1_REF, { timeout: 10_000 })))
      .toEqual({ code: 'ERR_LIBVIRT_CONNECTION', message: "libvirt at 'SOCK': the daemon does not answer keepalives" });
    expect(daemon.called.filter((name) => name === 'ping')).toHaveLength(2);
  });
  test('a daemon that has none gets no pings', async () => {
    const noKeepalive: Answer = (peer: Peer, call) => {
      peer.reply('connect_supports_feature', call, { supported: call.payload.at(3) === 10 ? 0 : 1 });
    };
    await open({ connect_supports_feature: noKeepalive }, { keepalive: { interval: 20, count: 2 } });
    await new Promise((resolve) => { setTimeout(resolve, 200); });
    expect(daemon.called).toEqual([]);
  });
});
