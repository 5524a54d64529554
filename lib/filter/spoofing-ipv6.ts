/**
 * The IPv6 packets that a guest cannot send: forged sources, neighbour discovery in the name of another machine, and
 * header chains that hide what a packet is.
 */
import type { FilterRule } from '../state/nft.js';
import { addressText } from '../values/address.js';
import { dropped, noneIn, passed, type Range, type Sender } from './sender.js';

const ICMP6 = 'meta protocol ip6 icmpv6';
const SOLICIT = `${ICMP6} type nd-neighbor-solicit`;
const ADVERTISE = `${ICMP6} type nd-neighbor-advert`;

/** Returns the rules for IPv6 packets; `dhcp` are those that drop the answers of a server. */
export function ip6Rules(sender: Sender, dhcp: readonly FilterRule[]): FilterRule[] {
  const { trust, own } = sender;
  const mac = trust.mac ? undefined : sender.mac;
  return [
    ...(trust.ip || own.inet6 === undefined ? [] : [...sourceRules(sender), ...countedRules(sender)]),
    passed('meta protocol ip6 meta l4proto tcp'), ...dhcp, passed('meta protocol ip6 meta l4proto udp @th,0,8 >= 0'),
    ...(trust.ra ? [] : [dropped(`${ICMP6} type @router_says`, 'router advertisement')]),
    ...(trust.mac && trust.ip ? [] : DISCOVERY), ...(mac === undefined ? [] : optionRules(mac)),
    ...(trust.ip ? [] : targetRules(sender)), ...LAST,
  ];
}

/** A guest uses :: to look for duplicates, to solicit routers and to join groups (RFC 4861, RFC 3590). */
function sourceRules({ own, linkLocal, counted }: Sender): FilterRule[] {
  const ranges = [...linkLocal, ...own.inet6 ?? []].map(addressesOf);
  const local = 'meta protocol ip6 ip6 saddr fe80::/10';
  return [
    dropped(`meta protocol ip6 ${noneIn('ip6 saddr', ['::', ...ranges])}`, 'source address'),
    // A full set takes no further address. The second rule then drops the packet.
    ...(counted === undefined ? [] : [
      { match: `${local} update @${counted} { ip6 saddr }`, why: 'link-local addresses', verdict: '' },
      dropped(`${local} ip6 saddr != @${counted}`, 'too many link-local addresses'),
    ]),
    dropped('meta protocol ip6 ip6 saddr :: meta l4proto != ipv6-icmp', 'source address'),
    dropped('meta protocol ip6 ip6 saddr :: icmpv6 type != @before_address', 'source address'),
  ];
}

/**
 * Each address of a prefix that the guest resolves neighbours from is a neighbour of the host, as link-local ones are.
 */
function countedRules({ own, counted }: Sender): FilterRule[] {
  if (counted === undefined) return [];
  return (own.inet6 ?? []).filter((prefix) => !isSingle(prefix)).flatMap(({ text }): FilterRule[] => {
    const match = `${SOLICIT} ip6 saddr ${text}`;
    return [
      { match: `${match} update @${counted} { ip6 saddr }`, why: 'addresses of its prefix', verdict: '' },
      dropped(`${match} ip6 saddr != @${counted}`, 'too many addresses'),
    ];
  });
}

/**
 * Neighbour discovery is a packet of its own, whole and without extension headers (RFC 6980). Its length has room for
 * known options only: a further option could contradict the first.
 */
const DISCOVERY: readonly FilterRule[] = [
  dropped(`${ICMP6} type @discovery ip6 nexthdr != ipv6-icmp`, 'neighbour discovery behind other headers'),
  dropped(`${SOLICIT} ${noneIn('ip6 length', ['24', '32', '40', '48', '56'])}`, 'options of neighbour discovery'),
  dropped(`${ADVERTISE} ${noneIn('ip6 length', ['24', '32'])}`, 'options of neighbour discovery'),
  dropped(`${ICMP6} type nd-router-solicit ${noneIn('ip6 length', ['8', '16'])}`, 'options of neighbour discovery'),
];

/**
 * Type 14, and the length in units of 8 bytes that makes it the only option (RFC 7527): nonces of 6, 14, 22 and 30
 * bytes.
 */
const NONCES = [[32, '0x0e01'], [40, '0x0e02'], [48, '0x0e03'], [56, '0x0e04']] as const;

/**
 * The hardware address inside the packet: one comparison has type, length and address of the option (RFC 4861 section
 * 4.6.1). A nonce may stand beside the option. In a packet from :: it stands in place of the option.
 */
function optionRules(mac: string): FilterRule[] {
  const option = (type: number): string => `0x0${type}01${mac.replaceAll(':', '')}`;
  const why = 'source link-layer address';
  const owned = `${SOLICIT} ip6 saddr != :: ip6 length`;
  return [
    ...NONCES.map(([length, nonce]) =>
      dropped(`${SOLICIT} ip6 saddr :: ip6 length ${length} @th,192,16 != ${nonce}`, why)),
    dropped(`${owned} >= 48`, why),
    dropped(`${owned} 32 @th,192,64 != ${option(1)}`, why),
    dropped(`${owned} 40 @th,192,16 0x0e01 @th,256,64 != ${option(1)}`, why),
    dropped(`${owned} 40 @th,192,16 != 0x0e01 @th,192,64 != ${option(1)}`, why),
    dropped(`${owned} 40 @th,192,64 ${option(1)} @th,256,16 != 0x0e01`, why),
    dropped(`${ADVERTISE} ip6 length 32 @th,192,64 != ${option(2)}`, 'target link-layer address'),
    dropped(`${ICMP6} type nd-router-solicit ip6 length 16 @th,64,64 != ${option(1)}`, why),
  ];
}

function targetRules({ own, linkLocal }: Sender): FilterRule[] {
  if (own.inet6 === undefined) return [];
  const foreign = noneIn('@th,64,128', [...own.inet6, ...linkLocal].map(numbersOf));
  return [
    dropped(`${SOLICIT} ip6 saddr :: ${foreign}`, 'target address'),
    dropped(`${ADVERTISE} ${foreign}`, 'target address'),
  ];
}

/**
 * A packet must show in its first fragment what it is (RFC 7112): the rules above decide by what they can read. The
 * kernel stops at some headers that may have another behind them (AH is one), so packets that end there are dropped. A
 * rule that reads beyond the packet matches nothing, whatever it compares. The third rule uses this: it lets pass only
 * packets with a readable last header.
 */
const LAST: readonly FilterRule[] = [
  passed('meta protocol ip6 frag frag-off != 0 meta l4proto >= 0'),
  dropped('meta protocol ip6 meta l4proto @may_hide', 'header chain'),
  passed('meta protocol ip6 @th,0,8 >= 0'),
  dropped('', 'header chain'),
];

function isSingle({ first, last }: Range): boolean {
  return first === last;
}

function addressesOf(range: Range): string {
  const [first, last] = [range.first, range.last].map((value) => addressText(value, 'inet6'));
  return isSingle(range) ? String(first) : `${String(first)}-${String(last)}`;
}

/** nft has no addresses inside a payload, only numbers. */
function numbersOf(range: Range): string {
  const [first, last] = [range.first, range.last].map((value) => `0x${value.toString(16).padStart(32, '0')}`);
  return isSingle(range) ? String(first) : `${String(first)}-${String(last)}`;
}
