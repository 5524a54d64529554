// @tier fast
/** Uplinks and the filter of VLAN ports on a fake kernel: what guests share, and what outlives a tap. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanPort } from '../../../lib/attachments/vlan-port/vlan-port.js';
import { CommandError, HostError } from '../../../lib/errors.js';
import { NO_TRUST } from '../../../lib/intent/policy.js';
import { createJournal } from '../../../lib/journal/journal.js';
import type { Host } from '../../../lib/reconcile/host.js';
import { release, unwire, wire } from '../../../lib/reconcile/reconcile.js';
import type { WireRequest } from '../../../lib/reconcile/request.js';
import { accessPort, type VlanMember } from '../../../lib/values/vlan.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../../fakes/kernel.js';
import { filtered } from '../../fakes/nft.js';

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
  host = {
    kernel, journal, log: (line) => log.push(line), protectedOn: () => new Set([50]), isQuarantined: () => false,
  };
}

function start(n: number, vlans: readonly VlanMember[], port: Partial<VlanPort> = {}): WireRequest {
  const attachment: VlanPort = {
    kind: 'vlan-port', nic: 0, mac: `52:54:00:aa:bb:0${n}`, link: `vnet${n}`, bridge: 'br0', vlans, isolated: undefined,
    uplinks: ['up0'], ...port,
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

/** As when libvirt gives a new tap the name of one that is gone. */
function renewTap(n: number, ifindex: number): void {
  kernel.host.links[`vnet${n}`] = { ifindex, master: 'br0', vlans: { 1: 'pvid untagged' } };
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

  test.each([
    ['missing', undefined],
    ['on another bridge', { ifindex: 3, master: 'br9', vlans: OWN }],
  ])('that is %s is warned of, and mended by the next run', async (_, link) => {
    const there = kernel.host.links['up0'];
    if (link === undefined) Reflect.deleteProperty(kernel.host.links, 'up0');
    else kernel.host.links['up0'] = link;
    await wire(host, start(0, accessPort(10)));
    expect(log).toContain("guest 'g0': uplink 'up0' of the host config is not a port of bridge 'br0': the guest's VLANs do not leave this host through it");
    if (there !== undefined) kernel.host.links['up0'] = there;
    await wire(host, { ...start(0, accessPort(10)), fresh: false });
    expect(uplink()).toEqual({ ...OWN, 10: '' });
  });

  test('has nothing of ours left after a failure at any line', async () => {
    await wire(host, start(0, accessPort(10)));
    const before = kernel.print();
    const lines = (await wire(host, start(1, [...accessPort(20), { vid: 30, pvid: false, untagged: false }])))
      .batches.flatMap((batch) => batch.lines).length;
    for (let line = 1; line <= lines; line += 1) {
      rmSync(dir, { recursive: true });
      use(HOST);
      await wire(host, start(0, accessPort(10)));
      expect(kernel.print()).toBe(before);
      const records = host.journal.readLedger().uplinks;
      kernel.done.length = 0;
      kernel.failAt = line;
      await expect(wire(host, start(1, [...accessPort(20), { vid: 30, pvid: false, untagged: false }])))
        .rejects.toThrow('told to fail');
      expect(kernel.print()).toBe(before);
      expect(host.journal.readLedger().uplinks).toEqual(records);
    }
  });

  test('whose sub-interface takes a VLAN away is refused, and the sub-interface named', async () => {
    use({
      ...HOST,
      subinterfaces: [{ ifname: 'up0.100', parent: 'up0', vid: 100 }, { ifname: 'x.10', parent: 'other', vid: 10 }],
    });
    await expect(wire(host, start(0, accessPort(100)))).rejects.toThrow(new HostError(
      "guest 'g0' NIC 0 (52:54:00:aa:bb:00): sub-interface 'up0.100' of uplink 'up0' takes VLAN '100' before bridge 'br0' receives it: move its addresses and routes to VLAN '100' of the bridge (docs/vlan.md), and then remove it"));
    await wire(host, start(0, accessPort(10)));
  });
});

describe('the filter', () => {
  test('holds each port by ifindex, and goes with the last one', async () => {
    await wire(host, start(0, accessPort(10)));
    await wire(host, start(1, accessPort(10)));
    expect(filtered(kernel.host.nft, 'bridge')).toEqual([10, 11]);
    dropTap(0);
    kernel.host.links['vnet0'] = { ifindex: 99, master: 'br0' };
    await release(host, uuid(0));
    expect(filtered(kernel.host.nft, 'bridge')).toEqual([11]);
    dropTap(1);
    await release(host, uuid(1));
    expect(kernel.host.nft).toEqual({});
  });

  test('lets a guest that the host trusts speak spanning tree', async () => {
    await wire(host, start(0, accessPort(10), { trust: { ...NO_TRUST, stp: true } }));
    expect(kernel.host.nft.bridge?.chains['nic_10']).not.toContain('BPDU');
  });

  test('is made whole again when somebody flushed it', async () => {
    await wire(host, start(0, accessPort(10)));
    kernel.host.nft.bridge?.chains['from_guests']?.pop();
    await wire(host, { ...start(0, accessPort(10)), fresh: false });
    expect(filtered(kernel.host.nft, 'bridge')).toEqual([10]);
  });

  test('comes before the port is in any VLAN', async () => {
    const { batches } = await wire(host, start(0, accessPort(10)));
    expect(batches.map(({ tool }) => tool)).toEqual(['nft', 'bridge', 'ip']);
  });
});

