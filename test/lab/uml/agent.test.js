// The agent and VLAN ports: whatever happens to a running guest's ports, its bridge or its network, all is exact again,
// as the hook wired it, and nobody else notices. Times are from libvirt's event, or the kernel's, to the last change.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import {
  addBridge, addPort, device, event, exactAfter, interfaceXml, journal, makeMac, metadataCommand, ofPort, ok,
  openAgent, quiet, saidSince, setConfig, setMetadata, sh, sleep, startAgent, startGuest, tagged, wiring,
} from './lab.js';
import { before11, from11, sample, test } from './testing.js';

const CONFIG = '[bridge.br0]\nuplinks = ["up0"]\n[bridge.br1]\nuplinks = ["up1"]\n';

/** @param {{pvid?: number}} [options] */
async function addHost({ pvid = 1 } = {}) {
  await addBridge({ pvid });
  await addPort('up0');
  setConfig(CONFIG);
}

/** A guest that nothing happens to. */
async function addBystander() {
  const guest = await startGuest({
    name: 'b',
    nics: [{ vlan: tagged(10) }, { vlan: { trunk: 'yes', tags: [{ id: 20 }, { id: 30, nativeMode: 'untagged' }] } }],
  });
  return guest.taps();
}

/** What the hook makes of a guest when it starts. @param {import('./guests.js').DomainOptions} options */
async function asHooked(options) {
  const guest = await startGuest(options);
  const made = await wiring();
  await guest.destroy();
  await ok('virsh', ['-q', 'undefine', options.name]);
  return made;
}

/** @param {string} mac @param {...string} words */
async function set(mac, ...words) {
  await ok('node', ['dist/cli.js', 'set', 'a', '--nic', mac, '--live', ...words]);
}

test('the agent wires a NIC that is plugged in, and releases one that is gone', async () => {
  await addHost();
  const others = await addBystander();
  const nics = [{ mac: makeMac(), vlan: tagged(11) }, { mac: makeMac(), vlan: tagged(12, 13) }];
  const both = await asHooked({ name: 'a', nics });
  await startGuest({ name: 'a', nics: nics.slice(0, 1), slots: 1 });
  const one = await wiring();
  assert.deepEqual(one.ports['up0']?.vlans, ['10', '11', '20', '30']);
  assert.deepEqual(both.ports['up0']?.vlans, ['10', '11', '12', '13', '20', '30']);
  await openAgent();
  await setMetadata('a', nics);
  await quiet();
  const xml = interfaceXml(/** @type {import('./guests.js').Nic} */ (nics[1]), { plugged: true });
  await exactAfter('attach', () => device('a', 'attach-device', xml), {
    event: event('device-added'), expected: both, untouched: others,
  });
  await exactAfter('detach', () => device('a', 'detach-device', xml), {
    event: event('device-removed'), expected: one, untouched: others,
  });
}, { usually: 11 });

test('the agent makes a port exact after update-device', async () => {
  await addHost();
  await addBridge({ name: 'br1', pvid: 5 });
  await addPort('up1', { bridge: 'br1' });
  const others = await addBystander();
  const nic = { mac: makeMac(), vlan: tagged(11) };
  const elsewhere = await asHooked({ name: 'a', nics: [{ ...nic, bridge: 'br1' }] });
  const guest = await startGuest({ name: 'a', nics: [nic] });
  const [tap = ''] = await guest.taps();
  const here = await wiring();
  await openAgent();
  const update = (/** @type {object} */ change = {}, options = {}) =>
    () => device('a', 'update-device', interfaceXml({ ...nic, ...change }, options));
  await exactAfter(
    'to another bridge', update({ bridge: 'br1' }), { event: ofPort(tap), expected: elsewhere, untouched: others },
  );
  await exactAfter('and back', update(), { event: ofPort(tap), expected: here, untouched: others });
  const since = performance.now();
  await exactAfter('link state', update({}, { state: 'down' }), { expected: here, untouched: [...others, tap] });
  assert.deepEqual(saidSince(since, 'agent'), []);
}, { isLong: true });

test("the agent completes what libvirt makes of another <vlan>", async () => {
  await addHost({ pvid: 5 });
  const others = await addBystander();
  const [mac, access, trunk] = [makeMac(), tagged(11), tagged(12, 13)];
  const asTrunk = await asHooked({ name: 'a', nics: [{ mac, vlan: trunk }] });
  const guest = await startGuest({ name: 'a', nics: [{ mac, vlan: access }] });
  const [tap = ''] = await guest.taps();
  const asAccess = await wiring();
  await openAgent();
  const update = (/** @type {import('./lab.js').Vlan} */ vlan) =>
    () => device('a', 'update-device', interfaceXml({ mac, vlan }));
  await exactAfter('access to trunk', update(trunk), { event: ofPort(tap), expected: asTrunk, untouched: others });
  await exactAfter('trunk to access', update(access), { event: ofPort(tap), expected: asAccess, untouched: others });
}, { isLong: true, when: from11 });

