/** A first draft of the rules, as nft text, by which the attack suite can tell whether it is one: lib/ has the real ones. */
import { isIP } from 'node:net';
import type { HostileNic, Topology } from './attackhost.js';
import { ipBytes, linkLocalOf, macBytes } from './packet.js';

/** Returns nft lines that let this NIC send as itself only. The tables are made anew. */
export function filterFor(topology: Topology, nic: HostileNic): string {
  const family = topology === 'bridge' ? 'bridge' : 'netdev';
  const chains = { nic: nicRules(nic), from_arp: arpRules(nic), from_ip4: ip4Rules(nic), from_ip6: ip6Rules(nic), from_udp: UDP_RULES, unspecified: unspecifiedRules(nic), from_icmp6: icmp6Rules(nic) };
  const hooks = topology === 'bridge' ? [
    'add chain bridge attack from_guests { type filter hook prerouting priority -300; }',
    `add rule bridge attack from_guests iif ${nic.dev} jump nic`,
    // What is for reserved groups never meets prerouting but goes up on the port itself, and its source is learnt on the way:
    // after `input`, but for LLDP, which meets no hook of bridges at all (br_handle_frame(), 6.18).
    'add chain bridge attack to_ports { type filter hook input priority -300; }',
    `add rule bridge attack to_ports iif ${nic.dev} ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop`,
    'add table netdev attack',
    `add chain netdev attack to_port { type filter hook ingress device "${nic.dev}" priority -300; }`,
    'add rule netdev attack to_port ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop',
  ] : [
    `add chain netdev attack from_guest { type filter hook ingress device "${nic.dev}" priority -300; }`,
    'add rule netdev attack from_guest jump nic',
  ];
  return [
    `add table ${family} attack`,
    ...Object.keys(chains).map((name) => `add chain ${family} attack ${name}`),
    ...Object.entries(chains).flatMap(([name, rules]) => rules.map((rule) => `add rule ${family} attack ${name} ${rule}`)),
    ...hooks, '',
  ].join('\n');
}

/** Every rule names the protocol by `meta protocol`: without, nft adds a match on the outer ethertype, which tagged frames do not have. */
function nicRules({ mac, tags }: HostileNic): string[] {
  return [
    `ether saddr != ${mac} drop`,
    'ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop',
    'ether daddr 01:00:0c:cc:cc:cd drop',
    // The tag that the kernel has taken off is seen in `ether type`, the one that is left in `meta protocol`.
    ...(tags.length === 0 ? ['ether type { 8021q, 8021ad } drop'] : ['ether type 8021ad drop', 'vlan id 0 drop']),
    'meta protocol { 8021q, 8021ad } drop',
    'meta protocol arp goto from_arp',
    'meta protocol ip goto from_ip4',
    'meta protocol ip6 goto from_ip6',
    // RARP as QEMU announces a guest with.
    `meta protocol 0x8035 @nh,48,16 3 @nh,64,48 ${hex(mac)} accept`,
    'drop',
  ];
}

function arpRules({ mac, addresses }: HostileNic): string[] {
  const own = list(addresses.filter((address) => isIP(address) === 4));
  return [
    'meta protocol arp arp htype != 1 drop', 'meta protocol arp arp ptype != ip drop', 'meta protocol arp arp hlen != 6 drop', 'meta protocol arp arp plen != 4 drop',
    `meta protocol arp arp saddr ether != ${mac} drop`,
    `meta protocol arp arp saddr ip ${own} accept`,
    'meta protocol arp arp operation request arp saddr ip 0.0.0.0 accept',
    'drop',
  ];
}

function ip4Rules({ addresses }: HostileNic): string[] {
  const own = list(addresses.filter((address) => isIP(address) === 4));
  return [
    'meta protocol ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 ip frag-off & 0x3fff == 0 udp sport 68 udp dport 67 accept',
    'meta protocol ip ip saddr 0.0.0.0 ip daddr 224.0.0.0/4 meta l4proto igmp accept',
    `meta protocol ip ip saddr != ${own} drop`,
    'meta protocol ip ip frag-off & 0x1fff != 0 accept',
    'meta protocol ip meta l4proto udp goto from_udp',
    'meta protocol ip meta l4proto 0-255 accept',
    'drop',
  ];
}

