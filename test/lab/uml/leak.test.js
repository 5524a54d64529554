// No leak: every VLAN of the bridge is flooded with broadcast, multicast and unknown unicast while a guest starts, and
// not one foreign frame comes to it, not even one that came to its tap before the hook ran; nor does one of its frames
// get into a foreign VLAN.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { addBridge, addPort, domainXml, hook, makeMac, openWire, sh, sleep, startGuest, tagged } from './lab.js';
import { before11, isWhole, test } from './testing.js';

const VIDS = [1, 5, 10, 20, 30, 40];
const FLOODED = ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '52:54:00:ff:ff:ff'];
const WORLD = '52:54:00:ee:00:01';

/**
 * What a port takes: the VID of frames without tag, and each VID with the tag it leaves with.
 *
 * @type {{kind: string, vlan: import('./lab.js').Vlan, pvid?: number, out: Record<number, string>}[]}
 */
const PORTS = [
  { kind: 'access', vlan: tagged(10), pvid: 10, out: { 10: '-' } },
  { kind: 'trunk', vlan: tagged(10, 20), out: { 10: '10', 20: '20' } },
  {
    kind: 'native-untagged', vlan: { trunk: 'yes', tags: [{ id: 10 }, { id: 20, nativeMode: 'untagged' }] }, pvid: 20,
    out: { 10: '10', 20: '-' },
  },
  {
    kind: 'native-tagged', vlan: { trunk: 'yes', tags: [{ id: 10 }, { id: 20, nativeMode: 'tagged' }] }, pvid: 20,
    out: { 10: '10', 20: '20' },
  },
];

/**
 * A bridge with the world on 'w0', which is in every VLAN and floods it.
 * @param {number} pvid
 * @param {number} interval seconds
 */
async function addFloodedBridge(pvid, interval) {
  // The kernel's own neighbour discovery would be foreign to everybody.
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await addBridge({ pvid });
  await addPort('w0', { vids: VIDS.map(String) });
  const wire = openWire();
  await wire.listen('w0x');
  const frames = VIDS.flatMap((tag) => FLOODED.map((dst) => ({ dst, src: WORLD, tag, text: `flood-${tag}` })));
  await wire.flood('w0x', frames, interval);
  return wire;
}

/**
 * Counts as [tag, text, how many].
 * @param {import('./lab.js').Counts} counts
 * @param {string} [source] only frames from there
 */
function digest(counts, source) {
  return Object.entries(counts).map(([key, count]) => ({ words: key.split(' '), count }))
    .filter(({ words }) => source === undefined || words[2] === source)
    .map(({ words: [tag = '', ethertype = '', , , text = ''], count }) => ({
      tag, text: ethertype === '88b5' ? text : `ethertype ${ethertype}`, count,
    }));
}

/**
 * Those that the port may not give to its guest.
 * @param {{tag: string, text: string}[]} received
 * @param {{out: Record<number, string>}} port
 */
function foreign(received, { out }) {
  return received.filter(({ tag, text }) =>
    !Object.entries(out).some(([vid, as]) => text === `flood-${vid}` && tag === as));
}

/** What the guest sends: broadcast without tag, with each VLAN's, and with a priority tag. */
const SENT = [null, 0, ...VIDS];

/**
 * The VLANs in which the world may see the guest's frame.
 * @param {number | null} tag
 * @param {{pvid?: number, out: Record<number, string>}} port
 */
function destination(tag, { pvid, out }) {
  if (tag === null || tag === 0) return pvid === undefined ? [] : [String(pvid)];
  return tag in out ? [String(tag)] : [];
}

/**
 * Whether the world saw the guest's frames where they belong and nowhere else. A frame with a tag may also be dropped
 * where the port gives that VLAN out without one.
 *
 * @param {{tag: string, text: string}[]} seen @param {{pvid?: number, out: Record<number, string>}} port
 */
function assertSeen(seen, port) {
  for (const tag of SENT) {
    const where = seen.filter(({ text }) => text === `guest-${tag}`).map(({ tag: vid }) => vid);
    const right = destination(tag, port);
    const optional = tag === 0 || (tag !== null && port.out[tag] === '-');
    if (optional && where.length === 0) continue;
    assert.deepEqual(where, right, `the guest's frame with tag ${tag ?? 'none'}`);
  }
}

/**
 * One hook run on a tap that this process holds as QEMU would.
 * @param {ReturnType<typeof openWire>} wire
 * @param {number} number
 * @param {boolean} hooked
 */
