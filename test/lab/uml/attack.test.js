// The tables of test/attack/forged.ts and test/attack/honest.ts, in every encapsulation, sent by a real guest of
// libvirt on an access port and on a trunk of a bridge that filters VLANs. test/attack/attack.test.ts writes the same
// to a tap, test/attack/libvirt.test.ts sends it over a routed link.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { addBridge, addPort, note, setConfig, sh, startGuest, waitFor } from './lab.js';
import { before11, checks, figures, isWhole, test } from './testing.js';

/** @typedef {typeof import('./attack-tables.js')} Tables */
/**
 * @typedef {object} Port
 * @property {string} eth
 * @property {string} kind
 * @property {import('./attack-tables.js').Party} party
 * @property {import('./lab.js').Vlan} vlan
 * @property {number[]} tags
 * @property {string[]} near
 */
/** @typedef {Map<string, string[]>} Shot by the name of a row where each of its frames arrived */

const [MEMBER, OTHER, NATIVE] = [10, 20, 30];
/** Written by the driver. @type {string} */
const TABLES = '/out/attack-tables.mjs';
const HONEST = 'honest: ';
/** A number that no frame of the tables has. */
const END = 0xf000;

/**
 * VLANs share it with nobody but `near`: whoever listens there is a victim, all others are strangers.
 * @param {Tables} tables
 * @returns {Port[]}
 */
function portsOf({ sceneOf, linkLocalOf }) {
  const { guest } = sceneOf('bridge');
  const other = {
    mac: '52:54:00:00:00:0f', a4: '192.0.2.15', a6: '2001:db8:0:10::f', ll: linkLocalOf('52:54:00:00:00:0f'),
  };
  return [
    { eth: 'eth0', kind: 'access', party: guest, vlan: { tags: [{ id: MEMBER }] }, tags: [], near: [`v${MEMBER}`] },
    {
      eth: 'eth1', kind: 'trunk', party: other,
      vlan: { trunk: 'yes', tags: [{ id: MEMBER }, { id: NATIVE, nativeMode: 'untagged' }] }, tags: [MEMBER],
      near: [`v${MEMBER}`, `v${NATIVE}`],
    },
  ];
}

/**
 * A victim in each VLAN, the world behind the uplink, and a host that says nothing, in all of them.
 * @param {ReturnType<Tables['sceneOf']>} scene
 */
async function addHost({ host, victim, world }) {
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await addBridge({ pvid: 0 });
  await addPort('up0', { vids: [MEMBER, OTHER, NATIVE].map(String) });
  for (const vid of [MEMBER, OTHER, NATIVE]) await addPort(`v${vid}`, { vids: [`${vid} pvid untagged`] });
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
  // Sticky, as in test/attack/host.ts: where a frame goes shall not depend on those before it.
  await sh(`ip link set br0 address ${host.mac}
    for port in up0x v${MEMBER}x v${OTHER}x v${NATIVE}x; do ip link set $port arp off promisc on; done
    ${[MEMBER, OTHER, NATIVE].map((vid) => `bridge vlan add dev br0 vid ${vid} self
    bridge fdb replace ${victim.mac} dev v${vid} master static sticky vlan ${vid}
    bridge fdb replace ${world.mac} dev up0 master static sticky vlan ${vid}`).join('\n')}`);
}

/** Encapsulations in which each row goes in every run: those that a NIC may send. */
const ALWAYS = ['untagged', 'member VID'];

/**
 * Returns the frames that this run has time for: each row as a NIC may send it and in one of the other encapsulations,
 * which take turns.
 *
 * @template {{name: string, encapsulation: string}} T
 * @param {T[]} frames by encapsulation @param {readonly unknown[]} rows
 */
function inTurn(frames, rows) {
  const others = frames.length / rows.length - ALWAYS.length;
  return isWhole ? frames : frames.filter(({ encapsulation }, index) =>
    ALWAYS.includes(encapsulation) || (index % rows.length + Math.floor(index / rows.length)) % others === 0);
}

/**
 * The frames of a port, numbered, the last one being honest and of a number of its own.
 * @param {Tables} tables
 * @param {Port} port
 */
function volleyOf(
  { sceneOf, dressed, forgedRows, honestRows, numberFrames, stamped, ip, udp, ENCAPSULATIONS }, { party },
) {
  const scene = { ...sceneOf('bridge'), guest: party };
  const rows = [...forgedRows(scene), ...honestRows(scene).map((row) => ({ ...row, name: `${HONEST}${row.name}` }))];
  const { shots, numbered } = numberFrames(inTurn(dressed(rows, Object.keys(ENCAPSULATIONS)), rows));
  const path = { mac: party.mac, to: scene.world.mac, src: party.a4, dst: scene.world.a4 };
  return { shots: [...shots, stamped(ip(path, udp(path, [4000, 4000])), END)], numbered };
}

/**
 * An initrd with the frames of each port behind the guest's own: the kernel unpacks both.
 * @param {Record<string, Buffer>} files
 */
async function addInitrd(files) {
  mkdirSync('/run/replay');
  for (const [name, content] of Object.entries(files)) writeFileSync(`/run/replay/${name}`, content);
  await sh('cd /run/replay; { cat /image/initrd; find . -type f | cpio --quiet -o -H newc; } >/run/replay-initrd');
  return '/run/replay-initrd';
}

