/**
 * What a guest cannot send: the rules that every frame of a NIC meets at its link's ingress, the same for a bridge port
 * (nftables family bridge) and a routed link (netdev). `meta protocol` and not `ether type` is written before every inner
 * header: it sees through a VLAN tag, where the other reads the tag (nft_payload.c, nft_meta.c).
 */
import type { AttachedLink, Guard } from '../attachments/attached.js';
import { NO_TRUST, type Trust } from '../intent/policy.js';
import type { Rule } from '../state/nft.js';
import {
  addressText, bare, contains, type Family, hostPrefix, linkLocalOf, ownPrefix, parseAddress, parsePrefix,
  type Prefix,
} from '../values/address.js';

/** What is known of the one who sends. */
interface Sender {
  readonly mac: string | undefined;
  readonly trust: Trust;
  /** By family, what it may send from; undefined: not checked. */
  readonly own: Readonly<Record<Family, readonly Prefix[] | undefined>>;
  readonly linkLocal: readonly Range[];
  /** The set that holds the few link-local addresses, and addresses of its prefixes, that it is a neighbour with; undefined: not counted. */
  readonly counted: string | undefined;
  readonly tagged: 'never' | 'members';
  /** Ethertypes that pass, as nft names them; undefined: all. */
  readonly protocols: readonly string[] | undefined;
}

/** Returns the rules for what comes in on a port of a bridge. */
export function portRules({ mac, trust = NO_TRUST }: AttachedLink, { own: declared, tagged }: Guard): SpoofRules {
  const own = (family: Family): readonly Prefix[] | undefined => orUnchecked(declared.filter((prefix) => prefix.family === family));
  return rulesFor({
    mac, trust, own: { inet: own('inet'), inet6: own('inet6') }, counted: undefined,
    protocols: declared.length === 0 ? undefined : ['ip', 'ip6', 'arp', RARP, ...(trust.stp ? ['0x0004'] : [])],
    linkLocal: [mac === undefined ? LINK_LOCAL : hostPrefix(linkLocalOf(mac))].map(rangeOf),
    tagged,
  });
}

/** Returns the rules for what comes in on a routed link; `counted` is the set of the link-local addresses it uses. */
export function linkRules({ mac, trust = NO_TRUST }: AttachedLink, { own: claims, gateways, tagged }: Guard, counted: string): SpoofRules {
  const own = (family: Family): Prefix[] => claims.filter((prefix) => prefix.family === family);
  const [inet, inet6] = [own('inet'), own('inet6')];
  return rulesFor({
    mac, trust, own: { inet: orUnchecked(inet), inet6: orUnchecked(inet6) }, tagged, counted,
    linkLocal: inet6.length > 0 ? linkLocalsWithout(gateways.filter((gateway) => contains(LINK_LOCAL, ownPrefix(gateway)))) : [],
    protocols: [...(inet.length > 0 ? ['ip', 'arp'] : []), ...(inet6.length > 0 ? ['ip6'] : []), RARP],
  });
}

/** A family that the guest does not have is no protocol of its link. */
function orUnchecked(own: readonly Prefix[]): readonly Prefix[] | undefined {
  return own.length === 0 ? undefined : own;
}

const LINK_LOCAL = parsePrefix('fe80::/10');

/** Most values that are compared one by one, in a rule of at most 128 expressions (NFT_RULE_MAXEXPRS). */
const FEW = 24;

/** The chains of one NIC: a frame meets `frame`, and then the one of its protocol. */
export interface SpoofRules {
  readonly frame: readonly Rule[];
  readonly arp: readonly Rule[];
  readonly ip: readonly Rule[];
  readonly ip6: readonly Rule[];
}

/**
 * Constants of the rules, as sets that all NICs share: a set of a rule's own costs the kernel 10 KiB a NIC, and nft lists all
 * of them before it adds one (1.0.6).
 */