async function runOnce(wire, number, hooked) {
  const port = PORTS[number % PORTS.length];
  assert.ok(port);
  const [name, tap, mac] = [`leak${number}`, `t${number}`, makeMac()];
  await wire.tap(tap);
  await sh(`ip link set ${tap} master br0 up`);
  const uuid = `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
  const xml = domainXml({ name, uuid, nics: [{ mac, vlan: port.vlan, target: tap, via: 'metadata' }] });
  if (hooked) {
    const { code, stderr } = await hook(name, 'start', xml);
    assert.equal(code, 0, stderr);
  } else {
    await sleep(700);
  }
  const queued = digest(await wire.read(tap));
  await wire.counts('w0x', true);
  await wire.write(tap, SENT.map((tag) => ({ dst: 'ff:ff:ff:ff:ff:ff', src: mac, tag, text: `guest-${tag}` })));
  await sleep(150);
  const [later, seen] = [digest(await wire.read(tap)), digest(await wire.counts('w0x'), mac)];
  await wire.closeTap(tap);
  return { port, queued, later, seen };
}

test('the flood is real: without the hook a tap reads the default VLAN', async () => {
  const wire = await addFloodedBridge(1, 0.02);
  const { queued, later, seen } = await runOnce(wire, 0, false);
  const count = queued.find(({ tag, text }) => tag === '-' && text === 'flood-1')?.count ?? 0;
  assert.ok(count > 20, `only ${count} frames were queued`);
  assert.ok(later.length > 0);
  assert.deepEqual(seen.find(({ text }) => text === 'guest-null')?.tag, '1');
}, { when: before11 });

for (const [pvid, first, most] of /** @type {const} */ ([[1, 0, 40], [0, 40, 30], [5, 70, 30]])) {
  // Each kind of port several times.
  const runs = isWhole ? most : 8;
  test(`${runs} hook runs on a flooded bridge with vlan_default_pvid ${pvid} leak nothing`, async () => {
    const wire = await addFloodedBridge(pvid, 0.02);
    for (let number = first; number < first + runs; number += 1) {
      const { port, queued, later, seen } = await runOnce(wire, number, true);
      const where = `run ${number}, ${port.kind}`;
      assert.deepEqual(foreign(queued, port), [], `${where}: frames that waited in the tap after the hook`);
      assert.deepEqual(foreign(later, port), [], `${where}: frames that came later`);
      for (const vid of Object.keys(port.out)) assert.ok(later.some(({ text }) => text === `flood-${vid}`), `${where}: VLAN ${vid} does not come through`);
      assertSeen(seen, port);
      // Nobody told guestwire that this guest is gone; what it does then is not this test's.
      rmSync('/run/guestwire', { recursive: true, force: true });
    }
    assert.ok(await wire.stopFlood('w0x') > 100, 'the flood went on');
    // No libvirt is in it: once is enough.
  }, { timeout: 400_000, when: before11, isLong: pvid !== 1 });
}

for (const [index, pvid] of [1, 5, 1].entries()) {
  const port = PORTS[index];
  if (port === undefined) throw new Error('no such port');
  test(`a real guest that starts on a flooded bridge gets no foreign frame (${port.kind}, vlan_default_pvid ${pvid})`, async () => {
    const wire = await addFloodedBridge(pvid, 0.1);
    const mac = makeMac();
    const guest = await startGuest({ name: 'g', nics: [{ mac, vlan: port.vlan }], boots: 'gw.ip=eth0,192.0.2.1/24' });
    await guest.up();
    await sleep(1000);
    await guest.command(`for tag in - 0 ${VIDS.join(' ')}; do frames send eth0 ff:ff:ff:ff:ff:ff $tag 88b5 guest-$tag; done`);
    const received = (await guest.frames()).map((line) => line.split(' '))
      .map(([, , tag = '', ethertype = '', , , text = '']) => ({
        tag, text: ethertype === '88b5' ? text : `ethertype ${ethertype}`,
      }));
    assert.deepEqual(foreign(received, port), []);
    for (const vid of Object.keys(port.out))
      assert.ok(received.some(({ text }) => text === `flood-${vid}`), `VLAN ${vid} does not come through`);
    assertSeen(
      digest(await wire.counts('w0x'), mac)
        .map(({ tag, text }) => ({ tag, text: text.replace('guest--', 'guest-null') })),
      port,
    );
    assert.ok(await wire.stopFlood('w0x') > 20);
  }, { usually: 9, isLong: index > 0, timeout: 180_000 });
}

test("a guest's BPDUs are dropped at its port", async () => {
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await addBridge();
  // By default a bridge keeps 01:80:c2:00:00:01-0f to itself; this one passes on what it can.
  await sh('echo 65528 >/sys/class/net/br0/bridge/group_fwd_mask');
  await addPort('w0', { vids: ['10', '20'] });
  const wire = openWire();
  await wire.listen('w0x');
  const guest = await startGuest({
    name: 'g', nics: [{ vlan: tagged(10, 20) }, { vlan: tagged(10) }], boots: 'gw.ip=eth0,192.0.2.1/24',
  });
  await guest.up();
  const groups = [
    '01:80:c2:00:00:00', '01:80:c2:00:00:03', '01:80:c2:00:00:0e', '01:80:c2:00:00:0f', '01:00:0c:cc:cc:cd',
  ];
  const script = groups.map((dst, index) => `frames send eth0 ${dst} 10 88b5 trunk-${index}; frames send eth1 ${dst} - 88b5 access-${index}; frames send eth1 ${dst} 0 88b5 priority-${index};`);
  await guest.command(`${script.join(' ')} frames send eth0 01:80:c2:00:00:10 10 88b5 other; frames send eth1 01:00:0c:cc:cc:ce - 88b5 other`);
  await sleep(300);
  const seen = digest(await wire.counts('w0x')).map(({ text }) => text).filter((text) =>
    /^(trunk|access|priority|other)/.test(text)).sort();
  assert.deepEqual(seen, ['other', 'other'], 'only what is no BPDU comes out');
}, { isLong: true, timeout: 120_000 });
