// @tier fast
/**
 * Bridges of one VLAN on a fake kernel: guests share them, the last guest takes them away, and neither a failure nor a
 * kill at any line leaves anything behind.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanBridge } from '../../../lib/attachments/vlan-bridge/vlan-bridge.js';
import type { Guest } from '../../../lib/domain/guest.js';
import { createJournal, type Journal } from '../../../lib/journal/journal.js';
import { type Host, pastOf } from '../../../lib/reconcile/host.js';
import type { Plan } from '../../../lib/reconcile/plan.js';
import { make, planWiring, release, releaseRunning, unwire, wire } from '../../../lib/reconcile/reconcile.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../../fakes/kernel.js';
import { POLICY } from '../../fakes/policies.js';

const A: Guest = { name: 'a', uuid: '11111111-2222-3333-4444-555555555555' };
const B: Guest = { name: 'b', uuid: '99999999-2222-3333-4444-555555555555' };
const port = (link: string | undefined, more: Partial<VlanBridge> = {}): VlanBridge => ({
  kind: 'vlan-bridge', nic: 0, mac: '52:54:00:aa:bb:01', link,
  bridge: 'br30', vid: 30, parent: 'eno1', isolated: undefined,
  policy: { ...POLICY, profile: 'open' }, ...more,
});
const HOST: FakeHost = {
  links: { eno1: { ifindex: 2, mac: '02:00:00:00:00:01', mtu: 9000 }, eno2: { ifindex: 3, mac: '02:00:00:00:00:02' } },
  sysctls: { 'net/ipv6/conf/default/disable_ipv6': '0' },
};

let dir: string;
let journal: Journal;
let kernel: FakeKernel;
let host: Host;
let before: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-bridges-'));
  journal = createJournal(dir, (message) => { throw new Error(message); });
  use(HOST);
});
afterEach(() => { rmSync(dir, { recursive: true }); });

function use(start: FakeHost): void {
  kernel = fakeKernel(start);
  before = kernel.print();
  host = { kernel, journal, log: () => undefined, protectedOn: () => new Set<number>(), isQuarantined: () => false };
}

/** Does what libvirt does between the two hooks. */
function addTap(link: string, master = 'br30'): void {
  const ifindex = Math.max(...Object.values(kernel.host.links).map((one) => one.ifindex)) + 1;
  // The kernel lists the default VLAN of a new port also where the bridge does not filter.
  kernel.host.links[link] = { ifindex, master, vlans: { 1: 'pvid untagged' } };
}

async function start(guest: Guest, link: string, more: Partial<VlanBridge> = {}): Promise<Plan> {
  await make(host, { guest, attachments: [port(undefined, more)], incoming: false });
  addTap(link, more.bridge);
  return wire(host, { guest, attachments: [port(link, more)], fresh: true, incoming: false });
}

/** At `stopped` libvirt has taken the tap away. */
async function stop(guest: Guest, link: string): Promise<void> {
  Reflect.deleteProperty(kernel.host.links, link);
  await unwire(host, guest.uuid);
  await release(host, guest.uuid);
}

const has = (link: string): boolean => kernel.host.links[link] !== undefined;
const repair = (guest: Guest, link: string): Promise<Plan> =>
  wire(host, { guest, attachments: [port(link)], fresh: false, incoming: false });

