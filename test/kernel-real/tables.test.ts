// @tier kernel
/**
 * Guests with route tables of their own, on a real kernel: what they send meets their table and no other, what is sent
 * to them finds them, and rules and last resorts go with the last of them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { type Frames, openFrames } from '../attack/frames.js';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { guestMac, guestXml, hookIn, type RoutedHook } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'python3', 'nft'] as const;
const onKernel = testWith(...NEEDED);
/** Each look at who heard what is three programs, on a machine that may be busy. */
const kernelTest = (name: string, run: () => void | Promise<void>): void => { onKernel(name, run, 60_000); };
const able = canRun(...NEEDED);
const DONE = { status: 0, stdout: '', stderr: '' };

let host: Netns;
/** Behind the default route of table main, and of table 100. */
let world: Netns;
let other: Netns;
let frames: Frames;
let hook: RoutedHook;
let dir: string;
let before: string;

const OWN = {
  name: 'own', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8:0:10::a'], routes: ['2001:db8:0:20::/64'],
  more: " table='100'", profile: 'open',
} as const;
const ALSO = {
  name: 'also', tap: 'vnet2', addresses: ['192.0.2.11', '2001:db8:0:10::b'], more: " table='100'", profile: 'open',
} as const;
const MAIN = { name: 'main', tap: 'vnet3', addresses: ['192.0.2.12', '2001:db8:0:10::c'], profile: 'open' } as const;
const SOURCES = ['192.0.2.10', '2001:db8:0:10::a', '2001:db8:0:20::77'];

/** Another address of the world than the ones on its link, so that only a default route leads there. */
const UPLINK = (netns: Netns, net: number): string => `
  ip link add up${net} type veth peer name eth0 netns ${netns.target}; ip link set up${net} up
  ip address add 203.0.${net}.1/24 dev up${net}; ip address add 2001:db8:ff:${net}::1/64 dev up${net}`;
const FAR = (net: number): string => `
  echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up
  ip address add 203.0.${net}.2/24 dev eth0; ip address add 2001:db8:ff:${net}::2/64 dev eth0
  ip address add 198.18.0.1/32 dev lo; ip address add 2001:db8:77::1/128 dev lo
  ip route add default via 203.0.${net}.1; ip route add default via 2001:db8:ff:${net}::1`;

beforeAll(async () => {
  if (!able) return;
  [host, world, other, dir] = [
    await openNetns(), await openNetns(), await openNetns(), mkdtempSync(join(tmpdir(), 'guestwire-tables-')),
  ];
  host.sh(`
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    ${UPLINK(world, 1)}; ${UPLINK(other, 2)}
    ip route add default via 203.0.1.2; ip route add default via 2001:db8:ff:1::2`);
  world.sh(FAR(1));
  other.sh(FAR(2));
  frames = openFrames(host);
  await frames.listen('world', { pid: world.target });
  await frames.listen('other', { pid: other.target });
  await frames.listen('host');
  for (const tap of ['vnet1', 'vnet2', 'vnet3']) await frames.tap(tap);
  hook = hookIn(host, dir, '[routed]\ntables = [100]\n');
});

beforeEach(() => { if (able) before = state(); });

afterAll(() => {
  if (!able) return;
  frames.close();
  for (const netns of [host, world, other]) netns.close();
  rmSync(dir, { recursive: true });
});

function state(): string {
  return host.sh('ip rule; ip -6 rule; ip route show table all proto 117; ip -6 route show table all proto 117; ip -br address; nft list ruleset');
}

/** Who hears what the guests send to the far address; `from` are [tap, source]. */
async function reached(from: readonly (readonly [tap: string, source: string])[], far = true): Promise<string[]> {
  for (const [tap, source] of from) {
    const four = !source.includes(':');
    await frames.udp(
      tap, source, far ? (four ? '198.18.0.1' : '2001:db8:77::1') : (four ? '203.0.1.1' : '2001:db8:ff:1::1'),
      `${tap} ${source}`,
    );
  }
  return frames.heardBy(['world', 'other', 'host'], () => {
    for (const netns of [world, other, host]) {
      netns.sh("echo -n end >/dev/udp/127.0.0.1/4000".replace(/^/, 'exec bash -c "').concat('"'));
    }
    return Promise.resolve();
  });
}

