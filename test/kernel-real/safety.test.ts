// @tier kernel
/**
 * What a hostile guest can send, on a real kernel: raw frames from the other end of its tap. Honest traffic passes, and
 * nothing whose source is not the guest's own reaches anybody.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { type Frames, openFrames } from '../attack/frames.js';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { guestXml, hookIn, type RoutedHook } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'python3', 'nft'] as const;
const kernelTest = testWith(...NEEDED);
const able = canRun(...NEEDED);

let host: Netns;
let world: Netns;
let frames: Frames;
let hook: RoutedHook;
let dir: string;

const A = {
  name: 'a', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8:0:10::a'],
  routes: ['198.51.100.0/24', '2001:db8:0:20::/64'], profile: 'open',
} as const;
const B = { name: 'b', tap: 'vnet2', addresses: ['192.0.2.11', '2001:db8:0:10::b'], profile: 'open' } as const;
const SIX = { name: 'six', tap: 'vnet3', addresses: ['2001:db8:0:10::c'], profile: 'open' } as const;
/** It asks for no profile. */
const APART = { name: 'apart', tap: 'vnet4', addresses: ['192.0.2.14', '2001:db8:0:10::e'] };

beforeAll(async () => {
  if (!able) return;
  [host, world, dir] = [await openNetns(), await openNetns(), mkdtempSync(join(tmpdir(), 'guestwire-safety-'))];
  host.sh(`
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip link add up0 type veth peer name eth0 netns ${world.target}
    ip link set up0 up
    ip address add 203.0.113.1/24 dev up0; ip address add 2001:db8:ffff::1/64 dev up0
    ip route add default via 203.0.113.2; ip route add default via 2001:db8:ffff::2`);
  world.sh(`
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
    ip link set eth0 up
    ip address add 203.0.113.2/24 dev eth0; ip address add 2001:db8:ffff::2/64 dev eth0
    ip route add default via 203.0.113.1; ip route add default via 2001:db8:ffff::1`);
  frames = openFrames(host);
  await frames.listen('world', { pid: world.target });
  await frames.listen('host');
  hook = hookIn(host, dir);
  for (const guest of [A, B, SIX]) {
    await frames.tap(guest.tap);
    expect(hook('start', guestXml(guest))).toEqual({ status: 0, stdout: '', stderr: '' });
  }
  host.sh('nft add table inet probe; nft add chain inet probe seen "{ type filter hook prerouting priority -299; }"; nft add rule inet probe seen iif vnet1 icmpv6 type mld2-listener-report ip6 saddr :: counter; nft add rule inet probe seen iif vnet1 icmpv6 type nd-neighbor-solicit ip6 saddr :: counter');
});

afterAll(() => {
  if (!able) return;
  frames.close();
  host.close();
  world.close();
  rmSync(dir, { recursive: true });
});

/** Where each address is heard when it is sent from the tap. */
async function reaches(tap: string, source: string, destination?: string): Promise<string[]> {
  const four = !source.includes(':');
  const targets = destination === undefined
    ? (four ? ['203.0.113.2', '203.0.113.1'] : ['2001:db8:ffff::2', '2001:db8:ffff::1'])
    : [destination];
  for (const [index, target] of targets.entries()) await frames.udp(tap, source, target, `${source} ${index}`);
  return frames.heardBy(['world', 'host'], async () => {
    // Sent last from an address that passes: what was sent before it has by then arrived or never will.
    await frames.udp('vnet1', '2001:db8:0:10::a', '2001:db8:ffff::2', 'end');
    await frames.udp('vnet1', '2001:db8:0:10::a', '2001:db8:ffff::1', 'end');
  });
}

/** How many packets of this type from :: passed the filters. */
function seen(type: string): number {
  return Number(new RegExp(`${type} .*counter packets (\\d+) `).exec(host.sh('nft list chain inet probe seen'))?.[1]);
}

