// @tier fast
/** The loop on a fake kernel, for guests that ask for less than before, and for what vanished without a word. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import { createJournal, type Journal } from '../../lib/journal/journal.js';
import type { Host } from '../../lib/reconcile/host.js';
import { release, releaseRunning, wire } from '../../lib/reconcile/reconcile.js';
import { type FakeKernel, fakeKernel } from '../fakes/kernel.js';
import { GUEST, HOST, LINK, OTHER, PORT, START } from '../fakes/start.js';

let dir: string;
let journal: Journal;
let kernel: FakeKernel;
let host: Host;
let log: string[];
let before: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-reconcile-'));
  log = [];
  journal = createJournal(dir, (message) => log.push(message));
  use(fakeKernel(HOST));
});
afterEach(() => { rmSync(dir, { recursive: true }); });

function use(fake: FakeKernel): void {
  kernel = fake;
  before = fake.print();
  host = {
    kernel: fake, journal, log: (line) => log.push(line), protectedOn: () => new Set([5]), isQuarantined: () => false,
  };
}

describe('a guest that runs on', () => {
  test('and is released is in no VLAN, not in the one its port was made in', async () => {
    await wire(host, START);
    await releaseRunning(host, GUEST.uuid);
    const kept = new Map([
      ['link vnet0 up txqlen 1000', 'link vnet0 up txqlen 1000 isolated'],
      ['sysctl net/ipv4/conf/vnet1/forwarding=0', 'sysctl net/ipv4/conf/vnet1/forwarding=1'],
      ['sysctl net/ipv6/conf/vnet1/accept_ra=1', 'sysctl net/ipv6/conf/vnet1/accept_ra=0'],
    ]);
    expect(kernel.print().split('\n').sort()).toEqual(before.split('\n')
      .filter((line) => line !== 'vlan 1 dev vnet0 pvid untagged')
      .map((line) => kept.get(line) ?? line));
    expect(journal.list()).toEqual([]);
  });

  test('and is released is cut off before anything else, and filtered to the last', async () => {
    await wire(host, START);
    const { length } = kernel.done;
    await releaseRunning(host, GUEST.uuid);
    const lines = kernel.done.slice(length);
    expect(lines.slice(0, 3))
      .toEqual(['link set dev vnet1 down', 'vlan del dev vnet0 vid 10', 'vlan del dev vnet0 vid 20']);
    const filters = lines.map((line) => /^(flush|delete) /.test(line));
    expect(filters.indexOf(true)).toBeGreaterThan(2);
    expect(filters.lastIndexOf(false)).toBeLessThan(filters.indexOf(true));
    expect(lines.filter((line) => line.startsWith('net/'))).toEqual([]);
  });

  test.each(['link set dev vnet1 down', 'vlan del dev vnet0 vid 10'])('and cannot be cut off (%s) keeps its filters and its entry', async (line) => {
    await wire(host, START);
    const [wired, { length }] = [journal.read(GUEST.uuid), kernel.done];
    const run = kernel.run.bind(kernel);
    kernel.run = (batches, mode, scope) => run(batches.map(({ tool, lines }) => ({
      tool, lines: lines.filter(({ text }) => text !== line),
    })), mode, scope);
    await expect(releaseRunning(host, GUEST.uuid)).rejects.toThrow('the kernel differs from what guestwire set');
    expect(kernel.done.slice(length).filter((text) => /^(flush|delete|net)/.test(text))).toEqual([]);
    expect(journal.read(GUEST.uuid)).toEqual(wired);
  });

  test('and is in quarantine loses VLANs too that were put on its port since', async () => {
    host = { ...host, isQuarantined: () => true };
    await wire(host, START);
    kernel.host.links['vnet0'] = { ...HOST.links?.['vnet0'], ifindex: 10, vlans: { 10: 'pvid untagged', 77: '' } };
    await releaseRunning(host, GUEST.uuid);
    expect(kernel.print()).not.toMatch(/^vlan .* dev vnet0/m);
  });

  test('and asks for no routed link any more has it down first, and keeps the settings that protect the host', async () => {
    await wire(host, START);
    const { length } = kernel.done;
    await wire(host, { ...START, fresh: false, attachments: [PORT] });
    const lines = kernel.done.slice(length);
    expect(lines[0]).toBe('link set dev vnet1 down');
    expect(lines.at(-1)).toMatch(/^(flush|delete) /);
    expect(kernel.print()).toContain('sysctl net/ipv6/conf/vnet1/accept_ra=0');
  });

  test('and asks for one NIC less leaves that one in no VLAN', async () => {
    await wire(host, START);
    await wire(host, { ...START, fresh: false, attachments: [LINK] });
    expect(kernel.print()).not.toMatch(/^vlan .* dev vnet0/m);
  });
});

describe('a guest whose links vanished', () => {
  test('is forgotten, uplink and all, before another is wired with the same address', async () => {
    const uplinked: VlanPort = { ...PORT, uplinks: ['eno1'], vlans: [{ vid: 30, pvid: true, untagged: true }] };
    const fake = fakeKernel(HOST);
    fake.host.links['eno1'] = { ifindex: 3, master: 'br0', vlans: {} };
    use(fake);
    await wire(host, { ...START, guest: OTHER, attachments: [uplinked, LINK] });
    for (const [old, tap, ifindex] of [['vnet0', 'vnet5', 15], ['vnet1', 'vnet6', 16]] as const) {
      fake.host.links[tap] = { ...HOST.links?.[old], ifindex };
      Reflect.deleteProperty(fake.host.links, old);
    }
    for (const [path, value] of Object.entries(HOST.sysctls ?? {}))
      fake.host.sysctls[path.replace('/vnet1/', '/vnet6/')] = value;
    fake.host.routes = fake.host.routes.filter(({ dev }) => dev !== 'vnet1');
    await wire(host, { ...START, attachments: [{ ...uplinked, link: 'vnet5' }, { ...LINK, link: 'vnet6' }] });
    expect(kernel.print()).toContain('vlan 30 dev eno1');
    expect(journal.list().map(({ guest }) => guest.name)).toEqual(['web1']);
    expect(journal.readLedger().uplinks).toEqual([{ dev: 'eno1', ifindex: 3, vids: [30] }]);
    await release(host, GUEST.uuid);
    expect(kernel.print()).not.toMatch(/^vlan 30 /m);
  });
});
