/**
 * IP addresses and prefixes as canonical text, with the arithmetic on them. Canonical is what inet_ntop(3) and so
 * iproute2 print: RFC 5952, dotted decimal at the end of IPv4-mapped addresses. Node's own SocketAddress reads and
 * writes the text; `net.isIP` and the address libraries cost 5 to 11 ms of every guest start, and some read '010.1.1.1'
 * as octal.
 */
import { SocketAddress } from 'node:net';
import { ValueError } from '../errors.js';
import { quote } from './quote.js';

/** iproute2's names of the two families. */
export type Family = 'inet' | 'inet6';

/** Returns how messages name a family. */
export function familyName(family: Family): 'IPv4' | 'IPv6' {
  return family === 'inet' ? 'IPv4' : 'IPv6';
}

/** An address. Its number is computed on demand: most addresses are only compared and printed. */
export class Address {
  readonly family: Family;
  /** Canonical, without a prefix length. */
  readonly text: string;
  #prefix: Prefix | undefined;

  constructor(family: Family, text: string) {
    this.family = family;
    this.text = text;
  }

  /** Its /32 or /128. */
  get prefix(): Prefix {
    return (this.#prefix ??= new Prefix(this, width(this.family)));
  }

  /** The journal and `--json` have the text. */
  toJSON(): string {
    return this.text;
  }
}

/** A prefix. Its bounds are computed on demand. */
export class Prefix {
  readonly family: Family;
  /** Canonical, always with its length: '192.0.2.10/32'. */
  readonly text: string;
  readonly length: number;
  readonly #address: Address;
  #first: bigint | undefined;

  constructor(address: Address, length: number) {
    this.family = address.family;
    this.text = `${address.text}/${length}`;
    this.length = length;
    this.#address = address;
  }

  get first(): bigint {
    return (this.#first ??= addressNumber(this.#address));
  }

  get last(): bigint {
    return this.first + (1n << BigInt(width(this.family) - this.length)) - 1n;
  }

  /** The journal and `--json` have the text. */
  toJSON(): string {
    return this.text;
  }
}

/** What a guest declares as its own: one address, or a prefix. */
export type Own = Address | Prefix;

/** Returns the family of what writes an address or a prefix. */
export function familyOf(text: string): Family {
  return text.includes(':') ? 'inet6' : 'inet';
}

/** Returns the address that `text` writes. Zones and lengths are refused. Throws ValueError. */
export function parseAddress(text: string): Address {
  const family = familyOf(text);
  if (CANONICAL[family].test(text)) return new Address(family, text);
  if (text.includes('%')) throw new ValueError(`address ${quote(text)} has a zone: remove the '%' and everything after it`);
  if (text.includes('/')) throw new ValueError(`address ${quote(text)} has a prefix length: remove the '/' and everything after it`);
  const canonical = canonicalText(text, family);
  if (canonical === undefined) throw new ValueError(`address ${quote(text)} is not an IPv4 or IPv6 address`);
  return new Address(family, canonical);
}

const GROUP = '(?:0|[1-9a-f][0-9a-f]{0,3})';

/**
 * Most canonical texts, and no other text. A start reads the addresses of all guests in the journal, and SocketAddress
 * costs ten times as much. It has the rest: IPv6 addresses that begin with '::' may end with dotted decimal.
 */
const CANONICAL: Readonly<Record<Family, RegExp>> = {
  inet: /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}$/,
  // '::' stands for two groups at least, and no two groups of zero stand side by side beyond it.
  inet6: new RegExp(
    `^(?!::|.*\\b0:0\\b|.*\\b0::|.*::0\\b)(?:${GROUP}(?::${GROUP}){7}|` +
      `(?!(?:[^:]*:){7}.)${GROUP}(?::${GROUP}){0,5}::(?:${GROUP}(?::${GROUP}){0,4})?)$`,
  ),
};

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
  const bits = width(address.family);
  if (length === String(bits)) return address.prefix;
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) {
    throw new ValueError(`prefix length ${quote(length)} of ${quote(address.text)} is outside 0-${bits}`);
  }
  const host = BigInt(bits - Number(length));
  const prefix = new Prefix(address, Number(length));
  const first = (prefix.first >> host) << host;
  if (first === prefix.first) return prefix;
  throw new ValueError(`prefix '${prefix.text}' has host bits set: write '${addressText(first, address.family)}/${length}'`);
}

/** Returns what `address` or `address/length` writes; a prefix of one address is that address. Throws ValueError. */
export function parseOwn(text: string): Own {
  const [address = '', ...length] = text.split('/');
  return length.length === 0 ? parseAddress(address) : ownOf(parseAddress(address), length.join('/'));
}

/** Returns the address, or its prefix of a decimal `length`. Throws ValueError. */
export function ownOf(address: Address, length: string | undefined): Own {
  const prefix = length === undefined ? address.prefix : prefixOf(address, length);
  return isSingle(prefix) ? address : prefix;
}

/** Returns a prefix as it is, and of one address its /32 or /128. */
export function asPrefix(own: Own): Prefix {
  return own instanceof Prefix ? own : own.prefix;
}

/** Returns whether the prefix is one address. */
export function isSingle({ family, length }: Prefix): boolean {
  return length === width(family);
}

/** Returns whether a canonical address is link-local, in fe80::/10 or 169.254.0.0/16. */
export function isLinkLocal({ text }: Pick<Address, 'text'>): boolean {
  return /^(?:fe[89ab][0-9a-f]:|169\.254\.)/.test(text);
}