export const CONSTANTS: ReadonlyMap<string, string> = new Map([
  ['tags', '{ type ether_type; elements = { 8021q, 8021ad, 0x9100, 0x9200 }; }'],
  ['stacked', '{ type ether_type; elements = { 8021ad, 0x9100, 0x9200 }; }'],
  // IEEE 802.1D's reserved group addresses, and Cisco's PVST+: a BPDU guard upstream would shut the host's port for one.
  ['spanning_tree', '{ type ether_addr; flags interval; elements = { 01:80:c2:00:00:00-01:80:c2:00:00:0f, 01:00:0c:cc:cc:cd }; }'],
  ['router_says', '{ type icmpv6_type; elements = { nd-router-advert, nd-redirect }; }'],
  ['discovery', '{ type icmpv6_type; elements = { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }; }'],
  ['before_address', '{ type icmpv6_type; elements = { nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report }; }'],
  ['may_hide', '{ type inet_proto; elements = { 0, 43, 44, 51, 60, 135, 139, 140, 253, 254 }; }'],
  ['dhcp_servers', '{ type inet_service; elements = { 67, 547 }; }'],
  ['dhcp_clients', '{ type inet_service; elements = { 68, 546 }; }'],
]);

function rulesFor(sender: Sender): SpoofRules {
  const { trust } = sender;
  const mac = trust.mac ? undefined : sender.mac;
  return {
    frame: [...tagRules(sender), ...frameRules(sender)],
    arp: [...(mac === undefined ? [] : arpRules(mac)), ...(trust.ip || sender.own.inet === undefined ? [] : arpSources(sender.own.inet))],
    ip: [
      ...(trust.ip || sender.own.inet === undefined ? [] : inetSources(sender.own.inet)),
      // All but the first fragment have data where ports and types would be, and nft reads it as such in family bridge (6.18).
      passed('meta protocol ip ip frag-off & 0x1fff != 0'), passed('meta protocol ip meta l4proto tcp'),
      ...(trust.dhcp ? [] : DHCP), ...(trust.ra ? [] : [drop('meta protocol ip icmp type redirect', 'redirect'), drop('meta protocol ip icmp type router-advertisement', 'router advertisement')]),
      passed('meta protocol ip meta l4proto >= 0'), drop('', 'header chain'),
    ],
    ip6: [
      ...(trust.ip || sender.own.inet6 === undefined ? [] : [...inet6Sources([...sender.linkLocal, ...sender.own.inet6.map(rangeOf)], sender.counted), ...countedRules(sender)]),
      passed('meta protocol ip6 meta l4proto tcp'), ...(trust.dhcp ? [] : DHCP), passed('meta protocol ip6 meta l4proto udp @th,0,8 >= 0'),
      ...(trust.ra ? [] : [drop(`${ICMP6} type @router_says`, 'router advertisement')]),
      ...(trust.mac && trust.ip ? [] : DISCOVERY), ...(mac === undefined ? [] : optionRules(mac)), ...(trust.ip ? [] : targetRules(sender)), ...LAST,
    ],
  };
}

function drop(match: string, why: string): Rule {
  return { match, why };
}

function passed(match: string): Rule {
  return { match, why: 'passed', verdict: 'accept' };
}

/** The bridge delivers VID 0 into the PVID, and strips the outer of two tags: what is under it is seen by none of the rules. */
function tagRules({ tagged, trust }: Sender): Rule[] {
  if (tagged === 'never' && !trust.vid0) return [drop('ether type @tags', 'tagged')];
  return [
    drop('ether type @stacked', '802.1ad tag'),
    ...(tagged === 'never' ? [drop('ether type 8021q vlan id != 0', 'tagged')] : []),
    ...(trust.vid0 ? [] : [drop('ether type 8021q vlan id 0', 'priority tag')]),
    drop('meta protocol @tags', 'tag under a tag'),
  ];
}

function frameRules({ mac, trust, protocols }: Sender): Rule[] {
  return [
    ...(mac === undefined || trust.mac ? [] : [drop(`ether saddr != ${mac}`, 'source MAC')]),
    ...(trust.stp ? [] : [drop('ether daddr @spanning_tree', 'BPDU')]),
    // IEEE 802.2, whose SNAP wraps any other protocol, is spanning tree's, too.
    ...(protocols === undefined
      ? [drop('meta protocol 0x0001', 'protocol'), ...(trust.stp ? [] : [drop('meta protocol 0x0004', 'protocol')])]
      : [drop(noneOf('meta protocol', protocols), 'protocol')]),
    ...(mac === undefined || trust.mac ? [] : [drop(`meta protocol ${RARP} @nh,64,48 != 0x${mac.replaceAll(':', '')}`, 'RARP sender MAC')]),
  ];
}

/** QEMU announces a guest with it. */
const RARP = '0x8035';

