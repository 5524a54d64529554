// Bridges of one VLAN: made with the first guest and gone with the last, on a kernel with 802.1Q, whatever happens to
// guests and to libvirtd between. A neighbour on the parent's other end speaks with tags.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import {
  addBridge, defineGuest, device, hookLog, interfaceXml, journal, makeMac, ok,
  openAgent, quiet, readText, run, saidSince, setConfig, sh,
  startGuest, virsh, waitFor,
} from './lab.js';
import { addParent, factsOf, has, links, portsOf, reaches } from './parent.js';
import { checks, test } from './testing.js';

const CONFIG = '[bridge.br30]\nvid = 30\nparent = "eno1"\n';

async function stopLibvirtd() {
  await sh('pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done');
}

async function startLibvirtd() {
  await ok('libvirtd', ['-d', '-p', '/run/libvirtd.pid']);
}

/** @param {string} name */
async function gone(name) {
  await waitFor(
    async () => (await virsh('domstate', name)).stdout.trim() === 'shut off', { what: 'libvirt to notice' },
  );
}

test('two guests share a bridge made at their start, the neighbour on its VLAN reaches them, and the last one takes it away', async () => {
  await addParent({ mtu: 1400, vids: [30, 40] });
  setConfig(CONFIG);
  const before = await links();
  const nic = { bridge: 'br30', words: '<gw:policy log="no"/>' };
  // Also an address of the other VLAN, so that its neighbour would reach the guest if it could.
  const a = await startGuest(
    { name: 'a', boots: 'gw.ip=eth0,10.0.30.1/24,10.0.40.1/24', nics: [{ bridge: 'br30' }] }, ['--paused'],
  );
  const b = await startGuest({ name: 'b', boots: 'gw.ip=eth0,10.0.30.2/24', nics: [nic] }, ['--paused']);
  for (const name of ['a', 'b']) await ok('virsh', ['-q', 'resume', name]);
  const [bridge, sub, parent] = [await factsOf('br30'), await factsOf('eno1.30'), await factsOf('eno1')];
  const { check, end } = checks();
  await check('the bridge', () => {
    const { vlan_filtering, stp_state, forward_delay } = bridge.linkinfo?.info_data ?? {};
    assert.deepEqual(
      {
        mtu: bridge.mtu, mac: bridge.address, alias: bridge.ifalias, up: bridge.flags.includes('UP'),
        addresses: bridge.addr_info, vlan_filtering, stp_state, forward_delay,
      },
      {
        mtu: 1400, mac: parent.address, alias: 'guestwire:vlan-bridge', up: true, addresses: [], vlan_filtering: 0,
        stp_state: 0, forward_delay: 0,
      });
  });
  await check('the sub-interface', () => {
    assert.deepEqual(
      {
        mtu: sub.mtu, alias: sub.ifalias, master: sub.master, parent: sub.link, vid: sub.linkinfo?.info_data?.id,
        addresses: sub.addr_info,
      },
      { mtu: 1400, alias: 'guestwire:vlan-bridge', master: 'br30', parent: 'eno1', vid: 30, addresses: [] });
  });
  const [[tapA = ''], [tapB = '']] = [await a.taps(), await b.taps()];
  await check('the ports', async () => { assert.deepEqual(await portsOf('br30'), ['eno1.30', tapA, tapB].sort()); });
  await check("the tap's MTU", async () => { assert.equal((await factsOf(tapA)).mtu, 1400); });
  await Promise.all([a.up(), b.up()]);
  await check('the neighbour reaches a', async () => { assert.equal(await reaches('10.0.30.1'), true); });
  await check('the neighbour reaches b', async () => { assert.equal(await reaches('10.0.30.2'), true); });
  await check('a reaches b', async () => { assert.equal(await a.ping('10.0.30.2', 5), true); });
  await check('another VLAN does not reach a', async () => {
    assert.equal(await reaches('10.0.40.1', 'eth0.40'), false);
  });
  await check('check has nothing to say', async () => { await ok('node', ['dist/cli.js', 'check', 'a']); });
  await check('status', async () => {
    assert.match(await ok('node', ['dist/cli.js', 'status']), /br30: access 30 +wired/);
  });

  await stopLibvirtd();
  // Meanwhile something breaks what guestwire made.
  await sh('ip link set eno1.30 nomaster; ip link set br30 mtu 1300');
  await startLibvirtd();
  await waitFor(async () => (await portsOf('br30')).includes('eno1.30'), { what: 'the sub-interface to be back after a restart of libvirtd', timeout: 60_000 });
  await waitFor(async () => (await factsOf('br30')).mtu === 1400, { what: 'the MTU to be back' });
  await check('the neighbour reaches a after a restart of libvirtd', async () => { assert.equal(await reaches('10.0.30.1'), true); });

  process.kill(a.pid(), 'SIGKILL');
  await gone('a');
  await waitFor(() => journal().length === 1, { what: 'the release of the guest' });
  await check('kill -9 of QEMU leaves the bridge to b', async () => { assert.deepEqual(await portsOf('br30'), ['eno1.30', tapB].sort()); });
  await check('and b reachable', async () => { assert.equal(await reaches('10.0.30.2'), true); });

  await ok('virsh', ['managedsave', 'b']);
  await check('managedsave of the last guest takes the bridge away', () => { assert.deepEqual([has('br30'), has('eno1.30'), journal()], [false, false, []]); });
  await check('and its start makes it again', async () => { assert.equal((await b.start()).code, 0); });
  await check('and b is reachable', async () => { assert.equal(await reaches('10.0.30.2'), true); });
  await b.destroy();
  await check('at the end the host is as it was', async () => { assert.deepEqual(await links(), before); });
  end();
}, { usually: 11, timeout: 400_000 });