test("the agent follows metadata, and takes back what an admin did to a guest's port or its uplink", async () => {
  await addHost();
  const others = await addBystander();
  const mac = makeMac();
  const trunk = await asHooked({ name: 'a', nics: [{
    mac,
    via: 'metadata',
    vlan: { trunk: 'yes', tags: [{ id: 12 }, { id: '20-22' }, { id: 11, nativeMode: 'untagged' }] },
  }] });
  const guest = await startGuest({ name: 'a', nics: [{ mac, via: 'metadata', vlan: tagged(11) }] });
  const [tap = ''] = await guest.taps();
  const access = await wiring();
  await openAgent();
  const [metadata, words] = [event('metadata-change'), ['--trunk', '12,20-22', '--native', '11']];
  await exactAfter('set --trunk', () => set(mac, ...words), { event: metadata, expected: trunk, untouched: others });
  await exactAfter(
    'set --vlan', () => set(mac, '--vlan', '11'), { event: metadata, expected: access, untouched: others },
  );
  for (const [command, port] of sample([
    [`vlan add dev ${tap} vid 66`, tap], [`vlan del dev ${tap} vid 11`, tap], [`vlan add dev ${tap} vid 1 pvid untagged`, tap],
    ['vlan del dev up0 vid 11', 'up0'],
  ], 3)) {
    await exactAfter(`bridge ${command}`, () => sh(`bridge ${command}`), {
      event: ofPort(port ?? ''), expected: access, untouched: others,
    });
  }
}, { usually: 9 });

test('the agent makes twenty ports exact whose metadata change in one moment', async () => {
  await addHost();
  const others = await addBystander();
  // Twenty guests would take six minutes to start here.
  const guests = ['c', 'd', 'e', 'f', 'g'].map((name, guest) => ({
    name, nics: [1, 2, 3, 4].map((nic) => ({ mac: makeMac(), vid: 100 + 10 * guest + nic })),
  }));
  const all = guests.flatMap(({ nics }) => nics);
  const nicsOf = (/** @type {typeof guests[number]} */ { nics }, more = 0) =>
    nics.map(({ mac, vid }) => ({ mac, vlan: tagged(vid + more) }));
  for (const guest of guests) await startGuest({ name: guest.name, nics: nicsOf(guest) });
  const before = await wiring();
  assert.deepEqual(before.ports['up0']?.vlans, ['10', '20', '30', ...all.map(({ vid }) => String(vid))]);
  // Another VLAN is no other filter.
  const after = structuredClone(before);
  for (const { mac, vid } of all) (after.ports[mac] ?? assert.fail(mac)).vlans = [`${vid + 100} pvid untagged`];
  (after.ports['up0'] ?? assert.fail()).vlans = ['10', '20', '30', ...all.map(({ vid }) => String(vid + 100))];
  await openAgent();
  const commands = guests.map((guest) =>
    metadataCommand(guest.name, nicsOf(guest, 100)).map((word) => `"${word}"`).join(' '));
  await exactAfter('twenty', () => ok('virsh', ['-q', commands.join('; ')]), {
    event: event('metadata-change'), expected: after, untouched: others, timeout: 60_000,
  });
  // Under libvirt 11 guests say it in their own <vlan>.
}, { when: before11, isLong: true, timeout: 400_000 });

test("the agent puts every port back after its bridge was deleted, once the bridge is there again and filters", async () => {
  await addHost();
  await startGuest({ name: 'a', nics: [{ vlan: tagged(11) }, { vlan: tagged(12, 13), isolated: true }] });
  const alone = await wiring();
  const other = await startGuest({ name: 'b', nics: [{ vlan: tagged(10, 12) }] });
  await openAgent();
  await sh('ip link delete br0');
  await quiet();
  await other.destroy();
  assert.equal(journal().length, 1, 'a guest that ends meanwhile is released');
  await sh('ip link add br0 type bridge mcast_snooping 0; ip link set br0 up');
  await quiet();
  assert.deepEqual((await wiring()).ports, {}, 'nobody joins a bridge that does not filter');
  await exactAfter('the bridge is back', () => sh('ip link set br0 type bridge vlan_filtering 1; ip link set up0 master br0; bridge vlan del dev up0 vid 1'), { expected: alone });
}, { isLong: true });

