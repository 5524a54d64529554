// @tier kernel
/**
 * A state directory that is lost while guests run, and entries that cannot be read, on a real kernel: the words of the
 * commands, their changes, and the frames that a guest can still send.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { type Frames, openFrames } from '../attack/frames.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml, hookIn, type RoutedHook } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'python3', 'nft'] as const;
const kernelTest = testWith(...NEEDED);

const WEB = guestXml({ name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'], profile: 'open' });
const DB = guestXml({ name: 'db1', tap: 'vnet2', addresses: ['192.0.2.20'], more: " table='100'" });
const FOUR = guestXml({ name: 'four', tap: 'vnet3', addresses: ['192.0.2.30'] });
const uuidOf = (xml: string): string => /<uuid>(.*?)<\/uuid>/.exec(xml)?.[1] ?? '';
const MARKS = 'ip route show table all proto 117; ip rule show; ip -6 rule show; ip neigh show proxy; nft --stateless list ruleset';

let host: GuestHost;
let frames: Frames;
let hook: RoutedHook;

beforeEach(async () => {
  if (!canRun(...NEEDED)) return;
  const config = '[routed]\ntables = [100]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["uplink0"]\n';
  host = await openGuestHost(config);
  hook = hookIn(host.netns, host.dir, config);
  host.netns.sh('sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add uplink0 type veth peer name far0; ip link set uplink0 up; ip link set far0 up');
  frames = openFrames(host.netns);
  await frames.listen('host');
  for (const tap of ['vnet1', 'vnet2', 'vnet3']) {
    await frames.tap(tap);
    host.netns.sh(`ip link set ${tap} up`);
  }
});
afterEach(() => {
  if (!canRun(...NEEDED)) return;
  frames.close();
  host.close();
});

const state = (name = ''): string => join(host.dir, 'state', name);
const marks = (): string => host.netns.sh(MARKS).replace(/^32767:.*$/gm, '');

function lose(): void {
  rmSync(state(), { recursive: true });
}

/** The default route that the host learns when the guest on the tap says that it is a router. */
async function learnt(tap: string): Promise<string> {
  await frames.advertise(tap, 'fe80::99');
  await sleep(300);
  return host.netns.sh(`ip -6 route show default dev ${tap}`);
}

