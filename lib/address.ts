/**
 * IP addresses and prefixes as canonical text (RFC 5952 for IPv6), with the arithmetic on them. Every text is gated by
 * `net.isIP`: address libraries read '010.1.1.1' as octal or take zones, and the kernel does neither.
 */
import { isIP } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import { ValueError } from './errors.js';
import { quote } from './quote.js';

/** iproute2's names of the two families. */
export type Family = 'inet' | 'inet6';

export interface Address {
  readonly family: Family;
  /** Canonical, without a prefix length. */
  readonly text: string;
}

export interface Prefix {
  readonly family: Family;
  /** Canonical, always with its length: '192.0.2.10/32'. */
  readonly text: string;
  readonly length: number;
  readonly first: bigint;
  readonly last: bigint;
}

/** Returns the address that `text` writes. Zones and lengths are refused. Throws ValueError. */
export function parseAddress(text: string): Address {
  if (text.includes('%')) throw new ValueError(`address ${quote(text)} has a zone: leave out the '%' and what follows`);
  const version = isIP(text);
  if (version === 0) throw new ValueError(`address ${quote(text)} is not an IPv4 or IPv6 address`);
  return version === 4
    ? { family: 'inet', text: new Address4(text).correctForm() }
    : { family: 'inet6', text: new Address6(text).correctForm() };
}

/** Returns the prefix that `address/length` writes. Host bits must be zero. Throws ValueError. */
export function parsePrefix(text: string): Prefix {
  const [address = '', length, ...rest] = text.split('/');
  if (length === undefined || rest.length > 0) {
    throw new ValueError(`prefix ${quote(text)} is not 'address/length'`);
  }
  return prefixOf(parseAddress(address), length);
}

/** Returns the prefix of `address` and a decimal `length`. Host bits must be zero. Throws ValueError. */
export function prefixOf(address: Address, length: string): Prefix {
  const bits = widthOf(address.family);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) {
    throw new ValueError(`prefix length ${quote(length)} of ${quote(address.text)} is outside 0-${bits}`);
  }
  const parsed = parsed128(address, Number(length));
  const network = parsed.startAddress().correctForm();
  if (network !== address.text) {
    throw new ValueError(`prefix '${address.text}/${length}' has host bits set: write '${network}/${length}'`);
  }
  return {
    family: address.family,
    text: `${network}/${length}`,
    length: Number(length),
    first: parsed.startAddress().bigInt(),
    last: parsed.endAddress().bigInt(),
  };
}

/** Returns the /32 or /128 of one address. */
export function hostPrefix(address: Address): Prefix {
  return prefixOf(address, String(widthOf(address.family)));
}

/** Returns the last address of a prefix. */
export function lastAddress(prefix: Prefix): string {
  return prefix.family === 'inet'
    ? Address4.fromBigInt(prefix.last).correctForm()
    : Address6.fromBigInt(prefix.last).correctForm();
}

/** Returns whether every address of `inner` is one of `outer`. */
export function contains(outer: Prefix, inner: Prefix): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** Returns whether two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return contains(a, b) || contains(b, a);
}

/** Returns the canonical form of what iproute2 prints as a route's destination; a bare address is a host route. */
export function canonicalDestination(dst: string, family: Family): string {
  if (dst === 'default') return family === 'inet' ? '0.0.0.0/0' : '::/0';
  return dst.includes('/') ? parsePrefix(dst).text : hostPrefix(parseAddress(dst)).text;
}

const NOT_FOR_GUESTS: readonly (readonly [string, string])[] = [
  ['0.0.0.0/32', 'is the unspecified address'],
  ['::/128', 'is the unspecified address'],
  ['0.0.0.0/8', "is in '0.0.0.0/8', which is no unicast address"],
  ['127.0.0.0/8', 'is a loopback address'],
  ['::1/128', 'is a loopback address'],
  ['169.254.0.0/16', 'is link-local, which cannot be routed'],
  ['fe80::/10', 'is link-local, which cannot be routed'],
  ['224.0.0.0/4', 'is a multicast address'],
  ['ff00::/8', 'is a multicast address'],
  ['240.0.0.0/4', "is in '240.0.0.0/4', which is no unicast address"],
  ['::ffff:0:0/96', 'is an IPv4-mapped address: write it as IPv4'],
];

/** Throws ValueError when no guest may be reached by any address of `prefix`: multicast, loopback, link-local and so on. */
export function assertRoutable(prefix: Prefix): void {
  if (prefix.length === 0) throw new ValueError(`prefix '${prefix.text}' is the default route: a guest cannot claim it`);
  const shown = prefix.length === widthOf(prefix.family) ? `address '${bare(prefix)}'` : `prefix '${prefix.text}'`;
  for (const [text, why] of NOT_FOR_GUESTS) {
    if (overlaps(parsePrefix(text), prefix)) throw new ValueError(`${shown} ${why}`);
  }
}

/** Returns a host prefix without its length, and any other as it is. */
export function bare(prefix: Prefix): string {
  return prefix.length === widthOf(prefix.family) ? prefix.text.slice(0, prefix.text.indexOf('/')) : prefix.text;
}

/** Returns how many bits an address of `family` has. */
export function widthOf(family: Family): number {
  return family === 'inet' ? 32 : 128;
}

function parsed128(address: Address, length: number): Address4 | Address6 {
  const text = `${address.text}/${length}`;
  return address.family === 'inet' ? new Address4(text) : new Address6(text);
}
