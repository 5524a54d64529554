/**
 * Frames as bytes, honest or not: Ethernet, ARP, IPv4, IPv6 with extension headers and fragments, UDP, TCP, ICMP and
 * neighbour discovery. Checksums are right, so that nothing but a filter can be the reason that a frame is dropped.
 */
import { isIP } from 'node:net';

export const ANY_MAC = 'ff:ff:ff:ff:ff:ff';
export const TYPE = {
  ipv4: 0x0800, arp: 0x0806, rarp: 0x8035, ipv6: 0x86dd, pppoe: 0x8864, lldp: 0x88cc, q: 0x8100, ad: 0x88a8,
};
export const PROTO = {
  hopByHop: 0, icmp: 1, igmp: 2, tcp: 6, udp: 17, routing: 43, fragment: 44, auth: 51, icmpv6: 58, none: 59,
  destination: 60, mobility: 135, experiment: 253,
};

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (text: string): number[] => (text === '' ? [] : text.split(':').map((word) => parseInt(word, 16)));
  const [before, after] = [words(head), words(tail ?? '')];
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((word) => [word >>> 8, word & 0xff]));
}

export function u16(...values: number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >>> 8, value & 0xff]));
}

function u32(value: number): Buffer {
  return u16(value >>> 16, value & 0xffff);
}

/** The Internet checksum (RFC 1071). */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return (~sum & 0xffff) || 0xffff;
}

/** From whom to whom, on both layers. */
export interface Path {
  readonly mac: string;
  readonly to: string;
  readonly src: string;
  readonly dst: string;
}

/** RFC 1112 section 6.4 and RFC 2464 section 7: the MAC of a group; undefined for what is none. */
export function groupMac(address: string): string | undefined {
  const bytes = ipBytes(address);
  const tail = bytes.length === 4
    ? Buffer.concat([Buffer.from([1, 0, 0x5e, (bytes[1] ?? 0) & 0x7f]), bytes.subarray(2)])
    : Buffer.concat([Buffer.from([0x33, 0x33]), bytes.subarray(12)]);
  const isGroup = bytes.length === 4 ? ((bytes[0] ?? 0) & 0xf0) === 0xe0 : bytes[0] === 0xff;
  return isGroup ? [...tail].map((byte) => byte.toString(16).padStart(2, '0')).join(':') : undefined;
}

/** The link-local address that is made of a MAC (RFC 4291 appendix A). */
export function linkLocalOf(mac: string): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac);
  return `fe80::${[(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f].map((word) => word.toString(16)).join(':')}`;
}

/** The solicited-node group of an address (RFC 4291 section 2.7.1). */
export function solicitedNode(address: string): string {
  const tail = ipBytes(address).subarray(13);
  return `ff02::1:ff${tail.toString('hex', 0, 1)}:${tail.toString('hex', 1)}`;
}

export function ethernet(
  { mac, to }: { readonly mac: string; readonly to: string }, type: number, payload: Buffer,
): Buffer {
  return Buffer.concat([macBytes(to), macBytes(mac), u16(type), payload]);
}

/** The same frame in IEEE 802.3 with LLC and SNAP (RFC 1042), which some stacks take for the same. */
export function snap(frame: Buffer): Buffer {
  const payload = Buffer.concat([Buffer.from([0xaa, 0xaa, 3, 0, 0, 0]), frame.subarray(12)]);
  return Buffer.concat([frame.subarray(0, 12), u16(payload.length), payload]);
}

/** IEEE 802.2 with this SAP on both sides, as of bridge protocol data units (0x42). */
export function llc({ mac, to }: { readonly mac: string; readonly to: string }, sap: number, payload: Buffer): Buffer {
  return ethernet({ mac, to }, payload.length + 3, Buffer.concat([Buffer.from([sap, sap, 3]), payload]));
}

export interface Arp {
  readonly operation: 1 | 2;
  readonly senderMac: string;
  readonly sender: string;
  readonly targetMac?: string;
  readonly target: string;
}

export function arp(
  link: { readonly mac: string; readonly to: string },
  { operation, senderMac, sender, targetMac = '00:00:00:00:00:00', target }: Arp,
): Buffer {
  return ethernet(link, TYPE.arp, Buffer.concat([
    u16(1, TYPE.ipv4), Buffer.from([6, 4]), u16(operation), macBytes(senderMac), ipBytes(sender), macBytes(targetMac),
    ipBytes(target),
  ]));
}

