// @tier fast
/**
 * The loop on a fake kernel: every failure at every step leaves the host as it was, every other target is the same
 * loop.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ConflictError, HostError, RollbackError, VerifyError } from '../../lib/errors.js';
import { createJournal, type Journal } from '../../lib/journal/journal.js';
import type { Host } from '../../lib/reconcile/host.js';
import { release, unwire, wire } from '../../lib/reconcile/reconcile.js';
import type { WireRequest } from '../../lib/reconcile/request.js';
import { parseAddress, parsePrefix } from '../../lib/values/address.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../fakes/kernel.js';
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

describe('wiring', () => {
  test('makes the host as asked, logs a line a change and is done the second time', async () => {
    await wire(host, START);
    expect(kernel.print().split('\n')).toEqual(expect.arrayContaining([
      'vlan 10 dev vnet0 pvid untagged', 'vlan 20 dev vnet0',
      'link vnet0 up txqlen 1000 isolated', 'link vnet1 up txqlen 1000',
      'address fe80::1/64 dev vnet1', 'route 192.0.2.10/32 dev vnet1 table main proto 117',
      'route 2001:db8:0:20::/64 via 2001:db8:0:10::a dev vnet1 table main proto 117', 'sysctl net/ipv6/conf/vnet1/accept_ra=0',
    ]));
    expect(kernel.print()).not.toContain('vlan 1 dev vnet0');
    expect(log).toContain("guest 'web1' NIC 0 (52:54:00:aa:bb:01): add VLAN 10 pvid untagged on 'vnet0'");
    const again = await wire(host, { ...START, fresh: false });
    expect(again.operations).toEqual([]);
    expect(again.batches).toEqual([]);
  });

  test('revokes the default PVID before it grants, and empties the queue last', async () => {
    const { batches } = await wire(host, START);
    const lines = batches.flatMap((batch) => batch.lines.map(({ text }) => text));
    expect(lines.indexOf('vlan del dev vnet0 vid 1')).toBeLessThan(lines.indexOf('vlan add dev vnet0 vid 10 pvid untagged'));
    expect(lines.slice(-2)).toEqual(['link set dev vnet0 txqueuelen 0', 'link set dev vnet0 txqueuelen 1000']);
  });

  test('puts back everything at release, whatever was there', async () => {
    await wire(host, START);
    await release(host, GUEST.uuid);
    expect(kernel.print()).toBe(before);
    expect(journal.list()).toEqual([]);
  });

  test('gives up a NIC that is not wanted any more', async () => {
    await wire(host, START);
    await wire(host, { ...START, attachments: [PORT], fresh: false });
    expect(kernel.print()).not.toContain('proto 117');
    // The guest runs on, and its link may come up again.
    expect(kernel.print()).toContain('sysctl net/ipv6/conf/vnet1/accept_ra=0');
    await release(host, GUEST.uuid);
    expect(kernel.print()).toBe(before
      .replace('vnet1/accept_ra=1', 'vnet1/accept_ra=0')
      .replace('ipv4/conf/vnet1/forwarding=0', 'ipv4/conf/vnet1/forwarding=1'));
  });

  test('lets the routes of an incoming guest wait', async () => {
    await wire(host, { ...START, incoming: true });
    expect(kernel.print()).toContain('address fe80::1/64 dev vnet1');
    expect(kernel.print()).not.toContain('proto 117');
    await wire(host, { ...START, fresh: false });
    expect(kernel.print()).toContain('route 192.0.2.10/32 dev vnet1 table main proto 117');
  });

  test('gives a tap its queue back that a cut-short flush left mute', async () => {
    await wire(host, START);
    const port = kernel.host.links['vnet0'];
    if (port !== undefined) port.txqlen = 0;
    await wire(host, { ...START, fresh: false });
    expect(kernel.print()).toContain('link vnet0 up txqlen 1000');
  });
});

describe('a failure', () => {
  test('at any line of any batch leaves the host and the journal as they were', async () => {
    const { batches } = await wire(host, START);
    const total = batches.flatMap((batch) => batch.lines).length;
    expect(total).toBe(20);
    for (let line = 1; line <= total; line += 1) {
      rmSync(dir, { recursive: true });
      use(fakeKernel(HOST));
      kernel.failAt = line;
      await expect(wire(host, START)).rejects.toThrow('told to fail');
      expect(kernel.print()).toBe(before);
      expect(journal.list()).toEqual([]);
    }
  });

  test('of a change leaves the wiring that was there', async () => {
    await wire(host, START);
    const wired = kernel.print();
    const [entry] = journal.list();
    const changed = { ...PORT, vlans: [{ vid: 30, pvid: true, untagged: true }] };
    kernel.done.length = 0;
    kernel.failAt = 2;
    await expect(wire(host, { ...START, attachments: [changed, LINK], fresh: false })).rejects.toThrow('told to fail');
    expect(kernel.print()).toBe(wired);
    expect(journal.list()).toEqual([entry]);
  });

  test('that is a next hop which changed is none: the route moves', async () => {
    const via = (gateway: string): typeof LINK => ({
      ...LINK, addresses: ['2001:db8:0:10::a', '2001:db8:0:10::b'].map(parseAddress),
      routes: [{ to: parsePrefix('2001:db8:0:20::/64'), via: parseAddress(gateway) }],
    });
    await wire(host, { ...START, attachments: [via('2001:db8:0:10::a')] });
    const moved = await wire(host, { ...START, fresh: false, attachments: [via('2001:db8:0:10::b')] });
    expect(moved.batches.flatMap(({ lines }) => lines.map(({ text }) => text))).toEqual([
      'route del 2001:db8:0:20::/64 via 2001:db8:0:10::a dev vnet1 table main proto 117',
      'route add 2001:db8:0:20::/64 via 2001:db8:0:10::b dev vnet1 table main proto 117',
    ]);
    await wire(host, { ...START, fresh: false, attachments: [{ ...via('2001:db8:0:10::b'), protocol: 118 }] });
    expect(kernel.print()).toContain('route 2001:db8:0:20::/64 via 2001:db8:0:10::b dev vnet1 table main proto 118');
    expect(kernel.print()).not.toContain('proto 117');
    await release(host, GUEST.uuid);
    expect(kernel.print()).toBe(before);
  });

  test('that leaves the kernel different although every tool succeeded is one, too', async () => {
    const real = kernel;
    host = { ...host, kernel: { ...kernel, run: async (batches, mode, scope) => {
      const outcome = await real.run(batches, mode, scope);
      return mode === 'stop-at-failure' ? { ...outcome, observation: { ...outcome.observation, routes: [] } } : outcome;
    } } };
    await expect(wire(host, { ...START, attachments: [LINK] })).rejects.toThrow(VerifyError);
    expect(kernel.print()).toBe(before);
  });

  test('that cannot be undone says so and keeps the journal', async () => {
    const real = kernel;
    // Past the file for nft, which leaves nothing to undo when it fails.
    real.failAt = 8;
    host = { ...host, kernel: { ...real, run: (batches, mode, scope) =>
      (mode === 'carry-on' ? Promise.reject(new Error('still broken')) : real.run(batches, mode, scope)) } };
    await expect(wire(host, START)).rejects.toThrow(RollbackError);
    expect(journal.list()).toHaveLength(1);
    use(kernel);
    await release(host, GUEST.uuid);
    expect(journal.list()).toEqual([]);
    expect(kernel.print()).toBe(fakeKernel(HOST).print());
  });
});

describe('ownership', () => {
  test('nothing is taken from a link that only has the same name', async () => {
    await wire(host, START);
    kernel.host.links['vnet1'] = { ifindex: 99, addresses: ['fe80::1/64'] };
    kernel.host.routes.push({ to: '198.51.100.7/32', dev: 'vnet1', protocol: '117' });
    const now = kernel.print();
    await unwire(host, GUEST.uuid);
    await release(host, GUEST.uuid);
    expect(kernel.print().split('\n').filter((line) => line.includes('vnet1')))
      .toEqual(now.split('\n').filter((line) => line.includes('vnet1')));
  });

  test('an address that a live guest holds is refused and the guest named; a dead one is forgotten', async () => {
    await wire(host, { ...START, attachments: [LINK] });
    kernel.host.links['vnet5'] = { ifindex: 55 };
    const rival: WireRequest = { ...START, guest: OTHER, attachments: [{ ...LINK, link: 'vnet5', routes: [] }] };
    await expect(wire(host, rival)).rejects.toThrow(new ConflictError(
      "guest 'db1' NIC 1 (52:54:00:aa:bb:02): '2001:db8:0:10::a' is held by guest 'web1' NIC 1 (52:54:00:aa:bb:02) as '2001:db8:0:10::a': give one of the two another address"));
    Reflect.deleteProperty(kernel.host.links, 'vnet1');
    kernel.host.routes = kernel.host.routes.filter(({ dev }) => dev !== 'vnet1');
    for (const path of [
      'net/ipv6/conf/vnet5/accept_ra', 'net/ipv6/conf/vnet5/forwarding', 'net/ipv4/conf/vnet5/forwarding',
    ]) kernel.host.sysctls[path] = '1';
    await wire(host, rival);
    expect(log).toContain("guest 'web1': its record is removed: its links are gone");
  });

  test.each([
    ['a route of another protocol', { to: '192.0.2.10/32', dev: 'eno1', via: '203.0.113.1', protocol: 'bgp' },
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '192.0.2.10' is already routed: '192.0.2.10' via '203.0.113.1' on 'eno1', protocol 'bgp': remove that route or give the guest another address"],
    ['an address of the host', { type: 'local', to: '192.0.2.10/32', dev: 'eno1' },
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '192.0.2.10' contains '192.0.2.10', an address of this host on 'eno1': give the guest another address"],
    ['a broadcast address of the host', { type: 'broadcast', to: '192.0.2.10/32', dev: 'eno1' },
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '192.0.2.10' belongs to this host itself: route 'broadcast 192.0.2.10' on 'eno1': give the guest another address"],
    ['a route of ours on a link that is not the guest\'s', { to: '2001:db8:0:10::/64', dev: 'vnet9', protocol: '117' },
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '2001:db8:0:10::a' is already routed: '2001:db8:0:10::/64' on 'vnet9', protocol '117': remove that route or give the guest another address"],
  ])('%s is a conflict', async (_, route, message) => {
    use(fakeKernel({ ...HOST, routes: [...(HOST.routes ?? []), route] }));
    await expect(wire(host, START)).rejects.toThrow(new ConflictError(message));
    expect(kernel.print()).toBe(before);
  });

  test('a covering shorter prefix is none', async () => {
    use(fakeKernel({
      ...HOST,
      routes: [...(HOST.routes ?? []), { to: '192.0.2.0/24', dev: 'eno1', via: '203.0.113.1', protocol: 'bgp' }],
    }));
    await expect(wire(host, START)).resolves.toBeDefined();
  });

  test('the next hop of a route of the host is refused, alone and inside a prefix', async () => {
    const claims = (address: string, to: string): WireRequest => ({ ...START, attachments: [{
      ...LINK, addresses: [address, '2001:db8:0:10::a'].map(parseAddress),
      routes: to === '' ? [] : [{ to: parsePrefix(to), via: parseAddress(address) }],
    }] });
    await expect(wire(host, claims('203.0.113.1', ''))).rejects.toThrow(
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '203.0.113.1' contains '203.0.113.1', the next hop of this host's route '0.0.0.0/0': give the guest another address");
    await expect(wire(host, claims('203.0.113.9', '203.0.113.0/29'))).rejects.toThrow(
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '203.0.113.0/29' contains '203.0.113.2', an address of this host on 'eno1': give the guest another address");
  });
});

describe('a host that cannot give it', () => {
  const port = "guest 'web1' NIC 0 (52:54:00:aa:bb:01)";
  const link = "guest 'web1' NIC 1 (52:54:00:aa:bb:02)";
  test.each<[string, (host: Required<FakeHost>) => void, string]>([
    ['no bridge', ({ links }) => { Reflect.deleteProperty(links, 'br0'); }, `${port}: bridge 'br0' does not exist: create it, or name an existing one in <source bridge>`],
    ['no bridge but a link', ({ links }) => { links['br0'] = { ifindex: 2 }; }, `${port}: 'br0' is not a bridge: name a bridge in <source bridge>`],
    ['filtering off', ({ links }) => { links['br0'] = { ifindex: 2, bridge: { filtering: false } }; },
      `${port}: bridge 'br0' does not filter VLANs: turn it on with 'ip link set dev br0 type bridge vlan_filtering 1' (its ports then drop tagged frames in VLANs that they do not have)`],
    ['no filtering in the kernel', ({ links }) => { links['br0'] = { ifindex: 2, bridge: { capable: false } }; },
      `${port}: this kernel cannot filter VLANs on bridge 'br0': it needs CONFIG_BRIDGE_VLAN_FILTERING`],
    ['a tap elsewhere', ({ links }) => { links['vnet0'] = { ifindex: 10, master: 'br9' }; }, `${port}: link 'vnet0' is not a port of bridge 'br0': its master is 'br9': run 'ip link set dev vnet0 master br0 && guestwire reconcile --all'`],
    ['a tap nowhere', ({ links }) => { links['vnet0'] = { ifindex: 10 }; }, `${port}: link 'vnet0' is not a port of bridge 'br0': it has no master: run 'guestwire reconcile --all'`],
    ['no tap', ({ links }) => { Reflect.deleteProperty(links, 'vnet1'); }, `${link}: link 'vnet1' does not exist: stop the guest and start it again`],
    ['a routed tap on a bridge', ({ links }) => { links['vnet1'] = { ifindex: 11, master: 'br0' }; },
      `${link}: link 'vnet1' is a port of 'br0', so it cannot be a routed link: take it out with 'ip link set dev vnet1 nomaster'`],
    ['no IPv4 forwarding', ({ sysctls }) => { sysctls['net/ipv4/conf/all/forwarding'] = '0'; }, `${link}: this host does not forward IPv4: run 'sysctl -w net.ipv4.ip_forward=1', or set 'manage_sysctls = true' in [routed]`],
    ['no IPv6 forwarding', ({ sysctls }) => { sysctls['net/ipv6/conf/all/forwarding'] = '0'; },
      `${link}: this host does not forward IPv6: run 'sysctl -w net.ipv6.conf.all.forwarding=1' (first accept_ra=2 on links that use router advertisements), or set 'manage_sysctls = true' in [routed]`],
  ])('%s', async (_, spoil, message) => {
    const fake = fakeKernel(HOST);
    spoil(fake.host);
    use(fake);
    await expect(wire(host, START)).rejects.toThrow(new HostError(message));
    expect(kernel.print()).toBe(before);
    expect(journal.list()).toEqual([]);
  });

  test('a NIC that libvirt gave no link, or no bridge', async () => {
    await expect(wire(host, { ...START, attachments: [{ ...LINK, link: undefined }] })).rejects.toThrow(`${link}: libvirt created no link for this NIC: use another interface type`);
    await expect(wire(host, { ...START, attachments: [{ ...PORT, bridge: undefined }] })).rejects.toThrow(`${port}: libvirt did not put this NIC into a Linux bridge: use another interface type`);
  });

  test('a kernel that forwards IPv6 by force_forwarding is a forwarding one', async () => {
    use(fakeKernel({
      ...HOST,
      sysctls: { ...HOST.sysctls, 'net/ipv6/conf/all/forwarding': '0', 'net/ipv6/conf/all/force_forwarding': '1' },
    }));
    await expect(wire(host, START)).resolves.toBeDefined();
  });
});
