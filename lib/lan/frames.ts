/**
 * Ethernet frames that announce or query a guest's address on a LAN, as bytes: ARP (RFC 826, RFC 5227) and neighbour
 * discovery (RFC 4861). Pure. The host's own stack sends none of them for an address that is not the host's.
 */
import type { Speaker } from '../attachments/presence.js';
import { Address, parseAddress } from '../values/address.js';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const NO_MAC = '00:00:00:00:00:00';
const NO_ADDRESS = new Address('inet', '0.0.0.0');
const ALL_NODES = new Address('inet6', 'ff02::1');
const SOLICITED = new Address('inet6', 'ff02::1:ff00:0');
const ETHERTYPE = { arp: 0x0806, ipv6: 0x86dd };
const ARP = { request: 1, reply: 2 };
const ICMPV6 = 58;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
/** RFC 4861: a frame with less was routed, so it is not a neighbour that speaks. */
const HOP_LIMIT = 255;
/** Override: a neighbour that knows another MAC takes this one. Not solicited, and the guest is not a router. */
const OVERRIDE = 0x20;
const TARGET_LINK_LAYER_ADDRESS = 2;

/**
 * Returns the frames after which neighbours that knew `address` elsewhere send to the speaker: gratuitous ARP as
 * request and as reply, because some systems believe only one of them, or an unsolicited neighbour advertisement.
 */
export function announcementFrames({ mac, linkLocal }: Speaker, address: Address): Uint8Array[] {
  if (address.family === 'inet') {
    return [
      arp({ operation: ARP.request, mac, sender: address, target: address }),
      arp({ operation: ARP.reply, mac, sender: address, target: address }),
    ];
  }
  const body = Buffer.concat([
    Buffer.from([OVERRIDE, 0, 0, 0]), bytesOf(address), Buffer.from([TARGET_LINK_LAYER_ADDRESS, 1]), macBytes(mac),
  ]);
  // Without a link-local address the guest's own is the one that neighbours can believe.
  return [discovery({ type: ADVERTISEMENT, mac, from: bytesOf(linkLocal ?? address), to: bytesOf(ALL_NODES) }, body)];
}

/**
 * Returns the frame that asks who has `address`: an ARP request from the address `asker` of the host, or a solicitation
 * as of duplicate address detection, so that no neighbour learns anything that is not so. Without an `asker` it is an
 * ARP probe, which Linux answers for its own addresses only, not for those it is a proxy of (arp_process(), 6.18).
 */
export function probeFrame(mac: string, address: Address, asker: Address = NO_ADDRESS): Uint8Array {
  if (address.family === 'inet') return arp({ operation: ARP.request, mac, sender: asker, target: address });
  const target = bytesOf(address);
  const group = Buffer.concat([bytesOf(SOLICITED).subarray(0, 13), target.subarray(13)]);
  return discovery(
    { type: SOLICITATION, mac, from: Buffer.alloc(16), to: group }, Buffer.concat([Buffer.alloc(4), target]),
  );
}

/** Returns the address that a frame claims, and its MAC; undefined for a frame that claims no address. */
export function claimIn(frame: Uint8Array): { readonly address: Address; readonly mac: string } | undefined {
  const bytes = Buffer.from(frame);
  if (bytes.length < 14) return undefined;
  const ethertype = bytes.readUInt16BE(12);
  if (ethertype === ETHERTYPE.arp && bytes.length >= 42 && bytes.readUInt16BE(14) === 1) {
    const address = new Address('inet', [...bytes.subarray(28, 32)].join('.'));
    return address.text === NO_ADDRESS.text ? undefined : { address, mac: macText(bytes.subarray(22, 28)) };
  }
  const isAdvertisement = ethertype === ETHERTYPE.ipv6 &&
    bytes.length >= 78 &&
    bytes[20] === ICMPV6 &&
    bytes[21] === HOP_LIMIT &&
    bytes[54] === ADVERTISEMENT;
  return isAdvertisement
    ? { address: addressIn(bytes.subarray(62, 78)), mac: macText(bytes.subarray(6, 12)) }
    : undefined;
}

function arp({ operation, mac, sender, target }: {
  operation: number;
  mac: string;
  sender: Address;
  target: Address;
}): Buffer {
  // Ethernet and IPv4: hardware type 1, protocol type 0x0800, addresses of 6 and 4 bytes.
  const header = Buffer.from([0, 1, 0x08, 0, 6, 4, 0, operation]);
  const receiver = operation === ARP.reply ? macBytes(mac) : macBytes(NO_MAC);
  return ethernet(BROADCAST, mac, {
    type: ETHERTYPE.arp, payload: Buffer.concat([header, macBytes(mac), bytesOf(sender), receiver, bytesOf(target)]),
  });
}

function discovery(
  { type, mac, from, to }: { type: number; mac: string; from: Buffer; to: Buffer }, body: Buffer,
): Buffer {
  const message = Buffer.concat([Buffer.from([type, 0, 0, 0]), body]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  message.writeUInt16BE(checksum(Buffer.concat([from, to, length, Buffer.from([0, 0, 0, ICMPV6]), message])), 2);
  const header = Buffer.concat([
    Buffer.from([0x60, 0, 0, 0]), length.subarray(2), Buffer.from([ICMPV6, HOP_LIMIT]), from, to,
  ]);
  // RFC 2464 section 7: 33:33 and the last four bytes of the group.
  return ethernet(macText(Buffer.concat([Buffer.from([0x33, 0x33]), to.subarray(12)])), mac, {
    type: ETHERTYPE.ipv6, payload: Buffer.concat([header, message]),
  });
}

function ethernet(to: string, from: string, { type, payload }: { type: number; payload: Buffer }): Buffer {
  const ethertype = Buffer.alloc(2);
  ethertype.writeUInt16BE(type);
  return Buffer.concat([macBytes(to), macBytes(from), ethertype, payload]);
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function bytesOf({ family, text: whole }: Address): Buffer {
  if (family === 'inet') return Buffer.from(whole.split('.').map(Number));
  const [head = '', tail] = whole.split('::');
  const words = (text: string): number[] => (text === '' ? [] : text.split(':').map((word) => parseInt(word, 16)));
  const before = words(head);
  const after = words(tail ?? '');
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((word) => [word >>> 8, word & 0xff]));
}

function addressIn(bytes: Buffer): Address {
  return parseAddress(Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16)).join(':'));
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function macText(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
