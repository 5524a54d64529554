// Real guests that send real frames: who reaches whom, by pings and by every frame that each of them saw.
import assert from 'node:assert/strict';
import {
  addBridge, addPort, makeMac, note, ok, openWire, run, setConfig, sh, sleep, startGuest, tagged,
} from './lab.js';
import { checks, test } from './testing.js';

/**
 * The guests' only NICs, and the second of 't'. `members` is what the port must be: VID to the tag frames leave with.
 *
 * @typedef {object} Port
 * @property {string} nic
 * @property {import('./lab.js').Vlan} vlan
 * @property {Record<number, string>} members
 * @property {number} [pvid]
 * @property {boolean} [isolated]
 */

/** @type {Port[]} */
const PORTS = [
  { nic: 'a.eth0', vlan: tagged(10), members: { 10: '-' }, pvid: 10 },
  { nic: 'b.eth0', vlan: tagged(10), members: { 10: '-' }, pvid: 10 },
  { nic: 'c.eth0', vlan: tagged(20), members: { 20: '-' }, pvid: 20 },
  {
    nic: 't.eth0', vlan: { tags: [{ id: 10 }, { id: 20 }, { id: 30, nativeMode: 'untagged' }] },
    members: { 10: '10', 20: '20', 30: '-' }, pvid: 30,
  },
  { nic: 't.eth1', vlan: tagged(10, 20), members: { 10: '10', 20: '20' } },
  {
    nic: 'n.eth0', vlan: { tags: [{ id: 10 }, { id: 30, nativeMode: 'tagged' }] }, members: { 10: '10', 30: '30' },
    pvid: 30,
  },
  { nic: 'i.eth0', vlan: tagged(10), members: { 10: '-' }, pvid: 10, isolated: true },
  { nic: 'j.eth0', vlan: tagged(10), members: { 10: '-' }, pvid: 10, isolated: true },
];
const ROUTER = { nic: 'router', members: { 10: '10', 20: '20', 30: '30' } };
const BOOTS = {
  a: 'gw.ip=eth0,10.0.10.1/24',
  b: 'gw.ip=eth0,10.0.10.2/24',
  // In VLAN 20 with an address of VLAN 10's too, so that it would reach a and b if it could.
  c: 'gw.ip=eth0,10.0.20.3/24,10.0.10.3/24',
  t: 'gw.vlan=eth0.10,eth0.20 gw.ip=eth0,10.0.30.4/24 gw.ip=eth0.10,10.0.10.4/24 gw.ip=eth0.20,10.0.20.4/24',
  n: 'gw.vlan=eth0.10,eth0.30 gw.ip=eth0.30,10.0.30.5/24 gw.ip=eth0.10,10.0.10.5/24',
  i: 'gw.ip=eth0,10.0.10.6/24',
  j: 'gw.ip=eth0,10.0.10.7/24',
};
const TAGS = ['-', '10', '20', '30', '40'];

/**
 * Who must see a broadcast of this port with this tag, and with which tag.
 * @param {Port} port
 * @param {string} tag
 * @returns {string[]}
 */
function receivers(port, tag) {
  const vid = tag === '-' ? port.pvid : Number(tag);
  if (vid === undefined || !(vid in port.members)) return [];
  const others = [...PORTS, ROUTER].filter((other) =>
    other !== port && vid in other.members && !(port.isolated && 'isolated' in other && other.isolated));
  return others.map(({ nic, members }) => `${nic} ${members[/** @type {keyof typeof members} */ (vid)]}`);
}

