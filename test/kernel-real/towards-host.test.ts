// @tier kernel
/**
 * The host's side of routed links on a real kernel: link-local destinations beyond the host, the source address of the
 * host towards guests, and gateways that the host itself uses.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { joinGuest } from '../places/peers.js';
import { guestMac, guestXml, hookIn, type RoutedHook } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const kernelTest = testWith(...NEEDED);

const WEB = { name: 'web', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8:0:10::a'] };
const DONE = { status: 0, stdout: '', stderr: '' };
const METADATA = '169.254.169.254';

let dir: string;
let host: Netns;
let guest: Netns;
let world: Netns;
let hook: RoutedHook;

beforeEach(async () => {
  if (!canRun(...NEEDED)) return;
  dir = mkdtempSync(join(tmpdir(), 'guestwire-towards-'));
  [host, guest, world] = [await openNetns(), await openNetns(), await openNetns()];
  for (const netns of [host, world]) netns.sh('for f in accept_dad dad_transmits; do echo 0 > /proc/sys/net/ipv6/conf/default/$f; done');
  world.sh(`ip link add eth0 type veth peer name up0 netns ${host.target}; ip link set eth0 up
    ip address add 203.0.113.1/24 dev eth0; ip address add 2001:db8:ff::2/64 dev eth0 nodad; ip address add ${METADATA}/32 dev lo
    ip route add default via 203.0.113.10; ip -6 route add default via 2001:db8:ff::1`);
  host.sh(`ip link set up0 up; ip address add 203.0.113.10/24 dev up0; ip address add 2001:db8:ff::1/64 dev up0 nodad
    ip route add default via 203.0.113.1; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`);
  joinGuest(host, guest, { tap: WEB.tap, mac: guestMac(WEB.tap), addresses: WEB.addresses });
  hook = hookIn(host, dir);
});

afterEach(() => {
  if (!canRun(...NEEDED)) return;
  for (const netns of [host, guest, world]) netns.close();
  rmSync(dir, { recursive: true });
});

function configure(toml: string): void {
  writeFileSync(join(dir, 'config.toml'), toml, { mode: 0o600 });
}

function pings(from: Netns, to: string, ...more: string[]): boolean {
  return from.run('ping', ['-c', '1', '-W', '1', ...more, to]).status === 0;
}

function explains(to: string): string {
  const env = {
    GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml'),
    GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
  };
  const args = ['explain', 'web', '--from', '192.0.2.10', '--to', to, '--proto', 'icmp'];
  return host.run(process.execPath, [resolve('dist/cli.js'), ...args], { env }).stdout;
}

describe('link-local destinations beyond the host', () => {
  kernelTest('are closed in every profile, and no permission opens them', () => {
    for (const words of ['', "<gw:policy profile='open'/>", `<gw:allow direction='out' to='${METADATA}'/>`]) {
      const xml = guestXml({ ...WEB, words });
      expect(hook('start', xml)).toEqual(DONE);
      expect([words, pings(guest, METADATA), explains(METADATA).split(':')[0]]).toEqual([words, false, 'dropped']);
      expect(pings(guest, '169.254.0.1')).toBe(true);
      hook('stopped', xml);
      hook('release', xml);
    }
  });

  kernelTest('do not get answers, either; the rest of the world does', () => {
    expect(hook('start', guestXml(WEB))).toEqual(DONE);
    expect([pings(world, '192.0.2.10', '-I', METADATA), pings(world, '192.0.2.10'), pings(guest, '203.0.113.1')])
      .toEqual([false, true, true]);
  });

  kernelTest('the host config opens one of them', () => {
    configure(`[routed]\nlink_local = ["${METADATA}"]\n`);
    world.sh('ip address add 169.254.169.253/32 dev lo');
    expect(hook('start', guestXml(WEB))).toEqual(DONE);
    expect([pings(guest, METADATA), explains(METADATA).split(':')[0]]).toEqual([true, 'passes']);
    expect([pings(guest, '169.254.169.253'), explains('169.254.169.253').split(':')[0]]).toEqual([false, 'dropped']);
  });
});

describe('the source of the host towards guests', () => {
  const sourceTo = (address: string): string | undefined =>
    / src (\S+)/.exec(host.sh(`ip route get ${address}`))?.[1];

  kernelTest('is the gateway, or what the config names', () => {
    host.sh('ip address add 198.51.100.1/32 dev lo; ip address add 2001:db8:fe::1/128 dev lo');
    const xml = guestXml({ ...WEB, routes: ['192.0.2.64/28', '2001:db8:0:20::/64'] });
    expect(hook('start', xml)).toEqual(DONE);
    expect(sourceTo('192.0.2.10')).toBe('169.254.0.1');
    configure('[routed]\nsource = ["198.51.100.1", "2001:db8:fe::1"]\n');
    expect(hook('reconnect', xml)).toEqual(DONE);
    const targets = ['192.0.2.10', '192.0.2.65', '2001:db8:0:10::a', '2001:db8:0:20::7'];
    expect(targets.map(sourceTo)).toEqual(['198.51.100.1', '198.51.100.1', '2001:db8:fe::1', '2001:db8:fe::1']);
    expect([pings(host, '192.0.2.10'), pings(host, '2001:db8:0:10::a')]).toEqual([true, true]);
    const routes = host.sh('ip route show table all proto 117');
    expect(hook('reconnect', xml)).toEqual(DONE);
    expect(host.sh('ip route show table all proto 117')).toBe(routes);
    hook('stopped', xml);
    hook('release', xml);
    expect(host.sh('ip route show table all proto 117; ip -6 route show table all proto 117')).toBe('');
  });

  kernelTest('works in a table of its own, too', () => {
    configure('[routed]\ntable = 100\nsource = ["203.0.113.10", "2001:db8:ff::1"]\n');
    expect(hook('start', guestXml(WEB))).toEqual(DONE);
    expect(WEB.addresses.map(sourceTo)).toEqual(['203.0.113.10', '2001:db8:ff::1']);
  });

  kernelTest('must be an address of the host', () => {
    configure('[routed]\nsource = "198.51.100.1"\n');
    expect(hook('start', guestXml(WEB))).toEqual({
      status: 1, stdout: '',
      stderr: "guestwire: guest 'web' NIC 0 (52:54:00:aa:bb:01): '198.51.100.1', the 'source' of [routed] in the host config, is not an address of this host: add it to a link, or correct 'source'\n",
    });
    expect(host.sh('ip route show table all proto 117')).toBe('');
  });
});

describe('gateways that the host itself uses', () => {
  const CURE = "list another address in 'gateways' of [routed]";
  const refusalOf = (gateways: string): string => {
    configure(`[routed]\ngateways = [${gateways}, "fe80::1"]\n`);
    const { stderr } = hook('prepare', guestXml(WEB));
    return stderr.replace("guestwire: guest 'web' NIC 0 (52:54:00:aa:bb:01): ", '').trim();
  };

  kernelTest('are refused at prepare: a next hop, an address of the host', () => {
    const fault = (gateway: string): string => `gateway '${gateway}' of the host config is`;
    expect(refusalOf('"203.0.113.1"'))
      .toBe(`${fault('203.0.113.1')} the next hop of this host's route '0.0.0.0/0' on 'up0': ${CURE}`);
    expect(refusalOf('"203.0.113.10"')).toBe(`${fault('203.0.113.10')} an address of this host on 'up0': ${CURE}`);
    expect(refusalOf('"169.254.0.1", "2001:db8:ff::1"'))
      .toBe(`${fault('2001:db8:ff::1')} an address of this host on 'up0': ${CURE}`);
    host.sh('ip route replace default via 169.254.0.1 dev up0 onlink');
    expect(refusalOf('"169.254.0.1"'))
      .toBe(`${fault('169.254.0.1')} the next hop of this host's route '0.0.0.0/0' on 'up0': ${CURE}`);
  });

  kernelTest('are refused at prepare: the far end of a link of the host, a broadcast and an anycast address', () => {
    const fault = (gateway: string): string => `gateway '${gateway}' of the host config is the destination of this host's route`;
    host.sh('ip address add 198.51.100.1 peer 198.51.100.2 dev up0');
    expect(refusalOf('"198.51.100.2"')).toBe(`${fault('198.51.100.2')} '198.51.100.2' on 'up0': ${CURE}`);
    expect(refusalOf('"203.0.113.255"')).toBe(`${fault('203.0.113.255')} 'broadcast 203.0.113.255' on 'up0': ${CURE}`);
    expect(refusalOf('"169.254.0.1", "2001:db8:ff::"'))
      .toBe(`${fault('2001:db8:ff::')} 'anycast 2001:db8:ff::' on 'up0': ${CURE}`);
    host.sh('ip address del 198.51.100.1 peer 198.51.100.2 dev up0');
  });

  kernelTest('are those on links of guests without a record, too', () => {
    configure('[routed]\ngateways = ["203.0.113.77", "fd00::1"]\n');
    for (const operation of ['prepare', 'start']) expect(hook(operation, guestXml(WEB))).toEqual(DONE);
    rmSync(join(dir, 'state'), { recursive: true });
    host.sh('ip tuntap add vnet2 mode tap; ip link set vnet2 up');
    const other = guestXml({ name: 'db', tap: 'vnet2', addresses: ['192.0.2.11', '2001:db8:0:10::b'] });
    for (const operation of ['prepare', 'start', 'release']) expect(hook(operation, other)).toEqual(DONE);
  });

  kernelTest('are not those that only guests have, and not a next hop fe80::1', () => {
    host.sh('ip -6 route add default via fe80::1 dev up0');
    expect(refusalOf('"203.0.113.77"')).toBe('');
    for (const one of [WEB, { name: 'db', tap: 'vnet2', addresses: ['192.0.2.11', '2001:db8:0:10::b'] }]) {
      if (one !== WEB) host.sh('ip tuntap add vnet2 mode tap; ip link set vnet2 up');
      expect(hook('prepare', guestXml(one))).toEqual(DONE);
      expect(hook('start', guestXml(one))).toEqual(DONE);
    }
    expect(hook('reconnect', guestXml(WEB))).toEqual(DONE);
  });
});
