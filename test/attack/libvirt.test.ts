// @tier libvirt
/**
 * The tables of test/attack/forged.ts and test/attack/honest.ts sent by a real guest, under a real libvirtd and the
 * installed hook: by its virtio NIC, over QEMU, in every encapsulation. test/attack/attack.test.ts writes the same to a
 * tap.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { addOutside, guestImage, type Host, startHost, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';
import { replayImage } from '../places/replay-guest.js';
import { arrived, dressed, HARMLESS, lost, UNHEARD } from './fate.js';
import { forgedRows } from './forged.js';
import { type Frames, openFrames } from './frames.js';
import { honestRows } from './honest.js';
import {
  arrivals, ENCAPSULATIONS, GROUPS, LINK_PROTOCOLS, numberFrames, type Party, PROBE, sceneOf, takenBy,
} from './host.js';
import { ip, stamped, udp } from './packet.js';

const NEEDED = ['root', 'netns', 'libvirt', 'nft', 'python3'] as const;
const able = canRun(...NEEDED);
const libvirtTest = testWith(...NEEDED);

const scene = sceneOf('routed');
const HONEST = 'honest: ';
const { shots, numbered } = numberFrames([
  ...dressed(forgedRows(scene), Object.keys(ENCAPSULATIONS)),
  ...dressed(honestRows(scene).map((row) => ({ ...row, name: `${HONEST}${row.name}` })), ['untagged']),
]);
/** A round ends with an honest packet of a number of its own. */
const FIRST_END = 0xf000;
const ends = Array.from({ length: 60 }, (_, round) => {
  const path = { mac: scene.guest.mac, to: scene.host.mac, src: scene.guest.a4, dst: scene.world.a4 };
  return stamped(ip(path, udp(path, [4000, 4000])), FIRST_END + round);
});

let host: Host;
let image: string;

beforeAll(async () => {
  if (!able) return;
  image = replayImage(await guestImage(), { frames: shots, ends });
  host = await startHost({ name: 'attack', binds: [{ from: image, to: image }], sysctls: {
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv4.conf.all.rp_filter': 0,
    'net.ipv4.conf.all.accept_local': 1,
    'net.ipv4.conf.all.route_localnet': 1,
    'net.ipv4.icmp_echo_ignore_broadcasts': 0,
    'net.ipv6.conf.default.accept_dad': 0,
  } });
  await addOutside(host, {
    hostAddresses: [`${scene.host.a4}/24`, `${scene.host.a6}/64`],
    addresses: [`${scene.world.a4}/24`, `${scene.world.a6}/64`],
  });
  await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  await host.restartLibvirtd();
}, 180_000);

afterAll(async () => {
  if (!able) return;
  await host.stop();
  rmSync(image, { recursive: true });
});

function xmlOf(name: string, { mac, a4, a6 }: Party, guest?: { image: string }): string {
  const open = metadata({ mac, ips: [a4, a6] }).replace(/<\/(\w+):routed>/, "</$1:routed><$1:policy profile='open'/>");
  return domainXml({ name, nics: [nic(mac)], metadata: open, ...(guest && { guest }) });
}

function sh(script: string): string {
  const { status, stdout, stderr } = spawnSync(
    'nsenter', ['-t', String(host.pid), '-m', '-n', '-p', '--wd=/', 'sh', '-ec', script], { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`status ${String(status)} of: ${script}\n${stdout}${stderr}`);
  return stdout;
}

/** Where frames arrive while the guest sends its rounds, until so many have ended: the first may have begun before. */
async function during(frames: Frames, rounds: number): Promise<Map<string, string[]>> {
  const places: Record<string, Record<string, number>> = { uplink: {}, victim: {}, host: {} };
  const ended = (): number =>
    Object.keys(places['uplink'] ?? {}).filter((number) => Number(number) >= FIRST_END).length;
  await waitFor(async () => {
    for (const [place, numbers] of Object.entries(await frames.arrived())) Object.assign(places[place] ?? {}, numbers);
    return ended() >= rounds || undefined;
  }, { what: `${rounds} rounds`, timeout: 100_000 });
  const where = arrivals({ ...places, host: { ...places['host'], ...takenBy({ sh }) } });
  return new Map(numbered.map(({ name, numbers }) => [name, numbers.map((number) => where.get(number) ?? 'nowhere')]));
}

const only = (shot: Map<string, string[]>, has: (name: string) => boolean): Map<string, string[]> =>
  new Map([...shot].filter(([name]) => has(name)));
const isForged = (name: string): boolean => !name.startsWith(HONEST);

/** Which fragment of a packet is seen changes from round to round, since all rounds have the same numbers. */
function fate(shot: Map<string, string[]>): object {
  return Object.fromEntries([...shot].map(([name, places]) => [
    name, name.includes('fragment') ? [...new Set(places)].filter((place) => place !== 'nowhere').sort() : places,
  ]));
}

libvirtTest('of all that a real guest forges nothing arrives, and of what it honestly sends all', async () => {
  const { guest, victim, world } = scene;
  for (const [name, party, boots] of [['victim', victim], ['guest', guest, { image }]] as const) {
    await host.define(xmlOf(name, party, boots));
    await host.ok('virsh', ['start', name]);
  }
  const tap = (party: Party): string => sh(`grep -l '^fe${party.mac.slice(2)}' /sys/class/net/vnet*/address`).split('/')[4] ?? '';
  const [from, to] = [tap(guest), tap(victim)];
  await host.ok('nft', ['-f', '-'], { input: PROBE.replace(/iif \w+/g, `iif ${from}`) });
  sh(`for a in ${victim.a4} ${victim.a6} ${victim.ll}; do ip neigh replace $a lladdr ${victim.mac} dev ${to} nud permanent; done
    for a in ${world.a4} ${world.a6}; do ip neigh replace $a lladdr ${world.mac} dev up0 nud permanent; done`);
  const frames = openFrames({ target: String(host.pid), sh });
  try {
    await frames.sniff('uplink', { dev: 'up0' });
    await frames.sniff('victim', { dev: to });
    await frames.sniff('host', { dev: from, protocols: LINK_PROTOCOLS, groups: GROUPS });
    const filtered = await during(frames, 2);
    const forged = only(filtered, isForged);
    const harmless = [...only(forged, (name) => HARMLESS.routed.test(name)).values()].flat();
    expect(harmless.filter((place) => place !== 'host' && place !== 'nowhere')).toEqual([]);
    expect(arrived(only(forged, (name) => !HARMLESS.routed.test(name)))).toEqual([]);
    // Without the filters, to see that the frames were there.
    sh(`nft delete table netdev guestwire; nft delete table inet guestwire; echo 0 >/proc/sys/net/ipv4/conf/${from}/rp_filter`);
    await frames.arrived();
    const open = only(await during(frames, 3), isForged);
    const unheard = UNHEARD.routed.map(([pattern]) => pattern);
    expect(lost(open)).toEqual([...open.keys()].filter((name) => unheard.some((pattern) => pattern.test(name))));
    // Connection tracking, which policy needs, puts fragments together: only the first is then seen.
    sh('nft add rule inet probe mute ct state established');
    await frames.arrived();
    const honest = only(await during(frames, 3), (name) => !isForged(name));
    expect(lost(honest)).toEqual([]);
    expect(fate(only(filtered, (name) => !isForged(name)))).toEqual(fate(honest));
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${(await host.console('guest')).slice(-2000)}`, { cause: error });
  } finally {
    frames.close();
  }
}, 500_000);
