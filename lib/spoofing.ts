/**
 * What a guest cannot send: the rules that every frame of a NIC meets at its link's ingress, the same for a bridge port
 * (nftables family bridge) and a routed link (netdev). `meta protocol` and not `ether type` is written before every inner
 * header: it sees through a VLAN tag, where the other reads the tag (nft_payload.c, nft_meta.c).
 */
import { addressText, bare, contains, type Family, hostPrefix, linkLocalOf, parseAddress, parsePrefix, type Prefix } from './address.js';
import type { PlacedLink, PlacedPort } from './attachment.js';
import { NO_TRUST, type Trust } from './policy.js';

/** A rule of a NIC's chain: what it matches, and in the kernel as its comment why. */
export interface Rule {
  readonly match: string;
  readonly why: string;
  /** Absent: it drops. */
  readonly verdict?: string;
}

/** What is known of the one who sends. */
interface Sender {
  readonly mac: string | undefined;
  readonly trust: Trust;
  /** By family, what it may send from; undefined: not checked. */
  readonly own: Readonly<Record<Family, readonly Prefix[] | undefined>>;
  readonly linkLocal: readonly Range[];
  readonly tagged: 'never' | 'members';
  /** Ethertypes that pass, as nft names them; undefined: all. */
  readonly protocols: readonly string[] | undefined;
}

/** Returns the rules for what comes in on a port of a bridge. */
export function portRules(port: PlacedPort): Rule[] {
  const { mac, trust = NO_TRUST } = port;
  const declared = (port.declared ?? []).map(prefixFrom);
  const own = (family: Family): readonly Prefix[] | undefined => orUnchecked(declared.filter((prefix) => prefix.family === family));
  const access = port.vlans.length === 1 && port.vlans[0]?.untagged === true;
  return rulesFor({
    mac, trust, own: { inet: own('inet'), inet6: own('inet6') }, protocols: undefined,
    linkLocal: [mac === undefined ? LINK_LOCAL : hostPrefix(linkLocalOf(mac))].map(rangeOf),
    tagged: access ? 'never' : 'members',
  });
}

/** Returns the rules for what comes in on a routed link. */
export function linkRules(link: PlacedLink): Rule[] {
  const claims = [...link.addresses, ...link.routes.map(({ to }) => to)].map(prefixFrom);
  const own = (family: Family): Prefix[] => claims.filter((prefix) => prefix.family === family);
  const [inet, inet6] = [own('inet'), own('inet6')];
  return rulesFor({
    mac: link.mac, trust: link.trust ?? NO_TRUST, own: { inet: orUnchecked(inet), inet6: orUnchecked(inet6) }, tagged: 'never',
    linkLocal: inet6.length > 0 ? linkLocalsWithout(link.gateways.filter((gateway) => contains(LINK_LOCAL, prefixFrom(gateway)))) : [],
    protocols: [...(inet.length > 0 ? ['ip', 'arp'] : []), ...(inet6.length > 0 ? ['ip6'] : [])],
  });
}

/** A family that the guest does not have is no protocol of its link. */
function orUnchecked(own: readonly Prefix[]): readonly Prefix[] | undefined {
  return own.length === 0 ? undefined : own;
}

const LINK_LOCAL = parsePrefix('fe80::/10');

function prefixFrom(text: string): Prefix {
  return text.includes('/') ? parsePrefix(text) : hostPrefix(parseAddress(text));
}

function rulesFor(sender: Sender): Rule[] {
  return [
    ...tagRules(sender), ...frameRules(sender), ...roleRules(sender.trust), ...discoveryRules(sender),
    ...(sender.mac === undefined || sender.trust.mac ? [] : hardwareRules(sender.mac)),
    ...(sender.trust.ip ? [] : addressRules(sender)), ...LAST,
  ];
}

/** The bridge delivers VID 0 into the PVID, and strips the outer of two tags: what is under it is seen by none of the rules. */
function tagRules({ tagged, trust }: Sender): Rule[] {
  if (tagged === 'never' && !trust.vid0) return [{ match: `ether type ${TAGS}`, why: 'tagged' }];
  return [
    { match: 'ether type { 8021ad, 0x9100, 0x9200 }', why: '802.1ad tag' },
    ...(tagged === 'never' ? [{ match: 'ether type 8021q vlan id != 0', why: 'tagged' }] : []),
    ...(trust.vid0 ? [] : [{ match: 'ether type 8021q vlan id 0', why: 'priority tag' }]),
    { match: `meta protocol ${TAGS}`, why: 'tag under a tag' },
  ];
}

const TAGS = '{ 8021q, 8021ad, 0x9100, 0x9200 }';

/**
 * IEEE 802.1D's reserved group addresses, and Cisco's PVST+: a BPDU guard upstream would shut the host's port for one.
 */
const SPANNING_TREE = '{ 01:80:c2:00:00:00-01:80:c2:00:00:0f, 01:00:0c:cc:cc:cd }';

function frameRules({ mac, trust, protocols }: Sender): Rule[] {
  return [
    ...(mac === undefined || trust.mac ? [] : [{ match: `ether saddr != ${mac}`, why: 'source MAC' }]),
    ...(trust.stp ? [] : [{ match: `ether daddr ${SPANNING_TREE}`, why: 'BPDU' }]),
    ...(protocols === undefined ? [] : [{ match: `meta protocol != { ${protocols.join(', ')} }`, why: 'protocol' }]),
  ];
}