test('an existing bridge is used and stays; an existing sub-interface outside it is refused', async () => {
  await addParent();
  setConfig(CONFIG);
  await sh('ip link add br30 type bridge; ip link set br30 up; ip addr add 10.0.30.99/24 dev br30');
  const bare = await links();
  const guest = await startGuest({ name: 'a', nics: [{ bridge: 'br30' }] });
  assert.deepEqual((await portsOf('br30')).filter((port) => port.startsWith('eno')), ['eno1.30']);
  await guest.destroy();
  assert.deepEqual(await links(), bare, 'the sub-interface goes, the bridge stays');

  await sh('ip link add link eno1 name eno1.30 type vlan id 30; ip link set eno1.30 up; ip addr add 10.0.30.98/24 dev eno1.30');
  const refused = await guest.start();
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /guest 'a' NIC 0 \(\S+\): sub-interface 'eno1\.30' is not a port of bridge 'br30': first move the host's addresses and routes from it/);
  await sh('ip addr del 10.0.30.98/24 dev eno1.30');
  const { stderr } = await guest.start();
  const [, command = ''] = /run '([^']*)'/.exec(stderr) ?? [];
  await sh(command);
  const joined = await links();
  assert.equal((await guest.start()).code, 0, 'it starts after that command');
  await guest.destroy();
  assert.deepEqual(await links(), joined, 'the sub-interface of the host stays, too');
  assert.deepEqual(journal(), []);
}, { usually: 11 });

test('a parent that is a port of a VLAN-filtering bridge is refused with the way to do it', async () => {
  await addParent();
  await addBridge({ name: 'br0', pvid: 1 });
  await sh('ip link set eno1 master br0');
  setConfig(CONFIG);
  const before = await links();
  const guest = await defineGuest({ name: 'a', nics: [{ bridge: 'br30' }] });
  const { code, stderr } = await guest.start();
  assert.notEqual(code, 0);
  assert.match(stderr, /parent 'eno1' is a port of 'br0', which filters VLANs: set parent = "br0"/);
  assert.deepEqual(await links(), before);
  setConfig(CONFIG.replace('eno1', 'br0'));
  assert.match(stderr, /add VLAN '30' to 'br0' \(self\) and 'eno1'/);
  const refusal = (await guest.start()).stderr;
  const command = /parent 'br0' of bridge 'br30' filters VLANs and is not in VLAN '30' itself: run '([^']*)'/.exec(refusal)?.[1];
  assert.ok(command, refusal);
  await sh(`${command}; bridge vlan add dev eno1 vid 30`);
  assert.equal((await guest.start()).code, 0, 'it starts after those commands');
  assert.deepEqual((await portsOf('br30')).filter((port) => port.startsWith('br0')), ['br0.30']);
  await sh(`ip netns exec lan sh -c 'ip link add link eth0 name eth0.30 type vlan id 30; ip link set eth0.30 up; ip addr add 10.0.30.254/24 dev eth0.30'
    ip addr add 10.0.30.1/24 dev br30`);
  assert.equal(await reaches('10.0.30.1'), true, 'the VLAN passes both bridges');
  await guest.destroy();
  assert.equal(has('br30'), false);
}, { isLong: true });

