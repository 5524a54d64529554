/**
 * The words of one permission to an `Allow`: `<gw:allow>` of the metadata and `allow` of the host config say the same
 * and are read here alike. Whatever would make a rule that never matches is refused: its writer believes that it does.
 */
import { locate, ValueError } from '../errors.js';
import { asPrefix, assertEndpoint, bare, parseOwn, type Prefix } from '../values/address.js';
import { repeated } from '../values/lists.js';
import { quote } from '../values/quote.js';
import { type Allow, type Direction, type Peer, type PortRange, type Proto, PROTOS } from './policy.js';

/** A permission as written; its items are those of a list, with the commas gone. */
export interface AllowWords {
  readonly direction: string;
  readonly proto?: string | undefined;
  readonly port?: readonly string[] | undefined;
  readonly from?: readonly string[] | undefined;
  readonly to?: readonly string[] | undefined;
}

/** Returns the items between the commas of an attribute, without the white space around them. */
export function itemsOf(list: string): string[] {
  return list.split(',').map((item) => item.trim());
}

/** Returns what the words mean. Throws ValueError. */
export function allowOf(words: AllowWords, origin: string): Allow {
  const direction = parseDirection(words.direction);
  const proto = protoOf(words.proto);
  const ports = words.port === undefined ? [] : portsOf(words.port, proto);
  return { direction, proto, ports, peers: peersOf(direction, proto, words), origin };
}

function parseDirection(text: string): Direction {
  if (text === 'in' || text === 'out') return text;
  throw new ValueError(`direction ${quote(text)} is neither 'in' nor 'out'`);
}

function protoOf(text: string | undefined): Proto | undefined {
  const proto = PROTOS.find((known) => known === text);
  if (text !== undefined && proto === undefined) throw new ValueError(`proto ${quote(text)} is not one of ${PROTOS.map(quote).join(', ')}`);
  return proto;
}

/** Returns ranges in order, those that touch as one. */
function portsOf(items: readonly string[], proto: Proto | undefined): PortRange[] {
  const written = quote(items.join(','));
  if (proto === undefined) throw new ValueError(`port ${written} needs a proto: add proto 'tcp', 'udp' or 'sctp'`);
  if (proto === 'icmp' || proto === 'icmpv6') throw new ValueError(`port ${written} does not fit proto '${proto}', which has no ports: remove it`);
  const apart: PortRange[] = [];
  for (const range of items.map(parsePortRange).sort((a, b) => a.first - b.first)) {
    const before = apart.at(-1);
    if (before !== undefined && range.first <= before.last) throw new ValueError(`port '${range.first}' is listed twice: list each port once`);
    if (before?.last === range.first - 1) apart[apart.length - 1] = { first: before.first, last: range.last };
    else apart.push(range);
  }
  if (apart.length === 0) throw new ValueError('the list of ports is empty: remove it to allow any port');
  return apart;
}

const LAST_PORT = 65_535;

function parsePortRange(text: string): PortRange {
  const [, first, last = first] = /^([0-9]+)(?:-([0-9]+))?$/.exec(text) ?? [];
  if (first === undefined || last === undefined) throw new ValueError(`port ${quote(text)} is not a number or range of numbers: write '443' or '8443-8450'`);
  for (const number of [first, last]) {
    if (/^0[0-9]/.test(number)) throw new ValueError(`port ${quote(number)} has a leading zero: write it without`);
    if (Number(number) < 1 || Number(number) > LAST_PORT) throw new ValueError(`port ${quote(number)} is outside 1-${LAST_PORT}`);
  }
  if (Number(first) > Number(last)) throw new ValueError(`port range ${quote(text)} runs backwards: write '${last}-${first}'`);
  return { first: Number(first), last: Number(last) };
}

function peersOf(direction: Direction, proto: Proto | undefined, { from, to }: AllowWords): Peer[] {
  if (direction === 'in' && to !== undefined) throw new ValueError("'to' does not fit direction 'in': name the senders in 'from'");
  if (direction === 'out' && from !== undefined) throw new ValueError("'from' does not fit direction 'out': name the receivers in 'to'");
  const [key, items] = direction === 'in' ? ['from', from] as const : ['to', to] as const;
  if (items === undefined) return [];
  if (items.length === 0) throw new ValueError(`'${key}' is empty: remove it to allow any peer`);
  const peers = items.map((item) => locate(ValueError, key, () => peerOf(item, key)));
  const wrong = peers.find((peer) => peer.kind === 'prefix' && proto !== undefined && isOfOther(proto, peer.prefix));
  if (wrong?.kind === 'prefix') throw new ValueError(`proto '${proto ?? ''}' does not fit the address family of ${quote(bare(wrong.prefix))} in '${key}': write proto '${proto === 'icmp' ? 'icmpv6' : 'icmp'}'`);
  const twice = repeated(peers.map(wordOf));
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice in '${key}': list it once`);
  return peers;
}

function isOfOther(proto: Proto, { family }: Prefix): boolean {
  return (proto === 'icmp' && family === 'inet6') || (proto === 'icmpv6' && family === 'inet');
}

function peerOf(text: string, key: 'from' | 'to'): Peer {
  if (text === '') throw new ValueError('an item is empty: remove the comma beside it');
  if (text === 'host') {
    if (key === 'from') throw new ValueError("'host' is not allowed here: on a routed link packets of this host itself always come in; on a VLAN port name this host's addresses");
    return { kind: 'host' };
  }
  const [, kind, name] = /^(guest|group):(.*)$/s.exec(text) ?? [];
  if (kind === 'guest' && name !== undefined && name !== '') return { kind, name };
  if (kind === 'group' && name !== undefined && name !== '') return { kind, name: groupName(name) };
  if (kind !== undefined) throw new ValueError(`${quote(text)} has no name: write '${kind}:' and the name`);
  return { kind: 'prefix', prefix: peerPrefix(text) };
}

function peerPrefix(text: string): Prefix {
  // A text without a colon, a slash or a digit-and-dot form is not a mistyped address but a name.
  if (!/[:/]/.test(text) && !/^[0-9.]+$/.test(text)) {
    throw new ValueError(`${quote(text)} is neither an address nor a prefix: for a guest or a group write ${quote(`guest:${text}`)} or ${quote(`group:${text}`)}`);
  }
  const [, word] = /^([a-z]+):/i.exec(text) ?? [];
  if (word !== undefined && !/^[0-9a-f]{1,4}$/i.test(word)) {
    throw new ValueError(`${quote(text)} begins with '${word}:': only 'guest:' and 'group:' are known`);
  }
  const prefix = asPrefix(parseOwn(text));
  assertEndpoint(prefix);
  return prefix;
}

/** Returns the name of a group, which two files must spell alike. Throws ValueError. */
export function groupName(name: string): string {
  if (GROUP_NAME.test(name)) return name;
  throw new ValueError(`group name ${quote(name)} must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit`);
}

export const GROUP_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

/** Returns a peer as a rule writes it. */
export function wordOf(peer: Peer): string {
  switch (peer.kind) {
    case 'prefix':
      return bare(peer.prefix);
    case 'guest':
    case 'group':
      return `${peer.kind}:${peer.name}`;
    case 'host':
      return 'host';
  }
}
