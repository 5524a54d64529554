// A running guest that loses its wiring passes nothing from the first change on: its port leaves its VLANs or its
// bridge, and the filters go last. The guest floods frames that only its filter and its VLANs hold back, and the
// kernel's own monitors give the order.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ADDRESS, addNeighbour, guestwire } from './cures.js';
import { addBridge, makeMac, ok, openWire, setConfig, sh, sleep, startGuest, tagged, vlansOf } from './lab.js';
import { factsOf } from './parent.js';
import { checks, test } from './testing.js';

const ONE = '[bridge.br30]\nvid = 30\nparent = "eno2"\n';
const BRIDGE = '[bridge.br0]\nuplinks = ["eno1"]\n';
/** Cisco's spanning tree: a bridge floods it, and only the filter drops it. */
const PVST = '01:00:0c:cc:cc:cd';
/** One line, because the guest reads lines. */
const FLOOD = `while :; do for dev in eth0 eth1; do ${[
  `${'ff:'.repeat(5)}ff - 88b5 plain`, `${'ff:'.repeat(5)}ff 20 88b5 tagged`, `${PVST} - 88b5 pvst`,
].map((words) => `frames send $dev ${words}-$dev;`).join(' ')} done; done >/dev/null 2>&1 &`;

/** @typedef {{at: number, line: string}} Word */

/** The kernel's messages about ports and nftables from now on, with the time. */
function openMonitors() {
  const said = { ports: /** @type {Word[]} */ ([]), nft: /** @type {Word[]} */ ([]) };
  const children = [
    { words: said.ports, args: ['bridge', 'monitor', 'link', 'vlan'] }, { words: said.nft, args: ['nft', 'monitor'] },
  ].map(({ words, args }) => {
    const child = spawn('stdbuf', ['-oL', ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
    createInterface({ input: child.stdout }).on('line', (line) => words.push({ at: performance.now(), line }));
    return child;
  });
  return { said, close: () => { children.forEach((child) => child.kill('SIGKILL')); } };
}

/** A host with an address in VLAN 1, and a guest that floods a port in VLAN 10 and a port of the bridge of VLAN 30. */
async function addFlood() {
  await addNeighbour();
  await sh(`ip link add eno2 type veth peer name eth1 netns lan; ip link set eno2 up; ip -n lan link set eth1 up
    sysctl -qw net.ipv6.conf.default.disable_ipv6=1`);
  setConfig(BRIDGE + ONE);
  await addBridge({ pvid: 1 });
  await sh(`ip link set eno1 master br0; ip addr add ${ADDRESS.untagged}/24 dev br0`);
  const mac = makeMac();
  const guest = await startGuest({
    name: 'a', boots: 'gw.ip=eth1,10.0.0.99/24', nics: [{ mac, vlan: tagged(10), via: 'metadata' }, { bridge: 'br30' }],
  });
  await guest.up();
  await guest.command(FLOOD);
  const wire = openWire('lan');
  for (const dev of ['eth0', 'eth1']) await wire.listen(dev);
  /** What arrives of the flood: DEV, tag and text. */
  const arrives = async () => {
    const all = await Promise.all(['eth0', 'eth1'].map(async (dev) =>
      Object.keys(await wire.counts(dev, true)).map((key) => key.split(' '))
        .filter(([, ethertype]) => ethertype === '88b5')
        .map(([tag, , , , text]) => `${dev} ${String(tag)} ${String(text)}`)));
    return [...new Set(all.flat())].sort();
  };
  const [tap = '', other = ''] = await guest.taps();
  return { mac, tap, other, arrives };
}

const isUp = async (/** @type {string} */ link) => (await factsOf(link)).flags.includes('UP');

const WIRED = ['eth0 10 plain-eth0', 'eth1 30 plain-eth1'];

test('a running guest that gives up its wiring passes nothing from the first change on, and its filters go last', async () => {
  const { mac, tap, other, arrives } = await addFlood();
  const { check, end } = checks();
  /**
   * @param {string} name
   * @param {RegExp[]} cuts the kernel's messages about the ports that come before any about filters
   * @param {string[]} left of the flood
   * @param {(() => Promise<unknown>)[]} acts
   */
  const givesUp = (name, cuts, left, ...acts) => check(name, async () => {
    await arrives();
    await sleep(2000);
    assert.deepEqual(await arrives(), WIRED, 'the flood before');
    const { said, close } = openMonitors();
    await sleep(1500);
    for (const act of acts) await act();
    const during = await arrives();
    await sleep(1500);
    close();
    assert.deepEqual(during.filter((one) => !WIRED.includes(one)), [], 'meanwhile');
    assert.deepEqual(await arrives(), left, 'afterwards');
    const removed = said.nft.find(({ line }) => line.startsWith('delete '))?.at ?? assert.fail('no filter was removed');
    for (const cut of cuts) {
      const at = said.ports.find(({ line }) => cut.test(line))?.at ?? assert.fail(`${String(cut)}: ${JSON.stringify(said.ports)}`);
      assert.ok(at < removed, `${String(cut)} comes before the filter is removed`);
    }
  });
  await givesUp('unset', [new RegExp(`^Deleted ${tap}\\s+10`)], ['eth1 30 plain-eth1'],
    () => guestwire('unset', 'a', '--nic', mac), () => guestwire('reconcile', 'a'));
  const rewire = () => sh(`node dist/cli.js set a --nic ${mac} --vlan 10; node dist/cli.js reconcile a`);
  await rewire();
  await givesUp('metadata removed', [new RegExp(`^Deleted ${tap}\\s+10`)], ['eth1 30 plain-eth1'],
    () => ok('virsh', ['-q', 'metadata', 'a', 'urn:guestwire:1', '--remove', '--live', '--config']),
    () => guestwire('reconcile', '--all'));
  await rewire();
  await givesUp('config removed', [new RegExp(`^Deleted \\d+: ${other}:`)], ['eth0 10 plain-eth0'],
    async () => { setConfig(BRIDGE); await guestwire('reconcile', 'a'); });
  // A tap without a bridge is a link to the host itself, and no filter is left on it.
  await check('nothing of the guest gets to the host', async () => { assert.equal(await isUp(other), false); });
  setConfig(BRIDGE + ONE);
  await guestwire('reconcile', '--all');
  await check('it comes back up with its wiring', async () => { assert.equal(await isUp(other), true); });
  await givesUp('uninstall', [new RegExp(`^Deleted ${tap}\\s+10`), new RegExp(`^Deleted \\d+: ${other}:`)], [],
    () => guestwire('uninstall', '--unwire'));
  await check('no VLAN is left', async () => { assert.deepEqual(await vlansOf(tap), []); });
  await check('nothing gets to the host after uninstall', async () => { assert.equal(await isUp(other), false); });
  end();
}, { usually: 11, timeout: 300_000 });
