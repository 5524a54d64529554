/** Uplinks and the filter of VLAN ports on a fake kernel: what guests share, and what outlives a tap. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanPort } from '../lib/attachment.js';
import { HostError } from '../lib/errors.js';
import { createJournal } from '../lib/journal.js';
import { type Host, release, unwire, wire, type WireRequest } from '../lib/reconcile.js';
import { accessPort, type VlanMember } from '../lib/vlan.js';
import { type FakeHost, type FakeKernel, fakeKernel } from './fakekernel.js';

const HOST: FakeHost = {
  links: {
    br0: { ifindex: 2, bridge: {} },
    br9: { ifindex: 9, bridge: {} },
    up0: { ifindex: 3, master: 'br0', vlans: { 1: 'pvid untagged', 7: '' } },
    vnet0: { ifindex: 10, master: 'br0', vlans: { 1: 'pvid untagged' } },
    vnet1: { ifindex: 11, master: 'br0', vlans: { 1: 'pvid untagged' } },
  },
};
let dir: string;
let kernel: FakeKernel;
let host: Host;
let log: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-uplink-'));
  log = [];
  use(HOST);
});
afterEach(() => { rmSync(dir, { recursive: true }); });

function use(start: FakeHost): void {
  kernel = fakeKernel(start);
  const journal = createJournal(dir, (message) => { throw new Error(message); });
  host = { kernel, journal, log: (line) => log.push(line), protectedOn: () => new Set([50]) };
}

function start(n: number, vlans: readonly VlanMember[], port: Partial<VlanPort> = {}): WireRequest {
  const attachment: VlanPort = {
    kind: 'vlan-port', nic: 0, mac: `52:54:00:aa:bb:0${n}`, link: `vnet${n}`, bridge: 'br0', vlans, isolated: undefined,
    uplinks: ['up0'], trustsStp: false, ...port,
  };
  return { guest: { name: `g${n}`, uuid: uuid(n) }, attachments: [attachment], fresh: true, incoming: false };
}

function uuid(n: number): string {
  return `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c0${n}`;
}

/** What libvirt does before it calls `stopped`. */
function dropTap(n: number): void {
  Reflect.deleteProperty(kernel.host.links, `vnet${n}`);
}

const uplink = (): Record<string, string> | undefined => kernel.host.links['up0']?.vlans;
const OWN = { 1: 'pvid untagged', 7: '' };

