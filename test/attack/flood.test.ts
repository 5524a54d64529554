// @tier kernel
/**
 * What a hostile guest does to the tables of others: MAC flapping, exhaustion of neighbour tables; and tools of the
 * trade.
 */
import { afterEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { filterFor } from './filter.js';
import { type AttackHost, hostileNic, openAttackHost, type Topology, waitForPorts } from './host.js';
import {
  ANY_MAC, arp, ethernet, groupMac, ip, llc, solicitation, solicitedNode, sourceMac, TYPE, udp,
} from './packet.js';

const attackTest = testWith('root', 'netns', 'python3', 'nft');

let host: AttackHost;
let guest: Netns | undefined;
afterEach(() => {
  host.close();
  guest?.close();
  guest = undefined;
});

describe('MAC flapping', () => {
  const forge: Readonly<Record<string, (link: { mac: string; to: string }) => Buffer>> = {
    'a broadcast': (link) => ethernet(link, TYPE.arp, Buffer.alloc(28)),
    'UDP from its own addresses': (link) => {
      const path = { ...link, src: host.scene.guest.a4, dst: host.scene.victim.a4 };
      return ip(path, udp(path, [4000, 4000]));
    },
    'a BPDU': ({ mac }) => llc({ mac, to: '01:80:c2:00:00:00' }, 0x42, Buffer.alloc(35)),
    // The two that no prerouting of a bridge sees: the bridge learns where they came from all the same.
    'LLDP': ({ mac }) => ethernet({ mac, to: '01:80:c2:00:00:0e' }, TYPE.lldp, Buffer.alloc(46)),
    'EAPOL': ({ mac }) => ethernet({ mac, to: '01:80:c2:00:00:03' }, 0x888e, Buffer.alloc(46)),
  };

  /**
   * On which of the taps what the herald sends to the victim comes out, after the victim spoke and the hostile guest
   * forged.
   */
  async function stolenBy(frame: Buffer): Promise<string> {
    const { victim, guest: { mac, a4 } } = host.scene;
    await host.send('victim', [
      ip(
        { mac: victim.mac, to: ANY_MAC, src: victim.a4, dst: '255.255.255.255' },
        udp({ mac: victim.mac, to: ANY_MAC, src: victim.a4, dst: '255.255.255.255' }, [1, 1]),
      ),
    ]);
    await host.attack([frame]);
    const path = { mac: mac.replace(/0a$/, '1f'), to: victim.mac, src: a4, dst: victim.a4 };
    const { hostile, victim: own } = await host.send(
      'herald', [ip(path, udp(path, [4000, 4000]), { offset: 0, more: false })],
    );
    // 1 is the packet's IPv4 identification.
    return [...(hostile?.['0'] === undefined ? [] : ['hostile']), ...(own?.['0'] === undefined ? [] : ['victim'])]
      .join(' ');
  }

  attackTest('steals what is sent to the victim, and with the filter nothing', async () => {
    host = await openAttackHost('bridge');
    host.netns.sh(`bridge fdb del ${host.scene.victim.mac} dev vnet2 master`);
    const results = async (): Promise<Record<string, string>> => {
      const found: Record<string, string> = {};
      for (const [name, make] of Object.entries(forge))
        found[name] = await stolenBy(make({ mac: host.scene.victim.mac, to: ANY_MAC }));
      return found;
    };
    const each = (where: string): Record<string, string> =>
      Object.fromEntries(Object.keys(forge).map((name) => [name, where]));
    expect(await results()).toEqual(each('hostile'));
    host.filter(filterFor('bridge', hostileNic(host)));
    // No hook of bridges sees LLDP, so that docs/vlan.md has the bridge not learn from it.
    expect(await results()).toEqual({ ...each('victim'), LLDP: 'hostile' });
    host.netns.sh('ip link set br0 type bridge no_linklocal_learn 1');
    expect(await results()).toEqual(each('victim'));
  }, 60_000);
});

describe('a flood of forged senders', () => {
  /** Solicitations and ARP requests that a host answers, each from another sender. */
  function flood(count: number): Buffer[] {
    const { guest: { mac }, host: { a4, a6, ll, mac: to } } = host.scene;
    const senders = Array.from({ length: count }, (_, at) => (at + 1).toString(16));
    const six = senders.flatMap((last) => [`fe80::bad:${last}`, `2001:db8:0:10::bad:${last}`].map((src) => {
      const target = src.startsWith('fe80') ? ll : a6;
      const path = { mac, to: groupMac(solicitedNode(target)) ?? to, src, dst: solicitedNode(target) };
      return ip(path, solicitation(path, target, sourceMac(mac)));
    }));
    const four = Array.from({ length: 200 }, (_, at) =>
      arp({ mac, to: ANY_MAC }, { operation: 1, senderMac: mac, sender: `192.0.2.${at + 50}`, target: a4 }));
    return [...six, ...four];
  }

  /** Neighbours that it made, which are forgotten at once: the kernel counts those of all namespaces together. */
  async function grown(count: number): Promise<number> {
    const known = (): number => host.netns.sh('ip neigh show').split('\n').filter((line) => line !== '').length;
    const before = known();
    await host.attack(flood(count));
    const after = known();
    host.netns.sh('ip neigh flush all');
    return after - before;
  }

  for (const topology of ['bridge', 'routed'] as Topology[]) {
    attackTest(`fills the host's neighbour table (${topology}), and with the filter adds nothing`, async () => {
      host = await openAttackHost(topology);
      // 200 of ARP, and 100 a target: a routed link has the link-local one only.
      expect(await grown(100)).toBe(topology === 'bridge' ? 400 : 300);
      host.filter(filterFor(topology, hostileNic(host)));
      // A guest has room for eight.
      expect(await grown(2000)).toBe(topology === 'routed' ? 8 : 0);
    }, 60_000);
  }
});

describe('tools of the trade', () => {
  /**
   * Commands, and the least that they must have sent. Those of thc-ipv6 run for ever; -E evades guards: full,
   * hop-by-hop, atomic fragments, large options, fragments that overlap.
   */
  const tools: readonly (readonly [command: string, least: number])[] = [
    ['mausezahn eth0 -c 20 -t arp reply,senderip=192.0.2.11,targetip=192.0.2.1', 20],
    ['mausezahn eth0 -c 20 -t bpdu', 20],
    ['mausezahn eth0 -c 200 -a rand -b bcast -A 192.0.2.10 -B 192.0.2.11 -t udp dp=53', 200],
    ['mausezahn eth0 -c 200 -b bcast -A rand -B 192.0.2.11 -t udp dp=53', 200],
    ['mausezahn eth0 -c 20 -Q 0,10 -b bcast -A 192.0.2.10 -B 192.0.2.11 -t udp dp=53', 20],
    ['atk6-fake_router6 eth0 2001:db8:bad::/64', 1],
    ['atk6-fake_router6 -D eth0 2001:db8:bad::/64', 2],
    ...Object.entries({ F: 3, H: 1, 1: 1, H111: 1, D: 2, O: 2, o: 2 }).map(([how, parts]) => [`atk6-fake_router26 -E ${how} -A 2001:db8:bad::/64 eth0`, parts] as const),
    ['atk6-fake_advertise6 eth0 2001:db8:0:10::b', 1],
    ['atk6-flood_router26 eth0', 100],
    ['atk6-flood_router26 -H eth0', 100],
    ['atk6-flood_router26 -F eth0', 100],
    ['atk6-flood_advertise6 eth0', 100],
    ['atk6-flood_solicitate6 eth0', 100],
    ['atk6-flood_dhcpc6 eth0', 100],
    ['atk6-flood_redir6 eth0', 100],
  ];

  /** A guest with tools in it, behind a veth that is a port beside the taps; the host does not answer floods. */
  async function openGuest(): Promise<Netns> {
    const made = await openNetns();
    host.netns.sh(`
      echo 1 >/proc/sys/net/ipv6/conf/br0/disable_ipv6
      ip link add vnet4 type veth peer name eth0 address ${host.scene.guest.mac} netns ${made.target}
      ip link set vnet4 master br0 up`);
    // Its own stack is mute: only what the tools put on the wire counts.
    made.sh('echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up; nft add table inet mute; nft add chain inet mute out "{ type filter hook output priority 0; policy drop; }"');
    waitForPorts(host.netns, 5);
    return made;
  }

  // The first of overlapping fragments is a ping, which without the others is harmless.
  const COUNT = `
add table bridge seen
add chain bridge seen on { type filter hook forward priority 1000; }
add chain bridge seen up { type filter hook input priority 1000; }
${['on', 'up'].map((chain) => `add rule bridge seen ${chain} meta protocol ip6 frag frag-off 0 icmpv6 type echo-request accept`).join('\n')}
add rule bridge seen on iif vnet4 oif vnet2 counter
add rule bridge seen on iif vnet4 oif up0 counter
add rule bridge seen up iif vnet4 counter
`;

  attackTest('reach everybody, and with the filter nobody', async () => {
    host = await openAttackHost('bridge');
    guest = await openGuest();
    const counted = (): number[] => [...(host.netns.sh('nft list table bridge seen')).matchAll(/packets (\d+)/g)]
      .map(([, packets]) => Number(packets));
    for (const [command, least] of tools) {
      host.filter(COUNT);
      runTool(command, least);
      const [victim = 0, uplink = 0] = counted();
      expect([command, Math.min(victim, uplink) > 0]).toEqual([command, true]);
      host.filter(`${COUNT}${filterFor('bridge', hostileNic(host, { dev: 'vnet4' }))}`);
      runTool(command, least);
      expect([command, ...counted()]).toEqual([command, 0, 0, 0]);
    }
  }, 120_000);

  /** Runs a tool until it has sent that much. */
  function runTool(command: string, least: number): void {
    guest?.sh(`
      sent() { cat /sys/class/net/eth0/statistics/tx_packets; }
      before=$(sent)
      timeout -s KILL 20 ${command} >/dev/null 2>&1 </dev/null & tool=$!
      until [ $(($(sent) - before)) -ge ${least} ]; do kill -0 $tool || [ $(($(sent) - before)) -ge ${least} ]; sleep 0.02; done
      kill -KILL $(cat /proc/$tool/task/$tool/children 2>/dev/null) $tool 2>/dev/null || true; sleep 0.05`);
  }
});
