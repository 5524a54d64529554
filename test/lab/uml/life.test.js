// A guest's life beyond start and stop: whatever happens to it or to libvirtd, ports and uplinks are exact.
import assert from 'node:assert/strict';
import {
  addBridge, addPort, defineGuest, hookLog, journal, ok, readText, setConfig, sh, sleep, startGuest, tagged, virsh,
  vlansOf, vlanTables, waitFor,
} from './lab.js';
import { test } from './testing.js';

async function addHost() {
  await addBridge({ pvid: 1 });
  await addPort('up0');
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
}

async function stopLibvirtd() {
  await sh('pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done');
}

async function startLibvirtd() {
  await ok('libvirtd', ['-d', '-p', '/run/libvirtd.pid']);
}

test('a restart of libvirtd makes the ports of running guests exact again', async () => {
  await addHost();
  const [a, b, c] = [
    await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }] }),
    await startGuest({ name: 'b', nics: [{ vlan: tagged(10, 20) }] }),
    await startGuest({ name: 'c', nics: [{ vlan: tagged(30) }] }),
  ];
  const [[tapA = ''], [tapB = ''], tapsC] = [await a.taps(), await b.taps(), await c.taps()];
  const before = await vlanTables();
  assert.deepEqual(before['up0'], ['10', '20', '30']);
  await stopLibvirtd();
  // Meanwhile somebody breaks what guestwire made, and a guest dies.
  await sh(`bridge vlan add dev ${tapA} vid 66; bridge vlan del dev ${tapB} vid 20; bridge vlan add dev ${tapB} vid 1 pvid untagged`);
  process.kill(c.pid(), 'SIGKILL');
  await startLibvirtd();
  const [tapC = ''] = tapsC;
  const expected = {
    ...Object.fromEntries(Object.entries(before).filter(([name]) => name !== tapC)), up0: ['10', '20'],
  };
  await waitFor(async () => JSON.stringify(await vlanTables()) === JSON.stringify(expected), {
    what: 'exact ports after the restart', timeout: 60_000,
  });
  await waitFor(() => journal().length === 2, { what: 'the release of the guest that died' });
  await a.destroy();
  await b.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
}, { usually: 9 });

test('a restart that finds everything in order changes nothing', async () => {
  await addHost();
  await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] });
  const [before, log] = [await vlanTables(), hookLog().length];
  const records = journal().map((name) => readText(`/run/guestwire/${name}`));
  await stopLibvirtd();
  await startLibvirtd();
  await waitFor(
    async () => (await virsh('domstate', 'a')).stdout.includes('running'), { what: 'the guest to be found again' },
  );
  // Nothing tells from outside that the reconnect hook is through.
  await sleep(8000);
  assert.deepEqual(await vlanTables(), before);
  assert.deepEqual(hookLog().slice(log).filter((line) => line.includes('VLAN')), []);
  assert.deepEqual(journal().map((name) => readText(`/run/guestwire/${name}`)), records);
}, { isLong: true });

test('save and restore', async () => {
  await addHost();
  const guest = await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }, { vlan: tagged(20, 30), isolated: true }] });
  const tables = async () => Promise.all([...await guest.taps(), 'up0'].map(vlansOf));
  const before = await tables();
  assert.deepEqual(before, [['10 pvid untagged'], ['20', '30'], ['10', '20', '30']]);
  await ok('virsh', ['save', 'a', '/run/a.save']);
  assert.deepEqual(await vlansOf('up0'), []);
  assert.deepEqual(journal(), []);
  await ok('virsh', ['restore', '/run/a.save']);
  assert.deepEqual(await tables(), before);
  await ok('virsh', ['managedsave', 'a']);
  assert.deepEqual(await vlansOf('up0'), []);
  assert.equal((await guest.start()).code, 0);
  assert.deepEqual(await tables(), before);
}, { usually: 11 });

test('kill -9 of QEMU', async () => {
  await addHost();
  const [a, b] = [
    await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] }),
    await startGuest({ name: 'b', nics: [{ vlan: tagged(10) }] }),
  ];
  process.kill(a.pid(), 'SIGKILL');
  await waitFor(async () => (await virsh('domstate', 'a')).stdout.trim() === 'shut off', { what: 'libvirt to notice' });
  await waitFor(() => journal().length === 1, { what: 'the release of the guest' });
  assert.deepEqual(await vlansOf('up0'), ['10']);
  await b.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
}, { isLong: true });

test('a start that fails after the hook leaves nothing', async () => {
  await addHost();
  const before = await vlanTables();
  // QEMU refuses it, after the start hook has run.
  await sh('mkdir -p /run/broken-kernel');
  const guest = await defineGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }], kernel: '/run/broken-kernel' });
  const [{ code }, log] = [await guest.start(), hookLog()];
  assert.notEqual(code, 0);
  assert.ok(
    log.some((line) => line.includes("guest 'a'") && line.includes('VLAN 20')), `the hook has run: ${log.join('\n')}`,
  );
  await waitFor(() => journal().length === 0, { what: 'the release of the guest', timeout: 10_000 });
  assert.deepEqual(await vlanTables(), before);
}, { isLong: true });

test('a start that the hook refuses leaves nothing of the NICs before', async () => {
  await addHost();
  await addBridge({ name: 'flat0', filtering: false });
  const before = await vlanTables();
  const guest = await defineGuest({ name: 'a', nics: [{ vlan: tagged(10) }, { bridge: 'flat0', vlan: tagged(20) }] });
  assert.notEqual((await guest.start()).code, 0);
  assert.deepEqual(await vlanTables(), before);
  assert.deepEqual(journal(), []);
}, { isLong: true });

test('a guest that is renamed, redefined or undefined while it runs is released by what was done for it', async () => {
  await addHost();
  const guest = await startGuest({ name: 'a', nics: [{ vlan: tagged(10, 20) }] });
  await ok('virsh', ['undefine', 'a']);
  assert.deepEqual(await vlansOf('up0'), ['10', '20']);
  await guest.destroy();
  assert.deepEqual(await vlansOf('up0'), []);
  assert.deepEqual(journal(), []);
}, { isLong: true });
