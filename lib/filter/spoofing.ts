/**
 * The rules that every frame of a NIC meets at its link's ingress: they drop what a guest cannot send. A bridge port
 * (nftables family bridge) and a routed link (netdev) have the same rules. `meta protocol` and not `ether type` is
 * written before every inner header: it sees through a VLAN tag, where the other reads the tag (nft_payload.c,
 * nft_meta.c). In family bridge it sees through two tags and PPPoE, too, in Linux 7.2 and not in 6.1: so what is under
 * the outer tag is `vlan type`.
 */
import type { AttachedLink, Guard } from '../attachments/attached.js';
import { NO_TRUST } from '../intent/policy.js';
import type { FilterRule } from '../state/nft.js';
import {
  type Address, bare, contains, type Family, linkLocalAddress, parsePrefix, type Prefix,
} from '../values/address.js';
import { dropped, noneIn, passed, type Range, RARP, type Sender } from './sender.js';
import { ip6Rules } from './spoofing-ipv6.js';

/** The chains of one NIC: a frame meets `frame`, and then the one of its protocol. */
export interface SpoofRules {
  readonly frame: readonly FilterRule[];
  readonly arp: readonly FilterRule[];
  readonly ip: readonly FilterRule[];
  readonly ip6: readonly FilterRule[];
}

/** Returns the rules for what comes in on a port of a bridge. */
export function portRules({ mac, trust = NO_TRUST }: AttachedLink, { own, tagged }: Guard): SpoofRules {
  const rules = rulesFor({
    mac, trust, own: byFamily(own), counted: undefined, tagged,
    protocols: own.length === 0 ? undefined : ['ip', 'ip6', 'arp', RARP, ...(trust.stp ? ['0x0004'] : [])],
    linkLocal: [mac === undefined ? LINK_LOCAL : linkLocalAddress(mac).prefix],
  });
  return own.length === 0 ? rules : { ...rules, frame: [...rules.frame, ...pppoeRules(tagged)] };
}

/** `meta protocol` of a PPPoE session is that of the packet in it (Linux 7.2), and would pass. */
function pppoeRules(tagged: Sender['tagged']): FilterRule[] {
  return ['ether', ...(tagged === 'never' ? [] : ['vlan'])].map((tag) => dropped(`${tag} type 0x8864`, 'protocol'));
}

/** Returns the rules for what comes in on a routed link; `counted` is the set of the link-local addresses it uses. */
export function linkRules(
  { mac, trust = NO_TRUST }: AttachedLink, { own: claims, gateways, tagged }: Guard, counted: string,
): SpoofRules {
  const own = byFamily(claims);
  const locals = gateways.filter(({ prefix }) => contains(LINK_LOCAL, prefix));
  return rulesFor({
    mac, trust, own, tagged, counted,
    linkLocal: own.inet6 === undefined ? [] : linkLocalsWithout(locals),
    protocols: [...(own.inet === undefined ? [] : ['ip', 'arp']), ...(own.inet6 === undefined ? [] : ['ip6']), RARP],
  });
}

/** Returns the addresses of each family; undefined: the guest has none, and the rules do not check the family. */
function byFamily(own: readonly Prefix[]): Sender['own'] {
  const of = (family: Family): readonly Prefix[] | undefined => {
    const some = own.filter((prefix) => prefix.family === family);
    return some.length === 0 ? undefined : some;
  };
  return { inet: of('inet'), inet6: of('inet6') };
}

const LINK_LOCAL = parsePrefix('fe80::/10');

/** Returns link-local addresses without those of the host's end. */
function linkLocalsWithout(addresses: readonly Address[]): Range[] {
  const gaps = addresses.map(({ prefix }) => prefix.first).sort((a, b) => (a < b ? -1 : 1));
  const ranges: Range[] = [];
  let { first } = LINK_LOCAL;
  for (const gap of gaps) {
    if (gap > first) ranges.push({ first, last: gap - 1n });
    first = gap + 1n;
  }
  return [...ranges, { first, last: LINK_LOCAL.last }];
}

/**
 * Constants of the rules, as sets that all NICs share. A set for each rule costs the kernel 10 KiB a NIC, and nft lists
 * all of them before it adds one (1.0.6).
 */
export const CONSTANTS: ReadonlyMap<string, string> = new Map([
  ['tags', elements('ether_type', ['8021q', '8021ad', '0x9100', '0x9200'])],
  ['stacked', elements('ether_type', ['8021ad', '0x9100', '0x9200'])],
  // IEEE 802.1D's reserved group addresses, and Cisco's PVST+. A BPDU guard upstream shuts the host's port when it sees
  // one frame to them.
  ['spanning_tree', elements('ether_addr; flags interval', [
    '01:80:c2:00:00:00-01:80:c2:00:00:0f', '01:00:0c:cc:cc:cd',
  ])],
  ['router_says', elements('icmpv6_type', ['nd-router-advert', 'nd-redirect'])],
  ['discovery', elements('icmpv6_type', [
    'nd-router-solicit', 'nd-router-advert', 'nd-neighbor-solicit', 'nd-neighbor-advert', 'nd-redirect',
  ])],
  ['before_address', elements('icmpv6_type', [
    'nd-neighbor-solicit', 'nd-router-solicit', 'mld-listener-report', 'mld-listener-done', 'mld2-listener-report',
  ])],
  ['may_hide', elements('inet_proto', ['0', '43', '44', '51', '60', '135', '139', '140', '253', '254'])],
  ['dhcp_servers', elements('inet_service', ['67', '547'])],
  ['dhcp_clients', elements('inet_service', ['68', '546'])],
]);

