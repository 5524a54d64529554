/**
 * Where a hostile guest attacks: a throw-away host with its tap, a victim's tap, an uplink and the host's own stack,
 * once as ports of a bridge and once as routed links. Every neighbour is static and the host itself is mute, so that
 * what arrives was sent by the test. Sysctls are as loose as they go: nothing but the filter may be what stops a frame.
 */
import { type Netns, openNetns } from '../places/netns.js';
import { type Frames, openFrames } from './frames.js';
import { ANY_MAC, ip, linkLocalOf, stamped, tagged, TYPE, udp } from './packet.js';

export type Topology = 'bridge' | 'routed';

export interface Party {
  readonly mac: string;
  readonly a4: string;
  readonly a6: string;
  readonly ll: string;
}

/** Who is there, as the hostile guest sees it. */
export interface Scene {
  readonly topology: Topology;
  readonly guest: Party;
  readonly victim: Party;
  readonly host: Party;
  readonly world: Party;
  /** The MAC that frames to a party are sent to: its own on a bridge, the host's on a routed link. */
  readonly via: (party: Party) => string;
}

/** What the filter is told of the hostile guest's NIC. */
export interface HostileNic {
  readonly dev: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly addresses: readonly string[];
  /** VIDs that it is a tagged member of; empty on an access port and a routed link. Untagged frames are allowed. */
  readonly tags: readonly number[];
}

export const MEMBER = 10;
const OTHER = 20;

/** How a frame is dressed; the sum of the tags decides whether a NIC may send it. */
export const ENCAPSULATIONS: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
  'untagged': [],
  'VID 0': [[TYPE.q, 0]],
  'member VID': [[TYPE.q, MEMBER]],
  'VID 0 and member VID': [[TYPE.q, 0], [TYPE.q, MEMBER]],
  '802.1ad': [[TYPE.ad, MEMBER]],
  // Besides what the issue names: the stack takes off two tags of VID 0, a switch the outer of two, and 802.1ad has a
  // VID 0.
  'VID 0 twice': [[TYPE.q, 0], [TYPE.q, 0]],
  'member VID and another': [[TYPE.q, MEMBER], [TYPE.q, OTHER]],
  '802.1ad VID 0': [[TYPE.ad, 0]],
};

/** Returns in which encapsulations this NIC may send. */
export function allowedEncapsulations(nic: HostileNic): string[] {
  return nic.tags.includes(MEMBER) ? ['untagged', 'member VID'] : ['untagged'];
}

const TAP = { hostile: 'vnet1', victim: 'vnet2', herald: 'vnet3' };

/** Returns who is there; on a routed link the host's end has the MAC that libvirt gives a tap. */
export function sceneOf(topology: Topology): Scene {
  const guest = {
    mac: '52:54:00:00:00:0a', a4: '192.0.2.10', a6: '2001:db8:0:10::a', ll: linkLocalOf('52:54:00:00:00:0a'),
  };
  const victim = {
    mac: '52:54:00:00:00:0b', a4: '192.0.2.11', a6: '2001:db8:0:10::b', ll: linkLocalOf('52:54:00:00:00:0b'),
  };
  const world = {
    mac: '52:54:00:00:00:0c', a4: '203.0.113.2', a6: '2001:db8:ffff::2', ll: linkLocalOf('52:54:00:00:00:0c'),
  };
  const host = topology === 'bridge' ?
    { mac: '52:54:00:00:00:0d', a4: '192.0.2.1', a6: '2001:db8:0:10::1', ll: 'fe80::1' } :
    { mac: 'fe:54:00:00:00:0a', a4: '203.0.113.1', a6: '2001:db8:ffff::1', ll: 'fe80::1' };
  return { topology, guest, victim, host, world, via: (party) => (topology === 'bridge' ? party.mac : host.mac) };
}

export interface AttackHost {
  readonly scene: Scene;
  readonly netns: Netns;
  readonly world: Netns;
  /** Loads this text into nft, instead of what the last call loaded. */
  filter(text: string): void;
  /**
   * Sends numbered frames from the hostile tap; returns by number where each arrived: 'host', 'uplink', 'victim',
   * sorted.
   */
  attack(frames: readonly Buffer[]): Promise<Map<string, string>>;
  /** Sends frames from the tap of another. */
  send(who: 'victim' | 'herald', frames: readonly Buffer[]): Promise<Record<string, Record<string, number>>>;
  close(): void;
}

/** What the host's stack takes in: after every other chain, and after reassembly. And it says nothing of its own. */
export const PROBE = `
add table inet probe
add set inet probe seen4 { typeof ip id; size 65535; flags dynamic; }
add set inet probe seen6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
add chain inet probe taken { type filter hook input priority 2000; }
add rule inet probe taken iif ${TAP.hostile} add @seen4 { ip id }
add rule inet probe taken iif ${TAP.hostile} add @seen6 { ip6 flowlabel }
add chain inet probe mute { type filter hook output priority 0; policy drop; }
`;

