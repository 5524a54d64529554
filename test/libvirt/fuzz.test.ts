// @tier fast long
/**
 * The decoder against tens of thousands of messages that are nearly right: each gives a value that encodes to the same
 * bytes, or a ValueError, and nothing else, in bounded time and memory. The seed is printed; GUESTWIRE_TEST_SEED runs
 * it again.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { ValueError } from '../../lib/errors.js';
import { connect } from '../../lib/libvirt/connect.js';
import { readEvent } from '../../lib/libvirt/events.js';
import { createSplitter, decodeMessage, encodeMessage, type Message } from '../../lib/libvirt/message.js';
import { EVENTS, failure, MESSAGE_MAX, PROCEDURES } from '../../lib/libvirt/protocol.js';
import { type Codec, decode, encode } from '../../lib/libvirt/xdr.js';
import { startFakeDaemon } from '../fakes/daemon.js';
import { bound, figure, rounds } from '../tiers/bound.js';

const SEED = Number(process.env['GUESTWIRE_TEST_SEED'] ?? 20_261_123);
const ROUNDS = rounds(20_000);
const { frames } = JSON.parse(
  readFileSync('fixtures/libvirt/frames.json', 'utf8'),
) as { frames: Record<string, string> };
const SAMPLES = Object.values(frames).map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));

/** mulberry32: the same numbers for the same seed, on every machine. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const NASTY = [
  0, 1, 2, 3, 5, 0x7f, 0xff, 0x4000, 0x4001, 0x40_0000, 0x40_0001, 0x200_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc,
  0xffff_ffff,
];

/** Returns `bytes` with one to four changes; `from` and what is before stays as it is. */
function mutate(bytes: Uint8Array, from: number, pick: (below: number) => number): Uint8Array {
  let changed = bytes.slice();
  for (let changes = 1 + pick(4); changes > 0 && changed.length > from; changes -= 1) {
    const at = from + pick(changed.length - from);
    const word = from + 4 * pick(Math.floor((changed.length - from) / 4) || 1);
    switch (pick(6)) {
      case 0: changed[at] = pick(256); break;
      case 1: changed[at] = (changed[at] ?? 0) ^ (1 << pick(8)); break;
      case 2:
        if (word + 4 <= changed.length)
          new DataView(changed.buffer).setUint32(word, NASTY[pick(NASTY.length)] ?? 0);
        break;
      case 3: changed = changed.slice(0, at); break;
      case 4:
        changed = Uint8Array.from([
          ...changed.subarray(0, at), ...changed.subarray(at, at + 4 * pick(16)), ...changed.subarray(at),
        ]);
        break;
      default:
        changed = Uint8Array.from([
          ...changed.subarray(0, word), ...changed.subarray(Math.min(changed.length, word + 4 * pick(4))),
        ]);
    }
  }
  return changed;
}

/** Every codec that reads what a daemon sends, and those of calls for good measure. */
const CODECS: readonly Codec<unknown>[] = [
  ...Object.values(PROCEDURES).flatMap(({ args, result }): Codec<unknown>[] => [args, result]),
  ...Object.values(EVENTS).map(({ body }) => body as Codec<unknown>),
];

/** Returns whether it was read; throws whatever is neither a value nor a ValueError. */
function attempt(read: () => void): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (error instanceof ValueError) return false;
    throw error;
  }
}