describe('a guest with a routed link', () => {
  const own: readonly (readonly [string, string])[] = [
    ['vnet1', '192.0.2.10'], ['vnet1', '2001:db8:0:10::a'], ['vnet2', '192.0.2.11'],
    ['vnet2', '2001:db8:0:10::b'], ['vnet3', '2001:db8:0:10::c'],
    // What is behind it, by its next hop.
    ['vnet1', '198.51.100.77'], ['vnet1', '2001:db8:0:20::77'],
  ];
  for (const [tap, source] of own) {
    kernelTest(`reaches the world and the host from its own ${source}`, async () => {
      expect(await reaches(tap, source)).toEqual([`host: ${source} 1`, `world: ${source} 0`]);
    });
  }

  kernelTest('reaches the world and not the host when nothing is said of whom it may meet', async () => {
    await frames.tap(APART.tap);
    expect(hook('start', guestXml(APART))).toEqual({ status: 0, stdout: '', stderr: '' });
    for (const source of APART.addresses) expect(await reaches(APART.tap, source)).toEqual([`world: ${source} 0`]);
    expect(hook('release', guestXml(APART))).toEqual({ status: 0, stdout: '', stderr: '' });
    await frames.drop(APART.tap);
  });

  const forged: Readonly<Record<string, readonly (readonly [tap: string, source: string])[]>> = {
    "another guest's": [
      ['vnet1', '192.0.2.11'], ['vnet1', '2001:db8:0:10::b'], ['vnet2', '192.0.2.10'], ['vnet2', '198.51.100.77'],
      ['vnet2', '2001:db8:0:20::77'], ['vnet3', '192.0.2.10'],
    ],
    "the host's": [
      ['vnet1', '203.0.113.1'], ['vnet1', '2001:db8:ffff::1'], ['vnet1', '169.254.0.1'], ['vnet1', 'fe80::1'],
      ['vnet3', '203.0.113.1'], ['vnet1', '127.0.0.1'], ['vnet1', '::1'],
    ],
    "the world's": [
      ['vnet1', '203.0.113.2'], ['vnet1', '2001:db8:ffff::2'], ['vnet1', '198.18.0.1'], ['vnet1', '2001:db8:77::1'],
      ['vnet3', '198.18.0.1'], ['vnet1', '224.0.0.9'], ['vnet1', 'ff02::9'],
    ],
  };
  for (const [whose, sources] of Object.entries(forged)) {
    for (const loose of ['0', '1', '2']) {
      kernelTest(`reaches nobody from an address that is ${whose}, with rp_filter ${loose} for all links`, async () => {
        host.sh(`sysctl -qw net.ipv4.conf.all.rp_filter=${loose}`);
        for (const [tap, source] of sources)
          expect({ source, reached: await reaches(tap, source) }).toEqual({ source, reached: [] });
      });
    }
  }

  kernelTest('speaks from its link-local address to the host, and from no link-local address to the world', async () => {
    expect(await reaches('vnet1', 'fe80::99', 'fe80::1')).toEqual(['host: fe80::99 0']);
    expect(await reaches('vnet1', 'fe80::99', '2001:db8:ffff::2')).toEqual([]);
  });

  kernelTest('looks for duplicates of what is its own, and gets its solicitations and its ARP requests answered', async () => {
    await frames.read('vnet1');
    for (const target of ['fe80::99', '2001:db8:0:10::a', '2001:db8:0:10::b', 'fe80::1'])
      await frames.solicit('vnet1', '::', target);
    await frames.solicit('vnet1', 'fe80::99', 'fe80::1');
    // The gateway is not the guest's to claim, so that it is not asked whether it is a duplicate.
    expect(await frames.readSome('vnet1', 'na')).toEqual(['na fe80::1']);
    expect(seen('nd-neighbor-solicit')).toBe(2);
    await frames.solicit('vnet1', '2001:db8:0:10::a', 'fe80::1');
    expect(await frames.readSome('vnet1', 'na')).toEqual(['na fe80::1']);
    await frames.ask('vnet1', '192.0.2.10', '169.254.0.1');
    expect(await frames.readSome('vnet1', 'arp')).toEqual(['arp 169.254.0.1']);
  });

  kernelTest('gets no answer for an address of another', async () => {
    host.sh('sysctl -qw net.ipv4.conf.all.rp_filter=0');
    await frames.ask('vnet1', '192.0.2.11', '169.254.0.1');
    await frames.solicit('vnet1', '2001:db8:0:10::b', 'fe80::1');
    await frames.solicit('vnet1', 'fe80::99', 'fe80::1');
    expect((await frames.readSome('vnet1', 'na')).filter((what) => /^(na|arp)/.test(what))).toEqual(['na fe80::1']);
  });

  kernelTest('is heard by a DHCP server from 0.0.0.0 and by multicast routers from ::', async () => {
    await frames.listen('dhcp', { dev: 'vnet1', port: 67 });
    await frames.udp('vnet1', '0.0.0.0', '255.255.255.255', 'discover', 67);
    await frames.report('vnet1', '::', 'ff02::1:ff00:99');
    expect(await frames.heardBy(['dhcp'], async () => {
      await frames.udp('vnet1', '0.0.0.0', '255.255.255.255', 'end', 67);
    })).toEqual(['dhcp: discover']);
    expect(seen('mld2-listener-report')).toBe(1);
  });

  kernelTest('is sent no redirects, though the host may send some on all links', async () => {
    host.sh('sysctl -qw net.ipv4.conf.all.send_redirects=1');
    await frames.read('vnet1');
    await frames.udp('vnet1', '192.0.2.10', '198.51.100.9', 'there and back');
    await frames.udp('vnet1', '2001:db8:0:10::a', '2001:db8:0:20::9', 'there and back');
    await frames.solicit('vnet1', 'fe80::99', 'fe80::1');
    expect((await frames.readSome('vnet1', 'na')).filter((what) => what.startsWith('redirect'))).toEqual([]);
    expect(host.sh('nft list chain inet guestwire to_guests')).toContain('type redirect counter packets');
  });

  kernelTest('would reach others from any address without the filters, for all that a loose rp_filter does, and one of them is enough', async () => {
    host.sh('sysctl -qw net.ipv4.conf.all.rp_filter=2');
    const ingress = `netdev guestwire nic_${host.sh('cat /sys/class/net/vnet1/ifindex').trim()}`;
    const sources = ['198.18.0.1', '192.0.2.11', '2001:db8:77::1', '2001:db8:0:10::b'];
    for (const [flushed, passes] of [
      [[ingress], false], [['inet guestwire from_guests'], false], [[ingress, 'inet guestwire from_guests'], true],
    ] as const) {
      // What has not met the ingress chain at all would be dropped for that.
      host.sh(flushed.map((chain) => `nft flush chain ${chain}${chain === ingress ? `; nft 'add rule ${chain} meta mark set meta mark | 0x40000000'` : ''}`).join('; '));
      for (const source of sources) expect({ flushed, heard: await reaches('vnet1', source) }).toEqual({
        flushed, heard: passes ? [`host: ${source} 1`, `world: ${source} 0`] : [],
      });
      expect(hook('reconnect', guestXml(A))).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(await reaches('vnet1', '198.18.0.1')).toEqual([]);
    }
  });

  kernelTest('has these sysctls on its link', () => {
    const of = (link: string, family: string): string => host.sh(`cd /proc/sys/net/${family}/conf/${link}; for name in accept_ra accept_redirects send_redirects rp_filter forwarding; do [ ! -e $name ] || echo $name=$(cat $name); done`);
    expect(of('vnet1', 'ipv6')).toBe('accept_ra=0\naccept_redirects=0\nforwarding=1\n');
    expect(of('vnet1', 'ipv4')).toBe('accept_redirects=0\nsend_redirects=0\nrp_filter=1\nforwarding=1\n');
  });
});