describe('guests share the bridge', () => {
  test('the first makes it, the second finds it, the last takes it away', async () => {
    await start(A, 'vnet0');
    const lines = kernel.done.length;
    await make(host, { guest: B, attachments: [port(undefined)], incoming: false });
    expect(kernel.done.length).toBe(lines);
    addTap('vnet1');
    await wire(host, { guest: B, attachments: [port('vnet1')], fresh: true, incoming: false });
    await stop(A, 'vnet0');
    expect([has('br30'), has('eno1.30')]).toEqual([true, true]);
    await stop(B, 'vnet1');
    expect(kernel.print()).toBe(before);
    expect([journal.list(), journal.readLedger().bridges]).toEqual([[], []]);
  });

  test('it stays between `stopped` and `release`, and with a guest that is between `prepare` and `start`', async () => {
    await start(A, 'vnet0');
    await make(host, { guest: B, attachments: [port(undefined)], incoming: false });
    Reflect.deleteProperty(kernel.host.links, 'vnet0');
    await unwire(host, A.uuid);
    expect(has('br30')).toBe(true);
    await release(host, A.uuid);
    expect(has('br30')).toBe(true);
    await release(host, B.uuid);
    expect(kernel.print()).toBe(before);
  });

  test('two VLANs are two bridges', async () => {
    await start(A, 'vnet0');
    await start(B, 'vnet1', { bridge: 'br31', vid: 31, parent: 'eno2' });
    await stop(A, 'vnet0');
    expect([has('br30'), has('eno1.30'), has('br31'), has('eno2.31')]).toEqual([false, false, true, true]);
    await stop(B, 'vnet1');
    expect(kernel.print()).toBe(before);
  });

  test('a port of another program keeps it, and the next release without that port takes it away', async () => {
    await start(A, 'vnet0');
    addTap('other0');
    await stop(A, 'vnet0');
    expect([has('br30'), has('eno1.30')]).toEqual([true, true]);
    await start(A, 'vnet0');
    Reflect.deleteProperty(kernel.host.links, 'other0');
    await stop(A, 'vnet0');
    expect(kernel.print()).toBe(before);
  });

  test('a running guest that is not to be wired any more leaves the bridge, and it goes at its end', async () => {
    await start(A, 'vnet0');
    await releaseRunning(host, A.uuid);
    expect(kernel.host.links['vnet0']?.master).toBeUndefined();
    expect(has('br30')).toBe(true);
    Reflect.deleteProperty(kernel.host.links, 'vnet0');
    await release(host, A.uuid);
    expect(kernel.print()).toBe(before);
  });

  test('`uninstall --unwire` takes it from under running guests, without a trace', async () => {
    await start(A, 'vnet0');
    await start(B, 'vnet1');
    for (const { uuid } of [A, B]) await releaseRunning(host, uuid, { keepMade: false });
    for (const link of ['vnet0', 'vnet1']) Reflect.deleteProperty(kernel.host.links, link);
    expect(kernel.print()).toBe(before);
  });
});

describe('an existing bridge', () => {
  const theirs = { ifindex: 9, bridge: { filtering: false }, mtu: 1500 };

  test('is used as it is, and only the sub-interface comes and goes', async () => {
    use({ ...HOST, links: { ...HOST.links, br30: theirs } });
    await start(A, 'vnet0');
    expect(kernel.host.links['br30']).toEqual(theirs);
    expect(kernel.host.links['eno1.30']?.master).toBe('br30');
    await stop(A, 'vnet0');
    expect(kernel.print()).toBe(before);
  });

  test('with its sub-interface is not touched at all', async () => {
    use({ ...HOST, links: {
      ...HOST.links, br30: theirs, 'eno1.30': { ifindex: 10, vlan: { parent: 'eno1', vid: 30 }, master: 'br30' },
    } });
    await make(host, { guest: A, attachments: [port(undefined)], incoming: false });
    expect(kernel.done).toEqual([]);
    await release(host, A.uuid);
    expect(kernel.print()).toBe(before);
  });

  test("that an earlier run left is guestwire's by its alias, and is repaired", async () => {
    const alias = 'guestwire:vlan-bridge';
    const sysctls = Object.fromEntries(
      ['default', 'br30', 'eno1.30'].map((link) => [`net/ipv6/conf/${link}/disable_ipv6`, '0']),
    );
    use({ ...HOST, sysctls, links: {
      ...HOST.links, br30: { ...theirs, alias }, 'eno1.30': { ifindex: 10, vlan: { parent: 'eno1', vid: 30 }, alias },
    } });
    await start(A, 'vnet0');
    expect(kernel.host.links['eno1.30']?.master).toBe('br30');
    expect(kernel.host.links['br30']).toMatchObject({ mtu: 9000, bridge: { forwardDelay: 0 } });
    await stop(A, 'vnet0');
    expect([has('br30'), has('eno1.30')]).toEqual([false, false]);
  });
});

