// A port that somebody renames under a running guest: libvirt knows it by its old name for good. Its filter, VLANs and
// quarantine are the link's and not the name's, and every command finds it. test/kernel-real/renamed-links.test.ts is
// the same for routed links.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import {
  addBridge, addPort, domainXml, hook, isolated, journal, makeMac, ok, openAgent, openWire, quiet, run, saidSince,
  setConfig, sh, sleep, startGuest, tagged, vlansOf, vlanTables, waitFor,
} from './lab.js';
import { before11, checks, test } from './testing.js';

/** @param {...string} args */
const guestwire = (...args) => run('node', ['dist/cli.js', ...args]);

const SILENT = { code: 0, stdout: '', stderr: '' };
/** Kernels before 6.2 rename no link that is up. @param {string} from @param {string} to */
const rename = (from, to) => sh(`ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up`);

async function addHost() {
  await addBridge({ pvid: 1 });
  await addPort('up0');
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
}

/** What `status` says of each NIC of a guest. @param {string} name */
async function statesOf(name) {
  /** @type {unknown} */
  const json = JSON.parse(await ok('node', ['dist/cli.js', 'status', name, '--json']));
  const { nics } = /** @type {{nics: {link: string, state: string, vlans: string, differences: string[]}[]}} */ (json);
  return nics.map(({ link, state, vlans, differences }) => [link, vlans, state, ...differences].join(' '));
}

const rules = () => sh('nft -s list table bridge guestwire');

test('a port that is renamed keeps filter and VLANs, and every command finds it until its guest ends', async () => {
  await addHost();
  const guest = await startGuest({ name: 'a', nics: [{ vlan: tagged(10), isolated: true }, { vlan: tagged(20, 30) }] });
  const [first = '', second = ''] = await guest.taps();
  const [before, filter, access, trunk] = [
    await vlanTables(), await rules(), await vlansOf(first), await vlansOf(second),
  ];
  await rename(first, 'foo');
  await rename(second, 'bar');
  const exact = async (/** @type {string} */ where) => {
    const tables = await vlanTables();
    assert.deepEqual(
      [tables['foo'], tables['bar'], tables['up0'], isolated('foo')], [access, trunk, before['up0'], true], where,
    );
    assert.equal((await rules()).replaceAll('"foo"', `"${first}"`).replaceAll('"bar"', `"${second}"`)
      .replace(/guestwire [0-9a-f]{8}/g, ''), filter.replace(/guestwire [0-9a-f]{8}/g, ''), where);
  };
  const { check, end } = checks();
  await check('at once', () => exact('at once'));
  await check('status', async () => {
    assert.deepEqual(await statesOf('a'), ['foo access 10 wired', 'bar trunk 20,30 wired']);
  });
  await check('check', async () => { assert.deepEqual(await guestwire('check'), SILENT); });
  await check('reconcile --all', async () => {
    const idle = { ...SILENT, stdout: 'all wiring is as the XML says, nothing changed\n' };
    assert.deepEqual(await guestwire('reconcile', '--all'), idle);
  });
  await check('reconcile', async () => {
    assert.equal((await guestwire('reconcile', 'a')).code, 0);
    await exact('after reconcile');
    assert.deepEqual(await guestwire('check'), SILENT);
  });
  await check('what is wrong with it', async () => {
    await sh('bridge vlan del dev foo vid 10; bridge vlan add dev bar vid 66');
    const { code, stdout } = await guestwire('check', 'a');
    assert.equal(code, 1);
    assert.match(stdout, /VLAN 10 pvid untagged is missing on 'foo'/);
    assert.match(stdout, /VLAN 66 on 'bar' should not be there/);
    assert.equal((await guestwire('reconcile', '--all')).code, 0);
    await exact('after reconcile --all');
  });
  await check('quarantine', async () => {
    assert.equal((await guestwire('quarantine', 'a')).code, 0);
    assert.deepEqual((await statesOf('a')).map((state) => state.split(' ').at(-1)), ['quarantined', 'quarantined']);
    assert.deepEqual(await guestwire('check'), SILENT);
    assert.equal((await guestwire('quarantine', 'a', '--lift')).code, 0);
    await exact('after quarantine');
  });
  await check('its bridge is deleted and made again', async () => {
    await sh('ip link del br0; ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 1 mcast_snooping 0; ip link set br0 up; ip link set up0 master br0; bridge vlan del dev up0 vid 1');
    assert.equal((await guestwire('reconcile', 'a')).code, 0);
    await exact('on the new bridge');
  });
  await guest.destroy();
  assert.deepEqual([await vlansOf('up0'), journal(), (await run('nft', ['list', 'tables'])).stdout], [[], [], '']);
  end();
}, { when: before11 });

