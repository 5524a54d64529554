// @tier kernel
/**
 * Routed guests on a host with another firewall: firewalld, Docker and ufw as Debian installs them, really running.
 * What each drops unasked, what passes after the commands of docs/segmentation.md, that guestwire's own drops hold all
 * the while, and that nobody touches the other's tables.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';
import { type Netns, openNetns } from '../places/netns.js';
import { joinGuest, meetings, serve } from '../places/peers.js';
import { guestMac, guestXml } from '../places/routed-host.js';

const firewallTest = testWith('root', 'netns', 'python3', 'nft', 'firewalls');

/** `web` says nothing, `db` is for `web` only, `open` may do anything. */
const GUESTS = [
  { name: 'web', tap: 'vnet1', addresses: ['192.0.2.11', '2001:db8:0:10::11'] },
  { name: 'db', tap: 'vnet2', addresses: ['192.0.2.12', '2001:db8:0:10::12'], words: "<gw:allow direction='in' proto='tcp' port='443' from='guest:web'/>" },
  { name: 'open', tap: 'vnet3', addresses: ['192.0.2.13', '2001:db8:0:10::13'], profile: 'open' as const },
] as const;
const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  world: ['203.0.113.2', '2001:db8:ff::2'], host: ['203.0.113.1', '2001:db8:ff::1'],
  ...Object.fromEntries(GUESTS.map(({ name, addresses }) => [name, addresses])),
};
const FORGED = ['198.51.100.66', '2001:db8:bad::1'];

/** Who tries to connect to whom. */
const FLOWS = [
  ['world', 'web', 443], ['world', 'db', 443], ['world', 'open', 22],
  ['web', 'world', 443], ['web', 'db', 443], ['web', 'db', 22],
  ['db', 'web', 443], ['web', 'open', 22], ['web', 'host', 22], ['open', 'host', 22],
  ['open', 'host', 53], ['host', 'web', 22], ['host', 'db', 443],
] as const;
/** Whom guestwire lets meet. */
const ALLOWED = [
  'world > web 443', 'world > open 22', 'web > world 443', 'web > db 443', 'web > open 22', 'open > host 22',
  'open > host 53', 'host > web 22', 'host > db 443',
];
const without = (...dropped: string[]): string[] => ALLOWED.filter((flow) => !dropped.includes(flow));
const FORWARDED = ALLOWED.filter((flow) => !flow.includes('host'));

let host: InstallHost;
let places: Map<string, Netns | InstallHost>;
let servers: ChildProcess[];

beforeAll(assertBuilt, 120_000);

beforeEach(async () => {
  host = await openInstallHost();
  places = new Map<string, Netns | InstallHost>([['host', host]]);
  servers = [];
  for (const name of ['world', ...GUESTS.map((guest) => guest.name)]) places.set(name, await openNetns());
  // Before anything of libvirt, guestwire or a firewall.
  placeOf('world').sh(`ip link add eth0 type veth peer name up0 netns ${host.target}`);
  host.sh(`for f in accept_dad dad_transmits; do echo 0 > /proc/sys/net/ipv6/conf/default/$f; done
    ip link set up0 up; ip addr add 203.0.113.1/24 dev up0; ip addr add 2001:db8:ff::1/64 dev up0 nodad`);
  placeOf('world').sh(`ip link set eth0 up; ip addr add 203.0.113.2/24 dev eth0; ip addr add 2001:db8:ff::2/64 dev eth0 nodad
    ip route add 192.0.2.0/24 via 203.0.113.1; ip route add 2001:db8:0:10::/64 via 2001:db8:ff::1
    nft 'add table inet probe; add chain inet probe seen { type filter hook prerouting priority 0; }; add rule inet probe seen ip saddr ${FORGED[0] ?? ''} counter; add rule inet probe seen ip6 saddr ${FORGED[1] ?? ''} counter'`);
  for (const [name, place] of places) servers.push(await serve(place, name === 'host' ? [22, 53] : [22, 443]));
  expect(host.guestwire('install', '--no-reload').status).toBe(0);
}, 60_000);

afterEach(() => {
  for (const server of servers) server.kill('SIGKILL');
  for (const [, place] of places) place.close();
});

function placeOf(name: string): Netns | InstallHost {
  const place = places.get(name);
  if (place === undefined) throw new Error(`no place for ${name}`);
  return place;
}

