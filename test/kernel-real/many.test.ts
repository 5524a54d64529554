// @tier kernel long
/** Many routed guests on one host: all are in one routing table, and nothing of them stays. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { isLong } from '../tiers/bound.js';

const kernelTest = testWith('root', 'netns');
const DONE = { status: 0, stdout: '', stderr: '' };
const GUESTS = Array.from({ length: isLong ? 50 : 12 }, (_, n) => n + 1);

let netns: Netns;
let dir: string;
beforeAll(async () => {
  netns = await openNetns();
  dir = mkdtempSync(join(tmpdir(), 'guestwire-many-'));
  netns.sh(`sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
    for n in ${GUESTS.join(' ')}; do ip tuntap add vnet$n mode tap; ip link set vnet$n up; done`);
});
afterAll(() => {
  netns.close();
  rmSync(dir, { recursive: true });
});

function hook(operation: string, n: number): { status: number | null; stdout: string; stderr: string } {
  const mac = `52:54:00:00:00:${n.toString(16).padStart(2, '0')}`;
  const nics = metadata({
    mac, ips: [`2001:db8:0:10::${n.toString(16)}`, `192.0.2.${n}`], routes: [`2001:db8:${n.toString(16)}::/64`],
  });
  const uuid = `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c${n.toString(16).padStart(2, '0')}`;
  const xml = `<domain type='kvm'><name>web${n}</name><uuid>${uuid}</uuid><metadata>${nics}</metadata><devices>${nic(mac, `vnet${n}`)}</devices></domain>`;
  return netns.run(resolve('hooks/qemu'), [`web${n}`, operation, 'begin', '-'], {
    input: xml, env: { GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'none') },
  });
}

const routed = (): string[] => netns.sh('ip route show table all proto 117').trim().split('\n').filter(Boolean);

describe(`${GUESTS.length} routed guests`, () => {
  kernelTest('start, are all in the one routing table, and stop without a trace', () => {
    const before = netns.dump();
    for (const n of GUESTS) for (const operation of ['prepare', 'start']) expect(hook(operation, n)).toEqual(DONE);
    expect(routed().filter((route) => !route.includes(' via ')).map((route) => route.split(' ', 1)[0]).sort())
      .toEqual(GUESTS.flatMap((n) => [`192.0.2.${n}`, `2001:db8:0:10::${n.toString(16)}`]).sort());
    expect(readdirSync(join(dir, 'state'))).toHaveLength(GUESTS.length);
    const wired = netns.dump();
    expect(hook('reconnect', GUESTS.length / 2)).toEqual(DONE);
    expect(netns.dump()).toBe(wired);
    for (const n of GUESTS) for (const operation of ['stopped', 'release']) expect(hook(operation, n)).toEqual(DONE);
    expect(netns.dump()).toBe(before);
    expect(readdirSync(join(dir, 'state'))).toEqual([]);
  });
});
