// @tier fast
/** What `doctor` finds on a host, as a table: facts to findings. */
import { describe, expect, test } from '@jest/globals';
import type { BridgeHealth, DefinedNic } from '../../lib/attachments/health-facts.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { diagnose, type DoctorFacts } from '../../lib/doctor/diagnosis.js';
import { EMPTY_SCOPE, type Subinterface } from '../../lib/kernel/observation.js';
import { parseAddress } from '../../lib/values/address.js';
import { fakeKernel } from '../fakes/kernel.js';

const SOUND: DoctorFacts = {
  config: defaultConfig(), names: [],
  observation: await fakeKernel({ links: { br0: { ifindex: 2, bridge: {} }, eno2: { ifindex: 3 } } })
    .observe({ ...EMPTY_SCOPE, links: ['br0', 'eno2'] }),
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
const takingVlan = (vid: number): Subinterface => ({ ifname: `eno1.${vid}`, parent: 'eno1', vid, protocol: '802.1Q' });
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
      bridges: [BRIDGE], nics: [PORT], subinterfaces: [takingVlan(10)],
    }, 'error', "move its addresses and routes to VLAN '10' of the bridge (docs/vlan.md), and then remove it"],
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
    expect(diagnose({ ...SOUND, bridges: [BRIDGE], nics: [PORT], subinterfaces: [takingVlan(11)] })).toEqual([]);
    expect(diagnose({
      ...SOUND, nics: [LINK], dropping: [{ kind: 'nft', name: 'ip filter FORWARD', from: ['vnet*'], to: ['vnet*'] }],
    })).toEqual([]);
    expect(diagnose({
      ...SOUND, bridges: [{ ...BRIDGE, uplinks: new Map([['eno1', new Set([11])]]) }],
      nics: [{ ...PORT, running: false }],
    })).toEqual([]);
  });

  test('errors come first', () => {
    expect(diagnose({
      ...SOUND, libvirt: [6, 4], bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }],
    }).map(({ severity }) => severity)).toEqual(['error', 'warning']);
  });
});