function forward(): void {
  host.sh('echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
}

function startGuests(): void {
  for (const guest of GUESTS) {
    joinGuest(host, placeOf(guest.name), { tap: guest.tap, mac: guestMac(guest.tap), addresses: guest.addresses });
    expect(host.run('/etc/libvirt/hooks/qemu', [guest.name, 'start', 'begin', '-'], { input: guestXml(guest) }))
      .toEqual({ status: 0, stdout: '', stderr: '' });
  }
}

const FAMILIES = ['IPv4', 'IPv6'] as const;

/** Who meets whom, by family. */
function met(): Record<string, string[]> {
  const attempts = FAMILIES.flatMap((family, at) => [...places].map(([from, place]) => {
    const flows = FLOWS.filter(([who]) => who === from);
    return { family, flows, place, targets: flows.map(([, to, port]) => [ADDRESSES[to]?.[at] ?? '', port] as const) };
  }));
  const answers = meetings(attempts);
  return Object.fromEntries(
    FAMILIES.map((family) => [family, attempts.flatMap((attempt, at) => (attempt.family === family
      ? attempt.flows.filter((_, index) => answers[at]?.[index]).map(([from, to, port]) => `${from} > ${to} ${port}`)
      : [])).sort()]),
  );
}

const both = (flows: readonly string[]): Record<string, string[]> => ({
  IPv4: [...flows].sort(), IPv6: [...flows].sort(),
});

/** guestwire's tables, with the kernel's number of each rule: what was replaced by its like has another. */
function guestwires(): string {
  return host.sh('for family in netdev inet; do nft --stateless --handle list table $family guestwire; done')
    .replace(/(set learnt_\d+ \{[^}]*?)\s+elements = \{[^}]*\}/g, '$1');
}

/** What is not guestwire's, without counters. */
function foreign(): string {
  const tables = host.sh('nft list tables').split('\n').filter((table) =>
    table !== '' && !table.endsWith(' guestwire'));
  return `${tables.map((table) => host.sh(`nft --stateless --handle list ${table}`)).join('')}${host.sh('iptables-legacy-save; ip6tables-legacy-save').replace(/^#.*\n|\[\d+:\d+\]/gm, '')}`;
}

/** Sends as somebody else, and returns how many of these packets guestwire dropped and how many the world saw. */
function forge(): { dropped: number; seen: number } {
  const count = (): number => [...host.sh('nft list chain netdev guestwire ip_$(cat /sys/class/net/vnet1/ifindex); nft list chain netdev guestwire ip6_$(cat /sys/class/net/vnet1/ifindex)')
    .matchAll(/packets (\d+) .*comment "source address"/g)].reduce((sum, [, packets]) => sum + Number(packets), 0);
  const before = count();
  const mac = host.sh('cat /sys/class/net/vnet1/address').trim();
  placeOf('web').sh(`ip addr replace ${FORGED[0] ?? ''}/32 dev eth0; ip addr replace ${FORGED[1] ?? ''}/128 dev eth0 nodad
    for gateway in 169.254.0.1 fe80::1; do ip neigh replace $gateway lladdr ${mac} dev eth0 nud permanent; done
    python3 -c 'import socket, sys
for own, to in zip(sys.argv[1:3], sys.argv[3:]):
    s = socket.socket(socket.AF_INET6 if ":" in own else socket.AF_INET, socket.SOCK_DGRAM); s.bind((own, 0))
    for _ in range(3): s.sendto(b"forged", (to, 443))' ${FORGED.join(' ')} ${ADDRESSES['world']?.join(' ') ?? ''}
    for address in ${FORGED.join(' ')}; do ip addr del $address dev eth0; done`);
  const seen = placeOf('world').sh('nft list chain inet probe seen').matchAll(/packets (\d+)/g);
  return { dropped: count() - before, seen: [...seen].reduce((sum, [, packets]) => sum + Number(packets), 0) };
}

const HELD = { dropped: 6, seen: 0 };

/** Runs the commands that the docs give for a firewall. */
function obeyDocs(firewall: string): void {
  const [, commands = ''] = new RegExp(`^### ${firewall}\n[^#]*?^\`\`\`sh\n(.*?)^\`\`\`$`, 'ms').exec(readFileSync('docs/segmentation.md', 'utf8')) ?? [];
  expect(commands).toContain('vnet+');
  host.sh(commands);
}

/** Does something to the firewall while guests run; guestwire's tables stay and do what they do. */
function keeping<T>(act: () => T): T {
  const before = guestwires();
  const result = act();
  expect(guestwires()).toBe(before);
  expect(forge()).toEqual(HELD);
  return result;
}

/** Takes guestwire away; nothing of the others changes. */
function leave(): void {
  const before = foreign();
  expect(host.guestwire('uninstall', '--unwire').status).toBe(0);
  expect(host.sh('nft list tables')).not.toContain('guestwire');
  expect(foreign()).toBe(before);
}

