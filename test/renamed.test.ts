/**
 * A link that somebody renames under a running guest, on a real kernel: the guest stays filtered or is cut off, and every
 * command finds the link.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from './capability.js';
import { type Netns, openNetns } from './netns.js';
import { ip, udp } from './packet.js';
import { joinGuest } from './peers.js';
import { guestMac, guestXml, hookIn, type RoutedHook } from './routedhost.js';

const NEEDED = ['root', 'netns', 'nft', 'python3'] as const;
const kernelTest = testWith(...NEEDED);
const able = canRun(...NEEDED);

const WEB = { name: 'web', tap: 'vnet1', addresses: ['192.0.2.11', '2001:db8:0:10::11'] };
const OTHER = { name: 'other', tap: 'vnet2', addresses: ['2001:db8:0:10::12'] };

const TAP_MAC = '02:00:00:00:00:01';

let dir: string;
let host: Netns;
let guest: Netns;
let world: Netns;
let hook: RoutedHook;

beforeEach(async () => {
  if (!able) return;
  dir = mkdtempSync(join(tmpdir(), 'guestwire-renamed-'));
  [host, guest, world] = [await openNetns(), await openNetns(), await openNetns()];
  for (const netns of [host, world]) netns.sh('for f in accept_dad dad_transmits; do echo 0 > /proc/sys/net/ipv6/conf/default/$f; done');
  world.sh(`ip link add eth0 type veth peer name up0 netns ${host.target}; ip link set eth0 up; ip addr add 2001:db8:ff::2/64 dev eth0 nodad; ip -6 route add default via 2001:db8:ff::1
    nft 'add table inet probe; add chain inet probe seen { type filter hook prerouting priority 0; }; add rule inet probe seen udp dport 6666 counter'`);
  host.sh('ip link set up0 up; ip addr add 2001:db8:ff::1/64 dev up0 nodad; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
  hook = hookIn(host, dir);
  joinGuest(host, guest, { tap: WEB.tap, mac: guestMac(WEB.tap), addresses: WEB.addresses });
  host.sh(`ip link set vnet1 address ${TAP_MAC}`);
}, 60_000);

afterEach(() => {
  if (!able) return;
  for (const netns of [host, guest, world]) netns.close();
  rmSync(dir, { recursive: true });
});

const DONE = { status: 0, stdout: '', stderr: '' };
const tables = (): string => host.sh('nft list tables');

function guestwire(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine') };
  return host.run(process.execPath, [resolve('dist/cli.js'), ...args], { env });
}

describe('linkNames', () => {
  kernelTest('knows links that are up and links that are down by their ifindex', () => {
    host.sh('ip link add up1 type bridge; ip link set up1 up; ip link add down1 type bridge');
    const program = `import { linkNames } from '${resolve('dist/renamed.js')}'; const names = linkNames(); console.log(process.argv.slice(1).map((index) => names.of(Number(index))).join())`;
    const [up, down] = ['up1', 'down1'].map((name) => host.sh(`cat /sys/class/net/${name}/ifindex`).trim());
    const { stdout, stderr } = host.run(process.execPath, ['--input-type=module', '-e', program, String(up), String(down), String(Number(down) + 1)]);
    expect({ stdout, stderr }).toEqual({ stdout: 'up1,down1,\n', stderr: '' });
  });
});

/** One answer is enough: after a quarantine neighbours are asked for again, once a second. */
const isMet = (): boolean => guest.run('ping', ['-6', '-c', '6', '-i', '0.5', '-W', '1', '-I', WEB.addresses[1] ?? '', '2001:db8:ff::2']).status === 0;

/** What the guest sends from a MAC that is not its own, and from an address that is not; returns how much of it has reached the world. */
function forged(): number {
  const own = { mac: guestMac(WEB.tap), to: TAP_MAC, src: WEB.addresses[1] ?? '', dst: '2001:db8:ff::2' };
  const frames = [{ ...own, mac: '02:00:00:00:00:66' }, { ...own, src: '2001:db8:bad::1' }].map((path) => ip(path, udp(path, [4000, 6666])).toString('hex'));
  guest.sh(`python3 -c 'import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))' ${frames.join(' ')}`);
  return Number(/packets (\d+)/.exec(world.sh('nft list chain inet probe seen'))?.[1]);
}

function rename(from: string, to: string): void {
  host.sh(`ip link set ${from} name ${to}`);
}

describe('a routed link with another name than libvirt gave it', () => {
  beforeEach(() => { if (able) expect(hook('start', guestXml(WEB))).toEqual(DONE); });

  kernelTest('lets no forged packet through, whether or not its ingress filter went with the name', () => {
    expect([isMet(), forged()]).toEqual([true, 0]);
    rename('vnet1', 'foo');
    expect(forged()).toBe(0);
    // The check can fail: nothing else stops them.
    host.sh('nft flush ruleset; sleep 0.2');
    expect(forged()).toBe(2);
  }, 60_000);

  kernelTest('meets whom it met when it has its name back', () => {
    rename('vnet1', 'foo');
    rename('foo', 'vnet1');
    expect([isMet(), forged()]).toEqual([true, 0]);
  }, 60_000);

  kernelTest('is right again after reconnect, under either name', () => {
    rename('vnet1', 'foo');
    expect(hook('reconnect', guestXml(WEB))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
    expect(host.sh('ip -6 route show proto 117')).toMatch(/^2001:db8:0:10::11 dev foo /);
    rename('foo', 'vnet1');
    expect(hook('reconnect', guestXml(WEB))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
  }, 60_000);

  for (const operations of [['stopped', 'release'], ['release']]) kernelTest(`leaves nothing behind after ${operations.join(' and ')}`, () => {
    const routes = (): string => host.sh('ip -6 route show proto 117; ip route show proto 117');
    expect(routes()).not.toBe('');
    rename('vnet1', 'foo');
    for (const operation of operations) expect(hook(operation, guestXml(WEB))).toEqual(DONE);
    expect([tables(), routes(), readdirSync(join(dir, 'state'))]).toEqual(['', '', []]);
  }, 60_000);

  kernelTest('goes into quarantine and comes out', () => {
    rename('vnet1', 'foo');
    expect(guestwire('quarantine', 'web')).toMatchObject({ status: 0, stderr: '' });
    expect([isMet(), world.run('ping', ['-6', '-c', '1', '-W', '1', WEB.addresses[1] ?? '']).status, forged()]).toEqual([false, 1, 0]);
    expect(guestwire('quarantine', 'web', '--lift')).toMatchObject({ status: 0, stderr: '' });
    expect([isMet(), forged()]).toEqual([true, 0]);
  }, 60_000);

  kernelTest('is filtered again after nft flush ruleset and the next start of any guest', () => {
    rename('vnet1', 'foo');
    host.sh('nft flush ruleset; ip link add vnet2 type veth peer name p2; ip link set vnet2 up');
    expect(hook('start', guestXml(OTHER))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
    expect(host.sh('nft list map inet guestwire host')).toContain('"foo" : goto host_');
  }, 60_000);
});