function elements(type: string, values: readonly string[]): string {
  return `{ type ${type}; elements = { ${values.join(', ')} }; }`;
}

function rulesFor(sender: Sender): SpoofRules {
  const { trust } = sender;
  const dhcp = trust.dhcp ? [] : DHCP;
  return {
    frame: [...tagRules(sender), ...frameRules(sender)], arp: arpRules(sender), ip: ipRules(sender, dhcp),
    ip6: ip6Rules(sender, dhcp),
  };
}

/**
 * The bridge delivers VID 0 into the PVID, and strips the outer of two tags: no rule sees what is under the outer tag.
 */
function tagRules({ tagged, trust }: Sender): FilterRule[] {
  if (tagged === 'never' && !trust.vid0) return [dropped('ether type @tags', 'tagged')];
  return [
    dropped('ether type @stacked', '802.1ad tag'),
    ...(tagged === 'never' ? [dropped('ether type 8021q vlan id != 0', 'tagged')] : []),
    ...(trust.vid0 ? [] : [dropped('ether type 8021q vlan id 0', 'priority tag')]),
    dropped('vlan type @tags', 'tag under a tag'),
  ];
}

function frameRules({ mac, trust, protocols }: Sender): FilterRule[] {
  const checked = trust.mac ? undefined : mac;
  return [
    ...(checked === undefined ? [] : [dropped(`ether saddr != ${checked}`, 'source MAC')]),
    ...(trust.stp ? [] : [dropped('ether daddr @spanning_tree', 'BPDU')]),
    // IEEE 802.2 is spanning tree's protocol, too. Its SNAP can wrap any other protocol.
    ...(protocols === undefined
      ? ['0x0001', ...(trust.stp ? [] : ['0x0004'])].map((type) => dropped(`meta protocol ${type}`, 'protocol'))
      : [dropped(noneIn('meta protocol', protocols), 'protocol')]),
    ...(checked === undefined
      ? []
      : [dropped(`meta protocol ${RARP} @nh,64,48 != 0x${checked.replaceAll(':', '')}`, 'RARP sender MAC')]),
  ];
}

function arpRules({ mac, trust, own }: Sender): FilterRule[] {
  return [
    ...(mac === undefined || trust.mac ? [] : arpSenders(mac)),
    ...(trust.ip || own.inet === undefined ? [] : arpSources(own.inet)),
  ];
}

/** Hardware type 1, protocol IPv4, lengths 6 and 4: with other values the sender stands elsewhere in the packet. */
function arpSenders(mac: string): FilterRule[] {
  return [
    dropped('meta protocol arp @nh,0,48 != 0x000108000604', 'ARP of another kind'),
    dropped(`meta protocol arp arp saddr ether != ${mac}`, 'ARP sender MAC'),
  ];
}

/** A guest uses 0.0.0.0 to probe an address (RFC 5227). */
function arpSources(own: readonly Prefix[]): FilterRule[] {
  return [
    dropped(`meta protocol arp ${noneIn('arp saddr ip', ['0.0.0.0', ...own.map(bare)])}`, 'ARP sender address'),
    dropped('meta protocol arp arp saddr ip 0.0.0.0 arp operation != request', 'ARP sender address'),
  ];
}

function ipRules({ trust, own }: Sender, dhcp: readonly FilterRule[]): FilterRule[] {
  return [
    ...(trust.ip || own.inet === undefined ? [] : inetSources(own.inet)),
    // All but the first fragment have data where ports and types would be, and nft reads it as such in family bridge
    // (6.18).
    passed('meta protocol ip ip frag-off & 0x1fff != 0'), passed('meta protocol ip meta l4proto tcp'),
    ...dhcp, ...(trust.ra ? [] : ROUTER_SAYS),
    passed('meta protocol ip meta l4proto >= 0'), dropped('', 'header chain'),
  ];
}

const ROUTER_SAYS: readonly FilterRule[] = [
  dropped('meta protocol ip icmp type redirect', 'redirect'),
  dropped('meta protocol ip icmp type router-advertisement', 'router advertisement'),
];

/** The answers of a server, of either family. No other program sends from or to these ports. */
const DHCP: readonly FilterRule[] = [
  dropped('meta l4proto udp th sport @dhcp_servers', 'DHCP server'),
  dropped('meta l4proto udp th dport @dhcp_clients', 'DHCP server'),
];

/** A guest uses 0.0.0.0 to ask for an address (RFC 2131) and to join groups (RFC 3376 section 4.2.13). */
function inetSources(own: readonly Prefix[]): FilterRule[] {
  const unspecified = 'meta protocol ip ip saddr 0.0.0.0';
  return [
    `meta protocol ip ${noneIn('ip saddr', ['0.0.0.0', ...own.map(bare)])}`,
    `${unspecified} ${noneIn('meta l4proto', ['udp', 'igmp'])}`,
    `${unspecified} ${noneIn('ip daddr', ['255.255.255.255', '224.0.0.0/4'])}`,
    `${unspecified} ip frag-off & 0x1fff != 0`, `${unspecified} udp sport != 68`, `${unspecified} udp dport != 67`,
  ].map((match) => dropped(match, 'source address'));
}