test("the agent's guests outlive libvirt networks", async () => {
  await addHost();
  const own = "<forward mode='open'/><bridge name='own0' stp='off' delay='0' macTableManager='libvirt'/><dns enable='no'/><ip address='192.0.2.1' prefix='24'/>";
  for (const [name, words] of [['lan', "<forward mode='bridge'/><bridge name='br0'/>"], ['own', own]]) {
    writeFileSync('/run/net.xml', `<network><name>${name}</name>${words}</network>`);
    await ok('virsh', ['net-define', '/run/net.xml']);
    await ok('virsh', ['net-start', String(name)]);
  }
  const via = /** @type {const} */ ('metadata');
  await startGuest({
    name: 'a', nics: [{ network: 'lan', vlan: tagged(11) }, { network: 'own', vlan: tagged(12), via }],
  });
  await startGuest({ name: 'b', nics: [{ network: 'own', vlan: tagged(12, 13), via }] });
  const before = await wiring();
  assert.equal(Object.values(before.ports).filter(({ master }) => master === 'own0').length, 2);
  await openAgent();
  await exactAfter('net-start lan', () => sh('virsh -q net-destroy lan; sleep 1; virsh -q net-start lan'), { expected: before });
  await ok('virsh', ['net-destroy', 'own']);
  await quiet();
  assert.equal(Object.values((await wiring()).ports).filter(({ master }) => master === 'own0').length, 0);
  await exactAfter('net-start own', () => ok('virsh', ['net-start', 'own']), { expected: before });
}, { isLong: true });

test('the agent mends every port of a bridge that got another default PVID', async () => {
  await addHost({ pvid: 0 });
  const others = await addBystander();
  await startGuest({ name: 'a', nics: [{ vlan: tagged(11) }, { vlan: tagged(12, 13) }] });
  const before = await wiring();
  // The uplink's is the admin's own affair.
  const expected = structuredClone(before);
  expected.ports['up0']?.vlans.unshift('5 pvid untagged');
  await openAgent();
  await exactAfter('vlan_default_pvid', () => sh('ip link set br0 type bridge vlan_default_pvid 5'), { event: ofPort(others[0] ?? ''), expected });
}, { isLong: true });

test('the agent, killed at any moment, leaves what its next run makes exact', async () => {
  await addHost();
  await addBystander();
  const mac = makeMac();
  const guest = await startGuest({ name: 'a', nics: [{ mac, via: 'metadata', vlan: tagged(11) }] });
  const [tap = ''] = await guest.taps();
  const before = await wiring();
  let agent = await openAgent();
  const rebuild = 'ip link delete br0; ip link add br0 type bridge vlan_filtering 1 mcast_snooping 0; ip link set br0 up; ip link set up0 master br0; bridge vlan del dev up0 vid 1';
  for (const [pause, command] of sample([
    [150, rebuild], [400, rebuild], [250, `bridge vlan del dev ${tap} vid 11; bridge vlan del dev up0 vid 11`], [350, `bridge vlan add dev ${tap} vid 66`],
  ], 2)) {
    await sh(String(command));
    await sleep(Number(pause));
    await agent.end('SIGKILL');
    await exactAfter(
      `killed after ${pause} ms`, async () => { agent = await startAgent(); }, { expected: before, timeout: 60_000 },
    );
  }
  for (const pause of sample([100, 350], 2)) {
    await set(mac, '--vlan', '40');
    await sleep(pause);
    await agent.end('SIGKILL');
    await set(mac, '--vlan', '11');
    agent = await startAgent();
    await exactAfter(`set, killed after ${pause} ms`, () => Promise.resolve(), { expected: before, timeout: 60_000 });
  }
}, { isLong: true, timeout: 300_000 });

test('the agent mends what happens while libvirtd is away', async () => {
  await addHost();
  await addBystander();
  const guest = await startGuest({ name: 'a', nics: [{ vlan: tagged(11) }] });
  const [tap = ''] = await guest.taps();
  const before = await wiring();
  await openAgent();
  await sh('pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done');
  await sh(`bridge vlan del dev ${tap} vid 11; bridge vlan add dev ${tap} vid 66; bridge vlan del dev up0 vid 11`);
  await exactAfter(
    'libvirtd again', () => ok('libvirtd', ['-d', '-p', '/run/libvirtd.pid']), { expected: before, timeout: 60_000 },
  );
  await sh(`bridge vlan del dev ${tap} vid 11`);
  await exactAfter('and it listens again', () => Promise.resolve(), { expected: before });
}, { isLong: true });
