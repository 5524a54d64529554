// @tier kernel
/**
 * A link that somebody renames under a running guest, on a real kernel: the guest stays filtered or is cut off, and
 * every command finds the link.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { ip, udp } from '../attack/packet.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { type Netns, openNetns } from '../places/netns.js';
import { joinGuest } from '../places/peers.js';
import { guestMac, guestXml, hookIn, type RoutedHook } from '../places/routed-host.js';

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
  hook = hookIn(host, dir, '[routed]\ntables = [100]\n');
  joinGuest(host, guest, { tap: WEB.tap, mac: guestMac(WEB.tap), addresses: WEB.addresses });
  host.sh(`ip link set vnet1 address ${TAP_MAC}`);
});

afterEach(() => {
  if (!able) return;
  for (const netns of [host, guest, world]) netns.close();
  rmSync(dir, { recursive: true });
});

const DONE = { status: 0, stdout: '', stderr: '' };
const tables = (): string => host.sh('nft list tables');

function guestwire(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = {
    GUESTWIRE_STATE_DIR: join(dir, 'state'),
    GUESTWIRE_CONFIG: join(dir, 'config.toml'),
    GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
  };
  return host.run(process.execPath, [resolve('dist/cli.js'), ...args], { env });
}

describe('linkNames', () => {
  kernelTest('knows links that are up and links that are down by their ifindex', () => {
    host.sh('ip link add up1 type bridge; ip link set up1 up; ip link add down1 type bridge');
    const program = `import { linkNames } from '${resolve('dist/kernel/link-files.js')}'; const names = linkNames(); console.log(process.argv.slice(1).map((index) => names.of(Number(index))).join())`;
    const [up, down] = ['up1', 'down1'].map((name) => host.sh(`cat /sys/class/net/${name}/ifindex`).trim());
    const { stdout, stderr } = host.run(
      process.execPath, ['--input-type=module', '-e', program, String(up), String(down), String(Number(down) + 1)],
    );
    expect({ stdout, stderr }).toEqual({ stdout: 'up1,down1,\n', stderr: '' });
  });
});

/** One answer is enough: after a quarantine neighbours are asked for again, once a second. */
const isMet = (): boolean =>
  guest.run('ping', ['-6', '-c', '6', '-i', '0.5', '-W', '1', '-I', WEB.addresses[1] ?? '', '2001:db8:ff::2']).status
    === 0;

/**
 * What the guest sends from a MAC that is not its own, and from an address that is not; returns how much of it has
 * reached the world.
 */
function forged(): number {
  const own = { mac: guestMac(WEB.tap), to: TAP_MAC, src: WEB.addresses[1] ?? '', dst: '2001:db8:ff::2' };
  const frames = [{ ...own, mac: '02:00:00:00:00:66' }, { ...own, src: '2001:db8:bad::1' }].map((path) =>
    ip(path, udp(path, [4000, 6666])).toString('hex'));
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
  });

  kernelTest('meets whom it met when it has its name back', () => {
    rename('vnet1', 'foo');
    rename('foo', 'vnet1');
    expect([isMet(), forged()]).toEqual([true, 0]);
  });

  kernelTest('is right again after reconnect, under either name', () => {
    rename('vnet1', 'foo');
    expect(hook('reconnect', guestXml(WEB))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
    expect(host.sh('ip -6 route show proto 117')).toMatch(/^2001:db8:0:10::11 dev foo /);
    rename('foo', 'vnet1');
    expect(hook('reconnect', guestXml(WEB))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
  });

  for (const operations of [['stopped', 'release'], ['release']]) kernelTest(`leaves nothing behind after ${operations.join(' and ')}`, () => {
    const routes = (): string => host.sh('ip -6 route show proto 117; ip route show proto 117');
    expect(routes()).not.toBe('');
    rename('vnet1', 'foo');
    for (const operation of operations) expect(hook(operation, guestXml(WEB))).toEqual(DONE);
    expect([tables(), routes(), readdirSync(join(dir, 'state'))]).toEqual(['', '', []]);
  });

  kernelTest('goes into quarantine and comes out', () => {
    rename('vnet1', 'foo');
    expect(guestwire('quarantine', 'web')).toMatchObject({ status: 0, stderr: '' });
    expect([isMet(), world.run('ping', ['-6', '-c', '1', '-W', '1', WEB.addresses[1] ?? '']).status, forged()])
      .toEqual([false, 1, 0]);
    expect(guestwire('quarantine', 'web', '--lift')).toMatchObject({ status: 0, stderr: '' });
    expect([isMet(), forged()]).toEqual([true, 0]);
  });

  kernelTest('is filtered again after nft flush ruleset and the next start of any guest', () => {
    rename('vnet1', 'foo');
    host.sh('nft flush ruleset; ip link add vnet2 type veth peer name p2; ip link set vnet2 up');
    expect(hook('start', guestXml(OTHER))).toEqual(DONE);
    expect([isMet(), forged()]).toEqual([true, 0]);
    expect(host.sh('nft list map inet guestwire host')).toContain('"foo" : goto host_');
  });
});