/** @param {Shot} shot @param {(name: string) => boolean} has @returns {Shot} */
const only = (shot, has) => new Map([...shot].filter(([name]) => has(name)));
/** @param {string} name */
const isForged = (name) => !name.startsWith(HONEST);

test('of all that a real guest forges on a VLAN port nothing arrives, and of what it honestly sends all', async () => {
  /** @type {unknown} */
  const imported = await import(TABLES);
  const tables = /** @type {Tables} */ (imported);
  assert.equal(tables.MEMBER, MEMBER);
  const { arrivals, arrived, lost, HARMLESS, UNHEARD, LINK_PROTOCOLS, allowedEncapsulations } = tables;
  await addHost(tables.sceneOf('bridge'));
  const ports = portsOf(tables).map((port) => ({ ...port, ...volleyOf(tables, port) }));
  const initrd = await addInitrd(Object.fromEntries(ports.map(({ kind, shots }) => [kind, tables.packed(shots)])));
  const guest = await startGuest({
    name: 'g', initrd, boots: 'gw.none',
    nics: ports.map(({ party: { mac, a4, a6 }, vlan }) => ({ mac, vlan, ips: [a4, a6] })),
  });
  await guest.up();
  const taps = await guest.taps();
  const frames = tables.openFrames({ target: String(process.pid), sh: () => '' });
  await frames.sniff('uplink', { dev: 'up0x' });
  await frames.sniff('host', { dev: 'br0' });
  for (const vid of [MEMBER, OTHER, NATIVE]) await frames.sniff(`v${vid}`, { dev: `v${vid}x` });
  // LLDP goes up on the port itself, where a daemon may listen.
  for (const [index, { eth }] of ports.entries())
    await frames.sniff(eth, { dev: taps[index] ?? '', protocols: LINK_PROTOCOLS });

  /**
   * Has the guest send its volley on a port, and returns what became of it.
   * @param {typeof ports[number]} port
   * @returns {Promise<Shot>}
   */
  const shoot = async ({ eth, kind, shots, numbered, near }) => {
    const began = performance.now();
    /** @type {Record<string, Record<string, number>>} */
    const heard = {};
    const listen = async () => {
      for (const [place, numbers] of Object.entries(await frames.arrived()))
        heard[place] = { ...heard[place], ...numbers };
    };
    // What came before is forgotten.
    await frames.arrived();
    const { text } = await guest.command(`frames replay ${eth} /${kind}`, 120_000);
    assert.equal(text.trim(), `sent ${shots.length}, refused 0`);
    await waitFor(async () => { await listen(); return heard['uplink']?.[END]; }, { what: 'the end of the volley' });
    figures.push(`${kind}: ${shots.length} frames in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    const { uplink = {}, host = {}, [eth]: own = {}, ...rest } = heard;
    const of = (/** @type {boolean} */ isNear) => Object.fromEntries(Object.entries(rest)
      .filter(([place]) => near.includes(place) === isNear)
      .flatMap(([, numbers]) => Object.entries(numbers)));
    const where = arrivals({ uplink, host: { ...host, ...own }, victim: of(true), stranger: of(false) });
    return new Map(
      numbered.map(({ name, numbers }) => [name, numbers.map((number) => where.get(number) ?? 'nowhere')]),
    );
  };

  const { check, end } = checks();
  const filtered = new Map();
  for (const port of ports) filtered.set(port.kind, await shoot(port));
  note(await sh('nft list table bridge guestwire; nft delete table bridge guestwire'));
  for (const port of ports) {
    const { kind, tags, party } = port;
    const [guarded, open] = [/** @type {Shot} */ (filtered.get(kind)), await shoot(port)];
    const own = allowedEncapsulations({ dev: '', ifindex: 0, mac: party.mac, addresses: [], tags });
    const isOwn = (/** @type {string} */ name) => own.some((each) => name.endsWith(`, ${each}`));
    await check(`${kind}: what arrives in spite of the filter`, () => {
      const harmless = [...only(guarded, (name) => HARMLESS.bridge.test(name)).values()].flat();
      assert.deepEqual(harmless.filter((place) => place !== 'host' && place !== 'nowhere'), []);
      assert.deepEqual(arrived(only(guarded, (name) => isForged(name) && !HARMLESS.bridge.test(name))), []);
    });
    await check(`${kind}: honest frames with the filter as without it`, () => {
      const honest = (/** @type {Shot} */ shot) => only(shot, (name) => !isForged(name) && isOwn(name));
      assert.deepEqual(lost(honest(open)), []);
      assert.deepEqual(Object.fromEntries(honest(guarded)), Object.fromEntries(honest(open)));
      assert.deepEqual(arrived(only(guarded, (name) => !isForged(name) && !isOwn(name))), [], 'in an encapsulation that is not its own');
    });
    // To see that the frames were there.
    await check(`${kind}: what arrives nowhere without the filter`, () => {
      const forged = only(open, isForged);
      assert.deepEqual(lost(forged), [...forged.keys()].filter((name) =>
        UNHEARD.bridge.some(([pattern]) => pattern.test(name))));
    });
    await check(`${kind}: what another VLAN hears without the filter`, () => {
      assert.deepEqual(
        [...open].filter(([, places]) => places.some((place) => place.includes('stranger'))).map(([name]) => name), [],
      );
    });
  }
  frames.close();
  end();
}, { timeout: 400_000, when: before11 });
