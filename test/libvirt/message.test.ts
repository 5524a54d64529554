// @tier fast
/**
 * Messages against what libvirt's own client and daemon said to each other (fixtures/libvirt/frames.json), and the
 * splitting of a stream of bytes into messages.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { ValueError } from '../../lib/errors.js';
import { refusalOf } from '../../lib/libvirt/errors.js';
import { readEvent } from '../../lib/libvirt/events.js';
import { createSplitter, decodeMessage, encodeMessage, type Message } from '../../lib/libvirt/message.js';
import { EVENTS, failure, KEEPALIVE_PROGRAM, MESSAGE_MAX, PROCEDURES } from '../../lib/libvirt/protocol.js';
import { type Codec, decode, encode } from '../../lib/libvirt/xdr.js';

const { frames } = JSON.parse(
  readFileSync('fixtures/libvirt/frames.json', 'utf8'),
) as { frames: Record<string, string> };
const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
const recorded = (key: string): Message => decodeMessage(bytesOf(frames[key] ?? ''));

interface Known { readonly key: string; readonly name: string; readonly codec: Codec<unknown> }

/** Which codec is right for a recorded frame; none for procedures that this client does not call. */
function known(key: string): Known[] {
  const [who, program, procedure, type, status] = key.split(' ');
  if (program === KEEPALIVE_PROGRAM.toString(16)) return [];
  if (type === '2') return Object.entries(EVENTS).filter(([, { number }]) => String(number) === procedure)
    .map(([name, { body }]) => ({ key, name, codec: body }));
  const called = Object.entries(PROCEDURES).filter(([, { number }]) => String(number) === procedure);
  return called.map(([name, { args, result }]) => {
    const answer = status === '1' ? failure : result;
    return { key, name, codec: (who === 'client' ? args : answer) };
  });
}

const cases = Object.keys(frames).flatMap(known);

describe("libvirt's own frames", () => {
  test('cover most of what this client says and hears', () => {
    const seen = new Set(cases.map(({ name }) => name));
    const unseen = [...Object.keys(PROCEDURES), ...Object.keys(EVENTS)].filter((name) => !seen.has(name));
    // polkit needs a system bus, the others a guest that runs code or have a twin that is covered.
    expect(unseen.sort()).toEqual([
      'auth_polkit', 'connect_get_uri', 'domain_event_callback_device_removal_failed',
      'domain_event_callback_device_removed', 'network_lookup_by_uuid',
    ]);
  });

  test.each(cases)('$name: "$key" decodes, and encodes to the same bytes', ({ key, codec }) => {
    const { header, payload } = recorded(key);
    const value = decode(codec, payload);
    expect(Buffer.from(encodeMessage({ header, payload: encode(codec, value) })).toString('hex')).toBe(frames[key]);
  });

  test('say what they say', () => {
    expect(decode(PROCEDURES.connect_open.args, recorded('client 20008086 1 0 0').payload))
      .toEqual({ name: 'qemu:///system', flags: 0 });
    expect(decode(PROCEDURES.connect_get_lib_version.result, recorded('daemon 20008086 157 1 0').payload))
      .toEqual({ version: 9_000_000n });
    const { domain } = decode(PROCEDURES.domain_lookup_by_uuid.result, recorded('daemon 20008086 24 1 0').payload);
    expect(domain).toEqual({ name: 'web1', uuid: bytesOf('11111111222233334444555555555555'), id: 1 });
    expect(refusalOf(decode(failure, recorded('daemon 20008086 23 1 1').payload))).toEqual({
      reason: 'VIR_ERR_NO_DOMAIN', reasonNumber: 42, origin: 'VIR_FROM_QEMU', originNumber: 10, level: 'error',
      message: "Domain not found: no domain with matching name 'nobody'",
    });
    const web1 = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555' };
    expect(readEvent(318, recorded('daemon 20008086 318 2 0').payload)).toEqual({
      kind: 'domain-lifecycle', domain: { ...web1, id: undefined }, event: 'defined', detail: 'added',
      numbers: { event: 0, detail: 0 },
    });
    expect(readEvent(354, recorded('daemon 20008086 354 2 0').payload))
      .toEqual({ kind: 'device-added', domain: { ...web1, id: 1 }, alias: 'net0' });
    expect(readEvent(379, recorded('daemon 20008086 379 2 0').payload))
      .toEqual({ kind: 'metadata-change', domain: { ...web1, id: 1 }, type: 'element', uri: 'urn:x' });
    expect(readEvent(315, recorded('daemon 20008086 315 2 0').payload)).toEqual({
      kind: 'network-lifecycle', network: { name: 'lan', uuid: '66666666-7777-8888-9999-aaaaaaaaaaaa' },
      event: 'defined', numbers: { event: 0, detail: 0 },
    });
  });
});

describe('numbers of a newer libvirt', () => {
  test('become words that say so', () => {
    expect(refusalOf({ code: 999, domain: 999, level: 9, message: undefined })).toEqual({
      reason: 'VIR_ERR_UNKNOWN', reasonNumber: 999, origin: 'VIR_FROM_UNKNOWN',
      originNumber: 999, level: 'error', message: 'libvirt gave no message, only the number 999',
    });
    const domain = { name: 'a', uuid: new Uint8Array(16), id: -1 };
    const body = encode(
      EVENTS.domain_event_callback_lifecycle.body, { callbackId: 1, message: { domain, event: 99, detail: 1 } },
    );
    expect(readEvent(318, body))
      .toMatchObject({ event: 'unknown', detail: 'unknown', numbers: { event: 99, detail: 1 } });
    expect(readEvent(999, body)).toBeUndefined();
  });
});

describe('a splitter', () => {
  const all = Object.values(frames).map(bytesOf);
  const stream = new Uint8Array(Buffer.concat(all));

  test.each([1, 2, 3, 5, 27, 28, 29, 64, 1000, stream.length])('gives the same messages for chunks of %d bytes', (size) => {
    const splitter = createSplitter();
    const messages: Message[] = [];
    for (let at = 0; at < stream.length; at += size) {
      // What was handed in may be used again by the one who did.
      messages.push(...splitter.push(stream.slice(at, at + size)).map(({ header, payload }) => ({
        header, payload: payload.slice(),
      })));
    }
    expect(splitter.held()).toBe(0);
    expect(messages).toEqual(all.map(decodeMessage));
  });

  test.each([
    [0, 'shorter than its header'], [27, 'shorter than its header'],
    [MESSAGE_MAX + 5, `longer than ${MESSAGE_MAX + 4}`], [0xffff_ffff, `longer than ${MESSAGE_MAX + 4}`],
  ])('refuses a length of %d as soon as it is there', (length, says) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, length);
    const splitter = createSplitter();
    expect(splitter.push(bytes.subarray(0, 3))).toEqual([]);
    expect(() => splitter.push(bytes.subarray(3))).toThrow(new ValueError(`a message of ${length} bytes is ${says}`));
  });

  test('holds what has come, not what was announced', () => {
    const splitter = createSplitter();
    const before = process.memoryUsage().arrayBuffers;
    const start = new Uint8Array(8);
    new DataView(start.buffer).setUint32(0, MESSAGE_MAX);
    splitter.push(start);
    expect(splitter.held()).toBe(8);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });
});

test('a message over the limit is not sent', () => {
  const header = { program: 1, version: 1, procedure: 1, type: 0, serial: 1, status: 0 };
  expect(() => encodeMessage({ header, payload: new Uint8Array(MESSAGE_MAX) })).toThrow(ValueError);
});
