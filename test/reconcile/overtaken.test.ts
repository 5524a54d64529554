// @tier fast
/** A guest that ends and is started again while it is being wired, on a fake kernel. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { forOneRun, type Io } from '../../lib/guests/io.js';
import {
  type GuestWork, OvertakenError, type Turn, wireGuest, wireNow,
} from '../../lib/guests/reconcile-guest.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { Host } from '../../lib/reconcile/host.js';
import { release, wire } from '../../lib/reconcile/reconcile.js';
import { fakeKernel, type FakeKernel } from '../fakes/kernel.js';

const GUEST = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555' };
const MAC = '52:54:00:aa:bb:01';
const XML = `<domain type='kvm' id='7'><name>web1</name><uuid>${GUEST.uuid}</uuid>
  <metadata><gw:guestwire xmlns:gw="urn:guestwire:1"><gw:interface mac="${MAC}"><gw:vlan><gw:tag id="10"/></gw:vlan></gw:interface></gw:guestwire></metadata>
  <devices><interface type='bridge'><mac address='${MAC}'/><source bridge='br0'/><target dev='vnet0'/></interface></devices></domain>`;

let dir: string;
let kernel: FakeKernel;
let host: Host;
let io: Io;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-overtaken-'));
  kernel = fakeKernel({
    links: { br0: { ifindex: 2, bridge: {} }, vnet0: { ifindex: 10, master: 'br0', vlans: { 1: 'pvid untagged' } } },
  });
  host = {
    kernel, journal: createJournal(dir, () => undefined), log: () => undefined, protectedOn: () => new Set(),
    isQuarantined: () => false,
  };
  const none = { exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '' };
  io = forOneRun({
    settings: settingsFrom({ GUESTWIRE_STATE_DIR: dir, GUESTWIRE_CONFIG: join(dir, 'none.toml') }),
    exec: () => Promise.resolve(none), print: () => undefined, warn: () => undefined,
  });
});
afterEach(() => { rmSync(dir, { recursive: true }); });

/** `meanwhile` is what happens between libvirt's answer that the guest ended and the lock. */
function workWith(meanwhile: () => Promise<void>): GuestWork {
  const ids = [7];
  const run: Turn['run'] = async (act) => {
    await meanwhile();
    await act(host);
  };
  return {
    io, turn: { run, wire: (wiring) => wireNow(host, wiring) },
    effects: { serve: () => Promise.resolve(), announce: () => Promise.resolve() },
    inquiry: {
      life: () => Promise.resolve({ kind: 'here' }), xml: () => Promise.resolve(XML),
      id: () => Promise.resolve(ids.shift()),
    },
  };
}

async function startAgain(): Promise<void> {
  await release(host, GUEST.uuid);
  // Another start has another time.
  await new Promise((resolve) => { setTimeout(resolve, 5); });
  await wire(host, {
    guest: GUEST, attachments: deriveAttachments(parseDomain(XML), io.config.read()), fresh: true,
    incoming: false,
  });
}

test('what its next start wired stays', async () => {
  const before = kernel.print();
  await startAgain();
  const wired = kernel.print();
  expect(wired).not.toBe(before);
  await expect(wireGuest(workWith(startAgain))).rejects.toThrow(OvertakenError);
  expect(host.journal.read(GUEST.uuid)?.wired).toHaveLength(1);
  expect(kernel.print()).toBe(wired);
});

test('what was wired for it is released when it stays ended', async () => {
  const before = kernel.print();
  await expect(wireGuest(workWith(() => Promise.resolve()))).rejects.toThrow('its wiring is released');
  expect(host.journal.read(GUEST.uuid)).toBeUndefined();
  expect(kernel.print()).toBe(before);
});
