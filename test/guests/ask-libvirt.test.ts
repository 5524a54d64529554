// @tier fast
/** What all guests of a connection ask for, when some of them cannot be understood. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { configReading } from '../../lib/config/file.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { assertCallsHooks, readGuests } from '../../lib/guests/ask-libvirt.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { LibvirtConnectionError, LibvirtError, LibvirtTimeoutError } from '../../lib/libvirt/errors.js';
import type { DomainRef } from '../../lib/libvirt/refs.js';

const uuidOf = (number: number): string => `11111111-2222-3333-4444-00000000000${number}`;
const REFS: readonly DomainRef[] = [{ name: 'web1', uuid: uuidOf(1), id: 7 }, { name: 'db1', uuid: uuidOf(2), id: 8 }];
const MAC = '52:54:00:aa:bb:01';
const xmlOf = ({ name, uuid }: DomainRef): string => `<domain type='kvm' id='7'><name>${name}</name><uuid>${uuid}</uuid>
  <metadata><gw:guestwire xmlns:gw="urn:guestwire:1"><gw:interface mac="${MAC}"><gw:vlan><gw:tag id="10"/></gw:vlan></gw:interface></gw:guestwire></metadata>
  <devices><interface type='bridge'><mac address='${MAC}'/><source bridge='br0'/><target dev='vnet0'/></interface></devices></domain>`;

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-metadata-')); });
afterEach(() => { rmSync(dir, { recursive: true }); });

/** Of the second guest libvirt says nothing but `error`. */
function read(error: Error): ReturnType<typeof readGuests> {
  const connection = {
    uri: 'qemu:///system', listDomains: () => Promise.resolve(REFS),
    domainXml: (ref: DomainRef) => (ref === REFS[0] ? Promise.resolve(xmlOf(ref)) : Promise.reject(error)),
  } as unknown as Connection;
  const settings = settingsFrom({ GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'none.toml') });
  return readGuests(connection, { settings, config: configReading(settings.config), warn: () => undefined });
}

test('a guest that libvirt cannot speak of keeps nobody from the others', async () => {
  const { running, mayRun, faults } = await read(new LibvirtTimeoutError('no answer in 10 s'));
  expect([...running.keys()]).toEqual([uuidOf(1)]);
  expect([...mayRun]).toEqual([uuidOf(1), uuidOf(2)]);
  expect(faults).toMatchObject([{ guest: { name: 'db1', uuid: uuidOf(2) }, error: { message: 'no answer in 10 s' } }]);
});

test('one that ended since it was listed asks for nothing', async () => {
  const { running, faults } = await read(new LibvirtError('domain_get_xml_desc', {
    reason: 'VIR_ERR_NO_DOMAIN', reasonNumber: 42, origin: 'VIR_FROM_QEMU', originNumber: 10, level: 'error',
    message: 'Domain not found',
  }));
  expect([...running.keys()]).toEqual([uuidOf(1)]);
  expect(faults).toEqual([]);
});

test('without a connection nobody can be asked', async () => {
  await expect(read(new LibvirtConnectionError('gone'))).rejects.toThrow(LibvirtConnectionError);
});

test('a wired guest of another driver may run, whatever this one says', async () => {
  const theirs = { name: 'box', uuid: uuidOf(3), driver: 'lxc' };
  const journal = createJournal(join(dir, 'state'), () => undefined);
  for (const guest of [theirs, { name: 'old1', uuid: uuidOf(4) }])
    journal.write({ version: 1, guest, since: '2026-01-01T00:00:00.000Z', incoming: false, wired: [], original: [] });
  expect([...(await read(new LibvirtTimeoutError('no answer'))).mayRun]).toEqual([uuidOf(1), uuidOf(2), uuidOf(3)]);
});

test.each([
  'qemu:///system', 'lxc:///', 'qemu+unix:///system?socket=/run/x', 'qemu+ssh:///system', 'test:///default',
])('%s is a libvirt of this host', (uri) => {
  expect(() => { assertCallsHooks(uri); }).not.toThrow();
});

test.each([
  ['qemu+ssh://other/system', "another host's"],
  ['qemu://other/system', "another host's"],
  ['qemu:///session', "a user's own"],
])('%s is %s', (uri, whose) => {
  expect(() => { assertCallsHooks(uri); }).toThrow(`'${uri}' is ${whose} libvirt`);
});