/** Both tables without counts. Which guest's chains come first tells nothing. */
function whole(): string {
  const tables = host.sh("nft list table inet guestwire || true; nft list table netdev guestwire || true").replace(/packets \d+ bytes \d+/g, 'packets');
  // nft lists the chains of a map before the sets that were added after them, with no blank line between.
  return tables.replace(/^(?:table .*|})\n/gm, '').split(/\n+(?=\t(?:set|map|chain) )/)
    .map((block) => block.trim())
    .sort()
    .join('\n\n');
}

describe('the filter of routed links', () => {
  kernelTest('is the same for another guest of the name of a dead tap, and gone with the last', async () => {
    const elements = (): string => host.sh('nft list set inet guestwire routed');
    await frames.drop('vnet2');
    await frames.tap('vnet2');
    expect(elements()).not.toContain('"vnet2"');
    expect(await reaches('vnet1', '2001:db8:0:10::b')).toEqual([]);
    for (const guest of [B, SIX])
      expect(hook('release', guestXml(guest))).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(elements().match(/elements = .*/)?.[0]).toBe('elements = { "vnet1" }');
    expect(hook('release', guestXml(A))).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(host.sh('nft list tables')).toBe('table inet probe\n');
  });

  kernelTest('comes back for all guests when `nft flush ruleset` took it', () => {
    for (const guest of [A, B]) expect(hook('start', guestXml(guest)).stderr).toBe('');
    const both = whole();
    expect(hook('release', guestXml(B)).stderr).toBe('');
    host.sh('nft flush ruleset');
    expect(hook('start', guestXml(B)).stderr).toBe('');
    expect(whole()).toBe(both);
    host.sh('nft flush ruleset');
    expect(hook('reconnect', guestXml(A)).stderr).toBe('');
    expect(whole()).toBe(both);
    host.sh('nft flush chain inet guestwire from_guests');
    expect(hook('reconnect', guestXml(A)).stderr).toBe('');
    expect(whole()).toBe(both);
    host.sh('nft flush chain inet guestwire from_guests');
    for (const guest of [A, B]) expect(hook('release', guestXml(guest)).stderr).toBe('');
    expect(host.sh('nft list ruleset')).toBe('');
  });

  kernelTest('stays as it is when it is whole, and is made anew when anything of it is not', () => {
    const handles = (): string => host.sh('(nft -a list table inet guestwire; nft -a list table netdev guestwire) | grep -o "handle.*"');
    for (const guest of [A, B]) expect(hook('start', guestXml(guest)).stderr).toBe('');
    const [both, made] = [whole(), handles()];
    expect(hook('reconnect', guestXml(A)).stderr).toBe('');
    expect(handles()).toBe(made);
    // A chain that somebody adds is theirs, and no reason to make the table anew.
    host.sh('nft add chain inet guestwire more');
    expect(hook('reconnect', guestXml(A)).stderr).toBe('');
    host.sh('nft delete chain inet guestwire more');
    expect([whole(), handles()]).toEqual([both, made]);
    const rule = 'iif @routed fib saddr . iif oif 0 counter drop';
    for (const harm of [
      'add rule inet guestwire from_guests counter accept',
      'insert rule inet guestwire from_guests counter accept',
      `flush chain inet guestwire from_guests; add rule inet guestwire from_guests ${rule}`,
      'flush chain inet guestwire to_guests; delete chain inet guestwire to_guests',
      'add set inet guestwire more { type iface_index; }',
      'chain inet guestwire from_guests { policy drop; }',
      `flush chain inet guestwire from_guests; delete chain inet guestwire from_guests; add chain inet guestwire from_guests { type filter hook prerouting priority 0; }; add rule inet guestwire from_guests ${rule} comment "guestwire: sources"`,
      'delete table netdev guestwire',
      'delete element netdev guestwire nics { "vnet1" }',
      'delete element inet guestwire guests { "vnet1" }',
      'delete element inet guestwire routed { "vnet1" }',
      'delete table inet guestwire; add table inet guestwire; add set inet guestwire routed { type ether_addr; }',
    ]) {
      host.sh(`nft '${harm}'`);
      expect(whole()).not.toBe(both);
      expect(hook('reconnect', guestXml(A)).stderr).toBe('');
      expect(whole()).toBe(both);
    }
    // A start does not list the table, and finds out when it cannot add to the set.
    expect(hook('release', guestXml(B)).stderr).toBe('');
    host.sh("nft 'delete table inet guestwire; add table inet guestwire'");
    expect(hook('start', guestXml(B)).stderr).toBe('');
    expect(whole()).toBe(both);
    for (const guest of [A, B]) expect(hook('release', guestXml(guest)).stderr).toBe('');
    expect(host.sh('nft list ruleset')).toBe('');
  });
});
