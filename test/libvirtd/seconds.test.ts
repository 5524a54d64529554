// @tier libvirt long
/**
 * How soon a guest that configures itself is reachable, under a real libvirtd: real systems with busybox's udhcpc and
 * udhcpc6 and the kernel's own handling of router advertisements, asked for by a neighbour on the uplink before they
 * are there. And what is on the host meanwhile: what docs/routed-links.md shows, which is where this file reads it.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { guestImage } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';
import { expectGone, MAC, openPlace, type Place } from '../places/serve-place.js';
import { bound, figure } from '../tiers/bound.js';

const NEEDED = ['root', 'netns', 'libvirt', 'serve', 'nft'] as const;
const able = canRun(...NEEDED);
const secondsTest = testWith(...NEEDED);

/**
 * Of real time, from the guest's word that it has its carrier: emulation makes its processor slow, not its clock. From
 * before `ip link set` it is 0.9 s more, which is the kernel looking for the carrier, and no host under load 14 holds 2
 * s then (2.2).
 */
const SECONDS = 2;
const SIX = '2001:db8:0:10::a';
const FOUR = '192.0.2.10';
const PREFIX = '2001:db8:0:11::/64';
/** What the guest's kernel makes of PREFIX and its MAC. */
const IN_PREFIX = '2001:db8:0:11:5054:ff:fe00:10';
const VETH = { link: 'web1', xml: `<interface type='direct'><mac address='${MAC}'/><source dev='web1g' mode='passthrough'/></interface>` };

let place: Place;
let shown: ReadonlyMap<string, string>;

beforeAll(async () => {
  if (!able) return;
  shown = commandsOf(readFileSync('docs/routed-links.md', 'utf8'));
  // A page without them would be what every host prints.
  expect([...shown.values()].filter(Boolean)).toHaveLength(6);
  place = await openPlace('seconds', { uplink: 'eno1', routed: 'proxy = ["eno1"]' });
  // The neighbour takes the guests' addresses for its own network's, so that the host has to answer for them.
  for (const network of ['2001:db8:0:10::/64', '192.0.2.0/26'])
    await place.outside.run('ip', ['route', 'add', network, 'dev', 'eth0']);
});

afterAll(async () => { if (able) await place.host.stop(); });

/** What a test that failed left, so that the next one speaks for itself. */
afterEach(async () => {
  if (!able) return;
  for (const { 1: { name } } of GUESTS)
    for (const command of ['destroy', 'undefine']) await place.host.virsh(command, name);
});

