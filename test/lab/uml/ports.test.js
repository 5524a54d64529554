// Exact ports: what `bridge -j vlan show` says of real taps, for the whole <vlan> grammar, whatever the bridge's
// default.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import {
  addBridge, defineGuest, domainXml, hookLog, isolated, journal, libvirt, makeMac, ok, run, setConfig, setHook, sh,
  startGuest, tagged, virsh, vlansOf,
} from './lab.js';
import { before11, from11, test } from './testing.js';

/**
 * libvirt-facts 3.3, row by row, and what guestwire's own grammar adds. `table` is what the port must hold, in metadata
 * on any libvirt and in libvirt's own <vlan> from 11 on: one table for both is the parity.
 *
 * @type {{row: string, vlan?: import('./lab.js').Vlan, isolated?: boolean, table?: string[]}[]}
 */
const ROWS = [
  { row: 'no <vlan>' },
  { row: 'one tag', vlan: { tags: [{ id: 42 }] }, table: ['42 pvid untagged'] },
  {
    row: 'one tag, nativeMode tagged', vlan: { tags: [{ id: 42, nativeMode: 'tagged' }] }, table: ['42 pvid untagged'],
  },
  {
    row: 'one tag, nativeMode untagged',
    vlan: { tags: [{ id: 42, nativeMode: 'untagged' }] },
    table: ['42 pvid untagged'],
  },
  { row: "one tag, trunk='no'", vlan: { trunk: 'no', tags: [{ id: 42 }] }, table: ['42 pvid untagged'] },
  { row: "one tag, trunk='yes'", vlan: { trunk: 'yes', tags: [{ id: 42 }] }, table: ['42'] },
  { row: 'two tags', vlan: { tags: [{ id: 42 }, { id: 50 }] }, table: ['42', '50'] },
  {
    row: 'native untagged',
    vlan: { trunk: 'yes', tags: [{ id: 42 }, { id: 50, nativeMode: 'untagged' }] },
    table: ['42', '50 pvid untagged'],
  },
  {
    row: 'native tagged',
    vlan: { trunk: 'yes', tags: [{ id: 42 }, { id: 50, nativeMode: 'tagged' }] },
    table: ['42', '50 pvid'],
  },
  { row: 'a trunk with VLAN 1', vlan: { trunk: 'yes', tags: [{ id: 1 }] }, table: ['1'] },
  {
    row: 'ranges and both ends',
    vlan: { tags: [{ id: 2 }, { id: '60-63' }, { id: 4094 }] },
    table: ['2', '60', '61', '62', '63', '4094'],
  },
  { row: 'an isolated port', vlan: { tags: [{ id: 42 }] }, isolated: true, table: ['42 pvid untagged'] },
];

/**
 * What libvirt 11 leaves on a port: it takes VLAN 1 off, and no other default PVID.
 * @param {string[]} table
 * @param {number} pvid
 */
function leftByLibvirt(table, pvid) {
  if (pvid < 2) return table;
  const own = table.some((entry) => entry.includes('pvid'));
  return [...table, own ? `${pvid} untagged` : `${pvid} pvid untagged`];
}

/** @param {string[]} table */
function sorted(table) {
  return [...table].sort((a, b) => Number.parseInt(a) - Number.parseInt(b));
}

/**
 * One guest with a NIC for each row; resolves to its ports by row.
 * @param {'native' | 'metadata'} via
 * @param {string} name
 */
async function portsOf(via, name) {
  const guest = await startGuest({ name, nics: ROWS.map(({ vlan, isolated: alone }) => ({
    mac: makeMac(), via, ...(vlan === undefined ? {} : { vlan }), ...(alone === undefined ? {} : { isolated: alone }),
  })) });
  const taps = await guest.taps();
  /** @type {Record<string, string[]>} */
  const ports = {};
  for (const [index, { row }] of ROWS.entries()) ports[row] = await vlansOf(taps[index] ?? '');
  const alone = isolated(taps[ROWS.findIndex((row) => row.isolated)] ?? '');
  await guest.destroy();
  return { ports, alone };
}

