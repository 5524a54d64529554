/** What every guest must be able to send, as a table: each frame arrives with the filter where it does without. */
import { pathTo, pathToGroup, type Row } from './forged.js';
import type { Scene } from './host.js';
import {
  advertisement, ANY_MAC, arp, checksum, destinationOptions, ethernet, fragments, hopByHop, icmpv6, ip, ipBytes,
  macBytes, nonce, type Path, type Payload, ping, PROTO, routerAlert, routerSolicitation, solicitation, solicitedNode,
  sourceMac, targetMac, tcp, TYPE, u16, udp,
} from './packet.js';

type Rows = Readonly<Record<string, readonly Buffer[]>>;

export function honestRows(scene: Scene): Row[] {
  return Object.entries({
    ...arpRows(scene), ...dhcpRows(scene), ...detectionRows(scene), ...neighbourRows(scene), ...groupRows(scene),
    ...trafficRows(scene),
  }).map(([name, frames]) => ({ name, frames }));
}

function arpRows({ topology, guest, victim, host, via }: Scene): Rows {
  const every = { mac: guest.mac, to: ANY_MAC };
  const own = { senderMac: guest.mac, sender: guest.a4 };
  return {
    'an ARP probe': [arp(every, { operation: 1, senderMac: guest.mac, sender: '0.0.0.0', target: guest.a4 })],
    'an ARP probe for an address it looks for': [arp(every, { operation: 1, senderMac: guest.mac, sender: '0.0.0.0', target: victim.a4 })],
    'an ARP announcement': ([1, 2] as const).map((operation) => arp(every, { operation, ...own, target: guest.a4 })),
    'an ARP request': [victim, host].map(({ a4 }) => arp(every, { operation: 1, ...own, target: a4 })),
    'an ARP request to one that it knows': [
      arp({ mac: guest.mac, to: via(host) }, { operation: 1, ...own, targetMac: host.mac, target: host.a4 }),
    ],
    'an ARP reply': [victim, host].map((party) =>
      arp({ mac: guest.mac, to: via(party) }, { operation: 2, ...own, targetMac: party.mac, target: party.a4 })),
    // qemu_announce_self(): so that switches learn where a guest is after its migration.
    ...(topology === 'routed' ? {} : { "QEMU's announcement in RARP": [ethernet(every, TYPE.rarp, Buffer.concat([
      u16(1, TYPE.ipv4), Buffer.from([6, 4]), u16(3), macBytes(guest.mac), Buffer.alloc(4), macBytes(guest.mac),
      Buffer.alloc(4),
    ]))] }),
  };
}

function dhcpRows(scene: Scene): Rows {
  const { guest, host, via } = scene;
  const nobody = { mac: guest.mac, to: ANY_MAC, src: '0.0.0.0', dst: '255.255.255.255' };
  const request = (type: number): Buffer =>
    Buffer.concat([Buffer.from([1, 1, 6, 0]), Buffer.alloc(232), Buffer.from([99, 130, 83, 99, 53, 1, type, 255])]);
  const renewal = pathTo(scene, host, 'a4');
  const servers = pathToGroup(scene, 'ff02::1:2', guest.ll);
  const six = (type: number, path: Path = servers): Buffer =>
    ip(path, udp(path, [546, 547], Buffer.concat([Buffer.from([type, 1, 2, 3]), u16(8, 2, 0)])));
  return {
    'a DHCPv4 discovery': [ip(nobody, udp(nobody, [68, 67], request(1)))],
    'a DHCPv4 request': [ip(nobody, udp(nobody, [68, 67], request(3)))],
    'a DHCPv4 renewal': [ip(renewal, udp(renewal, [68, 67], request(3)))],
    'a DHCPv4 rebinding': [ip({ ...nobody, src: guest.a4 }, udp({ ...nobody, src: guest.a4 }, [68, 67], request(3)))],
    'a DHCPv6 solicitation': [six(1)],
    'a DHCPv6 request': [six(3)],
    'a DHCPv6 renewal to one': [six(5, { ...servers, to: via(host), dst: host.ll })],
  };
}

function detectionRows(scene: Scene): Rows {
  const detect = (target: string, ...options: Buffer[]): Buffer => {
    const path = pathToGroup(scene, solicitedNode(target), '::');
    return ip(path, solicitation(path, target, ...options));
  };
  return Object.fromEntries(Object.entries({
    'its link-local': scene.guest.ll, 'its address': scene.guest.a6,
  }).flatMap(([which, target]) => [
    [`detection for ${which}`, [detect(target)]],
    // As Linux sends it since 4.0 (enhanced DAD), and longer ones of others.
    [`detection with a nonce for ${which}`, [1, 2, 3, 4].map((units) => detect(target, nonce(units)))],
  ]));
}

function neighbourRows(scene: Scene): Rows {
  const { guest, victim, host } = scene;
  const own = sourceMac(guest.mac);
  const to = (dst: string, src: string): Path => pathToGroup(scene, dst, src);
  const one = (make: (path: Path) => Payload, ...paths: Path[]): Buffer[] => paths.map((path) => ip(path, make(path)));
  const near = [pathTo(scene, victim, 'll'), pathTo(scene, host, 'll')];
  return {
    'a solicitation to a group': [guest.ll, guest.a6].flatMap((src) =>
      [victim.a6, victim.ll, host.a6, host.ll].flatMap((target) =>
        one((path) => solicitation(path, target, own), to(solicitedNode(target), src)))),
    'a solicitation with a nonce': [[own, nonce(1)], [nonce(1), own]].flatMap((options) =>
      one((path) => solicitation(path, host.ll, ...options), to(solicitedNode(host.ll), guest.ll))),
    'a solicitation to one': one((path) => solicitation(path, path.dst, own), ...near),
    'a solicitation to one, without its MAC': one((path) => solicitation(path, path.dst), ...near),
    'an advertisement': [guest.ll, guest.a6].flatMap((target) =>
      one((path) => advertisement(path, [target, 0x60], targetMac(guest.mac)), ...near)),
    'an advertisement without its MAC': [guest.ll, guest.a6].flatMap((target) =>
      one((path) => advertisement(path, [target, 0x60]), ...near)),
    'an unsolicited advertisement': [guest.ll, guest.a6].flatMap((target) => one(
      (path) => advertisement(path, [target, 0x20], targetMac(guest.mac)),
      to('ff02::1', guest.ll),
      to('ff02::1', target),
    )),
    'a router solicitation': one((path) => routerSolicitation(path), to('ff02::2', guest.ll), to('ff02::2', '::')),
    'a router solicitation with its MAC': one((path) => routerSolicitation(path, own), to('ff02::2', guest.ll)),
  };
}

