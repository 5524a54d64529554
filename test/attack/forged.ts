/**
 * What a hostile guest may not send, as a table. Each row says what it pretends; test/attack/attack.test.ts dresses it
 * in every encapsulation.
 */
import { hidden, type Packet } from './hidden.js';
import type { Party, Scene } from './host.js';
import {
  advertisement, ANY_MAC, arp, type Arp, ethernet, fragments, groupMac, ip, llc, nonce, type Path, type Payload, ping,
  redirect, routerAdvertisement, routerSolicitation, snap, solicitation, sourceMac, targetMac, tcp, TYPE, u16, udp,
} from './packet.js';

export interface Row {
  readonly name: string;
  readonly frames: readonly Buffer[];
  /** Sent after them and harmless alone: the rest of a packet whose first fragment does not arrive. */
  readonly company?: readonly Buffer[];
}

type Rows = Readonly<Record<string, Row['frames']>>;

const NOBODY: Party = {
  mac: '52:54:00:00:00:77', a4: '198.51.100.77', a6: '2001:db8:77::77', ll: 'fe80::5054:ff:fe00:77',
};

export function forgedRows(scene: Scene): Row[] {
  const plain = Object.entries({ ...macRows(scene), ...arpRows(scene), ...sourceRows(scene), ...linkRows(scene) })
    .map(([name, frames]) => ({ name, frames }));
  return [
    ...plain,
    ...dhcp4Rows(scene),
    ...Object.entries({ ...neighbourRows(scene), ...routerRows(scene), ...dhcp6Rows(scene) })
      .flatMap(([name, packet]) => hidden(name, packet)),
  ];
}

/** The guest's own path to a party, of the family. */
export function pathTo({ guest, via }: Scene, party: Party, family: 'a4' | 'a6' | 'll'): Path {
  return { mac: guest.mac, to: via(party), src: guest[family], dst: party[family] };
}

/** A path to a group. */
export function pathToGroup({ guest }: Scene, dst: string, src: string): Path {
  return { mac: guest.mac, to: groupMac(dst) ?? ANY_MAC, src, dst };
}

function macRows(scene: Scene): Rows {
  const { guest, victim, host } = scene;
  const macs: Record<string, string> = {
    "the victim's": victim.mac,
    "the host's": host.mac,
    "nobody's": NOBODY.mac,
    'the broadcast': ANY_MAC,
    'a multicast': '33:33:00:00:00:01',
  };
  return Object.fromEntries(Object.entries(macs).map(([whose, mac]) => [`${whose} MAC as its source`, [
    ...[victim, host, scene.world].flatMap((party) => (['a4', 'a6'] as const).map((family) => {
      const path = { ...pathTo(scene, party, family), mac };
      return ip(path, udp(path, [4000, 4000]));
    })),
    arp({ mac, to: ANY_MAC }, { operation: 1, senderMac: guest.mac, sender: guest.a4, target: victim.a4 }),
    ethernet({ mac, to: ANY_MAC }, TYPE.rarp, Buffer.alloc(28)),
  ]]));
}