/** Starts a daemon and waits until it answers. */
function daemon(command: string, asks: string): void {
  host.sh(`${command} >>/run/daemon.log 2>&1 & for try in $(seq 300); do ! ${asks} >/dev/null 2>&1 || exit 0; kill -0 $! || break; sleep 0.1; done; cat /run/daemon.log >&2; exit 1`);
}

function stopDaemon(program: string): void {
  host.sh(`pid=$(cat /run/${program}.pid); kill $pid; while [ -e /proc/$pid/exe ]; do sleep 0.05; done`);
}

describe('firewalld', () => {
  const BUS = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
    <busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>`;
  const start = (): void => { daemon('firewalld --nofork', 'firewall-cmd --state'); };

  firewallTest('beside it guests meet whom guestwire lets them once its zone and policies are there', () => {
    host.sh(`mkdir -p /run/dbus; printf %s '${BUS}' >/run/bus.conf; dbus-daemon --config-file=/run/bus.conf --fork`);
    forward();
    startGuests();
    expect(met()).toEqual(both(ALLOWED));
    keeping(start);
    // As NetworkManager does with the uplink.
    host.sh('firewall-cmd --permanent --zone=public --add-interface=up0; firewall-cmd --reload');
    expect(met())
      .toEqual(both(without('world > web 443', 'world > open 22', 'web > db 443', 'web > open 22', 'open > host 53')));
    host.sh('firewall-cmd --zone=trusted --add-interface=vnet+');
    expect(met()).toEqual(both(without('world > web 443', 'world > open 22')));
    // What is not permanent ends with a reload, which is the last of the commands.
    keeping(() => { obeyDocs('firewalld'); });
    const mended = both(without('open > host 22'));
    expect(met()).toEqual(mended);
    keeping(() => { host.sh('firewall-cmd --reload'); });
    expect(met()).toEqual(mended);
    keeping(() => { stopDaemon('firewalld'); });
    expect(met()).toEqual(both(ALLOWED));
    keeping(start);
    expect(met()).toEqual(mended);
    leave();
  }, 90_000);
});

describe('Docker', () => {
  // A host that has nothing of its own below /sys/fs/cgroup; its data are gone with it.
  const start = (): void => {
    daemon('dockerd --data-root /run/docker-data --exec-root /run/docker-exec --pidfile /run/dockerd.pid --host unix:///run/docker.sock --storage-driver vfs', 'docker --host unix:///run/docker.sock info');
  };
  const useTools = (kind: string): void => {
    for (const tool of ['iptables', 'ip6tables']) for (const end of ['', '-save', '-restore']) host.sh(`ln -s /usr/sbin/${tool}-${kind}${end} /mnt/bin/${tool}${end}`);
  };

  beforeEach(() => { host.sh('mount -t cgroup2 cgroup2 /sys/fs/cgroup'); });

  for (const kind of ['nft', 'legacy']) firewallTest(`that turned forwarding on lets guests meet after the rules for DOCKER-USER (iptables-${kind})`, () => {
    useTools(kind);
    start();
    host.sh('echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
    startGuests();
    expect(host.sh('iptables -S FORWARD')).toContain('-P FORWARD DROP\n');
    expect(met()).toEqual({ ...both(ALLOWED), IPv4: without(...FORWARDED).sort() });
    keeping(() => { obeyDocs('Docker'); });
    expect(met()).toEqual(both(ALLOWED));
    keeping(() => { stopDaemon('dockerd'); start(); });
    expect(met()).toEqual(both(ALLOWED));
    leave();
  }, 90_000);

  firewallTest('that comes to a host that forwards drops nothing of guests', () => {
    useTools('nft');
    forward();
    startGuests();
    keeping(start);
    expect(host.sh('iptables -S FORWARD')).toContain('-P FORWARD ACCEPT\n');
    expect(met()).toEqual(both(ALLOWED));
    leave();
  }, 90_000);
});

describe('ufw', () => {
  firewallTest('lets guests meet after its routes', () => {
    forward();
    startGuests();
    keeping(() => { host.sh('ufw --force enable'); });
    expect(met()).toEqual(both(without(...FORWARDED, 'open > host 22', 'open > host 53')));
    keeping(() => { obeyDocs('ufw'); });
    const mended = both(without('open > host 22'));
    expect(met()).toEqual(mended);
    keeping(() => { host.sh('ufw reload'); });
    expect(met()).toEqual(mended);
    leave();
  }, 90_000);
});
