/** The agent's guests when what it asks and does fails: tried again, and told once. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createConcerns } from '../../lib/agent/concerns.js';
import { createGuests, type Guests } from '../../lib/agent/guests.js';
import type { Io } from '../../lib/cli/command.js';
import { type Connection, type DomainRef, LibvirtTimeoutError } from '../../lib/libvirt/index.js';
import { settingsFrom } from '../../lib/settings.js';
import { waitFor } from '../lab/host.js';

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
  const io: Io = {
    settings: settingsFrom({ GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'none.toml'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine') }),
    print: () => undefined, warn: (line) => warnings.push(line),
    exec: ({ tool }) => Promise.resolve({ exitCode: tool === 'flock' ? 0 : 1, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: 'no' }),
  };
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
  expect(warnings).toEqual(['not all guests could be looked at: no answer: it is tried again']);
}, 30_000);

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
  expect(warnings.filter((line) => line.endsWith('it is tried again'))).toHaveLength(1);
}, 30_000);
