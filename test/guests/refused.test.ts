// @tier fast
/** Which defined guests would not start: what install warns of. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { settingsFrom } from '../../lib/config/paths.js';
import { ConfigError } from '../../lib/errors.js';
import { forOneRun } from '../../lib/guests/io.js';
import { refusedGuests } from '../../lib/guests/refused.js';
import { PROCEDURES } from '../../lib/libvirt/protocol.js';
import { decode } from '../../lib/libvirt/xdr.js';
import { execAsync } from '../../lib/system/exec-async.js';
import { type FakeDaemon, startFakeDaemon } from '../fakes/daemon.js';
import { guestXml } from '../places/routed-host.js';

const XML: ReadonlyMap<string, string> = new Map([
  ['plain', "<domain type='kvm'><name>plain</name><devices/></domain>"],
  ['web1', guestXml({ name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10'] })],
  ['vpn1', guestXml({ name: 'vpn1', tap: 'vnet2', addresses: ['192.0.2.20'], more: " table='51820'" })],
]);
const DOMAINS = [...XML.keys()].map((name, at) => ({ name, uuid: new Uint8Array(16).fill(at), id: -1 }));

let daemon: FakeDaemon;
let dir: string;
const uri = process.env['LIBVIRT_DEFAULT_URI'];
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-refused-'));
  daemon = await startFakeDaemon({
    connect_list_all_domains: (peer, call) => {
      peer.reply('connect_list_all_domains', call, { domains: DOMAINS, count: DOMAINS.length });
    },
    domain_get_xml_desc: (peer, call) => {
      const { domain } = decode(PROCEDURES.domain_get_xml_desc.args, call.payload);
      peer.reply('domain_get_xml_desc', call, { xml: XML.get(domain.name) ?? '' });
    },
  });
  process.env['LIBVIRT_DEFAULT_URI'] = daemon.uri;
});
afterEach(async () => {
  await daemon.close();
  rmSync(dir, { recursive: true });
  if (uri === undefined) delete process.env['LIBVIRT_DEFAULT_URI'];
  else process.env['LIBVIRT_DEFAULT_URI'] = uri;
});

function refused(config: string): Promise<string[]> {
  const settings = settingsFrom({
    GUESTWIRE_CONFIG: join(dir, 'config.toml'), GUESTWIRE_STATE_DIR: join(dir, 'state'),
  });
  writeFileSync(settings.config, config, { mode: 0o600 });
  const fail = (line: string): void => { throw new Error(line); };
  return refusedGuests(forOneRun({ print: fail, warn: fail, settings, exec: execAsync }));
}

test('a sentence for each guest that the host config refuses, and none for the others', async () => {
  expect(await refused('')).toEqual([
    "guest 'vpn1' NIC 0 (52:54:00:aa:bb:02): route table '51820' is not open to metadata: 'tables' in [routed] of the host config is empty: add it there, or remove it from the metadata",
  ]);
  expect(await refused('[routed]\ntables = [51820]\n')).toEqual([]);
});

test('a config that cannot be read is an error; a libvirt that does not answer is none', async () => {
  await expect(refused('[routed]\nproxy = ["eno1"]\n')).rejects.toThrow(ConfigError);
  await daemon.close();
  expect(await refused('')).toEqual([]);
});
