// @tier kernel
/** `guestwire doctor` on a real kernel. */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { openNetns } from '../places/netns.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

describe('guestwire doctor on a real kernel', () => {
  let host: GuestHost;
  beforeAll(async () => {
    if (!canRun('root', 'netns', 'nft')) return;
    host = await openGuestHost('[bridge.br0]\nuplinks = ["up0"]\n[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["wan0"]\n');
    host.say(guestXml({ name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'] }), false);
    host.netns.sh(`for dev in up0 wan0; do ip link add $dev type veth peer name far-$dev; ip link set $dev up; done
      ip link add br0 type bridge mcast_snooping 0; ip link set up0 master br0; sysctl -qw net.ipv6.conf.wan0.accept_ra=2 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0`);
  });
  afterAll(() => { host.close(); });

  const findings = async (): Promise<{ what: string; why: string; cure: string }[]> =>
    (JSON.parse((await host.command('doctor', '--json')).stdout) as { findings: [] }).findings;

  for (const [name, make, what] of [
    ['IPv4 forwarding', 'sysctl -qw net.ipv4.ip_forward=0', 'this host does not forward IPv4'],
    ['IPv6 forwarding', 'sysctl -qw net.ipv6.conf.all.forwarding=0', 'this host does not forward IPv6'],
    ['an uplink that takes no advertisements', 'sysctl -qw net.ipv6.conf.wan0.accept_ra=1', "'wan0' ignores router advertisements, because this host forwards"],
    ['loose rp_filter of all links', 'sysctl -qw net.ipv4.conf.all.rp_filter=2', 'rp_filter of all links is loose'],
    ['strict rp_filter of an uplink', 'sysctl -qw net.ipv4.conf.wan0.rp_filter=1', "rp_filter is strict on 'wan0'"],
    ['an uplink that left its bridge', 'ip link set up0 nomaster', "uplink 'up0' is not a port of bridge 'br0'"],
    ['a chain as Docker and ufw have it', "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'", "chain 'ip filter FORWARD' drops packets that no rule accepts"],
    ['a chain as firewalld has it', "nft add table inet firewalld; nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }'; nft add rule inet firewalld filter_FORWARD ct state established accept; nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited",
      "chain 'inet firewalld filter_FORWARD' drops packets that no rule accepts"],
  ] as const) kernelTest(`finds ${name}, and its cure mends it`, async () => {
    expect((await findings()).map((finding) => finding.what)).not.toContain(what);
    host.netns.sh(make);
    const before = host.dump();
    const found = (await findings()).find((finding) => finding.what === what);
    expect(host.dump()).toBe(before);
    expect(found?.why).toEqual(expect.stringMatching(/./));
    host.netns.sh(found?.cure ?? 'false');
    expect((await findings()).map((finding) => finding.what)).not.toContain(what);
  });

  kernelTest('finds an address of two guests, and says what it says in words', async () => {
    host.say(guestXml({ name: 'web2', tap: 'vnet2', addresses: ['192.0.2.10'] }), false);
    expect(await findings()).toContainEqual(expect.objectContaining({
      severity: 'error', what: "address '192.0.2.10' belongs to guests 'web1' and 'web2'", cure: 'virsh edit web2',
    }));
    const { status, stdout } = await host.command('doctor');
    expect({ status, stdout }).toEqual({ status: 1, stdout: expect.stringMatching(/^error: .*\n {2}why: {2}.*\n {2}cure: /) });
    host.say(guestXml({ name: 'web2', tap: 'vnet2', addresses: ['192.0.2.11'] }), false);
    expect((await findings()).map((finding) => finding.what)).not.toContain("address '192.0.2.10' belongs to guests 'web1' and 'web2'");
  });

  kernelTest('finds that bridged frames go through iptables, and its cure lets guests reach each other', async () => {
    const peer = await openNetns();
    host.say(`<domain type='kvm'><name>lan1</name><uuid>11111111-2222-3333-4444-555555555555</uuid><devices><interface type='bridge'><mac address='52:54:00:aa:bb:07'/><source bridge='br0'/><vlan><tag id='10'/></vlan></interface></devices></domain>`, false);
    host.netns.sh(`ip link add port1 type veth peer name eth0 netns ${peer.target}; ip link set port1 up master br0; ip addr add 198.51.100.1/24 dev br0; ip link set br0 up
      ip link add far1 type veth peer name port2; ip link set port2 up master br0; ip link add docker0 type bridge`);
    peer.sh('ip link set eth0 up; ip addr add 198.51.100.2/24 dev eth0');
    const other = await openNetns();
    host.netns.sh(`ip link set far1 netns ${other.target} name eth0`);
    other.sh('ip link set eth0 up; ip addr add 198.51.100.3/24 dev eth0');
    const pings = (): boolean[] => ['198.51.100.3', '198.51.100.1'].map((address) =>
      peer.run('ping', ['-c', '2', '-i', '0.3', '-W', '2', address]).status === 0);
    host.netns.sh(`sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
      nft add table ip guard; nft 'add chain ip guard forward { type filter hook forward priority 0; policy drop; }'`);
    expect(pings()).toEqual([true, true]);
    host.netns.sh('sysctl -qw net.bridge.bridge-nf-call-iptables=1');
    expect(pings()).toEqual([false, true]);
    const found = (await findings()).find(({ what }) => what === 'bridged frames go through iptables');
    host.netns.sh(found?.cure ?? 'false');
    expect(pings()).toEqual([true, true]);
    expect(host.netns.sh('cat /sys/class/net/docker0/bridge/nf_call_iptables /sys/class/net/br0/bridge/nf_call_iptables')).toBe('1\n0\n');
    host.netns.sh('nft delete table ip guard; ip link del docker0');
    for (const each of [peer, other]) each.close();
  });

  kernelTest('looks at the host and at guests that are wired while libvirt does not answer', () => {
    const { stdout, stderr } = host.guestwire(['doctor', '--json'], { libvirt: false });
    expect(stderr).toMatch(/^guestwire: only guests that are wired are checked, because libvirt does not answer: .*\n$/);
    expect(JSON.parse(stdout)).toMatchObject({ version: 1, findings: expect.any(Array) });
  });
});