/** Returns the link-local address that a MAC makes (RFC 4291 appendix A), which Linux uses unless told otherwise. */
export function linkLocalAddress(mac: string): Address {
  const [a = 0, b = 0, c = 0, ...rest] = mac.split(':').map((byte) => Number(`0x${byte}`));
  const value = joined([a ^ 2, b, c, 0xff, 0xfe, ...rest], 8n);
  return new Address('inet6', addressText((0xfe80n << 112n) | value, 'inet6'));
}

/** Returns the first and the last address of a prefix; of one address that one alone. */
export function endsOf(prefix: Prefix): string[] {
  const first = prefix.text.slice(0, prefix.text.indexOf('/'));
  return isSingle(prefix) ? [first] : [first, addressText(prefix.last, prefix.family)];
}

/** Returns whether every address of `inner` is one of `outer`. */
export function contains(outer: Prefix, inner: Prefix): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** Returns whether two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return contains(a, b) || contains(b, a);
}

/** Returns what iproute2 prints as a route's or a rule's destination; a bare address is a host route. */
export function parseDestination(dst: string, family: Family): Prefix {
  if (dst === 'default') return parsePrefix(family === 'inet' ? '0.0.0.0/0' : '::/0');
  return asPrefix(parseOwn(dst));
}

type Reserved = readonly (readonly [prefix: Prefix, why: string])[];

function reserved(...ranges: readonly (readonly [text: string, why: string])[]): Reserved {
  return ranges.map(([text, why]) => [parsePrefix(text), why]);
}

const NO_UNICAST = reserved(
  ['0.0.0.0/32', 'is the unspecified address'],
  ['::/128', 'is the unspecified address'],
  ['0.0.0.0/8', "is in '0.0.0.0/8', which has no unicast addresses"],
  ['127.0.0.0/8', 'is a loopback address'],
  ['::1/128', 'is a loopback address'],
  ['224.0.0.0/4', 'is a multicast address'],
  ['ff00::/8', 'is a multicast address'],
  ['240.0.0.0/4', "is in '240.0.0.0/4', which has no unicast addresses"],
  ['::ffff:0.0.0.0/96', 'is an IPv4-mapped address: write it as IPv4'],
);

const LINK_LOCAL = reserved(
  ['169.254.0.0/16', 'is link-local, which cannot be routed'],
  ['fe80::/10', 'is link-local, which cannot be routed'],
);

/**
 * Throws ValueError when no guest may be reached by any address of `prefix`: multicast, loopback, link-local and so on.
 */
export function assertRoutable(prefix: Prefix): void {
  if (prefix.length === 0) throw new ValueError(`prefix '${prefix.text}' is the default route: a guest cannot claim it`);
  assertApart(prefix, [...NO_UNICAST, ...LINK_LOCAL]);
}

/** Throws ValueError when no link can have the address: unspecified, loopback, multicast and so on. */
export function assertUnicast(address: Address): void {
  assertApart(address.prefix, NO_UNICAST);
}

/** Throws ValueError when a guest on a LAN cannot have the addresses of `prefix`; link-local ones it can. */
export function assertOwnable(prefix: Prefix): void {
  if (prefix.length === 0) throw new ValueError(`prefix '${prefix.text}' covers every address: list only the guest's own addresses`);
  assertApart(prefix, NO_UNICAST);
}

/** Throws ValueError when `prefix` lies within a range that no host may claim: multicast, loopback and so on. */
export function assertEndpoint(prefix: Prefix): void {
  for (const [other, why] of NO_UNICAST) {
    if (contains(other, prefix)) throw new ValueError(`${named(prefix)} ${why}`);
  }
}

function assertApart(prefix: Prefix, ranges: Reserved): void {
  for (const [other, why] of ranges) {
    if (contains(other, prefix)) throw new ValueError(`${named(prefix)} ${why}`);
    if (contains(prefix, other)) throw new ValueError(`${named(prefix)} contains ${named(other)}, which ${why}`);
  }
}

function named(prefix: Prefix): string {
  return isSingle(prefix) ? `address '${bare(prefix)}'` : `prefix '${prefix.text}'`;
}

/** Returns a host prefix without its length, and any other as it is. */
export function bare(prefix: Prefix): string {
  return isSingle(prefix) ? prefix.text.slice(0, prefix.text.indexOf('/')) : prefix.text;
}

/** Returns how many bits an address of `family` has. */
export function width(family: Family): number {
  return family === 'inet' ? 32 : 128;
}

function canonicalText(text: string, family: Family): string | undefined {
  // The address is handed to C as a string, which ends at the first NUL.
  if (!/^[0-9a-fA-F:.]+$/.test(text)) return undefined;
  try {
    return new SocketAddress({ address: text, family: family === 'inet' ? 'ipv4' : 'ipv6' }).address;
  } catch {
    return undefined;
  }
}

function addressNumber(address: Address): bigint {
  if (address.family === 'inet') return joined(address.text.split('.').map(Number), 8n);
  const [head = [], tail = []] = address.text.split('::').map(hextets);
  return joined([...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail], 16n);
}

/** Returns the 16-bit groups of one side of '::'; a dotted end counts for two. */
function hextets(text: string): number[] {
  return text === '' ? [] : text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number(`0x${group}`)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

function joined(parts: readonly number[], bits: bigint): bigint {
  return parts.reduce((value, part) => (value << bits) | BigInt(part), 0n);
}

/** Returns the canonical text of an address given as a number. */
export function addressText(value: bigint, family: Family): string {
  const digits = value.toString(16).padStart(width(family) / 4, '0');
  if (family === 'inet') return (digits.match(/../g) ?? []).map((byte) => Number(`0x${byte}`)).join('.');
  const whole = (digits.match(/..../g) ?? []).join(':');
  return canonicalText(whole, family) ?? whole;
}
