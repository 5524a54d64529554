/**
 * What this machine can do, for tests that need it: a missing capability is named, and with CI=true it is a failure. In
 * the tier `fast` the other tiers of the file's first line have these tests.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from '@jest/globals';
import { bound } from '../tiers/bound.js';

export type Capability = 'root' | 'netns' | 'libvirt'
  | 'dash' | 'bash' | 'busybox' | 'serve' | 'systemd' | 'netplan' | 'python3' | 'nft' | 'tapset' | 'firewalls';

const PROBES: Record<Capability, () => boolean> = {
  root: () => process.geteuid?.() === 0,
  netns: () => spawnSync('unshare', ['--net', '--mount', 'ip', 'link']).status === 0,
  libvirt: () =>
    spawnSync('libvirtd', ['--version']).status === 0 && spawnSync('qemu-system-x86_64', ['--version']).status === 0,
  dash: () => spawnSync('dash', ['-c', ':']).status === 0,
  bash: () => spawnSync('bash', ['-c', ':']).status === 0,
  serve: () => spawnSync('dnsmasq', ['--version']).status === 0 && spawnSync('radvd', ['--version']).error === undefined
    && spawnSync('dhclient', ['--version']).error === undefined,
  systemd: () => spawnSync('systemd-analyze', ['--version']).status === 0,
  netplan: () =>
    spawnSync('netplan', ['--help']).status === 0 && spawnSync('python3', ['-c', 'import yaml']).status === 0,
  python3: () => spawnSync('python3', ['--version']).status === 0,
  // A kernel may know nft for some families only.
  nft: () => spawnSync('unshare', ['--net', 'nft', 'add table inet probe']).status === 0,
  // In libvirt-daemon-system of Debian 12, in libvirt-common, which it needs, of 13: test/lab/setup installs both.
  tapset: () => existsSync('/usr/share/systemtap/tapset/libvirt_functions.stp'),
  // All three: a machine that has two of them is not set up.
  firewalls: () =>
    ['firewall-offline-cmd', 'dockerd', 'ufw'].every((program) => spawnSync(program, ['--help']).status === 0)
      && spawnSync('dbus-daemon', ['--version']).status === 0,
  busybox: () => spawnSync('busybox', ['sh', '-c', ':']).status === 0,
};

/** What the tier `fast` does without even where it is there. */
const PRIVILEGES: readonly Capability[] = ['root', 'netns', 'libvirt', 'nft'];
const isFast = process.env['GUESTWIRE_TIER'] === 'fast';

/** Returns jest's `test`, or one that skips and says why; with CI=true it fails instead. */
export function testWith(
  ...needed: readonly Capability[]
): (name: string, run: () => void | Promise<void>, timeout?: number) => void {
  const missing = missingOf(needed);
  // What a test allows itself is for a quiet machine.
  if (missing.length === 0) return (name, run, timeout) => { test(name, run, timeout && bound(timeout)); };
  if (isFast) return (name) => { test.skip(`${name} (not in the tier fast: it needs ${missing.join(', ')})`, () => undefined); };
  const lacks = `this machine lacks ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') return (name) => { test(name, () => { throw new Error(lacks); }); };
  return (name) => { test.skip(`${name} (${lacks})`, () => undefined); };
}

/** Returns whether nothing is missing, for what a file sets up once for all its tests. */
export function canRun(...needed: readonly Capability[]): boolean {
  return missingOf(needed).length === 0;
}

/** A probe starts programs, and a file asks several times. */
const known = new Map<Capability, boolean>();

function isHere(capability: Capability): boolean {
  const isKnown = known.get(capability) ?? PROBES[capability]();
  known.set(capability, isKnown);
  return isKnown;
}

function missingOf(needed: readonly Capability[]): Capability[] {
  return needed.filter((capability) => (isFast && PRIVILEGES.includes(capability)) || !isHere(capability));
}