function arpRows({ guest, victim, host, world, via }: Scene): Rows {
  const every = { mac: guest.mac, to: ANY_MAC };
  const both = (
    message: Omit<Arp, 'senderMac' | 'operation'>, senderMac = guest.mac,
  ): Buffer[] => ([1, 2] as const).flatMap((operation) => [
    arp(every, { operation, senderMac, ...message }),
    arp({ mac: guest.mac, to: via(victim) }, { operation, senderMac, targetMac: victim.mac, ...message }),
  ]);
  const rows: Record<string, Buffer[]> = {
    'ARP with the MAC of the victim inside': both({ sender: guest.a4, target: victim.a4 }, victim.mac),
    'ARP with the MAC of nobody inside': both({ sender: guest.a4, target: host.a4 }, NOBODY.mac),
    'ARP with the broadcast MAC inside': both({ sender: guest.a4, target: host.a4 }, ANY_MAC),
    'an ARP probe with the MAC of another inside': [arp(every, { operation: 1, senderMac: NOBODY.mac, sender: '0.0.0.0', target: guest.a4 })],
    'an ARP reply from 0.0.0.0': [
      arp(every, { operation: 2, senderMac: guest.mac, sender: '0.0.0.0', target: victim.a4 }),
    ],
    'ARP in SNAP for the victim': both({ sender: victim.a4, target: host.a4 }).map(snap),
  };
  for (const [whose, { a4 }] of Object.entries({
    'the victim': victim, 'the host': host, 'the world': world, 'nobody': NOBODY,
  })) {
    rows[`gratuitous ARP for ${whose}`] = both({ sender: a4, target: a4 });
    rows[`ARP from ${whose}`] = both({ sender: a4, target: guest.a4 === a4 ? host.a4 : victim.a4 });
    rows[`ARP from ${whose} with its MAC inside`] = both(
      { sender: a4, target: victim.a4 }, whose === 'the victim' ? victim.mac : NOBODY.mac,
    );
  }
  // Linux takes hardware type 6 for Ethernet; with other lengths the fields are elsewhere.
  rows['ARP of IEEE 802 for the victim'] = both({ sender: victim.a4, target: host.a4 }).map((frame) =>
    patched(frame, 14, [0, 6]));
  const odd: Record<string, readonly [number, readonly number[]]> = {
    'of IEEE 802': [14, [0, 6]],
    'for IPv6': [16, [0x86, 0xdd]],
    'with MACs of 8 bytes': [18, [8]],
    'with addresses of 16 bytes': [19, [16]],
  };
  for (const [how, [at, bytes]] of Object.entries(odd)) rows[`ARP ${how}`] = both({
    sender: guest.a4, target: host.a4,
  }).map((frame) => patched(Buffer.concat([frame, Buffer.alloc(40)]), at, bytes));
  rows['ARP from the gateway 169.254.0.1'] = both({ sender: '169.254.0.1', target: victim.a4 });
  return rows;
}

function patched(frame: Buffer, at: number, bytes: readonly number[]): Buffer {
  const copy = Buffer.from(frame);
  copy.set(bytes, at);
  return copy;
}

function sourceRows(scene: Scene): Rows {
  const { victim, host, world } = scene;
  const from = (src: string, family: 'a4' | 'a6'): Buffer[] => [victim, host, world].flatMap((party) => {
    const path = { ...pathTo(scene, party, family), src };
    return [
      ip(path, udp(path, [4000, 4000])), ip(path, tcp(path, [4000, 443])), ip(path, ping(path)),
      ...fragments(path, udp(path, [4000, 4000], Buffer.alloc(800)), [400]),
    ];
  });
  const four: Record<string, string> = {
    'the victim': victim.a4, 'the host': host.a4, 'the world': world.a4, 'nobody': NOBODY.a4, '0.0.0.0': '0.0.0.0',
    'broadcast': '255.255.255.255', 'a group': '224.0.0.9', 'loopback': '127.0.0.1', 'its gateway': '169.254.0.1',
  };
  const six: Record<string, string> = {
    'the victim': victim.a6, 'the host': host.a6, 'the world': world.a6, 'nobody': NOBODY.a6,
    ':: but no detection': '::', 'a group': 'ff02::9', 'loopback': '::1', 'fe80::1': 'fe80::1',
    "the victim's link-local": victim.ll, 'a link-local of nobody': NOBODY.ll,
    'an IPv4-mapped address': '::ffff:102:304',
  };
  return {
    ...Object.fromEntries(Object.entries(four).map(([whose, src]) => [`an IPv4 source: ${whose}`, from(src, 'a4')])),
    ...Object.fromEntries(Object.entries(six).map(([whose, src]) => [`an IPv6 source: ${whose}`, from(src, 'a6')])),
    'IPv4 in SNAP from the victim': from(victim.a4, 'a4').map(snap),
    'IPv6 in SNAP from the victim': from(victim.a6, 'a6').map(snap),
    // What lies about its own length has no header that a filter can read, and others may find one.
    'IPv4 with a header too short': [victim, host].map((party) => {
      const path = pathTo(scene, party, 'a4');
      return patched(ip(path, udp(path, [67, 68])), 14, [0x44]);
    }),
    'IPv4 longer than its frame': [victim, host].map((party) => {
      const path = pathTo(scene, party, 'a4');
      return patched(ip(path, udp(path, [67, 68])), 16, [8]);
    }),
    'IPv6 longer than its frame': [victim, host].map((party) => {
      const path = pathTo(scene, party, 'll');
      return patched(ip(path, routerAdvertisement(path)), 18, [8]);
    }),
    'DHCPv4 from 0.0.0.0 to one host': [victim, host].map((party) => {
      const path = { ...pathTo(scene, party, 'a4'), src: '0.0.0.0' };
      return ip(path, udp(path, [68, 67]));
    }),
    'broadcast from 0.0.0.0 that is not DHCPv4': [[4000, 4000], [68, 53], [53, 67]].map(([sport = 0, dport = 0]) => {
      const path = { ...pathToGroup(scene, '255.255.255.255', '0.0.0.0'), to: ANY_MAC };
      return ip(path, udp(path, [sport, dport]));
    }),
  };
}