function groupRows(scene: Scene): Rows {
  const { guest } = scene;
  const group = 'ff02::1:ff00:a';
  const mld = (type: number, body: Buffer, ...paths: Path[]): Buffer[] =>
    paths.map((path) => ip(path, routerAlert(icmpv6(path, type, body, 1))));
  const to = (dst: string, src: string): Path => pathToGroup(scene, dst, src);
  const igmp = (type: number, body: Buffer, path: Path): Buffer => {
    const bytes = Buffer.concat([Buffer.from([type, 0, 0, 0]), body]);
    bytes.writeUInt16BE(checksum(bytes), 2);
    return ip(path, { protocol: PROTO.igmp, bytes, hops: 1 });
  };
  const version2 = Buffer.concat([u16(0, 1), Buffer.from([4, 0]), u16(0), ipBytes(group)]);
  const data = (path: Path): Buffer => ip(path, udp(path, [5353, 5353]));
  return {
    'an MLDv1 report': mld(131, Buffer.concat([Buffer.alloc(4), ipBytes(group)]), to(group, guest.ll), to(group, '::')),
    'an MLDv1 done': mld(132, Buffer.concat([Buffer.alloc(4), ipBytes(group)]), to('ff02::2', guest.ll)),
    'an MLDv2 report': mld(143, version2, to('ff02::16', guest.ll), to('ff02::16', '::')),
    'an IGMPv2 report': [
      igmp(0x16, ipBytes('239.1.2.3'), to('239.1.2.3', guest.a4)),
      igmp(0x17, ipBytes('239.1.2.3'), to('224.0.0.2', guest.a4)),
    ],
    // From 0.0.0.0, too, while it has no address.
    'an IGMPv3 report': [guest.a4, '0.0.0.0'].map((src) =>
      igmp(0x22, Buffer.concat([u16(0, 1), Buffer.from([4, 0]), u16(0), ipBytes('239.1.2.3')]), to('224.0.0.22', src))),
    'multicast': [
      data(to('224.0.0.251', guest.a4)), data(to('239.1.2.3', guest.a4)), data(to('ff02::fb', guest.ll)),
      data(to('ff02::1', guest.a6)),
    ],
    'broadcast': [data({ mac: guest.mac, to: ANY_MAC, src: guest.a4, dst: '255.255.255.255' })],
  };
}

function trafficRows(scene: Scene): Rows {
  const { victim, host, world } = scene;
  const global = [victim, host, world].flatMap((party) =>
    (['a4', 'a6'] as const).map((family) => pathTo(scene, party, family)));
  const paths = [...global, pathTo(scene, victim, 'll'), pathTo(scene, host, 'll')];
  const six = paths.filter(({ src }) => src.includes(':'));
  const large = Buffer.alloc(2000, 7);
  return {
    'UDP': paths.map((path) => ip(path, udp(path, [4000, 4000]))),
    'DNS questions': paths.map((path) => ip(path, udp(path, [40000, 53]))),
    'TCP': paths.map((path) => ip(path, tcp(path, [4000, 443]))),
    'ping': paths.map((path) => ip(path, ping(path))),
    'large UDP in fragments': global.flatMap((path) => fragments(path, udp(path, [4000, 4000], large), [1400])),
    'large UDP to a link-local in fragments': [pathTo(scene, host, 'll')].flatMap((path) => fragments(path, udp(path, [4000, 4000], large), [1400])),
    // nft takes the data of a later IPv4 fragment for a UDP header in family bridge (6.18): 67 and 68 are no ports
    // here.
    'large UDP in fragments that look like DHCP': global.flatMap((path) => [u16(67, 68), u16(547, 546)].flatMap((ports) =>
      fragments(path, udp(path, [4000, 4000], Buffer.alloc(2000, ports)), [1400]))),
    'a large ping in fragments that look like router advertisements': global.flatMap((path) => fragments(path, ping(path, Buffer.alloc(2000, 134)), [1400])),
    'a large ping in fragments': global.flatMap((path) => fragments(path, ping(path, large), [1400])),
    'errors': six.map((path) => ip(
      path, icmpv6(path, 2, Buffer.concat([u16(0, 1280), ipBytes(path.dst), ipBytes(path.src), Buffer.alloc(8)]), 64),
    )),
    'hop-by-hop options before UDP': six.map((path) => ip(path, hopByHop(udp(path, [4000, 4000])))),
    'destination options before TCP': six.map((path) => ip(path, destinationOptions(tcp(path, [4000, 443])))),
    'destination options before ping': six.map((path) => ip(path, destinationOptions(ping(path)))),
    'GRE, ESP and SCTP': six.flatMap((path) =>
      [47, 50, 132].map((protocol) => ip(path, { protocol, bytes: Buffer.alloc(24, 3) }))),
  };
}
