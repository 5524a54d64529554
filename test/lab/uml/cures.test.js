// A cure never cuts the host off. Each faulty bridge and uplink is made here, with a neighbour in the namespace 'lan'
// that pings the host's own address through the uplink; the cure runs as guestwire prints it. Where no command can do
// it, guestwire says what to move first, and the sequence of docs/vlan.md does it. cures-guests.test.js beside this
// file has the faults that cut running guests off.
import assert from 'node:assert/strict';
import {
  ADDRESS, addNeighbour, answers, assertDescription, cured, cureOf, documented, findings, moveRouter, reachable,
  runPrinted,
} from './cures.js';
import { addBridge, addPort, defineGuest, openWire, setConfig, sh, tagged, vlansOf } from './lab.js';
import { checks, test } from './testing.js';

const UPLINK = '[bridge.br0]\nuplinks = ["eno1"]\n';
const UNFILTERED = /^bridge 'br0' does not filter VLANs$/;
/** Where the host has its addresses. */
const [UNTAGGED, IN_5, IN_30] = [ADDRESS.untagged, ADDRESS[5], ADDRESS[30]];

/**
 * The bridge br0 with the uplink and these addresses of the host, those in VLAN 5 on br0.5.
 * @param {string[]} addresses
 * @param {{pvid?: number, filtering?: boolean}} [options]
 */
async function addHostBridge(addresses, { pvid = 1, filtering = true } = {}) {
  await addBridge({ pvid, filtering });
  await sh('ip link set eno1 master br0');
  if (addresses.includes(UNTAGGED)) await sh(`ip addr add ${UNTAGGED}/24 dev br0`);
  if (!addresses.includes(IN_5)) return;
  if (filtering) await sh('bridge vlan add dev br0 vid 5 self; bridge vlan add dev eno1 vid 5');
  await addSub('br0', 5, IN_5);
}

/** @param {string} parent @param {number} vid @param {string} address */
const addSub = (parent, vid, address) => sh(`ip link add link ${parent} name ${parent}.${vid} type vlan id ${vid}; ip link set ${parent}.${vid} up; ip addr add ${address}/24 dev ${parent}.${vid}`);