/** Hardware type 1, protocol IPv4, lengths 6 and 4: with others the sender stands elsewhere. */
function arpRules(mac: string): Rule[] {
  return [drop('meta protocol arp @nh,0,48 != 0x000108000604', 'ARP of another kind'), drop(`meta protocol arp arp saddr ether != ${mac}`, 'ARP sender MAC')];
}

/** From 0.0.0.0 a guest probes an address (RFC 5227). */
function arpSources(own: readonly Prefix[]): Rule[] {
  return [
    drop(`meta protocol arp ${noneOf('arp saddr ip', ['0.0.0.0', ...own.map(bare)])}`, 'ARP sender address'),
    drop('meta protocol arp arp saddr ip 0.0.0.0 arp operation != request', 'ARP sender address'),
  ];
}

/** What only servers say. Nobody else sends from or to these ports, of whatever family. */
const DHCP: readonly Rule[] = [
  drop('meta l4proto udp th sport @dhcp_servers', 'DHCP server'),
  drop('meta l4proto udp th dport @dhcp_clients', 'DHCP server'),
];

const ICMP6 = 'meta protocol ip6 icmpv6';
const SOLICIT = `${ICMP6} type nd-neighbor-solicit`;

/**
 * Neighbour discovery is its own packet, whole and without extension headers (RFC 6980), and of a length that leaves room
 * for known options only: behind one option another could say what that does not.
 */
const DISCOVERY: readonly Rule[] = [
  drop(`${ICMP6} type @discovery ip6 nexthdr != ipv6-icmp`, 'neighbour discovery behind other headers'),
  drop(`${SOLICIT} ${noneOf('ip6 length', ['24', '32', '40', '48', '56'])}`, 'options of neighbour discovery'),
  drop(`${ICMP6} type nd-neighbor-advert ${noneOf('ip6 length', ['24', '32'])}`, 'options of neighbour discovery'),
  drop(`${ICMP6} type nd-router-solicit ${noneOf('ip6 length', ['8', '16'])}`, 'options of neighbour discovery'),
];

/** Type 14, and the length in units of 8 bytes that makes it the only option (RFC 7527): nonces of 6, 14, 22 and 30 bytes. */
const NONCES = [[32, '0x0e01'], [40, '0x0e02'], [48, '0x0e03'], [56, '0x0e04']] as const;

/**
 * The hardware address inside the packet: type, length and address of the option at once (RFC 4861 section 4.6.1). Beside
 * it, or from :: in its place, there may be a nonce.
 */
function optionRules(mac: string): Rule[] {
  const option = (type: number): string => `0x0${type}01${mac.replaceAll(':', '')}`;
  const why = 'source link-layer address';
  return [
    ...NONCES.map(([length, nonce]) => drop(`${SOLICIT} ip6 saddr :: ip6 length ${length} @th,192,16 != ${nonce}`, why)),
    drop(`${SOLICIT} ip6 saddr != :: ip6 length >= 48`, why),
    drop(`${SOLICIT} ip6 saddr != :: ip6 length 32 @th,192,64 != ${option(1)}`, why),
    drop(`${SOLICIT} ip6 saddr != :: ip6 length 40 @th,192,16 0x0e01 @th,256,64 != ${option(1)}`, why),
    drop(`${SOLICIT} ip6 saddr != :: ip6 length 40 @th,192,16 != 0x0e01 @th,192,64 != ${option(1)}`, why),
    drop(`${SOLICIT} ip6 saddr != :: ip6 length 40 @th,192,64 ${option(1)} @th,256,16 != 0x0e01`, why),
    drop(`${ICMP6} type nd-neighbor-advert ip6 length 32 @th,192,64 != ${option(2)}`, 'target link-layer address'),
    drop(`${ICMP6} type nd-router-solicit ip6 length 16 @th,64,64 != ${option(1)}`, why),
  ];
}

/** From 0.0.0.0 a guest asks for an address (RFC 2131) and joins groups (RFC 3376 section 4.2.13). */
function inetSources(own: readonly Prefix[]): Rule[] {
  const unspecified = 'meta protocol ip ip saddr 0.0.0.0';
  return [
    `meta protocol ip ${noneOf('ip saddr', ['0.0.0.0', ...own.map(bare)])}`,
    `${unspecified} ${noneOf('meta l4proto', ['udp', 'igmp'])}`, `${unspecified} ${noneOf('ip daddr', ['255.255.255.255', '224.0.0.0/4'])}`,
    `${unspecified} ip frag-off & 0x1fff != 0`, `${unspecified} udp sport != 68`, `${unspecified} udp dport != 67`,
  ].map((match) => drop(match, 'source address'));
}