test('a port that is renamed takes nothing that is forged, and in quarantine nothing at all', async () => {
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await addHost();
  const [wire, mac, uuid] = [openWire(), makeMac(), '00000000-0000-4000-8000-000000000001'];
  await wire.listen('up0x');
  await wire.tap('vnet9');
  await sh('ip link set vnet9 master br0 up');
  const xml = domainXml({ name: 'h', uuid, nics: [{ mac, vlan: tagged(10), target: 'vnet9', via: 'metadata' }] });
  assert.equal((await hook('h', 'start', xml)).code, 0);
  const heard = async () => {
    await wire.counts('up0x', true);
    const sent = { dst: 'ff:ff:ff:ff:ff:ff', src: mac };
    await wire.write('vnet9', [
      { ...sent, text: 'honest' }, { ...sent, src: '52:54:00:00:00:66', text: 'mac' },
      { ...sent, tag: 20, text: 'hop' }, { ...sent, tag: 10, text: 'tag' },
      { ...sent, dst: '01:80:c2:00:00:00', text: 'bpdu' },
    ]);
    await sleep(300);
    return Object.keys(await wire.counts('up0x'))
      .map((key) => key.split(' ').at(-1))
      .filter((text) => text !== '-')
      .sort();
  };
  await waitFor(async () => (await heard()).includes('honest'), { what: 'the port to forward' });
  assert.deepEqual(await heard(), ['honest']);
  await rename('vnet9', 'foo');
  await waitFor(async () => (await heard()).includes('honest'), { what: 'the port to forward again' });
  assert.deepEqual(await heard(), ['honest']);
  assert.equal((await guestwire('quarantine', 'h')).code, 0);
  assert.deepEqual(await heard(), []);
  assert.equal((await guestwire('quarantine', 'h', '--lift')).code, 0);
  assert.deepEqual(await heard(), ['honest']);
  // It can fail: nothing else stops them.
  await sh('nft delete table bridge guestwire');
  assert.deepEqual(await heard(), ['bpdu', 'honest', 'mac', 'tag']);
  for (const operation of ['stopped', 'release']) assert.equal((await hook('h', operation, xml)).code, 0);
  assert.deepEqual([await vlansOf('foo'), await vlansOf('up0'), journal()], [['1 pvid untagged'], [], []]);
  rmSync('/run/guestwire', { recursive: true, force: true });
}, { isLong: true, when: before11 });

test('the agent looks after a port under its new name', async () => {
  await addHost();
  const guest = await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }] });
  const [tap = ''] = await guest.taps();
  const before = await vlansOf(tap);
  await openAgent();
  const since = performance.now();
  await rename(tap, 'foo');
  await quiet();
  assert.deepEqual([await vlansOf('foo'), saidSince(since, 'agent').map(({ line }) => line)], [before, []]);
  for (const command of ['del dev foo vid 10', 'add dev foo vid 66', 'del dev up0 vid 10']) {
    await sh(`bridge vlan ${command}`);
    await waitFor(
      async () => JSON.stringify([await vlansOf('foo'), await vlansOf('up0')]) === JSON.stringify([before, ['10']]),
      { what: `exact ports after ${command}` },
    );
  }
  await ok('node', ['dist/cli.js', 'set', 'a', '--nic', (await guest.macs())[0] ?? '', '--vlan', '11', '--live']);
  await waitFor(
    async () =>
      JSON.stringify([await vlansOf('foo'), await vlansOf('up0')]) === JSON.stringify([['11 pvid untagged'], ['11']]),
    { what: 'the other VLAN' },
  );
  await guest.destroy();
  await waitFor(async () => (await vlansOf('up0')).length === 0 && journal().length === 0, { what: 'the release' });
}, { isLong: true, when: before11 });