/** @param {number} pvid @param {(table: string[]) => string[]} [change] */
function expected(pvid, change = (table) => table) {
  const untouched = pvid === 0 ? [] : [`${pvid} pvid untagged`];
  return Object.fromEntries(
    ROWS.map(({ row, table }) => [row, table === undefined ? untouched : sorted(change(table))]),
  );
}

for (const pvid of [0, 1, 5]) {
  test(`vlan_default_pvid ${pvid}: metadata gives exactly the VLANs it says`, async () => {
    await addBridge({ pvid });
    const { ports, alone } = await portsOf('metadata', 'meta');
    assert.deepEqual(ports, expected(pvid));
    assert.equal(alone, true, 'isolated');
    assert.deepEqual(journal(), []);
  }, { usually: pvid === 0 ? 9 : 11, isLong: pvid === 1 });

  test(`vlan_default_pvid ${pvid}: libvirt's own <vlan> gives the same, and guestwire does not fight it`, async () => {
    await addBridge({ pvid });
    setHook(false);
    const alone = await portsOf('native', 'bare');
    assert.deepEqual(alone.ports, expected(pvid, (table) => leftByLibvirt(table, pvid)), 'libvirt alone');
    setHook(true);
    const before = hookLog().length;
    const together = await portsOf('native', 'both');
    assert.deepEqual(together.ports, expected(pvid), 'libvirt and guestwire');
    assert.equal(together.alone, true, 'isolated');
    const changes = hookLog().slice(before).filter((line) => line.includes('VLAN'));
    if (pvid < 2) assert.deepEqual(changes, [], 'guestwire has nothing to do');
    else assert.ok(changes.every((line) => line.includes(`VLAN ${pvid}`)), `guestwire only removes the default PVID: ${changes.join('\n')}`);
    // A bridge with another default PVID than 1 is what libvirt and guestwire differ on.
  }, { when: from11, isLong: pvid < 5 });
}

test('a bridge that does not filter is refused, with the command that turns filtering on', async () => {
  await addBridge({ filtering: false });
  setConfig('[bridge.br0]\n');
  const guest = await defineGuest({ name: 'g', nics: [{ vlan: tagged(10) }] });
  const { code, stderr } = await guest.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /guest 'g' NIC 0 \(\S+\): bridge 'br0' does not filter VLANs/);
  const [, command = ''] = /'(ip link set [^']*)'/.exec(stderr) ?? [];
  await sh(command);
  assert.equal((await guest.start()).code, 0, 'it starts after that command');
}, { usually: 11 });

test('a VLAN that is not allowed is refused in one sentence, and nothing is left', async () => {
  await addBridge();
  setConfig('[bridge.br0]\nallowed = ["10-19", 300]\n');
  const before = await ok('bridge', ['vlan', 'show']);
  const refused = await defineGuest({ name: 'g', nics: [{ vlan: tagged(10) }, { vlan: tagged(15, 20, 300) }] });
  const { code, stderr } = await refused.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /guest 'g' NIC 1 \(\S+\): VLAN '20' is not allowed on bridge 'br0'/);
  assert.equal(stderr.match(/guestwire: /g)?.length, 1, stderr);
  assert.equal((await virsh('domstate', 'g')).stdout.trim(), 'shut off');
  assert.equal(await ok('bridge', ['vlan', 'show']), before);
  assert.deepEqual(journal(), []);
  await startGuest({ name: 'h', nics: [{ vlan: tagged(19, 300) }] });
}, { usually: 11 });

test('VLAN IDs that no frame can carry are refused', async () => {
  await addBridge();
  for (const id of [0, 4095]) {
    const guest = await defineGuest({ name: `g${id}`, nics: [{ vlan: tagged(id) }] });
    const { code, stderr } = await guest.start();
    assert.notEqual(code, 0);
    assert.match(stderr, new RegExp(`VLAN ID '${id}' is outside 1-4094|vlanid out of range|error adding vlan filter`));
  }
  assert.deepEqual(journal(), []);
}, { isLong: true });

