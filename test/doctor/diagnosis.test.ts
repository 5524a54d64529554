// @tier fast
/** What `doctor` finds on a host, as a table: facts to findings. */
import { describe, expect, test } from '@jest/globals';
import type { BridgeHealth, DefinedNic } from '../../lib/attachments/health-facts.js';
import { routedHealth } from '../../lib/attachments/routed-link/health.js';
import { joined, withFurther } from '../../lib/attachments/scope.js';
import { parseConfig } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { diagnose, type DoctorFacts } from '../../lib/doctor/diagnosis.js';
import type { DroppingChain } from '../../lib/kernel/host-chains.js';
import type { HostRule } from '../../lib/kernel/host-rules.js';
import { EMPTY_SCOPE, type Subinterface } from '../../lib/kernel/observation.js';
import { parseAddress, parsePrefix } from '../../lib/values/address.js';
import { type FakeHost, fakeKernel } from '../fakes/kernel.js';

const SOUND: DoctorFacts = {
  config: defaultConfig(), names: [],
  observation: await fakeKernel({ links: { br0: { ifindex: 2, bridge: {} }, eno2: { ifindex: 3 } } })
    .observe({ ...EMPTY_SCOPE, links: ['br0', 'eno2'] }),
  bridges: [], subinterfaces: [], nics: [],
  sysctls: new Map([['net/ipv4/neigh/default/gc_thresh3', '1024'], ['net/ipv6/neigh/default/gc_thresh3', '1024']]),
  uplinks: [], dropping: [], rules: [], allBridges: [], defined: [], asked: [], untold: [], install: [],
  libvirt: [9, 0],
  kernel: [6, 1],
};
const SERVING = parseConfig('[serve]\n', 'config.toml');
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
const takingVlan = (vid: number): Subinterface => ({ ifname: `eno1.${vid}`, parent: 'eno1', vid, protocol: '802.1Q' });
const NINE = [parseAddress('fe80::9')];
const NONE = { 'nd-neighbor-solicit': [], 'nd-neighbor-advert': [], 'nd-router-solicit': [], dhcp: [], dhcpv6: [] };
const chain = (of: Partial<DroppingChain> & Pick<DroppingChain, 'name'>): DroppingChain => ({
  kind: 'nft', hook: 'forward', family: of.name.split(' ')[0] ?? '', from: [], to: [], accepts: NONE, ...of,
});
const rule = (of: Partial<HostRule>): HostRule => ({
  family: 'inet', priority: 100, from: undefined, to: undefined, iif: undefined, isPartial: false, action: 'prohibit',
  protocol: 0, ...of,
});
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
    ['a bridge that does not filter',
      { bridges: [{ ...BRIDGE, filtering: false }], nics: [PORT] },
      'error', 'ip link set dev br0 type bridge vlan_filtering 1'],
    ['a default PVID',
      { bridges: [{ ...BRIDGE, defaultPvid: 1 }] },
      'warning', 'ip link set dev br0 type bridge vlan_default_pvid 0'],
    ['learning from link-local frames',
      { bridges: [{ ...BRIDGE, learnsLinkLocal: true }] },
      'warning', 'ip link set dev br0 type bridge no_linklocal_learn 1'],
    ['snooping without a querier',
      { bridges: [{ ...BRIDGE, snoops: true, uplinks: new Map() }] },
      'note', 'ip link set dev br0 type bridge mcast_querier 1'],
    ['a sub-interface that takes a VLAN in use', {
      bridges: [BRIDGE], nics: [PORT], subinterfaces: [takingVlan(10)],
    }, 'error', "move its addresses and routes to VLAN '10' of the bridge (docs/vlan.md), and then remove it"],
    [
      'an uplink that is no port', { bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }] }, 'error',
      'ip link set dev eno2 master br0',
    ],
    ['VLANs that no uplink carries',
      { bridges: [{ ...BRIDGE, uplinks: new Map() }], nics: [PORT] },
      'note', 'uplinks = ["..."] in [bridge.br0] of the host config'],
    ['an uplink that is the link of a guest', {
      bridges: [{ ...BRIDGE, uplinks: new Map([['vnet3', new Set([10])]]) }], nics: [PORT],
    }, 'error', "name a link towards the world in 'uplinks' of [bridge.br0]"],
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
    ['loose rp_filter of all',
      sysctls({ 'net/ipv4/conf/all/rp_filter': '2' }),
      'warning', 'sysctl -w net.ipv4.conf.all.rp_filter=0'],
    ['loose rp_filter of all over strict links of the host',
      { nics: [LINK], ...sysctls({
        'net/ipv4/conf/all/rp_filter': '2', 'net/ipv4/conf/eno1/rp_filter': '1', 'net/ipv4/conf/vnet3/rp_filter': '1',
      }) },
      'warning', 'sysctl -w net.ipv4.conf.eno1.rp_filter=2 net.ipv4.conf.all.rp_filter=0'],
    [
      'a small neighbour table', { nics: [LINK], ...sysctls({ 'net/ipv6/neigh/default/gc_thresh3': '8' }) }, 'warning',
      'sysctl -w net.ipv6.neigh.default.gc_thresh3=16 net.ipv6.neigh.default.gc_thresh2=8',
    ],
    ['br_netfilter',
      { nics: [PORT], allBridges: ['br0', 'docker0'], ...sysctls({ 'net/bridge/bridge-nf-call-iptables': '1' }) },
      'warning', 'ip link set dev docker0 type bridge nf_call_iptables 1 && sysctl -w net.bridge.bridge-nf-call-iptables=0'],
    [
      'a forward chain that drops',
      { nics: [LINK], dropping: [chain({ name: 'ip filter FORWARD' })] }, 'warning', `nft insert rule ip filter FORWARD iifname '"vnet*"' accept && nft insert rule ip filter FORWARD oifname '"vnet*"' accept`,
    ],
    ['a forward chain that lets guests send only', { nics: [
      LINK, { ...LINK, link: 'web1' },
    ], dropping: [chain({ name: 'inet f x', from: ['vnet*', 'w*'], to: ['vnet*'] })] }, 'warning', `nft insert rule inet f x oifname '"web1"' accept`],
    [
      'a forward chain of iptables-legacy',
      { nics: [LINK], dropping: [chain({ kind: 'legacy', name: 'ip6tables-legacy', family: 'ip6' })] }, 'warning', 'ip6tables-legacy -I FORWARD -i vnet+ -j ACCEPT && ip6tables-legacy -I FORWARD -o vnet+ -j ACCEPT',
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
    ['an uplink that does not forward',
      { nics: [LINK], uplinks: ['eno1.5'], ...sysctls({
        'net/ipv4/ip_forward': '1', 'net/ipv4/conf/eno1.5/forwarding': '0',
      }) },
      'error', 'sysctl -w net.ipv4.conf.eno1/5.forwarding=1'],
    ['ARP that is not answered',
      { nics: [LINK], ...sysctls({ 'net/ipv4/conf/all/arp_ignore': '2' }) },
      'error', 'sysctl -w net.ipv4.conf.all.arp_ignore=1'],
    ['an uplink without IPv6',
      { nics: [LINK], uplinks: ['eno1'], ...sysctls({ 'net/ipv6/conf/eno1/disable_ipv6': '1' }) },
      'warning', 'sysctl -w net.ipv6.conf.eno1.disable_ipv6=0'],
    ['a full table of connections',
      sysctls({ 'net/netfilter/nf_conntrack_max': '100', 'net/netfilter/nf_conntrack_count': '95' }),
      'error', 'sysctl -w net.netfilter.nf_conntrack_max=200'],
    ['an input chain that drops neighbour discovery',
      { nics: [LINK], dropping: [chain({ name: 'inet filter input', hook: 'input' })] },
      'error', `nft insert rule inet filter input 'iifname "vnet*" icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept'`],
    ['one of ip6tables-legacy',
      { nics: [LINK], dropping: [chain({ kind: 'legacy', name: 'ip6tables-legacy', hook: 'input', family: 'ip6' })] },
      'error', 'ip6tables-legacy -I INPUT -i vnet+ -p ipv6-icmp -j ACCEPT'],
    ['an input chain that drops DHCP',
      { config: SERVING, nics: [LINK], dropping: [chain({ name: 'ip filter input', hook: 'input' })] },
      'error', `nft insert rule ip filter input 'iifname "vnet*" udp dport { 67, 547 } accept'`],
    ['a prerouting chain that drops',
      { nics: [LINK], dropping: [chain({ name: 'ip raw pre', hook: 'prerouting' })] },
      'warning', `nft insert rule ip raw pre 'iifname "vnet*" accept' && nft insert rule ip raw pre 'ip daddr 192.0.2.1 accept'`],
    ['a chain of family netdev that drops',
      { nics: [LINK], dropping: [chain({ name: 'netdev f in', hook: 'ingress' })] },
      'warning', "a rule in it that accepts the addresses of guests; 'nft list chain netdev f in' shows it"],
    ['a chain of family bridge that drops',
      { bridges: [BRIDGE], nics: [PORT], dropping: [chain({ name: 'bridge f fwd' })] },
      'warning', `nft insert rule bridge f fwd iifname '"vnet*"' accept && nft insert rule bridge f fwd oifname '"vnet*"' accept`],
    ['a routing rule that stops guests',
      { nics: [LINK], rules: [rule({ from: parsePrefix('192.0.2.0/24') })] },
      'error', 'ip rule add priority 99 from 192.0.2.1 lookup main && ip rule add priority 99 to 192.0.2.1 lookup main'],
    ['a routing rule that sends guests elsewhere',
      { nics: [LINK], rules: [rule({ family: 'inet6', action: 'lookup 100' })] },
      'note', 'ip -6 rule add priority 99 from 2001:db8::1 lookup main && ip -6 rule add priority 99 to 2001:db8::1 lookup main'],
    ['a daemon that was not told', { untold: ['NetworkManager'] }, 'warning', 'guestwire install --drop-ins'],
    [
      'a hook that is not installed',
      { install: [{ severity: 'error', what: 'it is not', cure: 'guestwire install' }] }, 'error', 'guestwire install',
    ],
    ['an old libvirt',
      { libvirt: [6, 4] },
      'warning', 'apt-get install --only-upgrade libvirt-daemon-system libvirt-clients'],
    ['an old kernel',
      { kernel: [5, 9] },
      'warning', 'apt-get install linux-image-amd64, and a reboot when the guests allow it'],
  ])('%s', (_, facts, severity, cure) => {
    expect(diagnose({ ...SOUND, ...facts })).toContainEqual({
      severity, cure, what: expect.any(String), why: expect.any(String),
    });
  });

  test('what lets guests by, or is of guests that do not run, is no finding', () => {
    expect(diagnose({ ...SOUND, bridges: [BRIDGE], nics: [PORT], subinterfaces: [takingVlan(11)] })).toEqual([]);
    expect(diagnose({
      ...SOUND, nics: [LINK], dropping: [chain({ name: 'ip filter FORWARD', from: ['vnet*'], to: ['vnet*'] })],
    })).toEqual([]);
    expect(diagnose({
      ...SOUND, bridges: [{ ...BRIDGE, uplinks: new Map([['eno1', new Set([11])]]) }],
      nics: [{ ...PORT, running: false }],
    })).toEqual([]);
  });

  test('a chain or rule that leaves guests alone is no finding', () => {
    const accepts = { ...NONE, 'nd-neighbor-solicit': ['*'], 'nd-neighbor-advert': ['vnet*'] };
    expect(diagnose({
      ...SOUND, nics: [LINK],
      dropping: [
        chain({ name: 'inet filter input', hook: 'input', accepts }),
        chain({ name: 'ip filter input', hook: 'input' }), chain({ name: 'bridge f fwd' }),
      ],
      rules: [
        rule({ isPartial: true }), rule({ from: parsePrefix('198.51.100.0/24') }), rule({ iif: 'eno1' }),
        rule({ protocol: 117 }), rule({ protocol: 2, priority: 1000 }), rule({ priority: 32767 }),
      ],
      ...sysctls({ 'net/ipv4/conf/all/arp_ignore': '1', 'net/ipv4/ip_forward': '1' }),
    })).toEqual([]);
    expect(diagnose({ ...SOUND, nics: [LINK], ...sysctls({ 'net/bridge/bridge-nf-call-iptables': '1' }) })).toEqual([]);
  });

  test('errors come first', () => {
    expect(diagnose({
      ...SOUND, libvirt: [6, 4], bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }],
    }).map(({ severity }) => severity)).toEqual(['error', 'warning']);
  });
});