test('a guest on a libvirt network, a pattern, and a parent with a long name', async () => {
  await addParent({ parent: 'enp129s0f0np12', mtu: 9000 });
  setConfig('[bridge."br{vid}"]\nparent = "enp129s0f0np12"\nallowed = ["30-39"]\n[network.v30]\nbridge = "br30"\n');
  writeFileSync('/run/v30.xml', "<network><name>v30</name><forward mode='bridge'/><bridge name='br30'/></network>");
  await ok('virsh', ['net-define', '/run/v30.xml']);
  await ok('virsh', ['net-start', 'v30']);
  const before = await links();
  const guest = await startGuest({ name: 'a', nics: [{ network: 'v30' }, { bridge: 'br31' }] });
  assert.deepEqual((await portsOf('br30')).filter((port) => !port.startsWith('vnet')), ['vlan30']);
  assert.deepEqual((await portsOf('br31')).filter((port) => !port.startsWith('vnet')), ['vlan31']);
  const [one = '', two = ''] = await guest.taps();
  assert.deepEqual(
    [(await factsOf(one)).mtu, (await factsOf(two)).mtu, (await factsOf('br30')).mtu, (await factsOf('vlan30')).mtu],
    [9000, 9000, 9000, 9000],
  );
  await guest.destroy();
  assert.deepEqual(await links(), before);
  // Beyond the pattern: libvirt's own words, and nothing of guestwire's.
  const other = await defineGuest({ name: 'b', nics: [{ bridge: 'br99' }] });
  const { stderr } = await other.start();
  assert.match(stderr, /br99/);
  assert.doesNotMatch(stderr, /guestwire: /);
  assert.deepEqual(journal(), []);
}, { usually: 9 });

test('a network that leads to another bridge, a VLAN that is not that of the bridge, and a start that fails later leave nothing', async () => {
  await addParent();
  setConfig(`${CONFIG}[network.v30]\nbridge = "br30"\n`);
  writeFileSync('/run/v30.xml', "<network><name>v30</name><forward mode='bridge'/><bridge name='other0'/></network>");
  await ok('virsh', ['net-define', '/run/v30.xml']);
  await ok('virsh', ['net-start', 'v30']);
  await sh('ip link add other0 type bridge');
  const before = await links();
  const wrong = await defineGuest({ name: 'a', nics: [{ network: 'v30' }] });
  assert.match((await wrong.start()).stderr, /network 'v30' leads to bridge 'other0', and \[network\.v30\] of the host config says 'br30'/);
  assert.deepEqual(await links(), before);
  const vlan = await defineGuest({
    name: 'b', nics: [{ bridge: 'br30', via: 'metadata', vlan: { tags: [{ id: 31 }] } }],
  });
  assert.match((await vlan.start()).stderr, /its metadata says VLAN 'access 31', \[bridge\.br30\] of the host config says VLAN 'access 30'/);
  await sh('mkdir -p /run/broken-kernel');
  const broken = await defineGuest({ name: 'c', nics: [{ bridge: 'br30' }], kernel: '/run/broken-kernel' });
  const [{ code }, log] = [await broken.start(), hookLog()];
  assert.notEqual(code, 0);
  assert.ok(log.some((line) => line.includes("guest 'c'") && line.includes("bridge 'br30'")), `the bridge was made: ${log.join('\n')}`);
  await waitFor(() => journal().length === 0, { what: 'the release of the guest', timeout: 10_000 });
  assert.deepEqual(await links(), before);
}, { isLong: true });

