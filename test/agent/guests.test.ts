// @tier fast kernel
/** The agent's guests when what it asks and does fails: tried again, and told once. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createConcerns } from '../../lib/agent/concerns.js';
import { createGuests, type Guests } from '../../lib/agent/guests.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { forOneRun } from '../../lib/guests/io.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { LibvirtTimeoutError } from '../../lib/libvirt/errors.js';
import type { DomainRef } from '../../lib/libvirt/refs.js';
import { waitFor } from '../lab/host.js';
import { testWith } from '../places/capability.js';
import { openNetns } from '../places/netns.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

const REF: DomainRef = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555', id: 7 };
const MAC = '52:54:00:aa:bb:01';
const intent = (mac: string): string => `<gw:interface mac="${mac}"><gw:vlan><gw:tag id="10"/></gw:vlan></gw:interface>`;
/** A NIC that was detached left its metadata. */
const XML = `<domain type='kvm' id='7'><name>${REF.name}</name><uuid>${REF.uuid}</uuid>
  <metadata><gw:guestwire xmlns:gw="urn:guestwire:1">${intent(MAC)}${intent('52:54:00:aa:bb:99')}</gw:guestwire></metadata>
  <devices><interface type='bridge'><mac address='${MAC}'/><source bridge='br0'/><target dev='vnet0'/></interface></devices></domain>`;

let dir: string;
let warnings: string[];
let guests: Guests;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-guests-'));
  warnings = [];
  const io = forOneRun({
    settings: settingsFrom({
      GUESTWIRE_STATE_DIR: join(dir, 'state'),
      GUESTWIRE_CONFIG: join(dir, 'none.toml'),
      GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
    }),
    print: () => undefined, warn: (line) => warnings.push(line),
    exec: ({ tool }) => Promise.resolve({
      exitCode: tool === 'flock' ? 0 : 1, signal: undefined, errno: undefined, timedOut: false, stdout: '',
      stderr: 'no',
    }),
  });
  guests = createGuests(io, createConcerns());
});
afterEach(async () => {
  await guests.stop();
  rmSync(dir, { recursive: true });
});

test('a look at all that fails is tried again, and told once', async () => {
  let asked = 0;
  guests.use({
    uri: 'qemu:///system',
    listDomains: () => {
      asked += 1;
      return asked < 3 ? Promise.reject(new LibvirtTimeoutError('no answer')) : Promise.resolve([]);
    },
  } as unknown as Connection);
  await guests.checkAll();
  await waitFor(() => Promise.resolve(asked === 3), { what: 'a look that succeeds' });
  expect(warnings).toEqual(['could not check all guests: no answer: will retry']);
});

test('what is warned of in each attempt that fails is told once', async () => {
  let asked = 0;
  guests.use({
    uri: 'qemu:///system',
    domainStatus: () => Promise.resolve({ state: 'running', reason: 'booted' }),
    domainXml: () => {
      asked += 1;
      return Promise.resolve(XML);
    },
    lookupDomain: () => Promise.resolve(REF),
  } as unknown as Connection);
  guests.hear(REF);
  await waitFor(() => Promise.resolve(asked >= 4), { what: 'four attempts' });
  expect(warnings.filter((line) => line.includes('52:54:00:aa:bb:99'))).toHaveLength(1);
  expect(warnings.filter((line) => line.endsWith(': will retry'))).toHaveLength(1);
});

/**
 * Hears of guests three times, of both at once and then of one, and prints what was told. In the namespace: sysctls are
 * read by whoever runs.
 */
const HEARING = `
const [dist, dir, guests] = process.argv.slice(1);
const { createGuests } = await import(dist + '/agent/guests.js');
const { createConcerns } = await import(dist + '/agent/concerns.js');
const { execAsync: exec } = await import(dist + '/system/exec-async.js');
const { forOneRun } = await import(dist + '/guests/io.js');
const { settingsFrom } = await import(dist + '/config/paths.js');
const refs = JSON.parse(guests);
const [told, done, looks] = [[], [], new Map()];
const agent = createGuests(forOneRun({ settings: settingsFrom(process.env), exec, print: (line) => done.push(line), warn: (line) => told.push(line) }), createConcerns());
agent.use({
  domainStatus: async () => ({ state: 'running', reason: 'booted' }),
  domainXml: async ({ uuid }) => refs.find((ref) => ref.uuid === uuid).xml,
  lookupDomain: async ({ uuid }) => { looks.set(uuid, (looks.get(uuid) ?? 0) + 1); return refs.find((ref) => ref.uuid === uuid); },
});
// Of each run of a guest there are two: before the lock, and after.
for (const [run, those] of [refs, refs, refs.slice(0, 1)].entries()) {
  for (const ref of those) agent.hear(ref);
  while (!those.every(({ uuid }) => looks.get(uuid) === 2 * (run + 1))) await new Promise((resolve) => setTimeout(resolve, 10));
}
await agent.stop();
console.log(JSON.stringify({ told, done }));`;

kernelTest('what no change mends is told once a guest, whether it is wired alone or with others', async () => {
  const netns = await openNetns();
  try {
    netns.sh('sysctl -qw net.ipv4.ip_forward=1; for tap in vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done');
    writeFileSync(join(dir, 'proxy.toml'), '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["gone0"]\nannounce = false\n', { mode: 0o600 });
    const refs = ['1', '2'].map((number) => {
      const xml = guestXml({ name: `web${number}`, tap: `vnet${number}`, addresses: [`192.0.2.${number}`] })
        .replace('<domain ', "<domain id='3' ");
      return { name: `web${number}`, uuid: /<uuid>(.*)<\/uuid>/.exec(xml)?.[1], id: 3, xml };
    });
    const env = {
      PATH: process.env['PATH'] ?? '', GUESTWIRE_STATE_DIR: join(dir, 'state'),
      GUESTWIRE_CONFIG: join(dir, 'proxy.toml'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
    };
    const { stdout, stderr } = netns.run(
      process.execPath, ['--input-type=module', '-e', HEARING, resolve('dist'), dir, JSON.stringify(refs)], { env },
    );
    const { told, done } = JSON.parse(stdout || `"${stderr}"`) as { told: string[]; done: string[] };
    expect(told.sort()).toEqual(refs.map(({ name }) => `guest '${name}': proxy link 'gone0' of the host config does not exist: no neighbour on it finds the guest`));
    expect(done.filter((line) => line.includes('proxy link'))).toEqual([]);
    expect(done.filter((line) => line.includes('add route 192.0.2.'))).toHaveLength(2);
  } finally {
    netns.close();
  }
});