describe('what a VLAN on an uplink is there for', () => {
  test('is also the guest that has the name of the one before, whose end comes late', async () => {
    await wire(host, start(0, accessPort(10)));
    renewTap(0, 20);
    await wire(
      host, { ...start(1, accessPort(10)), attachments: [{ ...start(0, accessPort(10)).attachments[0] as VlanPort }] },
    );
    await unwire(host, uuid(0));
    await release(host, uuid(0));
    expect(uplink()).toEqual({ ...OWN, 10: '' });
    dropTap(0);
    await release(host, uuid(1));
    expect(uplink()).toEqual(OWN);
  });

  test('is not another uplink: what the config had before goes with the last guest', async () => {
    use({ links: { ...HOST.links, up1: { ifindex: 4, master: 'br0', vlans: {} } } });
    const second = (): Record<string, string> | undefined => kernel.host.links['up1']?.vlans;
    await wire(host, start(0, accessPort(10)));
    await wire(host, start(1, accessPort(10), { uplinks: ['up1'] }));
    expect([uplink(), second()]).toEqual([{ ...OWN, 10: '' }, { 10: '' }]);
    for (const n of [1, 0]) {
      dropTap(n);
      await release(host, uuid(n));
    }
    expect([uplink(), second()]).toEqual([OWN, {}]);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('is also the host itself, by an entry of the bridge or by flags that somebody gave it', async () => {
    await wire(host, start(
      0, [...accessPort(11), { vid: 12, pvid: false, untagged: false }, { vid: 13, pvid: false, untagged: false }],
    ));
    const { br0, up0 } = kernel.host.links;
    if (br0 !== undefined) br0.vlans = { 11: '' };
    if (up0?.vlans !== undefined) up0.vlans[12] = 'untagged';
    dropTap(0);
    await release(host, uuid(0));
    expect(uplink()).toEqual({ ...OWN, 11: '', 12: 'untagged' });
  });

  test('is every live guest, when the uplink comes back', async () => {
    await wire(host, start(0, accessPort(10)));
    const { up0 } = kernel.host.links;
    Reflect.deleteProperty(kernel.host.links, 'up0');
    kernel.host.links['up0'] = { ...up0, ifindex: 33, vlans: { 1: 'pvid untagged' } };
    await wire(host, start(1, accessPort(20)));
    expect(uplink()).toEqual({ 1: 'pvid untagged', 10: '', 20: '' });
    for (const n of [0, 1]) {
      dropTap(n);
      await release(host, uuid(n));
    }
    expect(uplink()).toEqual({ 1: 'pvid untagged' });
  });
});

describe('a bridge that is gone', () => {
  test('keeps no guest from being released', async () => {
    await wire(host, start(0, accessPort(10)));
    Reflect.deleteProperty(kernel.host.links, 'br0');
    dropTap(0);
    Reflect.deleteProperty(kernel.host.links, 'up0');
    await release(host, uuid(0));
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('the filter after a flush of all rules', () => {
  test('guards every live guest again at the next start', async () => {
    await wire(host, start(0, accessPort(10)));
    kernel.host.nft = {};
    await wire(host, start(1, accessPort(20)));
    expect(filtered(kernel.host.nft, 'bridge')).toEqual([10, 11]);
  });

  test('that cannot be read keeps nothing else from being taken back', async () => {
    await wire(host, start(0, accessPort(10)));
    const failure = {
      tool: 'nft', args: [], exitCode: undefined, signal: undefined, stderr: '', timedOut: false, errno: 'ENOENT',
      line: undefined,
    };
    const blind: Host = { ...host, kernel: { ...kernel, observe: (scope) =>
      (scope.filters.length > 0 ? Promise.reject(new CommandError('nft is gone', failure)) : kernel.observe(scope)) } };
    dropTap(0);
    await expect(release(blind, uuid(0))).rejects.toThrow('nft is gone');
    expect(uplink()).toEqual(OWN);
    await release(host, uuid(0));
    expect(kernel.host.nft).toEqual({});
  });
});

test('a range of VLANs is a line of the log', async () => {
  await wire(host, start(0, Array.from({ length: 90 }, (_, n) => ({ vid: 100 + n, pvid: false, untagged: false }))));
  expect(log.filter((line) => line.includes('VLAN'))).toEqual([
    "guest 'g0' NIC 0 (52:54:00:aa:bb:00): remove VLAN 1 pvid untagged on 'vnet0'",
    "guest 'g0' NIC 0 (52:54:00:aa:bb:00): add VLAN 100-189 on 'vnet0'",
    "guest 'g0': add VLAN 100-189 on 'up0'",
  ]);
});