describe('a lost state directory', () => {
  kernelTest('is told by status and check, and reconcile --all adopts the guests without touching what they have', async () => {
    for (const xml of [WEB, DB]) host.start(xml);
    const before = host.netns.sh(MARKS);
    lose();
    const status = await host.command('status');
    for (const tap of ['vnet1', 'vnet2']) expect(status.stdout).toMatch(new RegExp(`${tap} .*without a record`));
    const check = await host.command('check');
    expect(check.status).toBe(1);
    for (const name of ['web1', 'db1']) expect(check.stdout).toContain(`guest '${name}': it runs, and guestwire has no record of its wiring: 'guestwire reconcile --all' writes one\n`);
    const dry = await host.command('reconcile', '--all', '--dry-run');
    expect(existsSync(state())).toBe(false);
    host.netns.sh(`(ip monitor address route rule link & echo $! >${host.dir}/pid; wait) >${host.dir}/heard 2>&1 & (nft monitor & echo $! >${host.dir}/pid2; wait) >${host.dir}/heard2 2>&1 & sleep 0.3`);
    const real = await host.command('reconcile', '--all');
    host.netns.sh(`sleep 0.2; kill $(cat ${host.dir}/pid ${host.dir}/pid2)`);
    expect(dry.stdout.replaceAll('would: ', '')).toBe(real.stdout);
    for (const name of ['web1', 'db1']) expect(real.stdout).toContain(`guest '${name}': its record is written, because it was missing\n`);
    expect(host.netns.sh(`cat ${host.dir}/heard; grep -v '^# new generation' ${host.dir}/heard2 || true`)).toBe('');
    expect(host.netns.sh(MARKS)).toBe(before);
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect((await host.command('status')).stdout).not.toContain('without a record');
    for (const xml of [WEB, DB]) {
      for (const operation of ['stopped', 'release']) expect(hook(operation, xml).status).toBe(0);
    }
    expect(marks()).not.toMatch(/117|guestwire|lookup 100/);
  });

  kernelTest('is told by status from the kernel alone while libvirt does not answer', () => {
    host.start(DB);
    lose();
    const { stderr, status } = host.guestwire(['status'], { libvirt: false });
    expect(status).toBe(0);
    expect(stderr).toMatch(/^guestwire: this host has wiring without a record \(objects: \d+\)/);
    const check = host.guestwire(['check'], { libvirt: false });
    expect(check.status).toBe(1);
    expect(check.stdout).toContain('it belongs to no guest');
  });

  kernelTest('keeps no guest from being cut off by quarantine, and let in again', async () => {
    host.start(WEB);
    const send = async (): Promise<string[]> => {
      await frames.udp('vnet1', '192.0.2.10', '169.254.0.1', 'hello');
      await sleep(200);
      return frames.heardBy(['host'], () => frames.udp('vnet2', '192.0.2.20', '169.254.0.1', 'end'));
    };
    host.start(guestXml({ name: 'db1', tap: 'vnet2', addresses: ['192.0.2.20'], profile: 'open' }));
    expect(await send()).toEqual(['host: hello']);
    rmSync(state(`${uuidOf(WEB)}.json`));
    const said = await host.command('quarantine', 'web1');
    expect({ ...said, stdout: said.stdout.split('\n').at(-2) })
      .toEqual({ status: 0, stderr: '', stdout: "guest 'web1': now in quarantine" });
    expect(await send()).toEqual([]);
    rmSync(state(`${uuidOf(WEB)}.json`));
    expect(await host.command('quarantine', 'web1', '--lift')).toMatchObject({ status: 0, stderr: '' });
    expect(await send()).toEqual(['host: hello']);
  });

  kernelTest('makes a quarantine that cannot filter set the links down, and fail', async () => {
    host.start(WEB);
    lose();
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=0');
    const { status, stderr } = await host.command('quarantine', 'web1');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^guestwire: guest 'web1': quarantine noted, but cannot filter its NICs: 'vnet1' set down, up again with 'ip link set up dev NAME': .*ip_forward=1/);
    expect(host.netns.sh('ip link show vnet1')).toContain('state DOWN');
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=1');
    expect((await host.command('quarantine', 'web1', '--lift')).status).toBe(0);
    expect(host.netns.sh('ip link show vnet1')).toContain(',UP');
  });

  kernelTest('keeps uninstall from leaving anything', async () => {
    for (const xml of [WEB, DB]) host.start(xml);
    lose();
    const { status, stdout } = await host.command('uninstall', '--unwire');
    expect({ status, marks: marks().match(/.*(117|guestwire|lookup 100).*/g) }).toEqual({ status: 0, marks: null });
    expect(stdout).toMatch(/host: set link 'vnet1' down\nhost: set link 'vnet2' down\n/);
    expect(host.netns.sh('ip link show vnet1; ip link show vnet2').match(/state DOWN/g)).toHaveLength(2);
  });
});

describe('a lost record of one guest', () => {
  const filters = (): string => host.netns.sh('nft --stateless list ruleset');
  const losses: Readonly<Record<string, () => void>> = {
    gone: () => { rmSync(state(`${uuidOf(WEB)}.json`)); },
    damaged: () => { writeFileSync(state(`${uuidOf(WEB)}.json`), '{', { mode: 0o600 }); },
  };
  for (const [title, harm] of Object.entries(losses)) {
    kernelTest(`that is ${title} leaves its filters in place when another guest is reconciled, given up or ends`, async () => {
      for (const xml of [WEB, DB, FOUR]) host.start(xml);
      harm();
      const before = filters();
      expect((await host.command('reconcile', 'db1')).stdout).toBe("guest 'db1': as its XML says, nothing changed\n");
      expect(filters()).toBe(before);
      host.say(DB.replace(/<metadata>.*<\/metadata>/, ''));
      expect((await host.command('reconcile', 'db1')).status).toBe(0);
      for (const operation of ['stopped', 'release']) expect(hook(operation, FOUR).status).toBe(0);
      expect(filters()).not.toMatch(/vnet2|vnet3/);
      expect(filters().match(/"vnet1"/g)?.length).toBe(before.match(/"vnet1"/g)?.length);
    });

    kernelTest(`that is ${title} makes reconcile --all set its links down before it takes filters, when the XML asks for nothing`, async () => {
      host.start(WEB);
      harm();
      host.say(WEB.replace(/<metadata>.*<\/metadata>/, ''));
      const dry = await host.command('reconcile', '--all', '--dry-run');
      const { status, stdout } = await host.command('reconcile', '--all');
      expect({ status, dry: dry.stdout.replaceAll('would: ', '') }).toEqual({ status: 0, dry: stdout });
      expect(stdout.split('\n')[0]).toBe("host: set link 'vnet1' down");
      expect(host.netns.sh('ip link show vnet1')).toContain('state DOWN');
      expect(marks()).not.toMatch(/117|guestwire/);
    });
  }

  kernelTest('makes reconcile --all leave everything that may be of a guest with XML that cannot be read', async () => {
    host.start(WEB);
    rmSync(state(`${uuidOf(WEB)}.json`));
    const before = host.netns.sh(MARKS);
    host.say(WEB.replace('<gw:ip ', '<gw:pi '));
    const { status, stderr } = await host.command('reconcile', '--all');
    expect(status).toBe(1);
    expect(stderr).toContain("what guests that are gone left stays, because guest 'web1' runs without a record and its XML cannot be read\n");
    expect(host.netns.sh(MARKS)).toBe(before);
  });

  kernelTest('leaves nothing of a guest that ends, so that the next guest on its tap is not cut off', async () => {
    host.start(DB);
    lose();
    await frames.drop('vnet2');
    for (const operation of ['stopped', 'release']) {
      expect(hook(operation, DB)).toMatchObject({ status: 0, stderr: '' });
    }
    expect(marks()).not.toMatch(/117|guestwire|lookup 100/);
  });
});

