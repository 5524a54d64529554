// @tier fast kernel
/** `guestwire doctor`: facts to findings as a table, and the command on a real kernel. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BridgeHealth, DefinedNic } from '../../lib/attachments/health-facts.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { diagnose, type DoctorFacts } from '../../lib/doctor/diagnosis.js';
import { droppingLegacy } from '../../lib/kernel/forward-chains.js';
import { EMPTY_SCOPE } from '../../lib/kernel/observation.js';
import { parseAddress } from '../../lib/values/address.js';
import { fakeKernel } from '../fakes/kernel.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

const SOUND: DoctorFacts = {
  config: defaultConfig(), names: [], observation: await fakeKernel({ links: {} }).observe(EMPTY_SCOPE),
  bridges: [], subinterfaces: [], nics: [],
  sysctls: new Map([['net/ipv4/neigh/default/gc_thresh3', '1024'], ['net/ipv6/neigh/default/gc_thresh3', '1024']]),
  uplinks: [], dropping: [], untold: [], install: [], libvirt: [9, 0], kernel: [6, 1],
};
const BRIDGE: BridgeHealth = {
  name: 'br0', filtering: true, defaultPvid: 0, learnsLinkLocal: false, snoops: false, queries: false,
  uplinks: new Map([['eno1', new Set([10])]]),
};
const PORT: DefinedNic = {
  guest: 'fw1', mac: '52:54:00:00:00:01', routed: undefined, bridge: 'br0', vids: [10], link: 'vnet*', running: true,
};
const LINK: DefinedNic = {
  guest: 'web1', mac: '52:54:00:00:00:02', routed: ['192.0.2.1', '2001:db8::1'].map(parseAddress), bridge: undefined,
  vids: [], link: 'vnet*', running: true,
};
const NINE = [parseAddress('fe80::9')];
const sysctls = (values: Record<string, string>): Pick<DoctorFacts, 'sysctls'> => ({
  sysctls: new Map([...SOUND.sysctls, ...Object.entries(values)]),
});

describe('findings', () => {
  test('a sound host has none', () => {
    expect(diagnose({ ...SOUND, bridges: [BRIDGE], nics: [PORT, LINK], uplinks: ['eno1'], ...sysctls({
      'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/eno1/accept_ra': '2',
    }) })).toEqual([]);
  });

  test.each<[string, Partial<DoctorFacts>, string, string]>([
    ['a bridge that does not filter', { bridges: [{ ...BRIDGE, filtering: false }], nics: [PORT] }, 'error', 'ip link set dev br0 type bridge vlan_filtering 1'],
    ['a default PVID', { bridges: [{ ...BRIDGE, defaultPvid: 1 }] }, 'warning', 'ip link set dev br0 type bridge vlan_default_pvid 0'],
    ['learning from link-local frames', { bridges: [{ ...BRIDGE, learnsLinkLocal: true }] }, 'warning', 'ip link set dev br0 type bridge no_linklocal_learn 1'],
    ['snooping without a querier', { bridges: [{ ...BRIDGE, snoops: true, uplinks: new Map() }] }, 'note', 'ip link set dev br0 type bridge mcast_querier 1'],
    ['a sub-interface that takes a VLAN in use', {
      bridges: [BRIDGE], nics: [PORT],
      subinterfaces: [{ ifname: 'eno1.10', parent: 'eno1', vid: 10, protocol: '802.1Q' }],
    }, 'error', 'ip link del eno1.10 (its addresses stop working; move them to br0 first)'],
    ['a sub-interface that takes another', {
      bridges: [BRIDGE], nics: [PORT],
      subinterfaces: [{ ifname: 'eno1.11', parent: 'eno1', vid: 11, protocol: '802.1Q' }],
    }, 'warning', 'ip link del eno1.11 (its addresses stop working; move them to br0 first)'],
    [
      'an uplink that is no port', { bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }] }, 'error',
      'ip link set dev eno2 master br0',
    ],
    ['VLANs that no uplink carries', { bridges: [{ ...BRIDGE, uplinks: new Map() }], nics: [PORT] }, 'note', 'uplinks = ["..."] in [bridge.br0] of the host config'],
    ['an address of two guests', {
      nics: [{ ...LINK, routed: NINE }, { ...LINK, guest: 'web2', mac: undefined, routed: NINE }],
    }, 'error', 'virsh edit web2'],
    [
      'a MAC of two guests', { bridges: [BRIDGE], nics: [PORT, { ...PORT, guest: 'fw2' }] }, 'warning',
      'virsh edit fw2',
    ],
    [
      'IPv4 forwarding off', { nics: [LINK], ...sysctls({ 'net/ipv4/ip_forward': '0' }) }, 'error',
      'sysctl -w net.ipv4.ip_forward=1',
    ],
    ['IPv6 forwarding off', { nics: [LINK], uplinks: [
      'eno1.5',
    ], ...sysctls({ 'net/ipv6/conf/all/forwarding': '0', 'net/ipv6/conf/eno1.5/accept_ra': '1' }) }, 'error', 'sysctl -w net.ipv6.conf.eno1/5.accept_ra=2 net.ipv6.conf.all.forwarding=1'],
    [
      'an uplink that takes no advertisements', { uplinks: ['eno1'], ...sysctls({ 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/eno1/accept_ra': '1' }) },
      'warning', 'sysctl -w net.ipv6.conf.eno1.accept_ra=2',
    ],
    [
      'strict rp_filter',
      { uplinks: ['eno1'], ...sysctls({ 'net/ipv4/conf/all/rp_filter': '0', 'net/ipv4/conf/eno1/rp_filter': '1' }) },
      'note', 'sysctl -w net.ipv4.conf.eno1.rp_filter=2',
    ],
    ['loose rp_filter of all', sysctls({ 'net/ipv4/conf/all/rp_filter': '2' }), 'warning', 'sysctl -w net.ipv4.conf.all.rp_filter=0'],
    [
      'a small neighbour table', { nics: [LINK], ...sysctls({ 'net/ipv6/neigh/default/gc_thresh3': '8' }) }, 'warning',
      'sysctl -w net.ipv6.neigh.default.gc_thresh3=16 net.ipv6.neigh.default.gc_thresh2=8',
    ],
    ['br_netfilter', sysctls({ 'net/bridge/bridge-nf-call-iptables': '1' }), 'warning', 'sysctl -w net.bridge.bridge-nf-call-iptables=0'],
    [
      'a forward chain that drops',
      { nics: [LINK], dropping: [{ kind: 'nft', name: 'ip filter FORWARD', from: [], to: [] }] }, 'warning', `nft insert rule ip filter FORWARD iifname '"vnet*"' accept && nft insert rule ip filter FORWARD oifname '"vnet*"' accept`,
    ],
    ['a forward chain that lets guests send only', { nics: [
      LINK, { ...LINK, link: 'web1' },
    ], dropping: [{ kind: 'nft', name: 'inet f x', from: ['vnet*', 'w*'], to: ['vnet*'] }] }, 'warning', `nft insert rule inet f x oifname '"web1"' accept`],
    [
      'a forward chain of iptables-legacy',
      { nics: [LINK], dropping: [{ kind: 'legacy', name: 'ip6tables-legacy', from: [], to: [] }] }, 'warning', 'ip6tables-legacy -I FORWARD -i vnet+ -j ACCEPT && ip6tables-legacy -I FORWARD -o vnet+ -j ACCEPT',
    ],
    [
      'an uplink without the VLAN of a running guest', { bridges: [{ ...BRIDGE, uplinks: new Map([['eno1', new Set([11])]]) }], nics: [PORT] }, 'error',
      'guestwire reconcile --all',
    ],
    [
      'a guest whose name a shell would take apart',
      { nics: [
        { ...LINK, routed: NINE }, { ...LINK, guest: "a'b $c", mac: undefined, routed: NINE },
      ] },
      'error', "virsh edit 'a'\\''b $c'",
    ],
    ['a daemon that was not told', { untold: ['NetworkManager'] }, 'warning', 'guestwire install --drop-ins'],
    [
      'a hook that is not installed',
      { install: [{ severity: 'error', what: 'it is not', cure: 'guestwire install' }] }, 'error', 'guestwire install',
    ],
    ['an old libvirt', { libvirt: [6, 4] }, 'warning', 'apt-get install --only-upgrade libvirt-daemon-system libvirt-clients'],
    ['an old kernel', { kernel: [5, 9] }, 'warning', 'apt-get install linux-image-amd64 && reboot'],
  ])('%s', (_, facts, severity, cure) => {
    expect(diagnose({ ...SOUND, ...facts })).toContainEqual({
      severity, cure, what: expect.any(String), why: expect.any(String),
    });
  });

  test('what lets guests by, or is of guests that do not run, is no finding', () => {
    expect(diagnose({
      ...SOUND, nics: [LINK], dropping: [{ kind: 'nft', name: 'ip filter FORWARD', from: ['vnet*'], to: ['vnet*'] }],
    })).toEqual([]);
    expect(diagnose({
      ...SOUND, bridges: [{ ...BRIDGE, uplinks: new Map([['eno1', new Set([11])]]) }],
      nics: [{ ...PORT, running: false }],
    })).toEqual([]);
  });

  test('a chain of iptables-legacy is told by its policy or its last rule', () => {
    expect(droppingLegacy('iptables-legacy', '-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n')).toBeUndefined();
    expect(droppingLegacy('iptables-legacy', '-P FORWARD DROP\n-A FORWARD -i vnet+ -j ACCEPT\n-A FORWARD -o web1 -j ACCEPT\n-A FORWARD -i br0 -p tcp -j ACCEPT\n'))
      .toEqual({ kind: 'legacy', name: 'iptables-legacy', from: ['vnet*'], to: ['web1'] });
    expect(droppingLegacy('iptables-legacy', '-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\n')).toMatchObject({ from: [], to: [] });
  });

  test('errors come first', () => {
    expect(diagnose({
      ...SOUND, libvirt: [6, 4], bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }],
    }).map(({ severity }) => severity)).toEqual(['error', 'warning']);
  });
});

describe('guestwire doctor on a real kernel', () => {
  let host: GuestHost;
  beforeAll(async () => {
    if (!canRun('root', 'netns', 'nft')) return;
    host = await openGuestHost('[bridge.br0]\nuplinks = ["up0"]\n[routed]\nproxy = ["wan0"]\n');
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

  kernelTest('looks at the host alone while libvirt does not answer', () => {
    const { stdout, stderr } = host.guestwire(['doctor', '--json'], { libvirt: false });
    expect(stderr).toMatch(/^guestwire: guests are not checked, because libvirt does not answer: .*\n$/);
    expect(JSON.parse(stdout)).toMatchObject({ version: 1, findings: expect.any(Array) });
  });
});