/**
 * What an IP packet carries: the protocol of the first header and the bytes; `hops` where they must be others than 64.
 */
export interface Payload {
  readonly protocol: number;
  readonly bytes: Buffer;
  readonly hops?: number;
}

/**
 * An IP packet of the family of its source in a frame; `fragment` as in the header: offset in bytes, and whether more
 * follow.
 */
export function ip(
  { mac, to, src, dst }: Path, { protocol, bytes, hops = 64 }: Payload, fragment?: { offset: number; more: boolean },
): Buffer {
  if (isIP(src) === 6) return ethernet({ mac, to }, TYPE.ipv6, Buffer.concat([
    u32(0x60000000), u16(bytes.length), Buffer.from([protocol, hops]), ipBytes(src), ipBytes(dst), bytes,
  ]));
  // Router alert, as IGMP has it (RFC 2113).
  const options = protocol === PROTO.igmp ? Buffer.from([0x94, 4, 0, 0]) : Buffer.alloc(0);
  const flags = fragment === undefined ? 0 : (fragment.more ? 0x2000 : 0) | (fragment.offset >>> 3);
  const header = Buffer.concat([
    Buffer.from([0x45 + options.length / 4, 0]), u16(20 + options.length + bytes.length, 0, flags),
    Buffer.from([hops, protocol, 0, 0]), ipBytes(src), ipBytes(dst), options,
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return ethernet({ mac, to }, TYPE.ipv4, Buffer.concat([header, bytes]));
}

function summed({ src, dst }: Path, { protocol, bytes, hops }: Payload, at: number): Payload {
  const ends = Buffer.concat([ipBytes(src), ipBytes(dst)]);
  bytes.writeUInt16BE(checksum(Buffer.concat([ends, u32(bytes.length), u32(protocol), bytes])), at);
  return hops === undefined ? { protocol, bytes } : { protocol, bytes, hops };
}

export function udp(
  path: Path, [sport, dport]: readonly [number, number], data: Buffer = Buffer.from('guestwire'),
): Payload {
  return summed(path, { protocol: PROTO.udp, bytes: Buffer.concat([u16(sport, dport, 8 + data.length, 0), data]) }, 6);
}

/** A SYN. */
export function tcp(path: Path, [sport, dport]: readonly [number, number]): Payload {
  return summed(path, {
    protocol: PROTO.tcp,
    bytes: Buffer.concat([u16(sport, dport), u32(1), u32(0), Buffer.from([0x50, 2]), u16(1024, 0, 0)]),
  }, 16);
}

/** An echo request of the family of its source. */
export function ping(path: Path, data: Buffer = Buffer.from('guestwire')): Payload {
  if (isIP(path.src) === 6) return icmpv6(path, 128, Buffer.concat([u16(7, 1), data]), 64);
  const bytes = Buffer.concat([Buffer.from([8, 0, 0, 0]), u16(7, 1), data]);
  bytes.writeUInt16BE(checksum(bytes), 2);
  return { protocol: PROTO.icmp, bytes };
}

/** Hop limit 255 unless told otherwise, as neighbour discovery must have. */
export function icmpv6(path: Path, type: number, body: Buffer, hops = 255): Payload {
  return summed(path, { protocol: PROTO.icmpv6, bytes: Buffer.concat([Buffer.from([type, 0, 0, 0]), body]), hops }, 2);
}

/** Options of neighbour discovery. */
export const sourceMac = (mac: string): Buffer => Buffer.concat([Buffer.from([1, 1]), macBytes(mac)]);
export const targetMac = (mac: string): Buffer => Buffer.concat([Buffer.from([2, 1]), macBytes(mac)]);
/** RFC 3971; enhanced DAD (RFC 7527) sends 6 bytes of it, 8 in all; `units` of 8 bytes. */
export const nonce = (units: number): Buffer =>
  Buffer.concat([Buffer.from([14, units]), Buffer.alloc(8 * units - 2, 0xa5)]);

export const solicitation = (path: Path, target: string, ...options: Buffer[]): Payload =>
  icmpv6(path, 135, Buffer.concat([Buffer.alloc(4), ipBytes(target), ...options]));
/** `flags`: 0x80 router, 0x40 solicited, 0x20 override. */
export const advertisement = (path: Path, [target, flags]: readonly [string, number], ...options: Buffer[]): Payload =>
  icmpv6(path, 136, Buffer.concat([Buffer.from([flags, 0, 0, 0]), ipBytes(target), ...options]));
export const routerSolicitation = (path: Path, ...options: Buffer[]): Payload =>
  icmpv6(path, 133, Buffer.concat([Buffer.alloc(4), ...options]));
/** A default route for half an hour, and a prefix to make addresses of. */
export const routerAdvertisement = (path: Path): Payload => icmpv6(path, 134, Buffer.concat([
  Buffer.from([64, 0]), u16(1800), Buffer.alloc(8), sourceMac(path.mac), Buffer.from([3, 4, 64, 0xc0]),
  u32(7200), u32(3600), u32(0), ipBytes('2001:db8:bad::'),
]));
export const redirect = (path: Path, [target, destination]: readonly [string, string]): Payload =>
  icmpv6(path, 137, Buffer.concat([Buffer.alloc(4), ipBytes(target), ipBytes(destination), targetMac(path.mac)]));

/** Extension headers: each takes what follows it. */
const headed = (kind: number, rest: Buffer) => ({ protocol, bytes, hops }: Payload): Payload =>
  ({
    protocol: kind,
    bytes: Buffer.concat([Buffer.from([protocol]), rest, bytes]),
    ...(hops === undefined ? {} : { hops }),
  });
const PADDING = Buffer.from([0, 1, 4, 0, 0, 0, 0]);
export const hopByHop = headed(PROTO.hopByHop, PADDING);
export const routerAlert = headed(PROTO.hopByHop, Buffer.from([0, 5, 2, 0, 0, 1, 0]));
export const destinationOptions = headed(PROTO.destination, PADDING);
/** Type 4 (segment routing would be more): no segments left, so that every host goes on to the next header. */
export const routing = headed(PROTO.routing, Buffer.from([0, 253, 0, 0, 0, 0, 0]));
export const authentication = headed(
  PROTO.auth, Buffer.concat([Buffer.from([4, 0, 0]), u32(256), u32(1), Buffer.alloc(12)]),
);
export const experiment = headed(PROTO.experiment, PADDING);
export const mobility = headed(PROTO.mobility, Buffer.from([0, 0, 0, 0, 0, 0, 0]));
export const fragmentHeader = (offset: number, more: boolean) =>
  headed(PROTO.fragment, Buffer.concat([Buffer.from([0]), u16(offset | (more ? 1 : 0)), u32(0x6757)]));

/** The fragments of an IP packet, cut at `cuts` (multiples of 8); with IPv6 the fragment header is its first. */
export function fragments(path: Path, payload: Payload, cuts: readonly number[]): Buffer[] {
  const { protocol, bytes, hops = 64 } = payload;
  const starts = [0, ...cuts];
  return starts.map((offset, at) => {
    const part = { protocol, hops, bytes: bytes.subarray(offset, starts[at + 1]) };
    const more = at < cuts.length;
    return isIP(path.src) === 6 ? ip(path, fragmentHeader(offset, more)(part)) : ip(path, part, { offset, more });
  });
}

/** Tags, outermost first, between the addresses and the rest. */
export function tagged(frame: Buffer, tags: readonly (readonly [type: number, vid: number])[]): Buffer {
  return Buffer.concat([frame.subarray(0, 12), ...tags.map(([type, vid]) => u16(type, vid)), frame.subarray(12)]);
}

const MAGIC = 'gwid';

/**
 * Puts the frame's number where nobody on its way changes it and no checksum covers it: the IPv6 flow label, the IPv4
 * identification (fragments of one packet need the same), and for all else a trailer behind what the protocol reads.
 */
export function stamped(frame: Buffer, id: number): Buffer {
  const copy = Buffer.from(frame);
  const type = copy.readUInt16BE(12);
  if (type === TYPE.ipv6) copy.writeUIntBE(id, 15, 3);
  else if (type === TYPE.ipv4) {
    copy.writeUInt16BE(id, 18);
    copy.writeUInt16BE(0, 24);
    copy.writeUInt16BE(checksum(copy.subarray(14, 14 + ((copy[14] ?? 0) & 0xf) * 4)), 24);
  } else return Buffer.concat([copy, Buffer.alloc(Math.max(0, 60 - copy.length)), Buffer.from(MAGIC), u16(id)]);
  return copy;
}
