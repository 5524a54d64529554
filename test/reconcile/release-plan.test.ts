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
import type { WireRequest } from '../../lib/reconcile/request.js';
import { attachmentOf } from '../fakes/attachments.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../fakes/kernel.js';
import { POLICY } from '../fakes/policies.js';

const GUEST = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555' };
const OTHER = { name: 'db1', uuid: '99999999-2222-3333-4444-555555555555' };

const PORT: VlanPort = {
  kind: 'vlan-port', nic: 0, mac: '52:54:00:aa:bb:01', link: 'vnet0', bridge: 'br0', isolated: true, uplinks: [],
  vlans: [{ vid: 10, pvid: true, untagged: true }, { vid: 20, pvid: false, untagged: false }],
};
const LINK = attachmentOf({
  kind: 'routed-link', nic: 1, mac: '52:54:00:aa:bb:02', link: 'vnet1', addresses: ['2001:db8:0:10::a', '192.0.2.10'],
  routes: [{ to: '2001:db8:0:20::/64', via: '2001:db8:0:10::a' }], gateways: ['169.254.0.1', 'fe80::1'], table: 'main',
  protocol: 117, policy: POLICY,
});
const HOST: FakeHost = {
  links: {
    br0: { ifindex: 2, bridge: {} },
    vnet0: { ifindex: 10, master: 'br0', vlans: { 1: 'pvid untagged' } },
    vnet1: { ifindex: 11, up: false, addresses: ['fe80::fc54:ff:feaa:bb02/64'] },
    eno1: { ifindex: 3, addresses: ['203.0.113.2/24'] },
  },
  routes: [{ to: 'default', dev: 'eno1', via: '203.0.113.1', protocol: 'boot' }],
  networks: [{ dev: 'eno1', address: '203.0.113.2', prefix: '203.0.113.0/24' }],
  sysctls: {
    'net/ipv4/conf/all/forwarding': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/vnet1/accept_ra': '1',
    'net/ipv6/conf/vnet1/disable_ipv6': '0', 'net/ipv6/conf/vnet1/forwarding': '1',
    'net/ipv4/conf/vnet1/forwarding': '0',
  },
};
const START: WireRequest = { guest: GUEST, attachments: [PORT, LINK], fresh: true, incoming: false };

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
    expect(kernel.print().split('\n').sort())
      .toEqual(before.split('\n').filter((line) => line !== 'vlan 1 dev vnet0 pvid untagged'));
    expect(journal.list()).toEqual([]);
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