test('the cure of a bridge that does not filter keeps the host, wherever its address is', async () => {
  await addNeighbour(5);
  setConfig(UPLINK);
  const guest = await defineGuest({ name: 'a', nics: [{ vlan: tagged(10) }] });
  const { check, end } = checks();
  let last = '';
  for (const pvid of [1, 0]) for (const addresses of [[UNTAGGED], [IN_5], [UNTAGGED, IN_5]]) {
    await check(`vlan_default_pvid ${pvid}, ${addresses.join()}`, async () => {
      await addHostBridge(addresses, { pvid, filtering: false });
      last = await cureOf(UNFILTERED);
      if (pvid === 0 && addresses.length > 1) {
        const { code, stderr } = await guest.start();
        assert.notEqual(code, 0);
        assert.equal(/turn it on with '(.*?)' \(/.exec(stderr)?.[1], last, 'the refusal prints the same');
      }
      await reachable(addresses, 'before the cure');
      await runPrinted(last);
      await reachable(addresses, `after '${last}'`);
    });
    if (pvid === 1 || addresses.length === 1) await sh('ip link del br0');
  }
  await check('doctor after it', async () => { assert.deepEqual(await findings(UNFILTERED), []); });
  await check('the guest', async () => { assert.equal((await guest.start()).code, 0, 'it starts after the cure'); });
  await check('the host beside the guest', () => reachable([UNTAGGED, IN_5], 'beside the guest'));
  end();
}, { usually: 11, timeout: 300_000 });

test('where no line turns filtering on and keeps the host, none is printed; the sequence of docs/vlan.md keeps it', async () => {
  await addNeighbour(5);
  setConfig(UPLINK);
  await addHostBridge([UNTAGGED, IN_5], { filtering: false });
  // The uplink would give the host's tagged frames away without a tag.
  await sh('bridge vlan add dev eno1 vid 5 untagged');
  const guest = await defineGuest({ name: 'a', nics: [{ vlan: tagged(10) }] });
  const cure = await cureOf(UNFILTERED);
  assertDescription(cure);
  const { stderr } = await guest.start();
  assert.ok(stderr.trim().endsWith(cure), stderr);
  await sh(`ip link del br0; ip -n lan addr add 192.0.2.9/24 dev eth0.5`);
  await addHostBridge([], { filtering: false });
  await addSub('br0', 5, '192.0.2.2');
  await reachable(['192.0.2.2'], 'before');
  await runPrinted(documented('**Filtering on a bridge in use.**'));
  await reachable(['192.0.2.2'], 'after the sequence');
  assert.deepEqual(await findings(UNFILTERED), []);
}, { usually: 11, isLong: true, timeout: 200_000 });

test('the cures of a default VLAN, of learning from link-local frames and of snooping keep the host', async () => {
  await addNeighbour(5);
  setConfig('[bridge.br0]\n');
  await addHostBridge([UNTAGGED, IN_5]);
  await sh(`ip link set br0 type bridge mcast_snooping 1; echo 0 >/proc/sys/net/ipv6/conf/br0/disable_ipv6
    ip addr add 2001:db8::1/64 dev br0 nodad; ip -n lan addr add 2001:db8::fe/64 dev eth0 nodad`);
  const both = [UNTAGGED, IN_5, '2001:db8::1'];
  await sh('ip link add t0 type veth peer name t0x; ip link set t0 master br0 up; ip link set t0x up');
  assert.deepEqual(await vlansOf('t0'), ['1 pvid untagged'], 'a new port is in the VLAN of the host');
  const wire = openWire();
  const mac = (await sh('ip netns exec lan cat /sys/class/net/eth0/address')).trim();
  // Any frame of the neighbour takes its MAC back, so one look of five is enough.
  const portsOfNeighbour = async () => {
    const ports = /** @type {Set<string | undefined>} */ (new Set());
    for (let looks = 0; looks < 5; looks += 1) {
      await wire.send('t0x', [{ dst: '01:80:c2:00:00:0e', src: mac, ethertype: 0x88cc, text: 'lldp' }]);
      ports.add(/dev (\S+)/.exec(await sh(`bridge fdb get ${mac} br br0 vlan 1`))?.[1]);
    }
    return [...ports];
  };
  await reachable(both, 'before the LLDP frame');
  assert.ok((await portsOfNeighbour()).includes('t0'), 'the MAC of the neighbour moves with a frame that no filter sees');
  await cured([
    /^bridge 'br0' puts new ports into VLAN 1$/, /^bridge 'br0' learns from link-local frames$/,
    /^bridge 'br0' snoops multicast without a querier$/,
  ], both);
  await reachable(both, 'before the LLDP frame');
  assert.deepEqual(await portsOfNeighbour(), ['eno1'], 'the MAC stays where it is');
  await addPort('t1');
  assert.deepEqual([await vlansOf('t0'), await vlansOf('t1')], [['1 pvid untagged'], []], 'ports keep the VLAN, new ones do not get it');
}, { usually: 11, timeout: 200_000 });

test('an uplink outside its bridge joins it by a command only when it does not carry the host', async () => {
  await addNeighbour(5);
  setConfig(UPLINK);
  await addBridge({ pvid: 0 });
  const outside = /^uplink 'eno1' is not a port of bridge 'br0'$/;
  await addSub('eno1', 5, IN_5);
  assert.deepEqual(await cured([outside], [IN_5]), ['ip link set dev eno1 master br0']);
  await sh('ip link set eno1 nomaster; ip link del eno1.5; ip route add default dev eno1');
  const route = await cureOf(outside);
  assertDescription(route);
  assert.match(route, /a default route/);
  await sh('ip route del default; ip addr add 192.0.2.2/24 dev eno1');
  const cure = await cureOf(outside);
  assertDescription(cure);
  assert.match(cure, /'192\.0\.2\.2' of this host.* move the host's addresses and routes to 'br0'/);
  await reachable(['192.0.2.2'], 'before');
  await runPrinted(documented('**From the uplink to the bridge**'));
  await reachable(['192.0.2.2'], 'after the sequence');
  assert.deepEqual(await findings(outside), []);
}, { usually: 11, timeout: 200_000 });

test('a sub-interface that takes the VLAN of a guest and carries the host is moved, not removed', async () => {
  await addNeighbour(5);
  await moveRouter(5);
  setConfig(UPLINK);
  await addHostBridge([], { pvid: 0 });
  await addSub('eno1', 5, '192.0.2.2');
  const guest = await defineGuest({ name: 'a', nics: [{ vlan: tagged(5) }] });
  const taken = /^sub-interface 'eno1\.5' of uplink 'eno1' takes VLAN '5'/;
  const cure = await cureOf(taken);
  assertDescription(cure);
  assert.match(cure, /^move its addresses and routes to VLAN '5' of the bridge/);
  const { code, stderr } = await guest.start();
  assert.deepEqual([code === 0, stderr.includes(cure)], [false, true], stderr);
  await reachable(['192.0.2.2'], 'before');
  await runPrinted(documented('**From a sub-interface of the uplink to the bridge**'));
  await reachable(['192.0.2.2'], 'after the sequence');
  assert.deepEqual(await findings(taken), []);
  assert.equal((await guest.start()).code, 0, 'it starts then');
  await reachable(['192.0.2.2'], 'beside the guest');
}, { usually: 11, timeout: 200_000 });

const ONE = '[bridge.br30]\nvid = 30\nparent = "eno1"\n';

test('the cures of a bridge of one VLAN keep the host: a parent that is down, a sub-interface outside the bridge', async () => {
  await addNeighbour(30);
  setConfig(ONE);
  const guest = await defineGuest({ name: 'a', nics: [{ bridge: 'br30' }] });
  await sh(`ip addr add ${UNTAGGED}/24 dev eno1; ip link set eno1 down`);
  assert.equal(await answers(UNTAGGED, 1), false, 'nothing reaches the host through a parent that is down');
  const down = /^parent 'eno1' of bridge 'br30' is down$/;
  const up = await cureOf(down);
  assert.match((await guest.start()).stderr, new RegExp(`is down.*run '${up}'`));
  await runPrinted(up);
  await reachable([UNTAGGED], `after '${up}'`);
  assert.deepEqual(await findings(down), []);

  await addSub('eno1', 30, IN_30);
  const stray = /^sub-interface 'eno1\.30' is not a port of bridge 'br30'$/;
  const moved = await cureOf(stray);
  assertDescription(moved);
  assert.match((await guest.start()).stderr, /sub-interface 'eno1\.30'.*: first move the host's addresses and routes from it/);
  await reachable([UNTAGGED, IN_30], 'as nothing was done');
  await sh(`ip addr del ${IN_30}/24 dev eno1.30`);
  const command = await cureOf(stray);
  assert.match((await guest.start()).stderr, new RegExp(`run '${command}', or remove it`));
  await runPrinted(command);
  await reachable([UNTAGGED], `after '${command}'`);
  assert.deepEqual(await findings(stray), []);
  assert.equal((await guest.start()).code, 0, 'it starts after that command');
}, { usually: 11, timeout: 200_000 });

test('a parent in a bridge that filters is replaced by that bridge, and the host keeps its VLANs', async () => {
  await addNeighbour(5, 30);
  setConfig(ONE);
  await addHostBridge([UNTAGGED, IN_5]);
  const guest = await defineGuest({ name: 'a', nics: [{ bridge: 'br30' }] });
  const port = /^parent 'eno1' of bridge 'br30' is a port of 'br0', which filters VLANs$/;
  const [, command = ''] = /^parent = "br0" in the host config, after '(.*)'$/.exec(await cureOf(port)) ?? [];
  await reachable([UNTAGGED, IN_5], 'before');
  await runPrinted(command);
  setConfig(ONE.replace('eno1', 'br0'));
  await reachable([UNTAGGED, IN_5], `after '${command}'`);
  assert.deepEqual(await findings(port), []);
  await sh('bridge vlan del dev br0 vid 30 self');
  const { stderr } = await guest.start();
  const [, self = ''] = /is not in VLAN '30' itself: run '(.*)'/.exec(stderr) ?? [];
  await runPrinted(self);
  assert.equal((await guest.start()).code, 0, 'it starts after that command');
  await sh(`ip addr add ${IN_30}/24 dev br30`);
  await reachable([UNTAGGED, IN_5, IN_30], 'beside the guest');
  await guest.destroy();

  setConfig(ONE);
  await sh('bridge vlan add dev eno1 vid 30 untagged');
  assertDescription(await cureOf(port));
}, { usually: 11, timeout: 200_000 });
