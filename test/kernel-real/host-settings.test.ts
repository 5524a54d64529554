// @tier kernel
/**
 * Settings of a host that cut guests on routed links off, one after another: what a guest can no longer reach, what
 * `doctor` and `check` report, and that the cure lets the guest through and leaves the host reachable all the while.
 */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { type Netns, openNetns } from '../places/netns.js';
import { joinGuest } from '../places/peers.js';
import { guestMac, guestXml } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const kernelTest = testWith(...NEEDED);
const GUEST = { name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8:0:10::a'] };
const ROUTER = '2001:db8:ff::2';
const WORLD = { IPv4: '203.0.113.2', IPv6: '2001:db8:aa::2' };
const HOST = { IPv4: '203.0.113.1', IPv6: '2001:db8:ff::1' };
const ALL = { IPv4: true, IPv6: true };

let host: GuestHost;
let world: Netns;
let guest: Netns;

const UPLINK = `ip addr replace ${HOST.IPv6}/64 dev up0 nodad; ip -6 route replace default via ${ROUTER} dev up0`;

beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  [host, world, guest] = await Promise.all([openGuestHost(), openNetns(), openNetns()]);
  world.sh(`ip link add eth0 type veth peer name up0 netns ${host.netns.target}; ip link set eth0 up
    ip addr add ${WORLD.IPv4}/24 dev eth0; ip addr add ${ROUTER}/64 dev eth0 nodad; ip addr add ${WORLD.IPv6}/128 dev eth0 nodad
    ip link add eth1 type veth peer name up1 netns ${host.netns.target}; ip link set eth1 up
    ip addr add 198.51.100.2/24 dev eth1; ip route add default via ${HOST.IPv4}; ip -6 route add default via ${HOST.IPv6}`);
  host.netns.sh(`ip link set up0 up; ip addr add ${HOST.IPv4}/24 dev up0; ip route add default via ${WORLD.IPv4}; ${UPLINK}
    ip link set up1 up; ip addr add 198.51.100.1/24 dev up1
    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0 net.ipv4.conf.up1.rp_filter=0 \
      net.ipv6.conf.up0.accept_ra=0`);
  joinGuest(host.netns, guest, { tap: GUEST.tap, mac: guestMac(GUEST.tap), addresses: GUEST.addresses });
  host.start(guestXml(GUEST));
  // Addresses are tentative at first.
  for (let left = 20; left > 0 && !Object.values(reaches(guest, WORLD)).every(Boolean); left -= 1) ;
});
afterAll(() => {
  if (!canRun(...NEEDED)) return;
  host.close();
  for (const each of [world, guest]) each.close();
});

/** Returns by family whether `from` has an answer within some tries; all neighbours are forgotten first. */
function reaches(from: Netns, targets: Record<'IPv4' | 'IPv6', string>): Record<'IPv4' | 'IPv6', boolean> {
  for (const each of [host.netns, world, guest]) each.sh('ip neigh flush all; ip -6 neigh flush all');
  const pings = Object.values(targets).map((address) => `ping -c 3 -i 0.3 -W 1 ${address} &`);
  const told = from.run('sh', ['-c', `${pings.join(' ')} wait`]).stdout;
  const isHeard = (address: string): boolean => told.includes(`bytes from ${address}`);
  return { IPv4: isHeard(targets.IPv4), IPv6: isHeard(targets.IPv6) };
}

function act(steps: string | Steps = {}): void {
  const { host: ours, world: theirs } = typeof steps === 'string' ? { host: steps } : steps;
  if (ours !== undefined) host.netns.sh(ours);
  if (theirs !== undefined) world.sh(theirs);
}

const findings = async (): Promise<{ severity: string; what: string; cure: string }[]> =>
  (JSON.parse((await host.command('doctor', '--json')).stdout) as { findings: [] }).findings;

const chain = (name: string, hook: string, rules: readonly string[] = []): string => [
  `nft add table ${name.split(' ').slice(0, 2).join(' ')}`,
  `nft 'add chain ${name} { type filter hook ${hook} priority 0; policy drop; }'`,
  ...rules.map((rule) => `nft add rule ${name} '${rule}'`),
].join('; ');
/** As an administrator writes it for a host without guests. */
const OWN: readonly string[] = [
  'iif lo accept', 'ct state established,related accept', 'icmp type echo-request accept',
  'icmpv6 type echo-request accept',
  'iifname "up0" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept',
];