/** Answers of DHCP servers, either by where they come from or by where they go. The last: a header that can be read. */
const UDP_RULES = [
  'meta protocol ip meta l4proto udp udp sport 67 drop', 'meta protocol ip meta l4proto udp udp dport 68 drop',
  'meta protocol ip6 meta l4proto udp udp sport 547 drop', 'meta protocol ip6 meta l4proto udp udp dport 546 drop',
  'meta l4proto udp udp dport 0-65535 accept',
  'drop',
];

function ip6Rules({ mac, addresses }: HostileNic): string[] {
  const own = list([...addresses.filter((address) => isIP(address) === 6), linkLocalOf(mac)]);
  return [
    'meta protocol ip6 ip6 saddr :: goto unspecified',
    `meta protocol ip6 ip6 saddr != ${own} drop`,
    // A fragment after the first says of what protocol it is, unless that is one more extension header: then nobody can tell.
    'meta protocol ip6 frag frag-off != 0 meta l4proto 0-255 accept',
    'meta protocol ip6 frag frag-off != 0 drop',
    'meta protocol ip6 meta l4proto ipv6-icmp goto from_icmp6',
    'meta protocol ip6 meta l4proto udp goto from_udp',
    // Headers that this kernel does not look behind, and that others may.
    'meta protocol ip6 meta l4proto { 0, 43, 44, 51, 60, 135, 139, 140, 253, 254 } drop',
    'meta protocol ip6 @th,0,8 >= 0 accept',
    'drop',
  ];
}

const ND = 'meta protocol ip6 @nh,48,8 58 meta l4proto ipv6-icmp icmpv6 type';
/** Nonces of 6, 14, 22 and 30 bytes: the length of the packet, and type and length of the only option. */
const NONCES = [[32, '0x0e01'], [40, '0x0e02'], [48, '0x0e03'], [56, '0x0e04']] as const;

/** From the unspecified address: detection of own duplicates, router solicitations, multicast reports. */
function unspecifiedRules({ mac, addresses }: HostileNic): string[] {
  const targets = [...addresses.filter((address) => isIP(address) === 6), linkLocalOf(mac)];
  return [
    ...targets.flatMap((target) => ['ip6 length 24', ...NONCES.map(([length, option]) => `ip6 length ${length} @th,192,16 ${option}`)]
      .map((shape) => `${ND} nd-neighbor-solicit @th,64,128 ${hex(target)} ${shape} accept`)),
    `${ND} nd-router-solicit ip6 length 8 accept`,
    'meta protocol ip6 ip6 daddr ff02::/16 meta l4proto ipv6-icmp icmpv6 type { 131, 132, 143 } accept',
    'drop',
  ];
}

/** Neighbour discovery stands right behind the IPv6 header (RFC 6980), with no option but the expected ones in full. */
function icmp6Rules({ mac, addresses }: HostileNic): string[] {
  const targets = [...addresses.filter((address) => isIP(address) === 6), linkLocalOf(mac)];
  const [source, target] = [`0x0101${hex(mac).slice(2)}`, `0x0201${hex(mac).slice(2)}`];
  return [
    'meta protocol ip6 @nh,48,8 != 58 icmpv6 type 133-137 drop',
    `${ND} nd-neighbor-solicit ip6 length 24 accept`,
    `${ND} nd-neighbor-solicit ip6 length 32 @th,192,64 ${source} accept`,
    `${ND} nd-neighbor-solicit ip6 length 40 @th,192,64 ${source} @th,256,16 0x0e01 accept`,
    `${ND} nd-neighbor-solicit ip6 length 40 @th,192,16 0x0e01 @th,256,64 ${source} accept`,
    ...targets.flatMap((own) => [`${ND} nd-neighbor-advert @th,64,128 ${hex(own)} ip6 length 24 accept`, `${ND} nd-neighbor-advert @th,64,128 ${hex(own)} ip6 length 32 @th,192,64 ${target} accept`]),
    `${ND} nd-router-solicit ip6 length 8 accept`,
    `${ND} nd-router-solicit ip6 length 16 @th,64,64 ${source} accept`,
    `${ND} 133-137 drop`,
    'meta protocol ip6 icmpv6 type 0-255 accept',
    'drop',
  ];
}

function list(values: readonly string[]): string {
  return `{ ${values.join(', ')} }`;
}

function hex(value: string): string {
  return `0x${(isIP(value) === 6 ? ipBytes(value) : macBytes(value)).toString('hex')}`;
}
