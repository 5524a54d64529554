// @tier fast kernel
/**
 * `guestwire set` beside a libvirt of our own making: what it refuses before it writes, how it is named, and its exit
 * status.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { main } from '../../lib/cli/main.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { forOneRun } from '../../lib/guests/io.js';
import { createJournal } from '../../lib/journal/journal.js';
import { PROCEDURES } from '../../lib/libvirt/protocol.js';
import { decode } from '../../lib/libvirt/xdr.js';
import { execAsync } from '../../lib/system/exec-async.js';
import { type FakeDaemon, startFakeDaemon } from '../fakes/daemon.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';
import { testWith } from '../places/capability.js';
import { guestMac, guestXml } from '../places/routed-host.js';

const rootTest = testWith('root');
const NO_DOMAIN = 42;
/** VIR_DOMAIN_XML_INACTIVE. */
const INACTIVE = 2;

/** `next`: the XML it starts with next, if that is another. */
interface Defined {
  readonly name: string; readonly xml: string; readonly next?: string; readonly uuid: Uint8Array; readonly id: number;
}
function defined(
  name: string, tap: string, { addresses, id = -1 }: { addresses: readonly string[]; id?: number },
): Defined {
  const xml = guestXml({ name, tap, addresses });
  return {
    name, xml, id,
    uuid: Uint8Array.from(Buffer.from((/<uuid>(.*)<\/uuid>/.exec(xml)?.[1] ?? '').replaceAll('-', ''), 'hex')),
  };
}

const GUESTS = [
  defined('web1', 'vnet1', { addresses: ['192.0.2.10'] }),
  defined('db1', 'vnet2', { addresses: ['192.0.2.20', '2001:db8::20'] }),
  {
    ...defined('7', 'vnet3', { addresses: ['192.0.2.30'], id: 9 }),
    next: guestXml({ name: '7', tap: 'vnet3', addresses: ['192.0.2.39'] }),
  },
];
const [MAC, UUID] = [guestMac('vnet1'), '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01'];