/** From :: a guest looks for duplicates, solicits routers and joins groups (RFC 4861, RFC 3590). */
function inet6Sources(own: readonly Range[], counted: string | undefined): Rule[] {
  return [
    drop(`meta protocol ip6 ${noneOf('ip6 saddr', ['::', ...own.map(addressesOf)])}`, 'source address'),
    // A set that is full takes no more, and then the packet does not get past the second rule.
    ...(counted === undefined ? [] : [
      { match: `meta protocol ip6 ip6 saddr fe80::/10 update @${counted} { ip6 saddr }`, why: 'link-local addresses', verdict: '' },
      drop(`meta protocol ip6 ip6 saddr fe80::/10 ip6 saddr != @${counted}`, 'too many link-local addresses'),
    ]),
    drop('meta protocol ip6 ip6 saddr :: meta l4proto != ipv6-icmp', 'source address'),
    drop('meta protocol ip6 ip6 saddr :: icmpv6 type != @before_address', 'source address'),
  ];
}

/** Each address of a prefix that the guest resolves neighbours from is a neighbour of the host, as link-local ones are. */
function countedRules({ own, counted }: Sender): Rule[] {
  return counted === undefined ? [] : (own.inet6 ?? []).filter(({ first, last }) => first !== last).flatMap((prefix): Rule[] => [
    { match: `${SOLICIT} ip6 saddr ${prefix.text} update @${counted} { ip6 saddr }`, why: 'addresses of its prefix', verdict: '' },
    drop(`${SOLICIT} ip6 saddr ${prefix.text} ip6 saddr != @${counted}`, 'too many addresses'),
  ]);
}

function targetRules({ own, linkLocal }: Sender): Rule[] {
  if (own.inet6 === undefined) return [];
  const foreign = noneOf('@th,64,128', [...own.inet6.map(rangeOf), ...linkLocal].map(numbersOf));
  return [
    drop(`${SOLICIT} ip6 saddr :: ${foreign}`, 'target address'),
    drop(`${ICMP6} type nd-neighbor-advert ${foreign}`, 'target address'),
  ];
}

/**
 * A packet must show in its first fragment what it is (RFC 7112), or the rules before could not know: no header that may
 * have another behind it is where the kernel stopped looking (it does so at AH), and the one that is last can be read. A
 * rule that reads what is not there matches nothing, whatever it is compared with.
 */
const LAST: readonly Rule[] = [
  passed('meta protocol ip6 frag frag-off != 0 meta l4proto >= 0'),
  drop('meta protocol ip6 meta l4proto @may_hide', 'header chain'),
  passed('meta protocol ip6 @th,0,8 >= 0'),
  drop('', 'header chain'),
];

function noneOf(what: string, values: readonly string[]): string {
  const distinct = [...new Set(values)];
  return distinct.length <= FEW ? distinct.map((value) => `${what} != ${value}`).join(' ') : `${what} != { ${distinct.join(', ')} }`;
}

interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

function rangeOf({ first, last }: Prefix): Range {
  return { first, last };
}

/** Returns link-local addresses without those of the host's end. */
function linkLocalsWithout(addresses: readonly string[]): Range[] {
  const gaps = addresses.map((text) => hostPrefix(parseAddress(text)).first).sort((a, b) => (a < b ? -1 : 1));
  const ranges: Range[] = [];
  let { first } = LINK_LOCAL;
  for (const gap of gaps) {
    if (gap > first) ranges.push({ first, last: gap - 1n });
    first = gap + 1n;
  }
  return [...ranges, { first, last: LINK_LOCAL.last }];
}

function addressesOf({ first, last }: Range): string {
  return first === last ? addressText(first, 'inet6') : `${addressText(first, 'inet6')}-${addressText(last, 'inet6')}`;
}

/** nft has no addresses inside a payload, only numbers. */
function numbersOf({ first, last }: Range): string {
  const [from, to] = [first, last].map((value) => `0x${value.toString(16).padStart(32, '0')}`);
  return first === last ? String(from) : `${String(from)}-${String(to)}`;
}