/** Groups that some server on a host listens to: routers, DHCP servers, multicast routers, mDNS. */
export const GROUPS = [
  'ff02::2', 'ff02::16', 'ff02::1:2', 'ff02::fb', '224.0.0.2', '224.0.0.22', '224.0.0.251', '239.1.2.3',
];

export async function openAttackHost(topology: Topology): Promise<AttackHost> {
  const scene = sceneOf(topology);
  const [netns, world] = await Promise.all([openNetns(), openNetns()]);
  const frames = openFrames(netns);
  const all = 'for each in all default; do cd /proc/sys/net/ipv4/conf/$each; echo 0 >rp_filter; echo 1 >accept_local; echo 1 >route_localnet; cd ../../../ipv6/conf/$each;';
  netns.sh(`${all} echo 0 >accept_dad; echo 0 >disable_ipv6; done; cd /proc/sys/net/ipv4; echo 0 >icmp_echo_ignore_broadcasts; echo 0 >conf/all/log_martians`);
  // Built into some kernels, and on in every new namespace: bridged packets would meet the checks and hooks of inet.
  netns.sh('for each in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $each ] || echo 0 >$each; done');
  world.sh('for each in all default; do echo 1 >/proc/sys/net/ipv6/conf/$each/disable_ipv6; done');
  netns.sh(`ip link add up0 address fe:54:00:00:00:0c type veth peer name eth0 address ${scene.world.mac} netns ${world.target}`);
  world.sh('ip link set eth0 arp off promisc on up');
  for (const tap of Object.values(TAP)) await frames.tap(tap);
  netns.sh(topology === 'bridge' ? bridged(scene) : routed(scene));
  waitForPorts(netns, topology === 'bridge' ? 4 : 0);
  const filter = (text: string): void => {
    const { status, stderr } = netns.run('nft', ['-f', '-'], { input: `flush ruleset\n${PROBE}${text}` });
    if (status !== 0) throw new Error(`nft refuses: ${stderr}\n${text}`);
  };
  filter('');
  await frames.sniff('uplink', { dev: 'eth0', pid: world.target });
  await (topology === 'bridge'
    ? listenOnBridge(frames)
    : frames.sniff('host', { dev: TAP.hostile, protocols: LINK_PROTOCOLS, groups: GROUPS }));
  const send = async (tap: string, burst: readonly Buffer[]): Promise<Record<string, Record<string, number>>> =>
    frames.volley({
      tap, frames: burst, watched: { victim: TAP.victim, hostile: TAP.hostile, herald: TAP.herald }, end: endOf(scene),
    });
  return {
    scene, netns, world, filter,
    attack: async (burst) => {
      const { victim = {}, uplink = {}, host = {} } = await send(TAP.hostile, burst);
      return arrivals({ victim, uplink, host: topology === 'bridge' ? host : { ...host, ...takenBy(netns) } });
    },
    send: async (who, burst) => send(TAP[who], burst),
    close: () => { frames.close(); netns.close(); world.close(); },
  };
}

/** Returns the hostile guest's NIC. */
export function hostileNic(
  { scene: { guest }, netns }: AttackHost,
  { dev = TAP.hostile, tags = [] }: { dev?: string; tags?: readonly number[] } = {},
): HostileNic {
  return {
    dev, ifindex: Number(netns.sh(`cat /sys/class/net/${dev}/ifindex`)), mac: guest.mac,
    addresses: [guest.a4, guest.a6], tags,
  };
}

/** A bridge forwards no sooner than it has seen the carrier of the port. */
export function waitForPorts(netns: Netns, count: number): void {
  netns.sh(`for try in $(seq 100); do [ "$(bridge link show | grep -c 'state forwarding')" != ${count} ] || exit 0; sleep 0.05; done; bridge link show; exit 1`);
}

/** The bridge hands what is for the host to br0; what is for the links' own protocols (LLDP) stays on the port. */
async function listenOnBridge(frames: Frames): Promise<void> {
  await frames.sniff('host', { dev: 'br0' });
  await frames.sniff('host', { dev: TAP.hostile, protocols: LINK_PROTOCOLS });
}

/** IEEE 802.2, ARP, RARP, LLDP, EAPOL and slow protocols: what listens to them is no part of nft's inet. */
export const LINK_PROTOCOLS = [0x0004, TYPE.arp, TYPE.rarp, TYPE.lldp, 0x888e, 0x8809];

