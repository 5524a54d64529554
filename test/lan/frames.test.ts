// @tier fast
/** Frames byte by byte; that kernels believe them is reach.test.ts. */
import { describe, expect, test } from '@jest/globals';
import { announcementFrames, claimIn, probeFrame } from '../../lib/lan/frames.js';
import { parseAddress } from '../../lib/values/address.js';

const MAC = '02:00:00:00:00:01';
const [V4, V6] = [parseAddress('192.0.2.10'), parseAddress('2001:db8::a')];
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('announcements', () => {
  test('of an IPv4 address are gratuitous ARP, as request and as reply (RFC 5227 section 3)', () => {
    expect(announcementFrames({ mac: MAC, linkLocal: undefined }, V4).map(hex)).toEqual([
      'ffffffffffff020000000001'
        + '0806' + '0001080006040001' + '020000000001' + 'c000020a' + '000000000000' + 'c000020a',
      'ffffffffffff020000000001'
        + '0806' + '0001080006040002' + '020000000001' + 'c000020a' + '020000000001' + 'c000020a',
    ]);
  });

  test('of an IPv6 address are one neighbour advertisement: override, neither router nor solicited', () => {
    const [frame = new Uint8Array(), ...others] = announcementFrames(
      { mac: MAC, linkLocal: parseAddress('fe80::1:2') }, V6,
    );
    expect(others).toEqual([]);
    expect(hex(frame)).toBe('333300000001020000000001'
      + '86dd' + '60000000' + '0020' + '3aff' + 'fe800000000000000000000000010002' + 'ff020000000000000000000000000001'
      + '8800' + hex(frame.subarray(56, 58)) + '20000000' + '20010db800000000000000000000000a' + '0201020000000001');
    expect(sumOf(frame)).toBe(0xffff);
  });

  test('come from the guest itself where the link has no link-local address', () => {
    const [frame = new Uint8Array()] = announcementFrames({ mac: MAC, linkLocal: undefined }, V6);
    expect(hex(frame.subarray(22, 38))).toBe('20010db800000000000000000000000a');
    expect(sumOf(frame)).toBe(0xffff);
  });
});

describe('questions', () => {
  test('for an IPv4 address come from the host, or from nobody', () => {
    expect(hex(probeFrame(MAC, V4, parseAddress('192.0.2.1')))).toBe(
      'ffffffffffff020000000001'
        + '0806' + '0001080006040001' + '020000000001' + 'c0000201' + '000000000000' + 'c000020a',
    );
    expect(hex(probeFrame(MAC, V4)).slice(56, 64)).toBe('00000000');
  });

  test('for an IPv6 address come from nobody, to the solicited-node group (RFC 4862 section 5.4.2)', () => {
    const frame = probeFrame(MAC, parseAddress('2001:db8::12:3456'), parseAddress('192.0.2.1'));
    expect(hex(frame)).toBe('3333ff123456020000000001'
      + '86dd' + '60000000' + '0018' + '3aff' + '0'.repeat(32) + 'ff0200000000000000000001ff123456'
      + '8700' + hex(frame.subarray(56, 58)) + '00000000' + '20010db8000000000000000000123456');
    expect(sumOf(frame)).toBe(0xffff);
  });
});

describe('answers', () => {
  test('say whose address it is', () => {
    const [request, reply] = announcementFrames({ mac: MAC, linkLocal: undefined }, V4);
    for (const frame of [request, reply])
      expect(claimIn(frame ?? Buffer.alloc(0))).toEqual({ address: V4, mac: MAC });
    const [advertisement = Buffer.alloc(0)] = announcementFrames(
      { mac: MAC, linkLocal: parseAddress('fe80::1') }, parseAddress('2001:db8:0:1::a'),
    );
    expect(claimIn(advertisement)).toEqual({ address: parseAddress('2001:db8:0:1::a'), mac: MAC });
  });

  test.each([
    ['an ARP probe', probeFrame(MAC, V4)],
    ['a solicitation', probeFrame(MAC, V6)],
    ['nothing', Buffer.alloc(0)],
    [
      'a cut frame',
      announcementFrames({ mac: MAC, linkLocal: undefined }, V4)[0]?.subarray(0, 41) ?? Buffer.alloc(0),
    ],
    [
      'a cut advertisement',
      announcementFrames({ mac: MAC, linkLocal: undefined }, V6)[0]?.subarray(0, 77) ?? Buffer.alloc(0),
    ],
    [
      'an advertisement that was routed',
      Buffer.from(
        announcementFrames({ mac: MAC, linkLocal: undefined }, V6)[0]?.map((byte, at) =>
          (at === 21 ? 254 : byte)) ?? [],
      ),
    ],
  ])('%s is none', (_, frame) => { expect(claimIn(frame)).toBeUndefined(); });
});

/** The sum of pseudo-header and message with its checksum: all ones when the checksum is right (RFC 1071). */
function sumOf(frame: Uint8Array): number {
  const message = Buffer.from(frame).subarray(54);
  const bytes = Buffer.concat([
    Buffer.from(frame).subarray(22, 54), Buffer.from([0, 0, 0, message.length, 0, 0, 0, 58]), message,
  ]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  return (sum & 0xffff) + (sum >>> 16);
}