/** Returns what a page shows below each line `    # ip …` and `    # nft …`. */
function commandsOf(page: string): Map<string, string> {
  const found = new Map<string, string>();
  let command: string | undefined;
  for (const line of page.split('\n')) {
    if (/^ {4}# /.test(line)) command = line.slice(6);
    else if (line !== '' && !line.startsWith('    ')) command = undefined;
    else if (command !== undefined && /^(ip|nft) /.test(command)) found.set(command, `${found.get(command) ?? ''}${line.slice(4)}\n`);
  }
  return new Map([...found].map(([key, text]) => [key, text.trimEnd()]));
}

interface Guest {
  readonly name: string;
  readonly ips: readonly string[];
  readonly routes?: readonly string[];
  readonly veth?: typeof VETH;
}

/** What the page calls the guest, its link's ifindex and what its chains were made from. */
const [NAME, IFINDEX, MARK] = [/\bguest-web1\b/g, /\b(in|host|near)_7\b/g, /"guestwire [0-9a-f]{8}"/g];

/** What the page shows, but for the lines that name what this guest has not. */
function documented(
  { name, ips, routes = [] }: Guest, { link, ifindex }: { link: string; ifindex: string },
): Record<string, string> {
  const absent = [SIX, FOUR, PREFIX].filter((each) => ![...ips, ...routes].includes(each));
  return Object.fromEntries([...shown].map(([command, text]) => {
    const lines = text.split('\n').filter((line) => !absent.some((each) => line.includes(each)));
    return [
      command,
      lines.join('\n').replaceAll('vnet0', link).replace(NAME, `guest-${name}`).replace(IFINDEX, `$1_${ifindex}`)
        .replace(MARK, 'MARK'),
    ];
  }));
}

/** What the host prints, without the blanks that `ip` ends lines with: no editor keeps them in the page. */
async function printed(link: string): Promise<Record<string, string>> {
  const answers: Record<string, string> = {};
  for (const command of shown.keys()) {
    const { stdout } = await place.host.run('sh', ['-c', command.replace('vnet0', link)]);
    answers[command] = stdout.replace(/ +$/gm, '').trimEnd().replace(MARK, 'MARK');
  }
  return answers;
}

/** Starts the guest, and returns how many seconds after its word that its link is up each address answered. */
async function boot(
  { name, ips, routes = [], veth }: Guest, targets: readonly string[],
): Promise<Record<string, number>> {
  const { host, outside } = place;
  const guest = { image: await guestImage(), cmdline: 'gw.auto=eth0 gw.dad=0' };
  await host.define(domainXml({
    name, nics: [veth?.xml ?? nic(MAC)],
    metadata: metadata({ mac: MAC, ips, routes, ...(veth && { veth: veth.link }) }), guest,
  }));
  const pings = targets.map((target) => ({
    target, ping: host.start('ip', ['netns', 'exec', outside.name, 'ping', '-n', '-D', '-i', '0.1', target]),
  }));
  const firstAnswer = (text: string): number => Number(/^\[([\d.]+)\] \d+ bytes from/m.exec(text)?.[1]);
  try {
    await host.ok('virsh', ['start', name]);
    let up: number | undefined;
    // Looked at often, because what is late in looking would be taken off the seconds.
    for (const end = Date.now() + 60_000; Date.now() < end;) {
      await sleep(5);
      if (up === undefined && (await host.console(name)).includes('guest: eth0 link up at')) up = Date.now() / 1000;
      if (up !== undefined && pings.every(({ ping }) => firstAnswer(ping.output()) > 0)) break;
    }
    return Object.fromEntries(pings.map(({ target, ping }) => [target, firstAnswer(ping.output()) - (up ?? NaN)]));
  } finally {
    for (const { ping } of pings) {
      ping.kill();
      await ping.result;
    }
  }
}

const GUESTS: readonly (readonly [string, Guest, readonly string[]])[] = [
  ['an IPv6-only guest', { name: 'six', ips: [SIX] }, [SIX]],
  ['a dual-stack guest', { name: 'dual', ips: [SIX, FOUR] }, [SIX, FOUR]],
  ['a guest with a /64 of its own', { name: 'net', ips: [SIX], routes: [PREFIX] }, [SIX, IN_PREFIX]],
  ['a dual-stack guest with a /64 on a veth pair through macvtap passthrough', { name: 'veth', ips: [SIX, FOUR], routes: [PREFIX], veth: VETH }, [SIX, FOUR, IN_PREFIX]],
];

for (const [title, guest, targets] of GUESTS) {
  secondsTest(`${title} is reachable within ${SECONDS} s of its link coming up, wired as documented, and gone after its stop`, async () => {
    const before = await printed('vnet0');
    expect(before).toEqual(Object.fromEntries([...shown.keys()].map((command) => [command, ''])));
    const seconds = await boot(guest, targets);
    const told = targets.map((target) => `${target} ${seconds[target]?.toFixed(2)} s`).join(', ');
    figure(`${title}: ${told} after link up`);
    const link = guest.veth?.link
      ?? ((await place.host.ok('virsh', ['-q', 'domiflist', guest.name])).trim().split(/\s+/)[0] ?? '');
    const ifindex = (await place.host.ok('cat', [`/sys/class/net/${link}/ifindex`])).trim();
    expect(await printed(link)).toEqual(documented(guest, { link, ifindex }));
    // NaN, of an address that never answered, is not within them.
    expect(Object.entries(seconds).filter(([, each]) => !(each <= bound(SECONDS)))).toEqual([]);
    await expectGone(place, guest.name);
    expect(await printed(link)).toEqual(before);
  });
}
