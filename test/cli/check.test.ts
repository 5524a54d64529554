// @tier kernel long
/**
 * `guestwire check` on a real kernel: what somebody did to a host is found and named, mended by `reconcile`, and then
 * gone.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';
import { isLong } from '../tiers/bound.js';
import { deal } from '../tiers/queue.js';

const kernelTest = testWith('root', 'netns', 'nft');
// Each is a dozen commands, of which each runs a dozen tools.

const WEB = guestXml({
  name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'], routes: ['2001:db8:20::/64', '198.51.100.0/28'],
})
  .replace('</gw:interface>', "<gw:allow direction='in' from='203.0.113.0/24' proto='tcp' port='443'/></gw:interface>");
const FW = guestXml({ name: 'fw1', tap: 'vnet2', addresses: ['192.0.2.20', '2001:db8::14'], more: " table='100'" });
const CONFIG = '[routed]\ntables = [100]\nprefixes = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]\nproxy = ["uplink0"]\nannounce = false\n';

/** What is done, what check says of it; `%i` is the ifindex of vnet1. */
type Corruption = readonly [name: string, script: string, says: string | RegExp];
const CORRUPTIONS: readonly Corruption[] = [
  ['a host route is gone', 'ip route del 192.0.2.10 dev vnet1', "guest 'web1' NIC 0 (52:54:00:aa:bb:01): route 192.0.2.10/32 is missing on 'vnet1'"],
  ['an IPv6 host route is gone', 'ip -6 route del 2001:db8::a dev vnet1', "route 2001:db8::a/128 is missing on 'vnet1'"],
  ['a prefix is gone', 'ip -6 route del 2001:db8:20::/64 dev vnet1', "route 2001:db8:20::/64 via 2001:db8::a is missing on 'vnet1'"],
  ['an IPv4 prefix is gone', 'ip route del 198.51.100.0/28 dev vnet1', "route 198.51.100.0/28 via 192.0.2.10 is missing on 'vnet1'"],
  ['a prefix has another next hop', 'ip route replace 198.51.100.0/28 dev vnet1 proto 117', "route 198.51.100.0/28 on 'vnet1' should not be there"],
  ['a route too many', 'ip route add 192.0.2.99 dev vnet1 proto 117', "route 192.0.2.99/32 on 'vnet1' should not be there"],
  ['an IPv6 route too many', 'ip -6 route add 2001:db8::99 dev vnet1 proto 117', "route 2001:db8::99/128 on 'vnet1' should not be there"],
  ['a route in another table', 'ip route add 192.0.2.10 dev vnet1 proto 117 table 55', "route 192.0.2.10/32 on 'vnet1' should not be there"],
  ['a route on another link', 'ip route add 192.0.2.98 dev uplink0 proto 117', "host: route 192.0.2.98/32 on 'uplink0' should not be there: guestwire made it, but it belongs to no guest"],
  ['an IPv6 route on another link', 'ip -6 route add 2001:db8::98 dev uplink0 proto 117', "route 2001:db8::98/128 on 'uplink0' should not be there"],
  ['a route of a table is gone', 'ip route del 192.0.2.20 dev vnet2 table 100', "guest 'fw1' NIC 0 (52:54:00:aa:bb:02): route 192.0.2.20/32 is missing on 'vnet2'"],
  ['a gateway is gone', 'ip addr del 169.254.0.1/32 dev vnet1', "address 169.254.0.1/32 is missing on 'vnet1'"],
  ['an IPv6 gateway is gone', 'ip -6 addr del fe80::1/64 dev vnet1', "address fe80::1/64 is missing on 'vnet1'"],
  ['a gateway has another length', 'ip -6 addr del fe80::1/64 dev vnet1; ip -6 addr add fe80::1/128 dev vnet1 nodad', "address fe80::1/64 is missing on 'vnet1'"],
  ['a link is down', 'ip link set vnet1 down', "link 'vnet1' is down and should be up"],
  ['a link was down', 'ip link set vnet1 down; ip link set vnet1 up', "address fe80::1/64 is missing on 'vnet1'"],
  ['addresses are flushed', 'ip addr flush dev vnet1', "address 169.254.0.1/32 is missing on 'vnet1'"],
  ['a rule from the guest is gone', 'ip rule del iif vnet2 lookup 100', "IPv4 rule iif vnet2 lookup 100 is missing"],
  ['an IPv6 rule from the guest is gone', 'ip -6 rule del iif vnet2 lookup 100', "IPv6 rule iif vnet2 lookup 100 is missing"],
  ['a rule to the guest is gone', 'ip rule del to 192.0.2.20 lookup 100', "IPv4 rule to 192.0.2.20/32 lookup 100 is missing"],
  ['an IPv6 rule to the guest is gone', 'ip -6 rule del to 2001:db8::14 lookup 100', "IPv6 rule to 2001:db8::14/128 lookup 100 is missing"],
  ['a rule has another priority', 'ip rule del iif vnet2 lookup 100; ip rule add iif vnet2 lookup 100 priority 12000 protocol 117', "IPv4 rule iif vnet2 lookup 100 is missing"],
  ['a rule leads elsewhere', 'ip rule add iif vnet2 lookup 101 priority 11700 protocol 117', "IPv4 rule iif vnet2 lookup 101 should not be there"],
  ['a rule of no guest', 'ip rule add iif gone9 lookup 100 priority 11700 protocol 117', "host: IPv4 rule iif gone9 lookup 100 should not be there"],
  ['a rule to no guest', 'ip -6 rule add to 2001:db8::77 lookup 100 priority 11701 protocol 117', "IPv6 rule to 2001:db8::77/128 lookup 100"],
  ['a last resort is gone', 'ip route del unreachable default table 100 metric 4294967295', "unreachable IPv4 default of table 100 is missing"],
  ['an IPv6 last resort is gone', 'ip -6 route del unreachable default table 100 metric 4294967295', "unreachable IPv6 default of table 100 is missing"],
  ['a last resort of no table', 'ip route add unreachable default table 77 metric 4294967295 proto 117', "host: unreachable IPv4 default of table 77 should not be there"],
  ['a proxy is gone', 'ip neigh del proxy 192.0.2.10 dev uplink0', "guest 'web1' NIC 0 (52:54:00:aa:bb:01): neighbour proxy 192.0.2.10 is missing on 'uplink0'"],
  ['an IPv6 proxy is gone', 'ip neigh del proxy 2001:db8::14 dev uplink0', "neighbour proxy 2001:db8::14 is missing on 'uplink0'"],
  ['a proxy of no guest', 'ip neigh add proxy 192.0.2.97 dev uplink0 protocol 117', "host: neighbour proxy 192.0.2.97 on 'uplink0' should not be there"],
  ['a proxy on another link', 'ip neigh add proxy 192.0.2.10 dev vnet2 protocol 117', "host: neighbour proxy 192.0.2.10 on 'vnet2' should not be there"],
  ['proxy_ndp is off', 'sysctl -qw net.ipv6.conf.uplink0.proxy_ndp=0', "sysctl net.ipv6.conf.uplink0.proxy_ndp is 0 and should be 1"],
  ['proxy_delay is back', 'sysctl -qw net.ipv4.neigh.uplink0.proxy_delay=80', "sysctl net.ipv4.neigh.uplink0.proxy_delay is 80 and should be 0"],
  ...([
    ['ipv6.conf', 'accept_ra', 1], ['ipv6.conf', 'accept_redirects', 1], ['ipv6.conf', 'forwarding', 0],
    ['ipv6.conf', 'disable_ipv6', 1],
    ['ipv6.neigh', 'mcast_solicit', 3], ['ipv6.neigh', 'ucast_solicit', 3], ['ipv6.neigh', 'retrans_time_ms', 1000],
    ['ipv4.conf', 'forwarding', 0], ['ipv4.conf', 'accept_redirects', 1], ['ipv4.conf', 'send_redirects', 1],
    ['ipv4.conf', 'rp_filter', 0], ['ipv4.conf', 'arp_ignore', 2],
    ['ipv4.neigh', 'mcast_solicit', 3], ['ipv4.neigh', 'ucast_solicit', 3], ['ipv4.neigh', 'retrans_time_ms', 1000],
  ] as const).map(([part, name, value]): readonly [string, string, string] => [
    `${part} ${name} is ${value}`, `sysctl -qw net.${part}.vnet1.${name}=${value}`, `sysctl net.${part}.vnet1.${name} is ${value} and should be `,
  ]),
  ['the table netdev is gone', 'nft delete table netdev guestwire', "host: nftables table netdev guestwire is missing: it filters guests 'web1', 'fw1'"],
  ['the table inet is gone', 'nft delete table inet guestwire', "host: nftables table inet guestwire is missing: it filters guests 'web1', 'fw1'"],
  ['all of nftables is gone', 'nft flush ruleset', "host: nftables table inet guestwire is missing: it filters guests 'web1', 'fw1'"],
  ['the filter of a NIC is gone', 'nft flush chain netdev guestwire nic_%i; nft delete chain netdev guestwire nic_%i', "chain 'nic_%i' is missing (nftables table netdev guestwire)"],
  ['the filter of a NIC is empty', 'nft flush chain netdev guestwire nic_%i', /web1.*: chain 'nic_%i' has lost all its rules/],
  ['a filter lets all by', 'nft insert rule netdev guestwire nic_%i accept', "rule 'accept' should not be in chain 'nic_%i'"],
  ['a rule of a filter is another, its comment the same', 'h=$(nft -a list chain netdev guestwire nic_%i | sed -n "s/.*iif @quarantined.*handle //p"); nft replace rule netdev guestwire nic_%i handle $h iif @quarantined counter accept comment quarantine', /rule 'iif @quarantined counter accept comment "quarantine"' should not be in chain 'nic_%i'/],
  ['a rule of a filter is gone', 'h=$(nft -a list chain netdev guestwire nic_%i | sed -n "s/.*iif @quarantined.*handle //p"); nft delete rule netdev guestwire nic_%i handle $h', /rule 'iif @quarantined counter drop comment "quarantine"' is missing/],
  ['a filter guards another link', 'nft list chain netdev guestwire nic_%i > $TMP/c; nft flush chain netdev guestwire nic_%i; nft delete chain netdev guestwire nic_%i; sed s/\\"vnet1\\"\\ priority/\\"uplink0\\"\\ priority/ $TMP/c | nft -f -', /line .*uplink0|rule .*uplink0.* should not be in chain 'nic_%i'/],
  ['a NIC is not counted', 'nft delete element netdev guestwire nics { %i }', "element '\"vnet1\"' is missing in set 'nics'"],
  ['a policy is gone', 'nft delete element inet guestwire in { %i }', /element '"vnet1" : goto in_%i' is missing in map 'in'/],
  ['a policy is that of another', 'o=$(cat /sys/class/net/vnet2/ifindex); nft delete element inet guestwire in { %i }; nft add element inet guestwire in { %i : goto in_$o }', /element '"vnet1" : goto in_%i' is missing in map 'in'/],
  ['a policy lets all by', 'nft insert rule inet guestwire in_%i accept', "rule 'accept' should not be in chain 'in_%i'"],
  ['an allowed port is another', 'h=$(nft -a list chain inet guestwire in_%i | sed -n "s/.*dport 443.*handle //p"); nft replace rule inet guestwire in_%i handle $h ip saddr 203.0.113.0/24 tcp dport 22 counter accept', /dport 443.* is missing in chain 'in_%i'/],
  ['a guest is cut off by hand', 'nft add element inet guestwire quarantined { %i }', "element '\"vnet1\"' should not be in set 'quarantined'"],
  ['sources are not checked', 'nft delete element inet guestwire routed { %i }', "element '\"vnet1\"' is missing in set 'routed'"],
  ['a stranger is in a set', 'nft add element inet guestwire guests { uplink0 }', "host: element '\"uplink0\"' should not be in set 'guests'"],
  ['a dead link is in a set', 'nft add element inet guestwire guests { 9999 }', "element '9999' should not be in set 'guests'"],
  ['a base chain is empty', 'nft flush chain inet guestwire between', "host: chain 'between' has lost all its rules (nftables table inet guestwire)"],
  ['a base rule is another', 'h=$(nft -a list chain inet guestwire from_guests | sed -n "s/.*fib saddr.*handle //p"); nft replace rule inet guestwire from_guests handle $h iif @routed counter accept comment sources', /fib saddr .* is missing in chain 'from_guests'/],
  ['a chain too many', 'nft add chain inet guestwire extra', "chain 'extra' should not be there (nftables table inet guestwire)"],
  ['a chain of a dead link', 'nft add chain inet guestwire in_9999', "chain 'in_9999' should not be there"],
  ['a set too many', 'nft add set inet guestwire extra { type iface_index\\; }', "set 'extra' should not be there"],
  ['a learnt set is gone', 'nft flush chain netdev guestwire ip6_%i; nft delete set netdev guestwire learnt_%i', "set 'learnt_%i' is missing"],
  ['the table of bridges without a port', 'nft add table bridge guestwire', "host: nftables table bridge guestwire should not be there: guestwire made it, but it belongs to no guest"],
  ['a veth pair of a guest that is gone', 'ip link add orphan0 type veth peer name orphan1; ip link set orphan0 alias guestwire:4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cee; ip link set orphan1 alias guestwire:4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cee', /host: veth pair with 'orphan[01]' on 'orphan[01]' should not be there/],
  ['a tap of a guest that is gone', 'ip tuntap add orphan2 mode tap; ip link set orphan2 alias guestwire:4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cee', "host: tap on 'orphan2' should not be there"],
];