describe(`${ROUNDS} mutated messages, seed ${SEED}`, () => {
  test('are read or refused by every decoder of a payload, and what is read encodes to the same bytes', () => {
    figure(`fuzz: seed ${SEED}, ${ROUNDS} rounds`);
    const pick = random(SEED);
    const started = performance.now();
    const before = process.memoryUsage().rss;
    let read = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const payload = mutate((SAMPLES[pick(SAMPLES.length)] ?? new Uint8Array(28)).subarray(28), 0, pick);
      const codec = CODECS[pick(CODECS.length)];
      if (codec === undefined) continue;
      if (attempt(() => { expectSame(codec, payload); })) read += 1;
      attempt(() => { decode(failure, payload); });
      attempt(() => { readEvent([315, 318, 333, 354, 367, 379][pick(6)] ?? 0, payload); });
    }
    // Neither everything nor nothing: the mutations are near enough to be worth it.
    expect(read).toBeGreaterThan(ROUNDS / 200);
    expect(read).toBeLessThan(ROUNDS / 2);
    expect(performance.now() - started).toBeLessThan(bound(ROUNDS));
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
  }, 30 * 60_000);

  test('are split into messages or refused, however they are cut', () => {
    const pick = random(SEED + 1);
    const started = performance.now();
    let splitter = createSplitter();
    let refused = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      // Mostly the length is left alone: otherwise no message would ever follow another.
      const bytes = mutate(SAMPLES[pick(SAMPLES.length)] ?? new Uint8Array(28), pick(8) === 0 ? 0 : 4, pick);
      if (bytes.length >= 28 && pick(8) !== 0) new DataView(bytes.buffer).setUint32(0, bytes.length);
      const cut = pick(bytes.length + 1);
      const whole = attempt(() => {
        for (const chunk of [bytes.subarray(0, cut), bytes.subarray(cut)])
          for (const message of splitter.push(chunk)) expectSameMessage(message);
      });
      if (!whole) refused += 1;
      expect(splitter.held()).toBeLessThan(MESSAGE_MAX + 4);
      // A connection ends with the first refusal; one that waits for 32 MiB would swallow all the rest.
      if (!whole || splitter.held() > 100_000) splitter = createSplitter();
    }
    expect(refused).toBeGreaterThan(0);
    expect(performance.now() - started).toBeLessThan(bound(ROUNDS));
  }, 30 * 60_000);
});

describe(`a client whose daemon goes mad, seed ${SEED}`, () => {
  test('has a value or an error of a type for each call, and finds its way back', async () => {
    const pick = random(SEED + 2);
    let mad = true;
    const daemon = await startFakeDaemon({
      connect_get_hostname: (peer, call) => {
        if (!mad) peer.reply('connect_get_hostname', call, { hostname: 'sane' });
        else if (peer.socket.writable) peer.socket.write(mutate(
          encodeMessage({
            header: { ...call.header, type: 1 }, payload: new Uint8Array([0, 0, 0, 4, 119, 101, 98, 49]),
          }),
          0,
          pick,
        ));
      },
    });
    const libvirt = await connect(daemon.uri, { timeout: 60, reconnect: { first: 1, most: 2 } });
    const codes = new Map<string, number>();
    for (let round = 0; round < 400; round += 1) {
      const code = await libvirt.hostname({ timeout: 30 }).then(() => 'value', (error: unknown) =>
        (error as { code: string }).code);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    for (const code of codes.keys()) expect([
      'value', 'ERR_LIBVIRT', 'ERR_LIBVIRT_PROTOCOL', 'ERR_LIBVIRT_CONNECTION', 'ERR_LIBVIRT_TIMEOUT',
    ]).toContain(code);
    expect(codes.get('ERR_LIBVIRT_PROTOCOL')).toBeGreaterThan(10);
    mad = false;
    expect(await libvirt.hostname({ timeout: 10_000 }).catch(() => libvirt.hostname({ timeout: 10_000 }))).toBe('sane');
    await libvirt.close();
    await daemon.close();
  }, 30 * 60_000);
});

function expectSame(codec: Codec<unknown>, payload: Uint8Array): void {
  const value = decode(codec, payload);
  const again = encode(codec, value);
  if (Buffer.compare(again, payload) !== 0) throw new Error(`${Buffer.from(payload).toString('hex')} was read as what is written ${Buffer.from(again).toString('hex')}`);
}

function expectSameMessage(message: Message): void {
  const { header, payload } = decodeMessage(encodeMessage(message));
  if (JSON.stringify(header) !== JSON.stringify(message.header) || Buffer.compare(payload, message.payload) !== 0)
    throw new Error('a message changed on its way');
}