/**
 * Protocols of switches: what a BPDU guard upstream would shut the host's port for, and what moves MACs in a bridge
 * unseen.
 */
function linkRows(scene: Scene): Rows {
  const { guest, victim } = scene;
  const to = (group: string): { mac: string; to: string } => ({ mac: guest.mac, to: group });
  const reserved = Array.from({ length: 16 }, (_, last) => `01:80:c2:00:00:0${last.toString(16)}`);
  const bpdu = Buffer.alloc(35);
  return {
    'a BPDU': [llc(to('01:80:c2:00:00:00'), 0x42, bpdu)],
    'a BPDU of PVST+': [ethernet(to('01:00:0c:cc:cc:cd'), 8 + bpdu.length, Buffer.concat([
      Buffer.from([0xaa, 0xaa, 3, 0, 0, 0x0c, 0x01, 0x0b]), bpdu,
    ]))],
    ...Object.fromEntries(
      reserved.map((group) => [`LLDP to ${group}`, [ethernet(to(group), TYPE.lldp, Buffer.alloc(46))]]),
    ),
    ...(scene.topology === 'bridge' ? {
      'an own address in PPPoE': (['a4', 'a6'] as const).map((family) => pppoe(pathTo(scene, victim, family))),
    } : {}),
    'a BPDU to every reserved group': reserved.slice(2).map((group) => llc(to(group), 0x42, bpdu)),
  };
}

/** A packet of UDP in a PPPoE session (RFC 2516). */
function pppoe(path: Path): Buffer {
  const packet = ip(path, udp(path, [4000, 4000])).subarray(14);
  const header = Buffer.from([0x11, 0, 0, 2, 0, 0, 0, path.src.includes(':') ? 0x57 : 0x21]);
  header.writeUInt16BE(packet.length + 2, 4);
  return ethernet(path, TYPE.pppoe, Buffer.concat([header, packet]));
}

function dhcp4Rows(scene: Scene): Row[] {
  const { guest, victim, via } = scene;
  const reply = Buffer.concat([
    Buffer.from([2, 1, 6, 0]), Buffer.alloc(232), Buffer.from([99, 130, 83, 99, 53, 1, 2, 255]),
  ]);
  const broadcast = { mac: guest.mac, to: ANY_MAC, src: guest.a4, dst: '255.255.255.255' };
  const unicast = { ...broadcast, to: via(victim), dst: victim.a4 };
  const all = (ports: readonly [number, number]): Buffer[] =>
    [broadcast, unicast].map((path) => ip(path, udp(path, ports, reply)));
  const cut = [broadcast, unicast].map((path) => fragments(path, udp(path, [67, 68], reply), [8, 16]));
  return [
    { name: 'a DHCPv4 answer', frames: all([67, 68]) },
    { name: 'a DHCPv4 answer from another port', frames: all([1067, 68]) },
    { name: 'a DHCPv4 answer to another port', frames: all([67, 1068]) },
    ...cut.map(([first = Buffer.alloc(0), ...rest], at) => ({
      name: `a DHCPv4 answer in fragments ${at}`, frames: [first], company: rest,
    })),
  ];
}