/** They take along what others damage, or stand for it in one line. */
const ALONE = [
  'a link is down', 'a link was down', 'addresses are flushed', 'ipv6.conf disable_ipv6 is 1',
  'the table netdev is gone', 'the table inet is gone', 'all of nftables is gone',
];

/**
 * The tier `long` does one thing at a time. The other tiers do several at once, each to another object. Neighbours in
 * the list are about one object, so they are dealt to different groups.
 */
function groupsOf(corruptions: readonly Corruption[]): readonly (readonly Corruption[])[] {
  if (isLong) return corruptions.map((one) => [one]);
  const alone = corruptions.filter(([name]) => ALONE.includes(name));
  return [...deal(corruptions.filter((one) => !alone.includes(one)), 14), ...alone.map((one) => [one])];
}

describe('guestwire check', () => {
  let host: GuestHost;
  let index = '';
  beforeAll(async () => {
    if (!canRun('root', 'netns', 'nft')) return;
    host = await openGuestHost(CONFIG);
    host.netns.sh('ip link add uplink0 type veth peer name far0; ip link set uplink0 up; ip link set far0 up; for tap in vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done');
    host.start(WEB);
    host.start(FW);
    index = host.netns.sh('cat /sys/class/net/vnet1/ifindex').trim();
  });
  afterAll(() => { host.close(); });

  kernelTest('says nothing when all is as it should be', () => {
    expect(host.guestwire(['check'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(JSON.parse(host.guestwire(['check', 'web1', '--json']).stdout)).toEqual({ version: 1, differences: [] });
    expect(host.guestwire(['check', 'nobody'])).toMatchObject({ status: 2, stdout: '' });
    expect(host.guestwire(['check'], { libvirt: false })).toMatchObject({
      status: 0, stdout: '', stderr: expect.stringContaining('libvirt does not answer'),
    });
  });

  for (const family of ['inet', 'netdev']) kernelTest(`tells in one line that the table ${family} was flushed, and for whom`, async () => {
    host.netns.sh(`nft flush table ${family} guestwire`);
    const line = `host: nftables table ${family} guestwire has lost all its rules: it filters guests 'web1', 'fw1'\n`;
    expect(await host.command('check')).toEqual({ status: 1, stdout: line, stderr: '' });
    expect(await host.command('check', 'fw1')).toEqual({ status: 1, stdout: line, stderr: '' });
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0, stderr: '' });
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  kernelTest('tells in a line a table that the tables are gone, also where rules are known by their comments alone', async () => {
    host.netns.sh('nft flush ruleset');
    const lines = ['netdev', 'inet'].map((family) => `host: nftables table ${family} guestwire is missing`);
    const told = (await host.command('check')).stdout.split('\n').slice(0, -1);
    expect(told).toEqual(lines.map((line) => `${line}: it filters guests 'web1', 'fw1'`));
    writeFileSync(join(host.dir, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const coarse = await host.command('check');
    rmSync(join(host.dir, 'unshare'));
    expect(coarse.stderr).toContain('nftables rules are compared only by their comments');
    expect(coarse.stdout.split('\n').slice(0, -1).sort()).toEqual([...lines].sort());
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0, stderr: '' });
  });

  kernelTest('tells of a host that does not forward once a guest, with its NIC', async () => {
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=0');
    const { status, stdout } = await host.command('check', '--json');
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=1');
    const text: unknown = expect.stringMatching(/^this host does not forward IPv4: run 'sysctl -w net\.ipv4\.ip_forward=1'/);
    expect({ status, told: JSON.parse(stdout) as unknown }).toEqual({ status: 1, told: { version: 1, differences: [
      { guest: { name: 'web1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01' }, nic: 0, mac: '52:54:00:aa:bb:01', text },
      { guest: { name: 'fw1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c02' }, nic: 0, mac: '52:54:00:aa:bb:02', text },
    ] } });
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  const withIndex = (text: string): string => text.replaceAll('%i', index);
  for (const group of groupsOf(CORRUPTIONS)) kernelTest(`finds, and reconcile mends: ${group.map(([name]) => name).join('; ')}`, async () => {
    const script = group.map(([, one]) => withIndex(one)).join('\n');
    host.netns.sh(script, { TMP: host.dir, PATH: process.env['PATH'] ?? '' });
    const found = await host.command('check');
    expect(found).toMatchObject({ status: 1, stderr: '' });
    for (const [, , says] of group) {
      if (typeof says === 'string') expect(found.stdout).toContain(withIndex(says));
      else expect(found.stdout).toMatch(new RegExp(withIndex(says.source)));
    }
    // Else one could be found in the place of another.
    expect(new Set(group.map(([, , says]) => String(says))).size).toBe(group.length);
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0, stderr: '' });
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});