interface Steps {
  readonly host?: string;
  readonly world?: string;
}

interface Case {
  readonly make: string | Steps;
  readonly what: string;
  /** What the guest still reaches. */
  readonly left: Record<'IPv4' | 'IPv6', boolean>;
  readonly severity?: string;
  /** What check prints; absent: what follows from the severity. */
  readonly told?: string;
  /** What an administrator does about a cure in words. */
  readonly byHand?: string;
  /** What an administrator has to do besides. */
  readonly besides?: string | Steps;
  readonly end?: string | Steps;
}

/** A router advertisement of the world, as RFC 4861 section 4.2 has it, with a lifetime of 30 minutes. */
const ADVERTISE = `python3 -c "
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(bytes([134, 0, 0, 0, 64, 0, 7, 8] + [0] * 8), ('ff02::1', 0, 0, socket.if_nametoindex('eth0')))"`;

const CASES: Record<string, Case> = {
  'a host that does not forward IPv4': {
    make: 'sysctl -qw net.ipv4.ip_forward=0', what: 'this host does not forward IPv4',
    left: { IPv4: false, IPv6: true },
    told: `guest 'web1' NIC 0 (${guestMac(GUEST.tap)}): this host does not forward IPv4: run 'sysctl -w net.ipv4.ip_forward=1', or set 'manage_sysctls = true' in [routed]\n`,
  },
  'a host that does not forward IPv6': {
    make: 'sysctl -qw net.ipv6.conf.all.forwarding=0', what: 'this host does not forward IPv6',
    left: { IPv4: true, IPv6: false },
    told: `guest 'web1' NIC 0 (${guestMac(GUEST.tap)}): this host does not forward IPv6: run 'sysctl -w net.ipv6.conf.all.forwarding=1' (first accept_ra=2 on links that use router advertisements), or set 'manage_sysctls = true' in [routed]\n`,
  },
  'an uplink whose router advertisements do not count': {
    make: `sysctl -qw net.ipv6.conf.up0.accept_ra=1; ip -6 route del default; ip addr add 2001:db8:fe::1/64 dev up0 nodad`,
    what: "'up0' ignores router advertisements, because this host forwards", left: { IPv4: true, IPv6: false },
    severity: 'warning', besides: { world: ADVERTISE },
    end: `sysctl -qw net.ipv6.conf.up0.accept_ra=0; ip addr del 2001:db8:fe::1/64 dev up0; ip -6 route flush default; ${UPLINK}`,
  },
  'an uplink on which answers come in for another link': {
    make: {
      host: 'ip route add default via 198.51.100.2 metric 200; sysctl -qw net.ipv4.conf.up1.rp_filter=1',
      world: 'ip route add 192.0.2.0/24 via 198.51.100.1',
    },
    what: "rp_filter is strict on 'up1'", left: { IPv4: false, IPv6: true }, severity: 'note',
    end: { host: 'ip route del default metric 200', world: 'ip route del 192.0.2.0/24' },
  },
  'a chain that drops at the ingress of the uplink': {
    make: `nft add table netdev own; nft 'add chain netdev own in { type filter hook ingress device "up0" priority 0; policy drop; }'
      for rule in 'ether type arp accept' 'ip daddr ${HOST.IPv4} accept' 'ip6 daddr ${HOST.IPv6} accept' 'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'; do nft add rule netdev own in "$rule"; done`,
    what: "chain 'netdev own in' drops frames that no rule accepts", left: { IPv4: false, IPv6: false }, severity: 'warning',
    byHand: 'nft insert rule netdev own in ip daddr 192.0.2.10 accept; nft insert rule netdev own in ip6 daddr 2001:db8:0:10::a accept',
    end: 'nft delete table netdev own',
  },
  'an uplink that does not forward IPv4': {
    make: 'sysctl -qw net.ipv4.conf.up0.forwarding=0', what: "uplink 'up0' does not forward IPv4", left: { IPv4: false, IPv6: true },
  },
  'an uplink without IPv6': {
    make: 'sysctl -qw net.ipv6.conf.up0.disable_ipv6=1', what: "IPv6 is off on uplink 'up0'", left: { IPv4: true, IPv6: false },
    severity: 'warning', besides: `${UPLINK}; sleep 2`,
  },
  'ARP that the host does not answer': {
    make: 'sysctl -qw net.ipv4.conf.all.arp_ignore=2', what: 'arp_ignore of all links is 2', left: { IPv4: false, IPv6: true },
  },
  'an input chain that drops neighbour discovery': {
    make: chain('inet filter input', 'input', OWN), what: "chain 'inet filter input' drops neighbour discovery from 'vnet*'",
    left: { IPv4: true, IPv6: false }, end: 'nft delete table inet filter',
  },
  'a forward chain that drops': {
    make: chain('inet filter forward', 'forward'), what: "chain 'inet filter forward' drops packets that no rule accepts",
    left: { IPv4: false, IPv6: false }, severity: 'warning', end: 'nft delete table inet filter',
  },
  'an input chain of iptables-legacy that drops neighbour discovery': {
    make: 'ip6tables-legacy -A INPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT; ip6tables-legacy -A INPUT -i up0 -p icmpv6 -j ACCEPT; ip6tables-legacy -P INPUT DROP',
    what: "chain 'ip6tables-legacy' drops neighbour discovery from 'vnet*'", left: { IPv4: true, IPv6: false },
    end: 'ip6tables-legacy -P INPUT ACCEPT; ip6tables-legacy -F INPUT',
  },
  'a forward chain of iptables-legacy that drops': {
    make: 'iptables-legacy -P FORWARD DROP', what: "chain 'iptables-legacy' drops packets that no rule accepts",
    left: { IPv4: false, IPv6: true }, severity: 'warning', end: 'iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F FORWARD',
  },
  'a prerouting chain that drops': {
    make: chain('inet filter pre', 'prerouting', [
      `ip daddr ${HOST.IPv4} accept`, `ip6 daddr ${HOST.IPv6} accept`,
      'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept',
    ]),
    what: "chain 'inet filter pre' drops packets that no rule accepts", left: { IPv4: false, IPv6: false }, severity: 'warning',
    end: 'nft delete table inet filter',
  },
  'a routing rule that stops guests': {
    make: 'ip rule add priority 100 from 192.0.2.0/24 prohibit',
    what: "a routing rule of priority 100 (prohibit) decides on '192.0.2.10' before guestwire's routes",
    left: { IPv4: false, IPv6: true }, end: 'ip rule del priority 100; ip rule del priority 99; ip rule del priority 99',
  },
  "a routing rule that leads past guests' routes": {
    make: 'ip -6 route add unreachable default table 99; ip -6 rule add priority 100 to 2001:db8:0:10::/64 lookup 99',
    what: "a routing rule of priority 100 (lookup 99) decides on '2001:db8:0:10::a' before guestwire's routes",
    left: { IPv4: true, IPv6: false }, severity: 'note',
    end: 'ip -6 rule del priority 100; ip -6 rule del priority 99; ip -6 rule del priority 99; ip -6 route flush table 99',
  },
};

describe('a guest that reaches the world', () => {
  for (const [name, { make, what, left, severity = 'error', besides, end, ...more }] of Object.entries(CASES)) {
    kernelTest(`is cut off by ${name}, which is reported, and comes back by the cure`, async () => {
      expect(reaches(guest, WORLD)).toEqual(ALL);
      expect((await findings()).map((finding) => finding.what)).not.toContain(what);
      expect(await host.command('check')).toMatchObject({ status: 0, stdout: '' });
      act(make);
      expect(reaches(guest, WORLD)).toEqual(left);
      const found = (await findings()).find((finding) => finding.what === what);
      expect(found?.severity).toBe(severity);
      const told = (await host.command('check')).stdout;
      expect(told).toBe(more.told ?? (severity === 'error' ? `host: ${what}: run '${found?.cure ?? ''}'\n` : ''));
      if (typeof besides !== 'string') expect(reaches(world, HOST)).toEqual(ALL);
      host.netns.sh(more.byHand ?? found?.cure ?? 'false');
      act(besides);
      expect(reaches(guest, WORLD)).toEqual(ALL);
      expect(reaches(world, HOST)).toEqual(ALL);
      act(end);
    }, 60_000);
  }
});