function bridged({ host, victim, world }: Scene): string {
  // Sticky: MAC flapping has a test of its own, and shall not change where the frames after it go. Snooping would keep
  // reports from all but routers.
  return `
    ip link add br0 address ${host.mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    for port in ${Object.values(TAP).join(' ')} up0; do echo 1 >/proc/sys/net/ipv6/conf/$port/disable_ipv6; ip link set $port master br0 up; done
    ip link set br0 up
    ip address add ${host.a4}/24 dev br0; ip address add ${host.a6}/64 dev br0; ip address add ${host.ll}/64 dev br0
    bridge fdb replace ${victim.mac} dev ${TAP.victim} master static sticky
    bridge fdb replace ${world.mac} dev up0 master static sticky`;
}

function routed({ guest, victim, host, world }: Scene): string {
  const tap = (dev: string, party: Party): string => `
    ip link set ${dev} address fe:54:00:00:00:${party.mac.slice(-2)} up
    ip address add 169.254.0.1/32 dev ${dev}; ip address add fe80::1/64 dev ${dev}
    for address in ${party.a4} ${party.a6}; do ip route add $address dev ${dev}; done
    for address in ${party.a4} ${party.a6} ${party.ll}; do ip neigh replace $address lladdr ${party.mac} dev ${dev} nud permanent; done`;
  return `
    echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    ip link set up0 up; ip address add ${host.a4}/24 dev up0; ip address add ${host.a6}/64 dev up0
    for address in ${world.a4} ${world.a6}; do ip neigh replace $address lladdr ${world.mac} dev up0 nud permanent; ip route add default via $address; done
    ${tap(TAP.hostile, guest)}
    ${tap(TAP.victim, victim)}
    ${tap(TAP.herald, herald(guest))}`;
}

/** A third guest, whom no filter stops. */
function herald(guest: Party): Party {
  return {
    mac: guest.mac.replace(/0a$/, '1f'), a4: guest.a4.replace(/10$/, '31'), a6: guest.a6.replace(/a$/, '1f'),
    ll: linkLocalOf(guest.mac.replace(/0a$/, '1f')),
  };
}

const END = 0xffff;

function endOf(scene: Scene): { tap: string; frame: Buffer; place: string; number: string } {
  const { mac, a4 } = herald(scene.guest);
  const path = { mac, to: scene.topology === 'bridge' ? ANY_MAC : 'fe:54:00:00:00:1f', src: a4, dst: scene.world.a4 };
  return {
    tap: TAP.herald, frame: stamped(ip(path, udp(path, [4000, 4000])), END), place: 'uplink', number: String(END),
  };
}

export function takenBy(netns: Pick<Netns, 'sh'>): Record<string, number> {
  const taken: Record<string, number> = {};
  for (const set of ['seen4', 'seen6']) {
    const { nftables } = JSON.parse(netns.sh(`nft -j list set inet probe ${set}; nft flush set inet probe ${set}`)) as { nftables: { set?: { elem?: number[] } }[] };
    for (const number of nftables.flatMap(({ set: found }) => found?.elem ?? [])) taken[String(number)] = 1;
  }
  return taken;
}

/** Returns where each number was seen. */
export function arrivals(places: Readonly<Record<string, Readonly<Record<string, number>>>>): Map<string, string> {
  const where = new Map<string, string>();
  for (const place of Object.keys(places).sort()) {
    for (const number of Object.keys(places[place] ?? {})) where.set(number, `${where.has(number) ? `${where.get(number) ?? ''} ` : ''}${place}`);
  }
  return where;
}

/** A frame of a table: what it is, and the numbers under which its parts are sent. */
export interface Numbered {
  readonly name: string;
  readonly numbers: readonly string[];
}

/** Dresses and numbers frames; parts of one IPv4 packet share its number, and `+` marks those after the first. */
export function numberFrames(
  entries: readonly { name: string; frames: readonly Buffer[]; company?: readonly Buffer[]; encapsulation: string }[],
): { shots: Buffer[]; numbered: Numbered[] } {
  let next = 1;
  const shots: Buffer[] = [];
  const numbered = entries.map(({ name, frames, company = [], encapsulation }) => {
    let packet: number | undefined;
    const numbers = [...frames, ...company].map((frame) => {
      const flags = frame.readUInt16BE(12) === TYPE.ipv4 ? frame.readUInt16BE(20) & 0x3fff : 0;
      const number = (flags & 0x1fff) !== 0 && packet !== undefined ? packet : next++;
      packet = number;
      shots.push(tagged(stamped(frame, number), ENCAPSULATIONS[encapsulation] ?? []));
      return `${number}${(flags & 0x1fff) !== 0 ? '+' : ''}`;
    });
    return { name: `${name}, ${encapsulation}`, numbers: numbers.slice(0, frames.length) };
  });
  return { shots, numbered };
}