function neighbourRows(scene: Scene): Record<string, Packet> {
  const { guest, victim, host } = scene;
  const every = pathToGroup(scene, 'ff02::1', guest.ll);
  const near = scene.topology === 'bridge' ? pathTo(scene, victim, 'll') : pathTo(scene, host, 'll');
  const nobody: Path = { ...every, src: '::' };
  const rows: Record<string, Packet> = {
    'a solicitation with the MAC of the victim': [near, (path) => solicitation(path, path.dst, sourceMac(victim.mac))],
    'a solicitation with a nonce, then a foreign MAC': [near, (path) => solicitation(path, path.dst, nonce(1), sourceMac(victim.mac))],
    'a solicitation with a long nonce, then a foreign MAC': [every, (path) => solicitation(path, path.dst, nonce(4), sourceMac(victim.mac))],
    'a solicitation with its MAC, then a foreign MAC': [near, (path) => solicitation(path, path.dst, sourceMac(guest.mac), sourceMac(victim.mac))],
    'detection with a MAC': [nobody, (path) => solicitation(path, guest.ll, sourceMac(victim.mac))],
    'an advertisement with a foreign MAC': [
      every, (path) => advertisement(path, [guest.a6, 0x20], targetMac(victim.mac)),
    ],
    'an advertisement with a nonce, then a foreign MAC': [every, (path) => advertisement(path, [guest.a6, 0x20], nonce(1), targetMac(victim.mac))],
    'an advertisement with its MAC, then a foreign MAC': [near, (path) => advertisement(path, [guest.a6, 0x60], targetMac(guest.mac), targetMac(victim.mac))],
    'an advertisement from the victim': [{ ...near, src: victim.ll }, (path) =>
      advertisement(path, [guest.a6, 0x20], targetMac(guest.mac))],
    'a router solicitation with a foreign MAC': [pathToGroup(scene, 'ff02::2', guest.ll), (path) => routerSolicitation(path, sourceMac(victim.mac))],
    'a router solicitation with a nonce, then a foreign MAC': [pathToGroup(scene, 'ff02::2', guest.ll), (path) => routerSolicitation(path, nonce(1), sourceMac(victim.mac))],
    'a router solicitation from :: with a MAC': [pathToGroup(scene, 'ff02::2', '::'), (path) => routerSolicitation(path, sourceMac(victim.mac))],
  };
  for (const [whose, target] of Object.entries({
    'the victim': victim.a6,
    "the victim's link-local": victim.ll,
    'the host': host.a6,
    'fe80::1': 'fe80::1',
    'nobody': NOBODY.a6,
  })) {
    rows[`detection for ${whose}`] = [nobody, (path) => solicitation(path, target)];
    rows[`detection with a nonce for ${whose}`] = [nobody, (path) => solicitation(path, target, nonce(1))];
    rows[`an advertisement for ${whose}`] = [
      every, (path) => advertisement(path, [target, 0x20], targetMac(guest.mac)),
    ];
    rows[`a solicited advertisement for ${whose}`] = [near, (path) => advertisement(path, [target, 0x60], targetMac(guest.mac))];
    rows[`an advertisement without MAC for ${whose}`] = [near, (path) => advertisement(path, [target, 0x60])];
    rows[`a router's advertisement for ${whose}`] = [
      every, (path) => advertisement(path, [target, 0xa0], targetMac(guest.mac)),
    ];
  }
  return rows;
}

function routerRows(scene: Scene): Record<string, Packet> {
  const { guest, victim, host, world } = scene;
  const every = pathToGroup(scene, 'ff02::1', guest.ll);
  const near = scene.topology === 'bridge' ? pathTo(scene, victim, 'll') : pathTo(scene, host, 'll');
  return {
    'a router advertisement': [every, routerAdvertisement],
    'a router advertisement to one': [near, routerAdvertisement],
    'a router advertisement from fe80::1': [{ ...every, src: 'fe80::1' }, routerAdvertisement],
    'a redirect': [near, (path) => redirect(path, [guest.ll, world.a6])],
    'a redirect from the gateway': [{ ...near, src: host.ll }, (path) => redirect(path, [guest.ll, victim.a6])],
  };
}

function dhcp6Rows(scene: Scene): Record<string, Packet> {
  const { guest, victim, host, topology } = scene;
  const near = pathTo(scene, topology === 'bridge' ? victim : host, 'll');
  const says = (type: number, ports: readonly [number, number]) =>
    (path: Path): Payload => udp(path, ports, Buffer.concat([Buffer.from([type, 1, 2, 3]), u16(13, 2, 0)]));
  return {
    'a DHCPv6 advertisement': [near, says(2, [547, 546])],
    'a DHCPv6 reply': [pathToGroup(scene, 'ff02::1', guest.ll), says(7, [547, 546])],
    'a DHCPv6 reply from another port': [near, says(7, [1547, 546])],
    'a DHCPv6 reply to another port': [near, says(7, [547, 1546])],
  };
}