describe('the commands beside a libvirt that has the old name', () => {
  let known: GuestHost;
  beforeEach(async () => {
    if (!able) return;
    known = await openGuestHost('[routed]\ntables = [100]\n');
    known.netns.sh('sysctl -qw net.ipv6.conf.default.accept_dad=0; for tap in vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done');
    known.start(guestXml(WEB));
    known.start(guestXml({ ...OTHER, more: " table='100'" }));
  });
  afterEach(() => { if (able) known.close(); });

  /** What `status` says of a guest's link, and whether the rest of the host is as it should be, too. */
  async function states(): Promise<Record<string, string>> {
    const { stdout } = await known.command('status', '--json');
    const { nics } = JSON.parse(stdout) as {
      nics: { guest: { name: string }; link: string; state: string; differences: string[] }[];
    };
    return Object.fromEntries(
      nics.map(({ guest: { name }, link, state, differences }) => [name, [link, state, ...differences].join(' ')]),
    );
  }

  const AS_IT_SHOULD_BE = { status: 0, stdout: '', stderr: '' };
  const NOTHING_TO_DO = { status: 0, stdout: 'all wiring is as the XML says, nothing changed\n', stderr: '' };

  for (const [how, script] of [['while it is up', 'ip link set vnet1 name foo; ip link set vnet2 name bar'], ['while it is down', 'for names in vnet1:foo vnet2:bar; do ip link set ${names%:*} down; ip link set ${names%:*} name ${names#*:}; ip link set ${names#*:} up; done']] as const) {
    kernelTest(`find the link that was renamed ${how}, mend what the renaming cost, and are then silent`, async () => {
      known.netns.sh(script);
      const { stdout, stderr } = await known.command('check');
      // Rules know a link by the name that they were made with.
      const others = stdout.split('\n').filter((line) => !/^guest '(web|other)' NIC 0 .* (rule .* (in|should not be in) chain|IPv[46] rule iif vnet2 lookup 100 should not)/.test(line));
      expect([...others, stderr].join('\n')).not.toMatch(/vnet|is gone|no guest's|should not|^host/m);
      for (const name of ['web', 'other'])
        expect(await known.command('reconcile', name)).toMatchObject({ status: 0, stderr: '' });
      expect(await known.command('check')).toEqual(AS_IT_SHOULD_BE);
      expect(await states()).toEqual({ web: 'foo wired', other: 'bar wired' });
      const before = known.dump();
      expect(await known.command('reconcile', '--all', '--dry-run'))
        .toMatchObject({ status: 0, stdout: expect.stringContaining('nothing to change'), stderr: '' });
      expect(await known.command('reconcile', '--all')).toEqual(NOTHING_TO_DO);
      expect(known.dump()).toBe(before);
    });

    kernelTest(`reconcile --all mends all that were renamed ${how}, as its dry run says`, async () => {
      known.netns.sh(`${script}; ip route flush table 100; ip -6 route flush table 100; nft flush ruleset`);
      const dry = await known.command('reconcile', '--all', '--dry-run');
      const real = await known.command('reconcile', '--all');
      expect({ status: dry.status, stdout: dry.stdout.replaceAll(/^would: /gm, ''), stderr: dry.stderr }).toEqual(real);
      expect(real).toMatchObject({ status: 0, stderr: '' });
      expect(await known.command('check')).toEqual(AS_IT_SHOULD_BE);
      expect(await states()).toEqual({ web: 'foo wired', other: 'bar wired' });
      expect(known.netns.sh('ip -6 rule; ip -6 route show table all proto 117')).not.toMatch(/vnet/);
    });
  }

  kernelTest('say what is wrong with the link, by its name of now', async () => {
    known.netns.sh('ip link set vnet1 name foo; ip route flush dev foo proto 117');
    const { status, stdout } = await known.command('check', 'web');
    expect(status).toBe(1);
    expect(stdout).toMatch(/guest 'web' NIC 0 .*192\.0\.2\.11\/?.* is missing on 'foo'/);
    expect(stdout.split('\n').filter((line) => line.includes('vnet1') && !line.includes('hook ingress'))).toEqual([]);
    expect((await states())['web']).toMatch(/^foo drifted .*192\.0\.2\.11/);
  });

  kernelTest('collect all of a guest that ended under another name', async () => {
    known.netns.sh('ip link set vnet1 name foo; ip link set vnet2 name bar');
    for (const guest of [guestXml(WEB), guestXml({ ...OTHER, more: " table='100'" })]) known.say(guest, false);
    expect(await known.command('reconcile', '--all')).toMatchObject({ status: 0, stderr: '' });
    expect(await known.command('check')).toEqual(AS_IT_SHOULD_BE);
    expect(known.netns.sh('nft list tables; ip route show table all proto 117; ip -6 route show table all proto 117; ip rule | grep -c 117 || true')).toBe('0\n');
  });
});