test('guests that start and stop at the same time agree on the bridge', async () => {
  await addParent();
  setConfig(CONFIG);
  const before = await links();
  const names = ['a', 'b', 'c'];
  const guests = await Promise.all(names.map((name) => defineGuest({ name, nics: [{ bridge: 'br30' }] })));
  for (let round = 0; round < 2; round += 1) {
    const started = await Promise.all(guests.map((guest) => guest.start()));
    assert.deepEqual(started.map(({ code }) => code), [0, 0, 0], started.map(({ stderr }) => stderr).join(''));
    assert.equal((await portsOf('br30')).length, 4);
    await Promise.all([guests[0]?.destroy(), guests[1]?.destroy()]);
    assert.equal((await portsOf('br30')).length, 2);
    await guests[2]?.destroy();
    assert.deepEqual(await links(), before);
  }
}, { isLong: true });

test('a hook that is killed between any two changes leaves nothing after the release', async () => {
  await addParent();
  setConfig(CONFIG);
  const before = await links();
  const mac = makeMac();
  const guest = await defineGuest({ name: 'a', nics: [{ mac, bridge: 'br30' }] });
  // The first lines of the batch alone, as a hook leaves them that is killed there, with the record it wrote before.
  await startGuest({ name: 'b', nics: [{ bridge: 'br30' }] });
  const entry = journal().map((name) => readText(`/run/guestwire/${name}`))[0] ?? '';
  assert.match(entry, /bridge-use/);
  await ok('virsh', ['-q', 'destroy', 'b']);
  for (const steps of ['ip link add name br30 mtu 68 type bridge', 'ip link add name br30 mtu 68 type bridge; ip link add link eno1 name eno1.30 type vlan id 30']) {
    await sh(`mkdir -p -m 700 /run/guestwire; ${steps}`);
    writeFileSync('/run/guestwire/bridges.json', '[{"dev":"br30"},{"dev":"eno1.30"}]\n', { mode: 0o600 });
    assert.equal((await guest.start()).code, 0);
    assert.equal((await factsOf('br30')).ifalias, 'guestwire:vlan-bridge');
    await guest.destroy();
    assert.deepEqual(await links(), before);
    assert.equal(existsSync('/run/guestwire/bridges.json'), false);
  }
}, { isLong: true });

test('the agent wires a NIC that is plugged into the bridge, and puts guests back into a bridge that was deleted', async () => {
  await addParent();
  setConfig(CONFIG);
  const [nic, more] = [{ mac: makeMac(), bridge: 'br30' }, { mac: makeMac(), bridge: 'br30' }];
  const guest = await startGuest({ name: 'a', nics: [nic], slots: 1 });
  const missing = await run('virsh', ['attach-interface', 'a', 'bridge', 'br31', '--live']);
  assert.match(missing.stderr, /br31/, 'libvirt itself refuses a bridge that is missing');
  await openAgent();
  await device('a', 'attach-device', interfaceXml(more, { plugged: true }));
  const [, tap = ''] = await guest.taps();
  const filtered = async () => (await ok('nft', ['list', 'map', 'bridge', 'guestwire', 'ports'])).includes(`"${tap}"`);
  await waitFor(filtered, { what: 'the filter of the NIC that is plugged in', timeout: 20_000 });
  const before = performance.now();
  await sh('ip link del br30');
  await waitFor(async () => has('br30') && (await portsOf('br30')).length === 3, {
    what: 'the bridge with its three ports', timeout: 20_000,
  });
  await quiet();
  assert.ok(saidSince(before, 'agent').length > 0);
  await ok('node', ['dist/cli.js', 'check']);
  await guest.destroy();
  assert.deepEqual([has('br30'), has('eno1.30')], [false, false]);
}, { isLong: true });