/** What only routers and servers say. Nobody else sends from or to these ports, of whatever family. */
function roleRules({ ra, dhcp }: Trust): Rule[] {
  return [
    ...(ra ? [] : [
      { match: 'meta protocol ip6 icmpv6 type { nd-router-advert, nd-redirect }', why: 'router advertisement' },
      { match: 'meta protocol ip icmp type { redirect, router-advertisement }', why: 'redirect' },
    ]),
    ...(dhcp ? [] : [
      { match: 'meta l4proto udp @th,0,16 { 67, 547 }', why: 'DHCP server' },
      { match: 'meta l4proto udp @th,16,16 { 68, 546 }', why: 'DHCP server' },
    ]),
  ];
}

/**
 * Neighbour discovery is its own packet, whole and without extension headers (RFC 6980), of the lengths that leave room
 * for one option: behind a first option a second could say what the first does not.
 */
function discoveryRules({ trust }: Sender): Rule[] {
  if (trust.mac && trust.ip) return [];
  return [
    { match: `${ICMP6} type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } ip6 nexthdr != ipv6-icmp`, why: 'neighbour discovery behind other headers' },
    { match: `${ICMP6} type { nd-neighbor-solicit, nd-neighbor-advert } ip6 length != { 24, 32 }`, why: 'options of neighbour discovery' },
    { match: `${ICMP6} type nd-router-solicit ip6 length != { 8, 16 }`, why: 'options of neighbour discovery' },
  ];
}

const ICMP6 = 'meta protocol ip6 icmpv6';

/**
 * The hardware address inside the packet: the one option there may be, type, length and address at once (RFC 4861 section
 * 4.6.1). A look for duplicates may have a nonce in its place (RFC 7527, option 14).
 */
function hardwareRules(mac: string): Rule[] {
  const option = (type: number): string => `0x0${type}01${mac.replaceAll(':', '')}`;
  return [
    { match: `meta protocol arp arp saddr ether != ${mac}`, why: 'ARP sender MAC' },
    { match: `${ICMP6} type nd-neighbor-solicit ip6 length 32 ip6 saddr != :: @th,192,64 != ${option(1)}`, why: 'source link-layer address' },
    { match: `${ICMP6} type nd-neighbor-solicit ip6 length 32 ip6 saddr :: @th,192,8 != 14`, why: 'source link-layer address' },
    { match: `${ICMP6} type nd-neighbor-advert ip6 length 32 @th,192,64 != ${option(2)}`, why: 'target link-layer address' },
    { match: `${ICMP6} type nd-router-solicit ip6 length 16 @th,64,64 != ${option(1)}`, why: 'source link-layer address' },
  ];
}

function addressRules({ own, linkLocal }: Sender): Rule[] {
  return [...(own.inet === undefined ? [] : inetRules(own.inet)), ...(own.inet6 === undefined ? [] : inet6Rules([...own.inet6.map(rangeOf), ...linkLocal]))];
}

/** From 0.0.0.0 a guest asks for an address (RFC 2131), probes one (RFC 5227) and joins groups (RFC 3376 section 4.2.13). */
function inetRules(own: readonly Prefix[]): Rule[] {
  const set = setOf(['0.0.0.0', ...own.map(bare)]);
  return [
    { match: `meta protocol arp arp saddr ip != ${set}`, why: 'ARP sender address' },
    { match: `meta protocol ip ip saddr != ${set}`, why: 'source address' },
    { match: 'meta protocol ip ip saddr 0.0.0.0 meta l4proto != { udp, igmp }', why: 'source address' },
    { match: 'meta protocol ip ip saddr 0.0.0.0 udp dport != 67', why: 'source address' },
  ];
}

/** From :: a guest looks for duplicates, solicits routers and joins groups (RFC 4861, RFC 3590). */
function inet6Rules(own: readonly Range[]): Rule[] {
  const targets = setOf(own.map(numbersOf));
  return [
    { match: `meta protocol ip6 ip6 saddr != ${setOf(['::', ...own.map(addressesOf)])}`, why: 'source address' },
    { match: 'meta protocol ip6 ip6 saddr :: meta l4proto != ipv6-icmp', why: 'source address' },
    { match: `meta protocol ip6 ip6 saddr :: icmpv6 type != { nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report }`, why: 'source address' },
    { match: `${ICMP6} type nd-neighbor-solicit ip6 saddr :: @th,64,128 != ${targets}`, why: 'target address' },
    { match: `${ICMP6} type nd-neighbor-advert @th,64,128 != ${targets}`, why: 'target address' },
  ];
}

/**
 * A packet must show in its first fragment what it is (RFC 7112), or the rules before could not know. `meta l4proto` of
 * one that does not matches nothing, whatever it is compared with; 255 is no protocol.
 */
const LAST: readonly Rule[] = [
  { match: 'meta protocol != ip6', why: 'passed', verdict: 'accept' },
  { match: 'meta l4proto != 255', why: 'passed', verdict: 'accept' },
  { match: '', why: 'header chain' },
];

function setOf(items: readonly string[]): string {
  return `{ ${[...new Set(items)].join(', ')} }`;
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