test('two sources that disagree are refused, and both are named', async () => {
  await addBridge();
  const mac = makeMac();
  setConfig(`[guest.g."${mac}"]\nvlan = { tags = [30] }\n`);
  const guest = await defineGuest({ name: 'g', nics: [{ mac, vlan: tagged(10) }] });
  const { code, stderr } = await guest.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /says VLAN 'access 10', .*says VLAN 'access 30'/);
}, { isLong: true });

/** @param {{name: string, vlan?: number, default?: boolean}[]} groups */
async function defineNetwork(groups) {
  const elements = groups.map(({ name, vlan, default: usual }) => `<portgroup name='${name}'${usual ? " default='yes'" : ''}>${
    vlan === undefined || libvirt < 11 ? '' : `<vlan><tag id='${vlan}'/></vlan>`}</portgroup>`).join('');
  writeFileSync('/run/lan.xml', `<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/>${elements}</network>`);
  await ok('virsh', ['net-define', '/run/lan.xml']);
  await ok('virsh', ['net-start', 'lan']);
}

/**
 * The same guest, whoever is told of the portgroups' VLANs.
 * @param {string} unnamed what the port of a NIC without portgroup gets
 */
async function portgroups(unnamed) {
  await addBridge({ pvid: 5 });
  await defineNetwork([{ name: 'dmz', vlan: 30 }, { name: 'office', vlan: 31, default: true }, { name: 'plain' }]);
  const guest = await startGuest({ name: 'g', nics: [
    { network: 'lan', portgroup: 'dmz' }, { network: 'lan', portgroup: 'office' }, { network: 'lan' },
    { network: 'lan', portgroup: 'plain' }, { bridge: 'br0', vlan: tagged(32) },
  ] });
  const tables = await Promise.all((await guest.taps()).map(vlansOf));
  assert.deepEqual(
    tables, [['30 pvid untagged'], ['31 pvid untagged'], [unnamed], ['5 pvid untagged'], ['32 pvid untagged']],
  );
}

test("portgroups of the host config's [network] are wired", async () => {
  setConfig('[network.lan.portgroup.dmz]\nvlan = { tags = [30] }\n[network.lan.portgroup.office]\nvlan = { tags = [31] }\n');
  // The hook is not told which portgroup is the default (libvirt 9.0): such a NIC must name it.
  await portgroups('5 pvid untagged');
}, { when: before11 });

test("portgroups with libvirt's own <vlan> are wired", async () => {
  await portgroups('31 pvid untagged');
}, { when: from11 });

test('a guest that nobody speaks of is left alone', async () => {
  await addBridge();
  const guest = await startGuest({ name: 'g', nics: [{}] });
  const [tap = ''] = await guest.taps();
  await sh(`bridge vlan add dev ${tap} vid 77`);
  await virsh('suspend', 'g');
  await virsh('resume', 'g');
  assert.deepEqual(await vlansOf(tap), ['1 pvid untagged', '77']);
  assert.deepEqual(journal(), []);
}, { usually: 11 });

test('the hook prints nothing on standard output, whatever the operation', async () => {
  await addBridge();
  const guest = await startGuest({ name: 'g', nics: [{ vlan: tagged(10) }] });
  const xml = await ok('virsh', ['dumpxml', 'g']);
  for (const operation of ['migrate', 'restore', 'started', 'reconnect', 'attach']) {
    const { code, stdout } = await run('/etc/libvirt/hooks/qemu', ['g', operation, 'begin', '-'], { input: xml });
    assert.deepEqual({ operation, code, stdout }, { operation, code: 0, stdout: '' });
  }
  const stranger = domainXml({ name: 'other', nics: [{}] });
  assert.deepEqual(await run('/etc/libvirt/hooks/qemu', ['other', 'prepare', 'begin', '-'], { input: stranger }), {
    code: 0, stdout: '', stderr: '',
  });
  assert.deepEqual(await vlansOf((await guest.taps())[0] ?? ''), ['10 pvid untagged']);
}, { isLong: true });