describe('what the host config claims for routed links', () => {
  const [HOP, OWN] = ['203.0.113.1', '203.0.113.10'];
  const LOCAL = (address: string, dev: string) => ({ dev, address, prefix: `${address}/32` });

  async function found(toml: string, host: FakeHost, nics: readonly DefinedNic[] = [LINK]): Promise<string[]> {
    const config = parseConfig(toml, 'config.toml');
    const kernel = fakeKernel(host);
    const named = { config, names: [] };
    const first = await kernel.observe(joined([routedHealth.scope?.(named) ?? {}]));
    const further = await kernel.observe(joined([routedHealth.furtherScope?.(named, first) ?? {}]));
    const facts = { ...SOUND, config, nics, observation: withFurther(first, further) };
    return diagnose(facts).map(({ severity, what }) => `${severity}: ${what}`);
  }

  const gateways = (...list: string[]): string => `[routed]\ngateways = ${JSON.stringify(list)}\n`;
  const host: FakeHost = {
    links: { eno1: { ifindex: 2 }, vnet0: { ifindex: 3 } },
    networks: [LOCAL(OWN, 'eno1'), LOCAL('203.0.113.20', 'vnet0'), LOCAL('169.254.0.9', 'eno1')],
    routes: [
      { to: 'default', via: HOP, dev: 'eno1' }, { to: '198.51.100.0/24', via: '169.254.0.1', dev: 'eno1' },
      { to: '2001:db8:1::/48', via: 'fe80::1', dev: 'eno1' },
    ],
  };

  test('a gateway is neither a next hop nor an address of the host', async () => {
    expect(await found(gateways(HOP, OWN), host)).toEqual([
      `error: gateway '${HOP}' of the host config is the next hop of this host's route '0.0.0.0/0' on 'eno1'`,
      `error: gateway '${OWN}' of the host config is an address of this host on 'eno1'`,
    ]);
    expect(await found(gateways('203.0.113.20', '169.254.0.9', 'fe80::1'), host)).toEqual([]);
  });

  test('the IPv4 default is a fault only where a guest has it', async () => {
    expect(await found('', host)).toEqual([
      "error: gateway '169.254.0.1' of the host config is the next hop of this host's route '198.51.100.0/24' on 'eno1'",
    ]);
    expect(await found('', host, [])).toEqual([]);
  });

  test('the source is an address of the host', async () => {
    expect(await found(`[routed]\nsource = "${OWN}"\n`, { ...host, routes: [] })).toEqual([]);
    expect(await found('[routed]\nsource = "203.0.113.11"\n', { ...host, routes: [] }))
      .toEqual(["error: '203.0.113.11', the 'source' of [routed] in the host config, is not an address of this host"]);
  });

  test('proxy links exist, and are not links of guests', async () => {
    const proxy = (dev: string): string => `[routed]\nprefixes = ["192.0.2.0/26"]\nproxy = ["${dev}"]\n`;
    const quiet = { ...host, routes: [] };
    expect(await found(proxy('eno1'), quiet)).toEqual([]);
    expect(await found(proxy('eno9'), quiet)).toEqual(["error: proxy link 'eno9' does not exist"]);
    expect(await found(proxy('vnet0'), quiet)).toEqual(["error: proxy link 'vnet0' is the link of guest 'web1'"]);
  });
});