describe('reconnect on a host that lacks what a start needs', () => {
  const lacks: Readonly<Record<string, [string, string]>> = {
    'forwarding is off': ['sysctl -qw net.ipv4.ip_forward=0', 'sysctl -qw net.ipv4.ip_forward=1'],
    'the host has its address': ['ip address add 192.0.2.10/32 dev lo', 'ip address del 192.0.2.10/32 dev lo'],
  };
  for (const [title, [take, give]] of Object.entries(lacks)) {
    kernelTest(`puts the filters of a running guest back: ${title}`, () => {
      host.start(WEB);
      const before = host.netns.sh('nft --stateless list ruleset');
      host.netns.sh(`nft flush ruleset; ${take}`);
      expect(hook('reconnect', WEB)).toMatchObject({ status: 0 });
      expect(host.netns.sh('nft --stateless list ruleset')).toBe(before);
      host.netns.sh(give);
    });
  }
});

describe('uninstall --unwire', () => {
  kernelTest('leaves no link of a running guest up, and no advertisement of the guest makes it a router', async () => {
    host.netns.sh('sysctl -qw net.ipv6.conf.all.forwarding=0');
    expect(await learnt('vnet3')).toContain('default via fe80::99');
    host.netns.sh('ip link set vnet3 down; ip link set vnet3 up');
    host.start(FOUR);
    expect(await learnt('vnet3')).toBe('');
    host.netns.sh(`(ip monitor link route & echo $! >${host.dir}/pid; wait) >${host.dir}/heard 2>&1 & sleep 0.3`);
    expect((await host.command('quarantine', 'four')).status).toBe(0);
    const { status, stdout } = await host.command('uninstall', '--unwire');
    host.netns.sh(`sleep 0.2; kill $(cat ${host.dir}/pid)`);
    expect(status).toBe(0);
    expect(host.netns.sh(`cat ${host.dir}/heard`).split('\n')[0]).toMatch(/vnet3: .*(state DOWN|<BROADCAST,MULTICAST>)/);
    expect(stdout).toMatch(/^guest 'four' is in quarantine: it stays cut off until its next start/m);
    expect(marks()).not.toMatch(/117|guestwire/);
    expect(await learnt('vnet3')).toBe('');
    // A person or a program sets it up.
    host.netns.sh('ip link set vnet3 up');
    expect(await learnt('vnet3')).toBe('');
  });
});

describe('an entry that cannot be read', () => {
  for (const [title, text] of [['damaged', '{'], ['of a newer version', '{"version": 2}']] as const) {
    kernelTest(`(${title}) leaves nothing of its guest when that ends, and all of others`, async () => {
      for (const xml of [WEB, DB]) host.start(xml);
      const web = host.netns.sh('ip route show dev vnet1; ip -6 route show dev vnet1 proto 117; ip neigh show proxy');
      writeFileSync(state(`${uuidOf(DB)}.json`), text, { mode: 0o600 });
      rmSync(state(`${uuidOf(WEB)}.json`));
      await frames.drop('vnet2');
      for (const operation of ['stopped', 'release']) {
        expect(hook(operation, DB)).toMatchObject({ status: 0, stderr: '' });
      }
      expect(host.netns.sh('ip rule show; ip -6 rule show; ip route show table all')).not.toMatch(/vnet2|lookup 100|table 100|192\.0\.2\.20/);
      expect(host.netns.sh('nft list ruleset')).not.toContain('vnet2');
      expect(host.netns.sh('ip neigh show proxy')).not.toContain('192.0.2.20');
      expect(host.netns.sh('ip route show dev vnet1; ip -6 route show dev vnet1 proto 117; ip neigh show proxy')).toBe(web.replace(/^192\.0\.2\.20 .*\n/m, ''));
      expect(host.netns.sh('nft list ruleset')).toContain('vnet1');
      expect(readdirSync(state())).toEqual(['proxies.json']);
    });
  }
});
