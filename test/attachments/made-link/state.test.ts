// @tier fast
/** Made links through the whole loop on the kernel in memory: whichever line fails, the host is as it was before. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../../lib/attachments/derive.js';
import { hasShape, isHalfMade, isMadeHere } from '../../../lib/attachments/made-link/state.js';
import { defaultConfig } from '../../../lib/config/host-config.js';
import { parseDomain } from '../../../lib/domain/domain.js';
import { createJournal } from '../../../lib/journal/journal.js';
import { parseLinks } from '../../../lib/kernel/iproute-output.js';
import type { Host } from '../../../lib/reconcile/host.js';
import { make, release, releaseRunning, unwire, wire } from '../../../lib/reconcile/reconcile.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../../fakes/kernel.js';

const GUEST = { name: 'web1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01' };
const ALIAS = `guestwire:${GUEST.uuid}`;
const HOST: FakeHost = {
  links: { macvtap0: { ifindex: 20, up: false } },
  sysctls: {
    'net/ipv4/conf/all/forwarding': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv4/conf/default/forwarding': '0',
    'net/ipv6/conf/default/accept_ra': '1', 'net/ipv6/conf/default/disable_ipv6': '0',
    'net/ipv6/conf/default/forwarding': '0',
    'net/ipv6/conf/macvtap0/disable_ipv6': '0',
  },
};
const VETH = "<interface type='direct'><mac address='52:54:00:aa:bb:02'/><source dev='web1g' mode='passthrough'/><target dev='macvtap0'/></interface>";
const TAP = "<interface type='ethernet'><mac address='52:54:00:aa:bb:02'/><target dev='web1' managed='no'/><mtu size='1400'/></interface>";

function attachmentsOf(nic: string, veth: string): ReturnType<typeof deriveAttachments> {
  return deriveAttachments(parseDomain(`<domain type='kvm'><name>web1</name><uuid>${GUEST.uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>
    <gw:interface mac='52:54:00:aa:bb:02'><gw:routed>${veth}<gw:ip address='2001:db8:0:10::a'/><gw:ip address='192.0.2.10'/></gw:routed></gw:interface>
    </gw:guestwire></metadata><devices>${nic}</devices></domain>`), defaultConfig());
}

async function withHost(act: (host: Host, kernel: FakeKernel) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-made-'));
  const kernel = fakeKernel(HOST);
  try {
    await act({ kernel, journal: createJournal(dir, (message) => {
      throw new Error(message);
    }), log: () => undefined, protectedOn: () => new Set(), isQuarantined: () => false }, kernel);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describe.each([
  ['a veth pair', attachmentsOf(VETH, "<gw:veth dev='web1' mtu='1400'/>"), 6],
  ['an unmanaged tap', attachmentsOf(TAP, ''), 3],
])('%s', (_, attachments, lines) => {
  const start = { guest: GUEST, attachments, fresh: true, incoming: false };

  test('is undone whichever line of `prepare` fails, and no record stays', async () => {
    for (let at = 1; at <= lines; at += 1) {
      await withHost(async (host, kernel) => {
        const before = kernel.print();
        kernel.failAt = at;
        await expect(make(host, start)).rejects.toThrow('told to fail');
        expect({ at, now: kernel.print() }).toEqual({ at, now: before });
        expect(host.journal.list()).toEqual([]);
      });
    }
    await withHost(async (host, kernel) => {
      await make(host, start);
      expect(kernel.done).toHaveLength(lines);
    });
  });

  async function linesOfStart(): Promise<number> {
    let count = 0;
    await withHost(async (host, kernel) => {
      await make(host, start);
      await wire(host, start);
      count = kernel.done.length - lines;
    });
    expect(count).toBeGreaterThan(6);
    return count;
  }

  test('is as after `prepare` whichever line of `start` fails, and gone after `release`', async () => {
    const count = await linesOfStart();
    for (let at = 1; at <= count; at += 1) {
      await withHost(async (host, kernel) => {
        const before = kernel.print();
        await make(host, start);
        const made = kernel.print();
        kernel.failAt = lines + at;
        await expect(wire(host, start)).rejects.toThrow('told to fail');
        expect({ at, now: kernel.print() }).toEqual({ at, now: made });
        await unwire(host, GUEST.uuid);
        expect({ at, now: kernel.print() }).toEqual({ at, now: made });
        await release(host, GUEST.uuid);
        expect({ at, now: kernel.print() }).toEqual({ at, now: before });
        expect(host.journal.list()).toEqual([]);
      });
    }
  });

  test('is recorded before it is made, with its ifindex afterwards', async () => {
    await withHost(async (host, kernel) => {
      const run = kernel.run.bind(kernel);
      const seen: (number | undefined)[] = [];
      const watched: Host = { ...host, kernel: {
        ...kernel,
        run: (...args) => { seen.push(host.journal.read(GUEST.uuid)?.wired[0]?.ifindex); return run(...args); },
      } };
      await make(watched, start);
      expect(seen).toEqual([0]);
      expect(host.journal.read(GUEST.uuid)?.wired)
        .toMatchObject([{ kind: 'made-link', link: 'web1', ifindex: kernel.host.links['web1']?.ifindex }]);
    });
  });

  test('of a guest that comes by migration is made, and its routes wait', async () => {
    await withHost(async (host, kernel) => {
      await make(host, { ...start, incoming: true });
      await wire(host, { ...start, incoming: host.journal.read(GUEST.uuid)?.incoming ?? false });
      expect(kernel.host.routes).toEqual([]);
      expect(kernel.host.links['web1']?.up).toBe(true);
    });
  });

  test('stays under a running guest that asks for nothing any more', async () => {
    await withHost(async (host, kernel) => {
      await make(host, start);
      await wire(host, start);
      await releaseRunning(host, GUEST.uuid);
      expect(kernel.host.routes).toEqual([]);
      expect(kernel.host.links['web1']).toBeDefined();
      await release(host, GUEST.uuid);
      expect(kernel.host.links['web1']).toBeUndefined();
    });
  });

  test('goes from under a running guest, with its record, when guestwire is uninstalled', async () => {
    await withHost(async (host, kernel) => {
      await make(host, start);
      await wire(host, start);
      await releaseRunning(host, GUEST.uuid, { keepMade: false });
      expect(kernel.host.links['web1']).toBeUndefined();
      expect(host.journal.list()).toEqual([]);
    });
  });
});

describe('whose link it is', () => {
  const made = {
    made: { kind: 'veth', dev: 'web1', peer: 'web1g', alias: ALIAS, mtu: undefined, on: 'macvtap', macvtap: undefined },
  } as const;
  const facts = (more: object) => {
    const [link] = parseLinks([
      { ifname: 'web1', ifindex: 7, flags: [], linkinfo: { info_kind: 'veth' }, link: 'web1g', ...more },
    ]);
    if (link === undefined) throw new Error('no link');
    return link;
  };
  test.each([
    ['ours', { ifalias: ALIAS }, true, true],
    ['made a moment ago', {}, false, true],
    ["another guest's", { ifalias: 'guestwire:99999999-1d52-4d0e-9a0c-6d2f9d1f2c99' }, false, false],
    ["somebody's with an alias", { ifalias: 'uplink' }, false, false],
    ['of another pair', { ifalias: ALIAS, link: 'other' }, false, false],
    ['with its other end in another namespace', { ifalias: ALIAS, link: undefined, link_index: 3 }, false, false],
    ['of another kind', { ifalias: ALIAS, linkinfo: { info_kind: 'vlan' } }, false, false],
  ])('%s', (_, more, here, half) => {
    expect([isMadeHere(made, facts(more)), isHalfMade(made, facts(more))]).toEqual([here, half]);
  });

  test('a tap that lives only as long as it is open is none that guestwire makes', () => {
    const tap = { made: { kind: 'tap', dev: 'web1', alias: ALIAS, mtu: undefined, multiQueue: false } } as const;
    const link = (data: object) =>
      facts({ link: undefined, linkinfo: { info_kind: 'tun', info_data: { type: 'tap', ...data } } });
    expect(hasShape(tap, link({ persist: true, multi_queue: false }))).toBe(true);
    expect(hasShape(tap, link({ persist: false, multi_queue: false }))).toBe(false);
    expect(hasShape(tap, link({ persist: true, multi_queue: true }))).toBe(false);
  });
});
