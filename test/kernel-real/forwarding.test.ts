// @tier kernel
/** Forwarding that is off: what the refusal says, and what guestwire does where the host config lets it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { guestXml, hookIn } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const kernelTest = testWith(...NEEDED);
const able = canRun(...NEEDED);
const DONE = { status: 0, stdout: '', stderr: '' };
const DUAL = { name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8:0:10::a'] };
const SIX = { ...DUAL, addresses: ['2001:db8:0:10::a'] };
const WHO = "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:01)";
const CURE = ", or set 'manage_sysctls = true' in [routed]\n";

let host: Netns;
let dir: string;

beforeAll(async () => {
  if (!able) return;
  host = await openNetns();
  host.sh('ip tuntap add vnet1 mode tap; ip link add up0 type veth peer name far; ip link add up1.5 type veth peer name far1; ip link set up0 up; ip link set up1.5 up; ip link set far up; ip link set far1 up');
});
beforeEach(() => {
  if (!able) return;
  dir = mkdtempSync(join(tmpdir(), 'guestwire-forwarding-'));
  host.sh(`
    sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
    for dev in up0 up1.5; do echo 1 >/proc/sys/net/ipv6/conf/$dev/accept_ra; done
    ip -6 route flush proto ra`);
});
afterEach(() => { if (able) rmSync(dir, { recursive: true }); });
afterAll(() => { if (able) host.close(); });

/** Default routes as the kernel makes them of a router advertisement. */
function hearRouters(...devs: readonly string[]): void {
  devs.forEach((dev, index) => host.sh(`ip -6 route add default via fe80::99 dev ${dev} proto ra metric ${100 + index}`));
}

function forwarding(): string {
  return host.sh('cd /proc/sys/net; cat ipv4/ip_forward ipv6/conf/all/forwarding ipv6/conf/up0/accept_ra ipv6/conf/up1.5/accept_ra').replaceAll('\n', ' ').trim();
}

describe('a host that does not forward', () => {
  kernelTest('IPv4 refuses the guest and says what to set', () => {
    for (const operation of ['prepare', 'start']) {
      expect(hookIn(host, dir)(operation, guestXml(DUAL))).toEqual({ status: 1, stdout: '', stderr: `${WHO}: this host does not forward IPv4: run 'sysctl -w net.ipv4.ip_forward=1'${CURE}` });
    }
    expect(forwarding()).toBe('0 0 1 1');
  });

  kernelTest('IPv6 and has no router tells of router advertisements in general', () => {
    expect(hookIn(host, dir)('start', guestXml(SIX)).stderr).toBe(`${WHO}: this host does not forward IPv6: run 'sysctl -w net.ipv6.conf.all.forwarding=1' (first accept_ra=2 on links that use router advertisements)${CURE}`);
  });

  kernelTest('IPv6 and has routers names their links, in words that work, and only those that need it', () => {
    hearRouters('up0', 'up1.5');
    const says = (keys: string): string => `${WHO}: this host does not forward IPv6: run 'sysctl -w ${keys} net.ipv6.conf.all.forwarding=1'${CURE}`;
    const { stderr } = hookIn(host, dir)('start', guestXml(SIX));
    expect(stderr).toBe(says('net.ipv6.conf.up0.accept_ra=2 net.ipv6.conf.up1/5.accept_ra=2'));
    host.sh('echo 2 >/proc/sys/net/ipv6/conf/up0/accept_ra');
    expect(hookIn(host, dir)('start', guestXml(SIX)).stderr).toBe(says('net.ipv6.conf.up1/5.accept_ra=2'));
    host.sh(/'(sysctl -w [^']*)'/.exec(stderr)?.[1] ?? 'false');
    expect(forwarding()).toBe('0 1 2 2');
    expect(hookIn(host, dir)('start', guestXml(SIX))).toEqual(DONE);
    expect(hookIn(host, dir)('release', guestXml(SIX))).toEqual(DONE);
  });

  kernelTest('is made to by `manage_sysctls`, after accept_ra on the links that need it, and stays so', () => {
    hearRouters('up0');
    const hook = hookIn(host, dir, '[routed]\nmanage_sysctls = true\n');
    expect(hook('prepare', guestXml(DUAL))).toEqual(DONE);
    expect(forwarding()).toBe('0 0 1 1');
    expect(hook('start', guestXml(DUAL))).toEqual(DONE);
    expect(forwarding()).toBe('1 1 2 1');
    expect(hook('reconnect', guestXml(DUAL))).toEqual(DONE);
    for (const operation of ['stopped', 'release']) expect(hook(operation, guestXml(DUAL))).toEqual(DONE);
    expect(forwarding()).toBe('1 1 2 1');
  });

  kernelTest('is as before when a start fails after it was made to', () => {
    hearRouters('up0');
    const hook = hookIn(host, dir, '[routed]\nmanage_sysctls = true\n');
    const bin = join(dir, 'bin');
    mkdirSync(bin);
    // It answers and goes back, but makes nothing.
    writeFileSync(join(bin, 'ip'), '#!/bin/sh\ncase "$*" in *-force*) exec /usr/sbin/ip "$@" ;; esac\necho no such luck >&2\nexit 1\n', { mode: 0o755 });
    const failed = hookIn(host, dir, undefined, `${bin}:${process.env['PATH'] ?? ''}`)('start', guestXml(DUAL));
    expect(failed.stderr).toContain('no such luck');
    expect(forwarding()).toBe('0 0 1 1');
    expect(hook('release', guestXml(DUAL))).toEqual(DONE);
  });

  kernelTest('is left alone with `manage_sysctls = false`', () => {
    expect(hookIn(host, dir, '[routed]\nmanage_sysctls = false\n')('start', guestXml(DUAL)).status).toBe(1);
    expect(forwarding()).toBe('0 0 1 1');
  });
});
