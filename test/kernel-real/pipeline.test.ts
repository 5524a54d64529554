// @tier kernel
/** The pipeline on a real kernel, in a throw-away namespace: what is wired is there, what is released is gone. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const kernelTest = testWith('root', 'netns');
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';

let netns: Netns;
let dir: string;

beforeAll(async () => {
  netns = await openNetns();
  // An address that comes up while a test looks would differ from before.
  netns.sh('echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad');
});
afterAll(() => { netns.close(); });
afterEach(() => { rmSync(dir, { recursive: true, force: true }); });
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-netns-'));
  netns.sh(`
    for tap in $(ip -br link show type tun | cut -d' ' -f1); do ip link del $tap; done
    for bridge in $(ip -br link show type bridge | cut -d' ' -f1); do ip link del $bridge; done
    sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
    ip tuntap add vnet1 mode tap; ip link set vnet1 up`);
});

function xml(metadata: string, { nics = nic('52:54:00:aa:bb:02', 'vnet1'), name = 'web1', uuid = UUID } = {}): string {
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>${metadata}</gw:guestwire></metadata><devices>${nics}</devices></domain>`;
}

function nic(mac: string, dev: string): string {
  return `<interface type='ethernet'><mac address='${mac}'/><target dev='${dev}'/></interface>`;
}

function routed(inner: string, mac = '52:54:00:aa:bb:02'): string {
  return `<gw:interface mac='${mac}'><gw:routed>${inner}</gw:routed></gw:interface>`;
}

const DUAL = routed("<gw:ip address='2001:db8:0:10::a'/><gw:ip address='192.0.2.10'/><gw:route address='2001:db8:0:20::' prefix='64'/><gw:route address='198.51.100.0' prefix='24'/>");

function hook(operation: string, input: string): { status: number | null; stdout: string; stderr: string } {
  return netns.run(resolve('hooks/qemu'), ['web1', operation, 'begin', '-'], {
    input, env: { GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml') },
  });
}

const DONE = { status: 0, stdout: '', stderr: '' };

describe('a routed link on a real kernel', () => {
  kernelTest('is wired at start, exact the second time, and gone after release', () => {
    const before = netns.dump();
    expect(hook('prepare', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(before);
    expect(hook('start', xml(DUAL))).toEqual(DONE);
    expect(netns.sh('ip route show proto 117; ip -6 route show proto 117').replace(/ linkdown/g, '')).toBe([
      '192.0.2.10 dev vnet1 scope link ', '198.51.100.0/24 via 192.0.2.10 dev vnet1 ',
      '2001:db8:0:10::a dev vnet1 metric 1024 pref medium', '2001:db8:0:20::/64 via 2001:db8:0:10::a dev vnet1 metric 1024 pref medium', '',
    ].join('\n'));
    expect(netns.sh('ip -br address show dev vnet1')).toMatch(/169\.254\.0\.1\/32 .*fe80::1\/64/);
    expect(netns.sh('cat /proc/sys/net/ipv6/conf/vnet1/accept_ra')).toBe('0\n');
    const wired = netns.dump();
    expect(hook('reconnect', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(wired);
    expect(hook('stopped', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(before);
    expect(hook('release', xml(DUAL))).toEqual(DONE);
    expect(readdirSync(join(dir, 'state'))).toEqual([]);
    expect(netns.dump()).toBe(before);
  });

  kernelTest('is put right again by reconnect, whatever was taken from it', () => {
    expect(hook('start', xml(DUAL))).toEqual(DONE);
    const wired = netns.dump();
    netns.sh('ip link set vnet1 down; ip link set vnet1 up; sysctl -qw net.ipv6.conf.vnet1.accept_ra=1; ip route add 203.0.113.5/32 dev vnet1 proto 117');
    expect(netns.dump()).not.toBe(wired);
    expect(hook('reconnect', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(wired);
  });

  kernelTest('moves to the tap that the guest has now', () => {
    const at = (dev: string): string => xml(DUAL, { nics: nic('52:54:00:aa:bb:02', dev) });
    expect(hook('start', at('vnet1'))).toEqual(DONE);
    const wired = netns.dump();
    netns.sh('ip link set vnet1 name vnet2');
    expect(hook('reconnect', at('vnet2'))).toEqual(DONE);
    expect(netns.dump()).toBe(wired.replaceAll('vnet1', 'vnet2'));
    netns.sh('ip link set vnet2 name vnet1');
  });

  kernelTest('leaves what others put on the same link and beside it', () => {
    netns.sh('ip address add 10.77.0.1/24 dev vnet1; ip route add 203.0.113.0/24 dev vnet1 proto static; ip -6 route add 2001:db8:77::/48 dev vnet1 proto static');
    const before = netns.dump();
    expect(hook('start', xml(DUAL))).toEqual(DONE);
    expect(netns.sh('ip address show dev vnet1; ip route; ip -6 route')).toMatch(/10\.77\.0\.1[^]*203\.0\.113\.0\/24[^]*2001:db8:77::\/48/);
    expect(hook('release', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(before);
  });

  kernelTest('does not start over a route of another protocol, and the host is as before', () => {
    netns.sh('ip link add out type bridge; ip link set out up; ip address add 203.0.113.2/24 dev out; ip route add 192.0.2.10/32 via 203.0.113.9 proto bgp');
    const before = netns.dump();
    expect(hook('start', xml(DUAL))).toEqual({ status: 1, stdout: '', stderr:
      "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:02): '192.0.2.10' is already routed: '192.0.2.10' via '203.0.113.9' on 'out', protocol 'bgp': remove that route or give the guest another address\n" });
    expect(netns.dump()).toBe(before);
    const nextHop = xml(routed("<gw:ip address='203.0.113.9'/>"));
    expect(hook('prepare', nextHop).stderr).toBe(
      "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:02): '203.0.113.9' contains '203.0.113.9', the next hop of this host's route '192.0.2.10': give the guest another address\n");
    const own = xml(routed("<gw:ip address='203.0.113.2'/>"));
    expect(hook('prepare', own).stderr).toBe(
      "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:02): '203.0.113.2' contains '203.0.113.2', an address of this host on 'out': give the guest another address\n");
    const whole6 = xml(routed("<gw:ip address='2001:db8:9::1'/><gw:route address='2001:db8:fff0::' prefix='44'/>"));
    netns.sh('ip -6 address add 2001:db8:ffff::2/64 dev out nodad');
    expect(hook('prepare', whole6).stderr).toContain("'2001:db8:fff0::/44' contains '2001:db8:ffff::2', an address of this host on 'out'");
    const whole = xml(routed("<gw:ip address='192.0.2.11'/><gw:route address='203.0.113.0' prefix='28'/>"));
    expect(hook('prepare', whole).stderr).toContain("'203.0.113.0/28' contains '203.0.113.2', an address of this host on 'out'");
  });

  const OUT = 'ip link add out type bridge; ip link set out up; ip address add 203.0.113.2/24 dev out; ip -6 address add 2001:db8:ffff::2/64 dev out nodad;';
  const LABEL = "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:02):";
  const GIVE = 'give the guest another address\n';
  const taken: readonly (readonly [title: string, make: string, ip: string, says: string])[] = [
    ['a next hop of a multipath route', 'ip route add default nexthop via 203.0.113.1 dev out nexthop via 203.0.113.129 dev out', '203.0.113.129', "'203.0.113.129' contains '203.0.113.129', the next hop of this host's route '0.0.0.0/0'"],
    ['a next hop of an IPv6 multipath route', 'ip -6 route add 2001:db8:9::/48 nexthop via 2001:db8:ffff::8 dev out nexthop via 2001:db8:ffff::9 dev out', '2001:db8:ffff::9', "'2001:db8:ffff::9' contains '2001:db8:ffff::9', the next hop of this host's route '2001:db8:9::/48'"],
    ['a next hop of a nexthop group', 'ip nexthop add id 1 via 203.0.113.5 dev out; ip nexthop add id 2 via 203.0.113.6 dev out; ip nexthop add id 9 group 1/2; ip route add 10.0.0.0/8 nhid 9', '203.0.113.6', "'203.0.113.6' contains '203.0.113.6', the next hop of this host's route '10.0.0.0/8'"],
    ['an onlink next hop', 'ip route add default via 100.64.0.1 dev out onlink', '100.64.0.1', "'100.64.0.1' contains '100.64.0.1', the next hop of this host's route '0.0.0.0/0'"],
    ['a blackhole', 'ip route add blackhole 192.0.2.10', '192.0.2.10', "'192.0.2.10' is already routed: 'blackhole 192.0.2.10', protocol 'boot': remove that route or"],
    ['an IPv6 prohibit of another metric', 'ip -6 route add prohibit 2001:db8:0:10::a metric 5', '2001:db8:0:10::a', "'2001:db8:0:10::a' is already routed: 'prohibit 2001:db8:0:10::a' on 'lo', protocol 'boot': remove that route or"],
  ];
  for (const [title, make, ip, says] of taken) {
    kernelTest(`is refused the address of ${title}`, () => {
      netns.sh(`${OUT} ${make}`);
      const before = netns.dump();
      const stderr = `${LABEL} ${says}${says.endsWith('or') ? ' ' : ': '}${GIVE}`;
      expect(hook('start', xml(routed(`<gw:ip address='${ip}'/>`)))).toEqual({ status: 1, stdout: '', stderr });
      expect(netns.dump()).toBe(before);
      netns.sh('ip nexthop flush; ip route flush type blackhole; ip -6 route flush type prohibit');
    });
  }

  kernelTest('is refused an address that the table of its own routes gives to another', async () => {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(dir, 'config.toml'), '[routed]\ntable = 100\n', { mode: 0o600 });
    netns.sh(`${OUT} ip route add 192.0.2.10 dev out table 100 proto bgp; ip -6 route add 2001:db8:0:10::a dev out table 100 proto bgp metric 20`);
    for (const ip of ['192.0.2.10', '2001:db8:0:10::a']) {
      expect(hook('start', xml(routed(`<gw:ip address='${ip}'/>`))).stderr).toBe(`${LABEL} '${ip}' is already routed: '${ip}' on 'out', protocol 'bgp': remove that route or ${GIVE}`);
    }
    netns.sh('ip route flush table 100; ip -6 route flush table 100');
  });

  kernelTest('starts where the covering prefix comes from another protocol', () => {
    netns.sh('ip link add out type bridge; ip link set out up; ip address add 203.0.113.2/24 dev out; ip route add 192.0.2.0/24 via 203.0.113.9 proto bgp; ip -6 route add 2001:db8::/32 dev out proto bgp');
    expect(hook('start', xml(DUAL))).toEqual(DONE);
  });

  kernelTest('works in a table of its own', async () => {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(dir, 'config.toml'), '[routed]\ntable = 117\n', { mode: 0o600 });
    const before = netns.dump();
    expect(hook('start', xml(DUAL))).toEqual(DONE);
    expect(netns.sh('ip route show table 117; ip -6 route show table 117').split('\n')).toHaveLength(7);
    expect(hook('release', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(before);
  });

  kernelTest('records the ifindex, and takes nothing from the next link of the same name', () => {
    expect(hook('start', xml(DUAL))).toEqual(DONE);
    const entry = JSON.parse(
      readFileSync(join(dir, 'state', `${UUID}.json`), 'utf8'),
    ) as { wired: { ifindex: number }[] };
    expect(entry.wired[0]?.ifindex).toBe(Number(netns.sh('cat /sys/class/net/vnet1/ifindex')));
    netns.sh('ip link del vnet1; ip tuntap add vnet1 mode tap; ip link set vnet1 up');
    const other = '99999999-1d52-4d0e-9a0c-6d2f9d1f2c02';
    const second = xml(routed("<gw:ip address='192.0.2.99'/>", '52:54:00:aa:bb:09'), {
      nics: nic('52:54:00:aa:bb:09', 'vnet1'), name: 'web2', uuid: other,
    });
    expect(hook('start', second)).toEqual(DONE);
    const wired = netns.dump();
    expect(hook('stopped', xml(DUAL))).toEqual(DONE);
    expect(hook('release', xml(DUAL))).toEqual(DONE);
    expect(netns.dump()).toBe(wired);
  });
});