describe('an uplink', () => {
  test("carries the VLANs of the guests on its bridge, tagged, and loses them with the last guest that needs them", async () => {
    await wire(host, start(0, accessPort(10)));
    expect(uplink()).toEqual({ ...OWN, 10: '' });
    await wire(host, start(1, [...accessPort(10), { vid: 20, pvid: false, untagged: false }]));
    expect(uplink()).toEqual({ ...OWN, 10: '', 20: '' });
    dropTap(0);
    await unwire(host, uuid(0));
    await release(host, uuid(0));
    expect(uplink()).toEqual({ ...OWN, 10: '', 20: '' });
    dropTap(1);
    await unwire(host, uuid(1));
    expect(uplink()).toEqual(OWN);
    await release(host, uuid(1));
    expect(readdirSync(dir)).toEqual([]);
  });

  test('keeps the VLANs that others put there, with their flags', async () => {
    await wire(host, start(0, [{ vid: 1, pvid: false, untagged: false }, { vid: 7, pvid: true, untagged: true }]));
    expect(uplink()).toEqual(OWN);
    await release(host, uuid(0));
    expect(uplink()).toEqual(OWN);
  });

  test('keeps a protected VLAN for good', async () => {
    await wire(host, start(0, accessPort(50)));
    expect(uplink()).toEqual({ ...OWN, 50: '' });
    await release(host, uuid(0));
    expect(uplink()).toEqual({ ...OWN, 50: '' });
    expect(readdirSync(dir)).toEqual([]);
  });

  test('follows a guest that changes its VLANs', async () => {
    await wire(host, start(0, accessPort(10)));
    await wire(host, { ...start(0, accessPort(11)), fresh: false });
    expect(uplink()).toEqual({ ...OWN, 11: '' });
    await wire(host, { ...start(0, accessPort(11), { uplinks: [] }), fresh: false });
    await release(host, uuid(0));
    expect(uplink()).toEqual(OWN);
  });

  test('of the same name that came back with another ifindex is a new one: nothing on it is ours', async () => {
    await wire(host, start(0, accessPort(10)));
    kernel.host.links['up0'] = { ifindex: 33, master: 'br0', vlans: { 1: 'pvid untagged', 10: '' } };
    await release(host, uuid(0));
    expect(uplink()).toEqual({ 1: 'pvid untagged', 10: '' });
    expect(readdirSync(dir)).toEqual([]);
  });

  test.each([['missing', undefined], ['on another bridge', { ifindex: 3, master: 'br9', vlans: OWN }]])('that is %s is warned of, and mended by the next run', async (_, link) => {
    const there = kernel.host.links['up0'];
    if (link === undefined) Reflect.deleteProperty(kernel.host.links, 'up0');
    else kernel.host.links['up0'] = link;
    await wire(host, start(0, accessPort(10)));
    expect(log).toContain("guest 'g0': uplink 'up0' of the host config is no port of its bridge: the guest's VLANs do not leave this host by it");
    if (there !== undefined) kernel.host.links['up0'] = there;
    await wire(host, { ...start(0, accessPort(10)), fresh: false });
    expect(uplink()).toEqual({ ...OWN, 10: '' });
  });

  test('has nothing of ours left after a failure at any line', async () => {
    await wire(host, start(0, accessPort(10)));
    const before = kernel.print();
    const lines = (await wire(host, start(1, [...accessPort(20), { vid: 30, pvid: false, untagged: false }]))).batches.flatMap((batch) => batch.lines).length;
    for (let line = 1; line <= lines; line += 1) {
      rmSync(dir, { recursive: true });
      use(HOST);
      await wire(host, start(0, accessPort(10)));
      expect(kernel.print()).toBe(before);
      const records = host.journal.readUplinks();
      kernel.done.length = 0;
      kernel.failAt = line;
      await expect(wire(host, start(1, [...accessPort(20), { vid: 30, pvid: false, untagged: false }]))).rejects.toThrow('told to fail');
      expect(kernel.print()).toBe(before);
      expect(host.journal.readUplinks()).toEqual(records);
    }
  });

  test('whose sub-interface takes a VLAN away is refused, and the sub-interface named', async () => {
    use({ ...HOST, subinterfaces: [{ ifname: 'up0.100', parent: 'up0', vid: 100 }, { ifname: 'x.10', parent: 'other', vid: 10 }] });
    await expect(wire(host, start(0, accessPort(100)))).rejects.toThrow(new HostError(
      "guest 'g0' NIC 0 (52:54:00:aa:bb:00): VLAN '100' does not reach bridge 'br0' from its uplink 'up0': the sub-interface 'up0.100' takes it: remove that ('ip link del up0.100'), and give the host its address on the bridge instead"));
    await wire(host, start(0, accessPort(10)));
  });
});

describe('the filter', () => {
  test('guards each port by ifindex, and goes with the last one', async () => {
    await wire(host, start(0, accessPort(10)));
    await wire(host, start(1, accessPort(10)));
    expect(kernel.host.filter).toEqual({ intact: true, guarded: [10, 11] });
    dropTap(0);
    kernel.host.links['vnet0'] = { ifindex: 99, master: 'br0' };
    await release(host, uuid(0));
    expect(kernel.host.filter).toEqual({ intact: true, guarded: [11] });
    dropTap(1);
    await release(host, uuid(1));
    expect(kernel.host.filter).toEqual({ intact: false, guarded: [] });
  });

  test('leaves out a guest that the host config trusts', async () => {
    await wire(host, start(0, accessPort(10), { trustsStp: true }));
    expect(kernel.host.filter).toEqual({ intact: false, guarded: [] });
  });

  test('is made whole again when somebody flushed it', async () => {
    await wire(host, start(0, accessPort(10)));
    kernel.host.filter.intact = false;
    await wire(host, { ...start(0, accessPort(10)), fresh: false });
    expect(kernel.host.filter).toEqual({ intact: true, guarded: [10] });
  });

  test('comes before the port is in any VLAN', async () => {
    const { batches } = await wire(host, start(0, accessPort(10)));
    expect(batches.map(({ tool }) => tool)).toEqual(['nft', 'bridge', 'ip']);
  });
});
