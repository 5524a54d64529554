// Uplinks: the VIDs of all live guests, counted, and nothing of anybody else's touched. What does not hang on libvirt
// is tried under one of them only.
import assert from 'node:assert/strict';
import {
  addBridge, addPort, defineGuest, hookLog, journal, ok, run, setConfig, sh, startGuest, tagged, vlansOf, vlanTables,
  waitFor,
} from './lab.js';
import { before11, test } from './testing.js';

/**
 * A bridge and its uplink 'up0'; more of [bridge.br0] may follow.
 * @param {{pvid?: number, config?: string, vids?: string[]}} [options]
 */
async function addUplink({ pvid = 0, config = '', vids = [] } = {}) {
  await addBridge({ pvid });
  await addPort('up0', { vids });
  setConfig(`[bridge.br0]\nuplinks = ["up0"]\n${config}`);
}

test('a VLAN is on the uplink while any guest uses it', async () => {
  await addUplink();
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }] });
  assert.deepEqual(await vlansOf('up0'), ['10']);
  const b = await startGuest({ name: 'b', nics: [{ vlan: tagged(10, '20-21') }, { vlan: tagged(10) }] });
  assert.deepEqual(await vlansOf('up0'), ['10', '20', '21']);
  await a.destroy();
  assert.deepEqual(await vlansOf('up0'), ['10', '20', '21']);
  assert.equal((await a.start()).code, 0);
  await b.destroy();
  assert.deepEqual(await vlansOf('up0'), ['10']);
  await a.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
  assert.deepEqual(journal(), []);
}, { usually: 9 });

test('protected VLANs are added and never removed', async () => {
  await addUplink({ config: 'protected = [10, 30]\n' });
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] });
  assert.deepEqual(await vlansOf('up0'), ['10', '20']);
  await a.destroy();
  assert.deepEqual(await vlansOf('up0'), ['10']);
}, { isLong: true, when: before11 });

test('what somebody else put on the uplink keeps its flags, and stays', async () => {
  await addUplink({ vids: ['10 pvid untagged', '30', '99'] });
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }, { vlan: tagged(20, 30) }] });
  assert.deepEqual(await vlansOf('up0'), ['10 pvid untagged', '20', '30', '99']);
  await a.destroy();
  assert.deepEqual(await vlansOf('up0'), ['10 pvid untagged', '30', '99']);
}, { isLong: true, when: before11 });

test("the bridge's own entries are never touched", async () => {
  await addUplink({ pvid: 1 });
  await sh('bridge vlan add dev br0 vid 10 self; bridge vlan add dev br0 vid 50 self');
  const before = await vlansOf('br0');
  assert.deepEqual(before, ['1 pvid untagged', '10', '50']);
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] });
  assert.deepEqual(await vlansOf('br0'), before);
  await a.destroy();
  assert.deepEqual(await vlansOf('br0'), before);
  // The host itself is in VLAN 10: whoever gave it that place may rely on the uplink by now.
  assert.deepEqual(await vlansOf('up0'), ['10']);
  await sh('bridge vlan del dev br0 vid 10 self');
  const b = await startGuest({ name: 'b', nics: [{ vlan: tagged(20) }] });
  await b.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
}, { isLong: true });

test('a VLAN that another port still carries stays on the uplink', async () => {
  await addUplink();
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] });
  await addPort('container0', { vids: ['20 pvid untagged'] });
  await a.destroy();
  assert.deepEqual(await vlansOf('up0'), ['20']);
}, { isLong: true, when: before11 });

test('every uplink of the bridge gets the VLANs, and no port of another bridge', async () => {
  await addBridge({ pvid: 0 });
  await addBridge({ name: 'br1', pvid: 0 });
  await addPort('up0');
  await addPort('up1');
  await addPort('up2', { bridge: 'br1' });
  setConfig('[bridge.br0]\nuplinks = ["up0", "up1"]\n[bridge.br1]\nuplinks = ["up2"]\n');
  await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }, { bridge: 'br1', vlan: tagged(11) }] });
  const { up0, up1, up2 } = await vlanTables();
  assert.deepEqual({ up0, up1, up2 }, { up0: ['10'], up1: ['10'], up2: ['11'] });
}, { when: before11 });

test('a missing uplink is a warning, and the guest starts', async () => {
  await addBridge({ pvid: 0 });
  await addPort('up0');
  setConfig('[bridge.br0]\nuplinks = ["up0", "up9"]\n');
  const before = hookLog().length;
  await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }] });
  assert.deepEqual(await vlansOf('up0'), ['10']);
  await waitFor(
    () => hookLog().slice(before).some((line) => line.includes("'up9'")), { what: 'a warning', timeout: 5000 },
  );
}, { isLong: true, when: before11 });

test('a sub-interface that takes a VLAN from the uplink is detected and named', async () => {
  await addUplink();
  await sh('ip link add link up0 name up0.100 type vlan id 100; ip link set up0.100 up');
  const before = await ok('bridge', ['vlan', 'show']);
  const stolen = await defineGuest({ name: 'a', nics: [{ vlan: tagged('98-102') }] });
  const { code, stderr } = await stolen.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /guest 'a' NIC 0 \(\S+\):.*'up0\.100'/);
  assert.match(stderr, /'?100'?/);
  assert.equal(await ok('bridge', ['vlan', 'show']), before);
  assert.deepEqual(journal(), []);
  const free = await startGuest({ name: 'b', nics: [{ vlan: tagged(99) }] });
  assert.deepEqual(await vlansOf('up0'), ['99']);
  await free.destroy();
}, { when: before11 });

test('a sub-interface by another name, and of another protocol, is judged by what it does', async () => {
  await addUplink();
  await sh('ip link add link up0 name storage type vlan id 100; ip link set storage up');
  const stolen = await defineGuest({ name: 'a', nics: [{ vlan: tagged(100) }] });
  const { code, stderr } = await stolen.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /'storage'/);
  await sh('ip link delete storage; ip link add link up0 name outer type vlan protocol 802.1ad id 100');
  await startGuest({ name: 'b', nics: [{ vlan: tagged(100) }] });
  assert.deepEqual(await vlansOf('up0'), ['100']);
}, { isLong: true, when: before11 });

test('guests that start and stop at once leave the uplink right', async () => {
  await addUplink();
  const guests = await Promise.all(['a', 'b', 'c'].map((name, index) =>
    defineGuest({ name, nics: [{ vlan: tagged(10, 20 + index) }] })));
  const started = await Promise.all(guests.map((guest) => guest.start()));
  assert.deepEqual(started.map(({ code }) => code), [0, 0, 0]);
  assert.deepEqual(await vlansOf('up0'), ['10', '20', '21', '22']);
  await Promise.all(guests.slice(0, 2).map((guest) => guest.destroy()));
  assert.deepEqual(await vlansOf('up0'), ['10', '22']);
  assert.equal((await run('bridge', ['vlan', 'del', 'dev', 'up0', 'vid', '22'])).code, 0);
  await guests[2]?.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
}, { usually: 11 });