describe('a guest with a table of its own', () => {
  kernelTest('has the rules, routes and last resorts that the documentation shows, and leaves none', () => {
    expect(hook('start', guestXml(OWN))).toEqual(DONE);
    expect(host.sh('ip rule')).toBe('0:\tfrom all lookup local\n11700:\tfrom all iif vnet1 lookup 100 proto 117\n11701:\tfrom all to 192.0.2.10 lookup 100 proto 117\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n');
    expect(host.sh('ip -6 rule')).toBe('0:\tfrom all lookup local\n11700:\tfrom all iif vnet1 lookup 100 proto 117\n11701:\tfrom all to 2001:db8:0:10::a lookup 100 proto 117\n11765:\tfrom all to 2001:db8:0:20::/64 lookup 100 proto 117\n32766:\tfrom all lookup main\n');
    expect(host.sh('ip route show table 100; ip -6 route show table 100').replace(/ $/gm, '')).toBe([
      'unreachable default proto 117 metric 4294967295', '192.0.2.10 dev vnet1 proto 117 scope link',
      '2001:db8:0:10::a dev vnet1 proto 117 metric 1024 pref medium', '2001:db8:0:20::/64 via 2001:db8:0:10::a dev vnet1 proto 117 metric 1024 pref medium',
      'unreachable default dev lo proto 117 metric 4294967295 pref medium', ''].join('\n'));
    const wired = state();
    expect(hook('reconnect', guestXml(OWN))).toEqual(DONE);
    expect(state()).toBe(wired);
    for (const operation of ['stopped', 'release']) expect(hook(operation, guestXml(OWN))).toEqual(DONE);
    expect(state()).toBe(before);
  });

  kernelTest('reaches the host, and nobody by table main', async () => {
    for (const guest of [OWN, MAIN]) expect(hook('start', guestXml(guest))).toEqual(DONE);
    expect(await reached([
      ...SOURCES.map((source) => ['vnet1', source] as const), ['vnet3', '192.0.2.12'], ['vnet3', '2001:db8:0:10::c'],
    ]))
      .toEqual(['world: vnet3 192.0.2.12', 'world: vnet3 2001:db8:0:10::c']);
    expect(await reached(SOURCES.map((source) => ['vnet1', source] as const), false)).toEqual(SOURCES
      .map((source) => `host: vnet1 ${source}`)
      .sort());
  });

  kernelTest('reaches the world by the default route that the admin gives its table, and the world reaches it', async () => {
    host.sh('ip route add default via 203.0.2.2 table 100; ip -6 route add default via 2001:db8:ff:2::2 table 100');
    expect(await reached(SOURCES.map((source) => ['vnet1', source] as const))).toEqual(SOURCES
      .map((source) => `other: vnet1 ${source}`)
      .sort());
    host.sh(`ip neigh replace 192.0.2.10 lladdr ${guestMac('vnet1')} dev vnet1; ip -6 neigh replace 2001:db8:0:10::a lladdr ${guestMac('vnet1')} dev vnet1`);
    await frames.read('vnet1');
    for (const [name, netns] of [['world', world], ['other', other], ['host', host]] as const) {
      for (const address of ['192.0.2.10', '2001:db8:0:10::a']) netns.sh(`bash -c 'echo -n ${name} ${address} >/dev/udp/${address}/4000'`);
    }
    const heard: string[] = [];
    for (const until = Date.now() + 20_000; heard.length < 6 && Date.now() < until;) {
      heard.push(...(await frames.read('vnet1')).filter((text) => / (192|2001)/.test(text)));
    }
    expect(heard.sort()).toEqual(['host', 'other', 'world'].flatMap((name) =>
      [`${name} 192.0.2.10`, `${name} 2001:db8:0:10::a`]));
  });

  kernelTest('sends from no address but its own, with every rp_filter', async () => {
    for (const loose of [0, 1, 2]) {
      host.sh(`sysctl -qw net.ipv4.conf.all.rp_filter=${loose}`);
      const forged = [
        '192.0.2.12', '2001:db8:0:10::c', '203.0.1.1', '2001:db8:ff:1::1', '198.18.0.9', '2001:db8:78::9', '203.0.2.2',
        '2001:db8:ff:2::2',
      ];
      expect(await reached(forged.map((source) => ['vnet1', source] as const))).toEqual([]);
      expect(await reached([['vnet3', '192.0.2.10'], ['vnet3', '2001:db8:0:10::a']])).toEqual([]);
      expect(await reached(SOURCES.map((source) => ['vnet1', source] as const))).toHaveLength(3);
    }
    host.sh('sysctl -qw net.ipv4.conf.all.rp_filter=0');
  });

  kernelTest('shares the last resort, which goes with the last guest and not before', async () => {
    expect(hook('start', guestXml(ALSO))).toEqual(DONE);
    host.sh('ip route del default table 100; ip -6 route del default table 100 metric 1024');
    expect(hook('release', guestXml(OWN))).toEqual(DONE);
    expect(host.sh('ip route show table 100 type unreachable; ip -6 route show table 100 type unreachable').split('\n')).toHaveLength(3);
    expect(await reached([['vnet2', '192.0.2.11'], ['vnet2', '2001:db8:0:10::b']])).toEqual([]);
    for (const guest of [ALSO, MAIN]) expect(hook('release', guestXml(guest))).toEqual(DONE);
    expect(host.sh('ip route show table all proto 117; ip -6 route show table all proto 117; ip rule; ip -6 rule')).not.toContain('117');
  });

  kernelTest('leaves nothing of a tap that died, and nothing of it meets the next of its name', async () => {
    expect(hook('start', guestXml(ALSO))).toEqual(DONE);
    await frames.drop('vnet2');
    await frames.tap('vnet2', '52:54:00:aa:bb:09');
    expect(host.sh('ip rule')).toContain('iif vnet2 lookup 100');
    const next = { ...MAIN, name: 'next', tap: 'vnet2', addresses: ['192.0.2.13', '2001:db8:0:10::d'] };
    const xml = guestXml(next).replace('2c02<', '2c09<').replaceAll('aa:bb:02', 'aa:bb:09');
    expect(hook('start', xml)).toEqual(DONE);
    expect(host.sh('ip rule; ip -6 rule')).not.toContain('117');
    expect(await reached([['vnet2', '192.0.2.13'], ['vnet2', '2001:db8:0:10::d']])).toEqual([
      'world: vnet2 192.0.2.13', 'world: vnet2 2001:db8:0:10::d',
    ]);
    const wired = state();
    for (const operation of ['stopped', 'release']) expect(hook(operation, guestXml(ALSO))).toEqual(DONE);
    expect(state()).toBe(wired);
    expect(hook('release', xml)).toEqual(DONE);
  });

  kernelTest('is refused when its metadata names a table that a rule of the host uses', () => {
    const xml = guestXml(OWN);
    const wired = state();
    for (const [add, end] of [
      ['ip rule add from 203.0.113.9 lookup 100 priority 400', 'ip rule del priority 400'],
      ['ip -6 rule add fwmark 0xca6c lookup 100 priority 400', 'ip -6 rule del priority 400'],
    ] as const) {
      host.sh(add);
      const asking = hookIn(host, dir, '[routed]\ntables = [100]\n');
      const { status, stderr } = asking('start', xml);
      expect([status, stderr]).toEqual([1, `guestwire: guest 'own' NIC 0 (${guestMac('vnet1')}): route table '100' is in use by a routing rule of this host (priority 400), and guestwire would end its traffic there: name another table, or give the guest this one in [guest] of the host config\n`]);
      // The administrator's own words need no leave.
      const given = hookIn(host, dir, '[routed]\ntable = 100\n');
      for (const operation of ['start', 'release']) expect(given(operation, xml)).toEqual(DONE);
      host.sh(end);
      expect(state()).toBe(wired);
    }
    hook = hookIn(host, dir, '[routed]\ntables = [100]\n');
    for (const operation of ['start', 'release']) expect(hook(operation, xml)).toEqual(DONE);
  });

  kernelTest('gets them from the host config as well, and a rule of somebody else stays', () => {
    const configured = hookIn(host, dir, '[routed]\ntable = 100\n');
    host.sh('ip rule add iif vnet3 lookup 7 priority 500; ip route add unreachable 203.0.113.0/24 table 100');
    expect(configured('start', guestXml(MAIN))).toEqual(DONE);
    expect(host.sh('ip rule')).toContain('11700:\tfrom all iif vnet3 lookup 100 proto 117');
    expect(configured('release', guestXml(MAIN))).toEqual(DONE);
    expect(host.sh('ip rule; ip route show table 100')).toMatch(/500:\tfrom all iif vnet3 lookup 7\n[^]*unreachable 203\.0\.113\.0\/24/);
    expect(host.sh('ip rule; ip -6 rule')).not.toContain('117');
  });
});