describe('what differs is repaired', () => {
  const changes: Readonly<Record<string, () => void>> = {
    'the sub-interface left the bridge': () => { delete kernel.host.links['eno1.30']?.master; },
    'the sub-interface is gone': () => { Reflect.deleteProperty(kernel.host.links, 'eno1.30'); },
    'the bridge is down': () => { Object.assign(kernel.host.links['br30'] ?? {}, { up: false }); },
    'the bridge filters': () => { Object.assign(kernel.host.links['br30']?.bridge ?? {}, { filtering: true }); },
    'the bridge has another MAC': () => {
      Object.assign(kernel.host.links['br30'] ?? {}, { mac: '02:00:00:00:00:09' });
    },
    'the bridge speaks spanning tree': () => {
      Object.assign(kernel.host.links['br30']?.bridge ?? {}, { stp: true, forwardDelay: 1500 });
    },
    'a port lowered the MTU': () => { Object.assign(kernel.host.links['br30'] ?? {}, { mtu: 1400 }); },
    'the bridge has IPv6': () => { kernel.host.sysctls['net/ipv6/conf/br30/disable_ipv6'] = '0'; },
    'the tap left the bridge': () => { delete kernel.host.links['vnet0']?.master; },
    'the bridge is gone': () => {
      Reflect.deleteProperty(kernel.host.links, 'br30');
      for (const link of ['eno1.30', 'vnet0']) delete kernel.host.links[link]?.master;
    },
    'all is gone': () => {
      for (const link of ['br30', 'eno1.30']) Reflect.deleteProperty(kernel.host.links, link);
      delete kernel.host.links['vnet0']?.master;
    },
  };
  test.each(Object.keys(changes))('%s', async (name) => {
    await start(A, 'vnet0');
    const right = kernel.print();
    changes[name]?.();
    await repair(A, 'vnet0');
    expect(kernel.print()).toBe(right);
    expect(kernel.host.links['vnet0']?.master).toBe('br30');
    expect((await repair(A, 'vnet0')).operations).toEqual([]);
    await stop(A, 'vnet0');
    expect(kernel.print()).toBe(before);
  });

  test('and a plan shows it without doing it', async () => {
    await start(A, 'vnet0');
    delete kernel.host.links['eno1.30']?.master;
    const broken = kernel.print();
    const plan = await planWiring(
      host, { guest: A, attachments: [port('vnet0')], fresh: false, incoming: false }, pastOf(host, A.uuid),
    );
    expect(plan.batches.flatMap(({ lines }) => lines.map(({ text }) => text)))
      .toEqual(['link set dev eno1.30 master br30']);
    expect(kernel.print()).toBe(broken);
  });
});

describe('at every line', () => {
  /** Lines of the first `prepare`. */
  const LINES = Array.from({ length: 13 }, (_, index) => index + 1);

  test.each(LINES)('a failure at line %d of `prepare` leaves the host as it was', async (line) => {
    kernel.failAt = line;
    await expect(make(host, { guest: A, attachments: [port(undefined)], incoming: false }))
      .rejects.toThrow('told to fail');
    expect(kernel.print()).toBe(before);
    expect([journal.list(), journal.readLedger().bridges]).toEqual([[], []]);
    await start(A, 'vnet0');
    await stop(A, 'vnet0');
    expect(kernel.print()).toBe(before);
  });

  /** Runs `act` with a kernel that dies before the line with this number, and all that comes after it. */
  async function killedAt(line: number, act: () => Promise<unknown>): Promise<void> {
    const run = kernel.run.bind(kernel);
    const last = kernel.done.length + line;
    let dead = false;
    kernel.run = (batches, mode, scope) => {
      if (dead) return new Promise(() => undefined);
      const all = batches.flatMap(({ tool, lines }) => lines.map((one) => ({ tool, lines: [one] })));
      const some = all.slice(0, Math.max(0, last - 1 - kernel.done.length));
      dead = some.length < all.length;
      const done = run(some, mode, scope);
      return dead ? done.then(() => new Promise<never>(() => undefined)) : done;
    };
    await Promise.race([act(), new Promise((resolve) => { setTimeout(resolve, 20); })]);
    kernel.run = run;
  }

  test.each(LINES)('a kill before line %d of `prepare` leaves nothing after the release', async (line) => {
    await killedAt(line, () => make(host, { guest: A, attachments: [port(undefined)], incoming: false }));
    await release(host, A.uuid);
    expect(kernel.print()).toBe(before);
    expect([journal.list(), journal.readLedger().bridges]).toEqual([[], []]);
  });

  test.each(LINES)('a kill before line %d of `prepare` is made good by the start of another guest', async (line) => {
    await killedAt(line, () => make(host, { guest: A, attachments: [port(undefined)], incoming: false }));
    await start(B, 'vnet1');
    expect(kernel.host.links['br30'])
      .toMatchObject({ mtu: 9000, mac: '02:00:00:00:00:01', alias: 'guestwire:vlan-bridge', up: true });
    expect(kernel.host.links['eno1.30']).toMatchObject({ master: 'br30', alias: 'guestwire:vlan-bridge', up: true });
    await release(host, A.uuid);
    expect(has('br30')).toBe(true);
    await stop(B, 'vnet1');
    expect(kernel.print()).toBe(before);
    expect(journal.readLedger().bridges).toEqual([]);
  });

  test.each([1, 2, 3])('a kill before line %d of the last release is made good by the next', async (line) => {
    await start(A, 'vnet0');
    Reflect.deleteProperty(kernel.host.links, 'vnet0');
    await killedAt(line, () => release(host, A.uuid));
    await release(host, A.uuid);
    expect(kernel.print()).toBe(before);
    expect(journal.list()).toEqual([]);
  });
});
