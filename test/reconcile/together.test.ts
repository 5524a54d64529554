// @tier fast
/**
 * Several guests wired as one, on a fake kernel: the same as one by one, in the kernel and in the journal, or nothing
 * at all.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Attachment } from '../../lib/attachments/kinds.js';
import type { RoutedLink } from '../../lib/attachments/routed-link/routed-link.js';
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import { ConflictError } from '../../lib/errors.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { Host } from '../../lib/reconcile/host.js';
import { release, wire, wireAll } from '../../lib/reconcile/reconcile.js';
import type { Wanted } from '../../lib/reconcile/request.js';
import { canGoTogether, partOf } from '../../lib/reconcile/together.js';
import { attachmentOf } from '../fakes/attachments.js';
import { type FakeHost, type FakeKernel, fakeKernel, type FakeLink } from '../fakes/kernel.js';
import { POLICY } from '../fakes/policies.js';

const COUNT = 4;
const numbers = Array.from({ length: COUNT }, (_, index) => index);
const guestOf = (number: number): Wanted['guest'] => ({ name: `web${number}`, uuid: `11111111-2222-3333-4444-00000000000${number}` });
const port = (number: number, vid = 10 + (number % 2)): VlanPort => ({
  kind: 'vlan-port', nic: 0, mac: `52:54:00:00:00:0${number}`, link: `vnet${number}`,
  bridge: 'br0', isolated: undefined, uplinks: ['eno2'],
  vlans: [{ vid, pvid: true, untagged: true }],
});
const link = (number: number, address = `192.0.2.${number}`): RoutedLink => attachmentOf({
  kind: 'routed-link', nic: 1, mac: `52:54:00:00:01:0${number}`,
  link: `tap${number}`, addresses: [address, `2001:db8::${number}`], routes: [],
  gateways: ['169.254.0.1', 'fe80::1'], table: 'main', protocol: 117, policy: POLICY, proxy: ['eno1'],
});
const requestOf = (number: number, ...attachments: Attachment[]): Wanted => ({ guest: guestOf(number), attachments });
const ALL = numbers.map((number) => requestOf(number, port(number), link(number)));

const HOST: FakeHost = {
  links: {
    br0: { ifindex: 2, bridge: {} },
    eno1: { ifindex: 3, mac: '52:54:00:00:02:01', up: true, addresses: ['203.0.113.2/24'] },
    eno2: { ifindex: 4, master: 'br0', vlans: { 1: 'pvid untagged' } },
    ...Object.fromEntries(numbers.flatMap((number): [string, FakeLink][] => [
      [`vnet${number}`, { ifindex: 10 + number, master: 'br0', vlans: { 1: 'pvid untagged' } }],
      [`tap${number}`, { ifindex: 20 + number, addresses: [`fe80::fc54:ff:fe00:10${number}/64`] }],
    ])),
  },
  routes: [{ to: 'default', dev: 'eno1', via: '203.0.113.1', protocol: 'boot' }],
  networks: [{ dev: 'eno1', address: '203.0.113.2', prefix: '203.0.113.0/24' }],
  sysctls: {
    'net/ipv4/conf/all/forwarding': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/eno1/proxy_ndp': '0',
  },
};

interface Place {
  readonly kernel: FakeKernel;
  readonly host: Host;
  readonly log: string[];
  readonly quarantined: Set<string>;
  readonly dir: string;
}
let places: Place[];
beforeEach(() => { places = []; });
afterEach(() => { for (const { dir } of places) rmSync(dir, { recursive: true }); });

function place(): Place {
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-together-'));
  const [log, quarantined]: [string[], Set<string>] = [[], new Set()];
  const kernel = fakeKernel(HOST);
  const made: Place = {
    kernel, log, quarantined, dir,
    host: {
      kernel, journal: createJournal(dir, (line) => log.push(line)), log: (line) => log.push(line),
      protectedOn: () => new Set([5]), isQuarantined: (uuid) => quarantined.has(uuid),
    },
  };
  places.push(made);
  return made;
}

const one = async ({ host }: Place, { guest, attachments }: Wanted): Promise<unknown> =>
  wire(host, { guest, attachments, fresh: false, incoming: false });
const wireTogether = (host: Host, wanted: readonly Wanted[]): ReturnType<typeof wireAll> =>
  wireAll(host, wanted, { fresh: false, incoming: false });
const entries = ({ host: { journal } }: Place): unknown[] => [
  ...numbers.map((number) => {
    const entry = journal.read(guestOf(number).uuid);
    return entry && { ...entry, since: '' };
  }),
  journal.readLedger().uplinks.map((record) => ({ ...record, vids: [...record.vids].sort() })),
  journal.readLedger().proxies,
];

describe('guests that are wired together', () => {
  test('have what they have when each is wired alone, and so has the journal', async () => {
    const [alone, together] = [place(), place()];
    for (const request of ALL) await one(alone, request);
    await wireTogether(together.host, ALL);
    expect(together.kernel.print()).toBe(alone.kernel.print());
    expect(entries(together)).toEqual(entries(alone));
    expect((await wireTogether(together.host, ALL)).operations).toEqual([]);
    for (const number of numbers) await release(together.host, guestOf(number).uuid);
    expect(together.kernel.print()).toBe(fakeKernel(HOST).print());
    expect(entries(together)).toEqual([...numbers.map(() => undefined), [], []]);
  });

  test('may be wired already, in part, or otherwise: each keeps its time and its original', async () => {
    const [alone, together] = [place(), place()];
    const next = [
      requestOf(0, port(0, 30), link(0)), requestOf(1, link(1, '192.0.2.77')), requestOf(2, port(2), link(2)),
      requestOf(3, port(3)),
    ];
    for (const each of [alone, together])
      for (const request of [ALL[0], ALL[1], requestOf(3, port(3))])
        if (request !== undefined) await one(each, request);
    const since = together.host.journal.read(guestOf(0).uuid)?.since;
    for (const request of next) await one(alone, request);
    await wireTogether(together.host, next);
    expect(together.kernel.print()).toBe(alone.kernel.print());
    expect(entries(together)).toEqual(entries(alone));
    expect(together.host.journal.read(guestOf(0).uuid)?.since).toBe(since);
  });

  test('leave nothing done when a line fails, whichever it is', async () => {
    const probe = place();
    await one(probe, requestOf(1, port(1)));
    const count = probe.kernel.done.length;
    await wireTogether(probe.host, ALL);
    const lines = probe.kernel.done.length - count;
    expect(lines).toBeGreaterThan(20);
    for (let line = 1; line <= lines; line += 1) {
      const each = place();
      await one(each, requestOf(1, port(1)));
      const [kernel, journal] = [each.kernel.print(), entries(each)];
      each.kernel.failAt = each.kernel.done.length + line;
      await expect(wireTogether(each.host, ALL)).rejects.toThrow();
      expect(each.kernel.print()).toBe(kernel);
      expect(entries(each)).toEqual(journal);
    }
  });

  test('are each named for what is theirs', async () => {
    const { host, log } = place();
    await wireTogether(host, ALL);
    for (const number of numbers) {
      expect(log).toContain(`guest 'web${number}' NIC 0 (52:54:00:00:00:0${number}): add VLAN ${10 + (number % 2)} pvid untagged on 'vnet${number}'`);
      expect(log.some((line) => line.startsWith(`guest 'web${number}' NIC 1 (52:54:00:00:01:0${number}): `) && line.includes(`192.0.2.${number}`))).toBe(true);
    }
    expect(log.filter((line) => line.includes("'all'"))).toEqual([]);
  });

  test('are each told what no change mends, if it concerns them', async () => {
    const { host, log } = place();
    const requests = [
      requestOf(0, port(0), { ...link(0), proxy: ['eno9'] }),
      requestOf(1, { ...port(1), uplinks: ['eno9'] }),
      requestOf(2, { ...link(2), proxy: ['eno8'] }),
    ];
    const told: [about: string | undefined, line: string][] = [];
    const warn: typeof host.warn = (line, about) => {
      told.push([about && `${about.guest.name} ${about.nics.map(({ nic, link: tap }) => `${nic} ${tap ?? ''}`).join()}`, line]);
    };
    await wireTogether({ ...host, warn }, requests);
    expect(told).toEqual([
      ['web0 1 tap0', "guest 'web0': proxy link 'eno9' of the host config does not exist: no neighbour on it finds the guest"],
      ['web1 0 vnet1', "guest 'web1': uplink 'eno9' of the host config is not a port of bridge 'br0': the guest's VLANs do not leave this host through it"],
      ['web2 1 tap2', "guest 'web2': proxy link 'eno8' of the host config does not exist: no neighbour on it finds the guest"],
    ]);
    expect(log.filter((line) => line.includes('host config'))).toEqual([]);
  });

  test('are each announced with what is theirs', async () => {
    const plan = await wireTogether(place().host, ALL);
    expect(plan.presence.flatMap(({ addresses }) => addresses)).toHaveLength(2 * COUNT);
    const part = partOf(plan, [link(2)]);
    const announced = part.presence.flatMap(({ addresses }) => addresses.map(({ text }) => text));
    expect(announced.sort()).toEqual(['192.0.2.2', '2001:db8::2']);
  });

  test('refuse together what one of them may not have', async () => {
    const { host, kernel } = place();
    const before = kernel.print();
    await expect(wireTogether(host, [requestOf(0, link(0)), requestOf(1, link(1, '203.0.113.2'))]))
      .rejects.toThrow(ConflictError);
    expect(kernel.print()).toBe(before);
  });
});

describe('guests cannot go together', () => {
  test('when they claim the same, are in quarantine, come by migration, or have links that guestwire made', async () => {
    const { host, quarantined } = place();
    expect(canGoTogether(host, ALL)).toBe(true);
    expect(canGoTogether(host, [requestOf(0, link(0)), requestOf(1, link(1, '192.0.2.0'))])).toBe(false);
    expect(canGoTogether(host, [requestOf(0, port(0)), requestOf(1, port(0))])).toBe(false);
    const made = {
      ...link(1), made: { kind: 'tap', dev: 'tap1', multiQueue: false, owner: undefined },
    } as unknown as RoutedLink;
    expect(canGoTogether(host, [requestOf(0, link(0)), requestOf(1, made)])).toBe(false);
    await wire(host, { ...requestOf(2, link(2)), fresh: false, incoming: true });
    expect(canGoTogether(host, [requestOf(0, link(0)), requestOf(2, link(2))])).toBe(false);
    quarantined.add(guestOf(3).uuid);
    expect(canGoTogether(host, [requestOf(0, link(0)), requestOf(3, link(3))])).toBe(false);
  });
});