let daemon: FakeDaemon;
let dir: string;
let written: string[];
const uri = process.env['LIBVIRT_DEFAULT_URI'];
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-set-'));
  written = [];
  const found = (is: (guest: Defined) => boolean): Defined | undefined => GUESTS.find(is);
  daemon = await startFakeDaemon({
    domain_lookup_by_name: (peer, call) => {
      const { name } = decode(PROCEDURES.domain_lookup_by_name.args, call.payload);
      const domain = found((guest) => guest.name === name);
      if (domain === undefined) peer.refuse(call, NO_DOMAIN, 'Domain not found');
      else peer.reply('domain_lookup_by_name', call, { domain });
    },
    domain_lookup_by_uuid: (peer, call) => {
      const { uuid } = decode(PROCEDURES.domain_lookup_by_uuid.args, call.payload);
      const domain = found((guest) => Buffer.compare(guest.uuid, uuid) === 0);
      if (domain === undefined) peer.refuse(call, NO_DOMAIN, 'Domain not found');
      else peer.reply('domain_lookup_by_uuid', call, { domain });
    },
    connect_list_all_domains: (peer, call) => {
      peer.reply('connect_list_all_domains', call, { domains: GUESTS, count: GUESTS.length });
    },
    domain_get_xml_desc: (peer, call) => {
      const { domain, flags } = decode(PROCEDURES.domain_get_xml_desc.args, call.payload);
      const guest = found(({ name }) => name === domain.name);
      peer.reply(
        'domain_get_xml_desc', call, { xml: ((flags & INACTIVE) === 0 ? undefined : guest?.next) ?? guest?.xml ?? '' },
      );
    },
    domain_set_metadata: (peer, call) => {
      written.push(decode(PROCEDURES.domain_set_metadata.args, call.payload).metadata ?? '');
      peer.reply('domain_set_metadata', call, undefined);
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

async function set(...args: string[]): Promise<{ status: number; told: string[] }> {
  const told: string[] = [];
  const settings = settingsFrom({ GUESTWIRE_CONFIG: join(dir, 'none.toml'), GUESTWIRE_STATE_DIR: join(dir, 'state') });
  const tell = (line: string): void => { told.push(line); };
  const status = await main(['set', ...args], forOneRun({ print: tell, warn: tell, settings, exec: execAsync }));
  return { status, told };
}

describe('what another guest has', () => {
  test.each([
    ['an address', ['--ip', '192.0.2.20'], "'192.0.2.20' is held by guest 'db1' NIC 0 (52:54:00:aa:bb:02) as '192.0.2.20'"],
    ['a prefix around it', ['--route', '2001:db8::/64'], "'2001:db8::/64' is held by guest 'db1' NIC 0 (52:54:00:aa:bb:02) as '2001:db8::20'"],
  ])('is refused, and its owner named, though it does not run: %s', async (_, args, says) => {
    const [more, asked] = [says.includes('::') ? ['--ip', '2001:db8:1::1'] : [], args];
    expect(await set('web1', '--nic', MAC, ...more, ...asked)).toEqual({ status: 1, told: [`guest 'web1' NIC 0 (${MAC}): ${says}: give one of the two another address`] });
    expect(written).toEqual([]);
  });

  test.each([['runs with it', '192.0.2.30'], ['runs, and starts with it next', '192.0.2.39']])(
    'is refused when its owner %s', async (_, address) => {
      expect(await set('web1', '--nic', MAC, '--ip', address))
        .toMatchObject({ status: 1, told: [expect.stringContaining(`'${address}' is held by guest '7' NIC 0`)] });
      expect(written).toEqual([]);
    },
  );

  rootTest('is refused when it is wired for it, whatever its XML says now', async () => {
    createJournal(join(dir, 'state'), () => undefined).write({
      version: 1, guest: { name: 'old1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c55' },
      since: new Date().toISOString(), incoming: false, original: [],
      wired: [wiredOf({
        kind: 'routed-link', nic: 0, mac: '52:54:00:aa:bb:55', link: 'lo', ifindex: 1, addresses: ['192.0.2.55'],
        routes: [], gateways: [], table: 'main', protocol: 117, policy: POLICY,
      })],
    });
    expect((await set('web1', '--nic', MAC, '--ip', '192.0.2.55')).told).toEqual([expect.stringContaining("'192.0.2.55' is held by guest 'old1' NIC 0 (52:54:00:aa:bb:55)")]);
    expect(written).toEqual([]);
  });

  test('is no reason to refuse what is nobody\'s, or what it had itself', async () => {
    expect((await set('web1', '--nic', MAC, '--ip', '192.0.2.10', '--ip', '192.0.2.11')).status).toBe(0);
    expect(written).toEqual([expect.stringContaining('192.0.2.11')]);
  });
});

describe('a guest', () => {
  test.each([['its name', 'web1'], ['its UUID', UUID], ['its UUID in capitals', UUID.toUpperCase()]])(
    'is found by %s', async (_, by) => {
      expect(await set(by, '--nic', MAC, '--ip', '192.0.2.12'))
        .toEqual({ status: 0, told: ["guest 'web1': its config is changed"] });
    },
  );

  test('is found by its id while it runs, and a name that is a number comes first', async () => {
    const changed: unknown = expect.arrayContaining(["guest '7': its config is changed"]);
    for (const by of ['9', '7']) expect(await set(by, '--nic', guestMac('vnet3'), '--ip', '192.0.2.31')).toMatchObject({
      status: 0, told: changed,
    });
  });

  test.each(['nobody', '8', '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cff'])('that is none is told so: %s', async (by) => {
    expect(await set(by, '--nic', MAC, '--ip', '192.0.2.12')).toEqual({ status: 1, told: [`guest '${by}' does not exist: 'virsh list --all' lists all guests`] });
  });
});

describe('the exit status', () => {
  test.each([
    ['an address that is none', ['--ip', 'nowhere'], "address 'nowhere' is not an IPv4 or IPv6 address"],
    ['a VLAN that is none', ['--vlan', '5000'], "VLAN ID '5000' is outside 1-4094"],
    ['a trunk that is none', ['--trunk', '10,x'], "VLAN ID 'x' is not a number or range of numbers"],
    ['a prefix that is none', ['--route', '198.51.100.0/99'], "'99'"],
    ['a MAC that is none', ['--nic', '52:54', '--ip', '192.0.2.12'], "--nic: '52:54' is not a MAC address"],
    ['nothing', [], 'no option says what the NIC becomes'],
  ])('is 2 for %s', async (_, args, says) => {
    const { status, told } = await set('web1', '--nic', MAC, ...args);
    expect({ status, told }).toEqual({ status: 2, told: [expect.stringContaining(says)] });
    expect(told[0]).toMatch(/: see 'guestwire set --help'$/);
    expect(written).toEqual([]);
  });

  test('is 1 for what the guest has not, or may not have', async () => {
    expect(await set('web1', '--nic', '52:54:00:aa:bb:77', '--ip', '192.0.2.12'))
      .toMatchObject({ status: 1, told: [expect.stringContaining("no NIC has the MAC '52:54:00:aa:bb:77'")] });
    expect(await set('web1', '--nic', MAC, '--vlan', '10'))
      .toMatchObject({ status: 1, told: [expect.stringContaining('joins no bridge')] });
    expect(written).toEqual([]);
  });
});

rootTest('who is not root is told what it needs', () => {
  for (const command of ['set', 'unset']) {
    const { status, stderr } = spawnSync('setpriv', [
      '--reuid', '65534', '--clear-groups', process.execPath, resolve('dist/cli.js'), command, 'web1', '--nic', MAC,
      ...(command === 'set' ? ['--ip', '192.0.2.12'] : []),
    ], {
      encoding: 'utf8', env: { PATH: process.env['PATH'] },
    });
    expect({ status, stderr }).toEqual({ status: 1, stderr: "guestwire: 'guestwire set' and 'unset' change guests of this host: run them as root, or, in the group libvirt, with LIBVIRT_DEFAULT_URI=qemu:///system\n" });
  }
});