test('guests reach who is in their VLANs, and nobody else', async () => {
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await addBridge({ pvid: 1 });
  await addPort('up0', { netns: 'router' });
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
  await sh([10, 20, 30].map((vid) => `ip -n router link add link eth0 name eth0.${vid} type vlan id ${vid}
    ip -n router link set eth0.${vid} up; ip -n router addr add 10.0.${vid}.254/24 dev eth0.${vid}`).join('\n'));
  const wire = openWire('router');
  await wire.listen('eth0');
  const macs = Object.fromEntries(PORTS.map(({ nic }) => [nic, makeMac()]));
  /** @type {Record<string, import('./lab.js').Guest>} */
  const guests = {};
  for (const [name, boots] of Object.entries(BOOTS)) {
    const nics = PORTS.filter(({ nic }) => nic.startsWith(`${name}.`))
      .map(({ nic, vlan, isolated }) => ({ mac: String(macs[nic]), vlan, ...(isolated ? { isolated } : {}) }));
    guests[name] = await startGuest({ name, boots, nics }, ['--paused']);
  }
  // Paused until all are started: a guest that boots makes the next start three times as long.
  for (const name of Object.keys(BOOTS)) await ok('virsh', ['-q', 'resume', name]);
  const guest = (/** @type {string} */ name) => guests[name] ?? assert.fail(name);
  await Promise.all(Object.values(guests).map((each) => each.up()));
  note('all guests are up');

  const { check, end } = checks();
  const reach = (/** @type {string} */ from, /** @type {string} */ to, /** @type {boolean} */ expected) =>
    check(`${from} ${expected ? 'reaches' : 'does not reach'} ${to}`, async () => {
      assert.equal(await guest(from).ping(to, expected ? 5 : 1), expected);
    });
  // In the names above: a 10.1, b 10.2, c 20.3, t 10.4, n 10.5, i 10.6, j 10.7.
  await Promise.all([
    reach('a', '10.0.10.2', true), reach('a', '10.0.10.3', false),
    reach('b', '10.0.10.1', true), reach('b', '10.0.10.3', false),
    reach('c', '10.0.10.1', false), reach('c', '10.0.10.2', false), reach('c', '10.0.20.4', true),
    reach('t', '10.0.10.1', true), reach('t', '10.0.10.2', true),
    reach('t', '10.0.20.3', true), reach('t', '10.0.30.5', true),
    reach('n', '10.0.30.4', true), reach('n', '10.0.10.1', true),
    reach('i', '10.0.10.7', false), reach('j', '10.0.10.6', false),
    reach('i', '10.0.10.1', true), reach('j', '10.0.10.2', true),
    reach('a', '10.0.10.254', true), reach('c', '10.0.20.254', true),
    reach('i', '10.0.10.254', true), reach('n', '10.0.30.254', true),
  ]);
  for (const address of ['10.1', '10.2', '20.3', '10.4', '20.4', '30.4', '10.5', '30.5', '10.6', '10.7']) {
    await check(`the router on the uplink reaches 10.0.${address}`, async () => {
      assert.equal(
        (await run(
          'ip', ['netns', 'exec', 'router', 'ping', '-c', '3', '-i', '0.3', '-W', '3', `10.0.${address}`],
        )).code,
        0,
      );
    });
  }

  // Every port says something with every tag; who heard what?
  for (const { nic } of PORTS) {
    const [name = '', dev = ''] = nic.split('.');
    await guest(name).command(`for tag in ${TAGS.join(' ')}; do frames send ${dev} ff:ff:ff:ff:ff:ff $tag 88b5 ${nic}:$tag; done`);
  }
  await sleep(500);
  /** Per sent frame, its receivers. @type {Record<string, string[]>} */
  const heard = {};
  const hear = (/** @type {string} */ text, /** @type {string} */ receiver) => { (heard[text] ??= []).push(receiver); };
  /** @type {{nic: string, source: string}[]} */
  const sources = [];
  for (const name of Object.keys(BOOTS)) {
    for (const line of await guest(name).frames()) {
      const [, dev = '', tag = '', , source = '', , text = ''] = line.split(' ');
      sources.push({ nic: `${name}.${dev}`, source });
      if (text.includes('.eth')) hear(text, `${name}.${dev} ${tag}`);
    }
  }
  for (const key of Object.keys(await wire.counts('eth0'))) {
    const [tag = '', , source = '', , text = ''] = key.split(' ');
    sources.push({ nic: 'router', source });
    if (text.includes('.eth')) hear(text, `router ${tag}`);
  }
  for (const port of PORTS) {
    for (const tag of TAGS) {
      const text = `${port.nic}:${tag}`;
      // A frame tagged with the very VLAN that the port gives out untagged may be taken or dropped.
      const optional = tag !== '-' && port.members[Number(tag)] === '-' && heard[text] === undefined;
      if (!optional) await check(`who hears ${text}`, () => {
        assert.deepEqual((heard[text] ?? []).sort(), receivers(port, tag).sort());
      });
    }
  }
  // Whatever the frame: ARP, replies, anything. Nobody sees a source that shares no VLAN with it.
  const shares = (/** @type {Port | typeof ROUTER} */ one, /** @type {Port} */ other) =>
    Object.keys(one.members).some((vid) => vid in other.members)
      && !('isolated' in one && one.isolated && other.isolated);
  for (const receiver of [...PORTS, ROUTER]) {
    const strangers = PORTS.filter((sender) => sender !== receiver && !shares(receiver, sender))
      .map(({ nic }) => macs[nic]);
    await check(`${receiver.nic} sees no stranger`, () => {
      assert.deepEqual(sources.filter(({ nic, source }) => nic === receiver.nic && strangers.includes(source)), []);
    });
  }
  end();
}, { usually: 11, timeout: 400_000 });
