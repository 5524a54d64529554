/** `guestwire doctor`: facts to findings as a table, and the command on a real kernel. */
import { describe, expect, test } from '@jest/globals';
import { type BridgeHealth, type DefinedNic, diagnose, type DoctorFacts } from '../lib/doctor.js';
import { testWith } from './capability.js';
import { openGuestHost } from './guesthost.js';
import { guestXml } from './routedhost.js';

const SOUND: DoctorFacts = {
  bridges: [], subinterfaces: [], nics: [], sysctls: new Map([['net/ipv4/neigh/default/gc_thresh3', '1024'], ['net/ipv6/neigh/default/gc_thresh3', '1024']]),
  uplinks: [], dropping: [], untold: [], install: [], libvirt: [9, 0], kernel: [6, 1],
};
const BRIDGE: BridgeHealth = { name: 'br0', filtering: true, defaultPvid: 0, learnsLinkLocal: false, snoops: false, queries: false, uplinks: new Map([['eno1', new Set([10])]]) };
const PORT: DefinedNic = { guest: 'fw1', mac: '52:54:00:00:00:01', addresses: [], bridge: 'br0', vids: [10] };
const LINK: DefinedNic = { guest: 'web1', mac: '52:54:00:00:00:02', addresses: ['192.0.2.1', '2001:db8::1'], bridge: undefined, vids: [] };
const sysctls = (values: Record<string, string>): Pick<DoctorFacts, 'sysctls'> => ({ sysctls: new Map([...SOUND.sysctls, ...Object.entries(values)]) });

describe('findings', () => {
  test('a sound host has none', () => {
    expect(diagnose({ ...SOUND, bridges: [BRIDGE], nics: [PORT, LINK], uplinks: ['eno1'], ...sysctls({ 'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/eno1/accept_ra': '2' }) })).toEqual([]);
  });

  test.each<[string, Partial<DoctorFacts>, string, string]>([
    ['a bridge that does not filter', { bridges: [{ ...BRIDGE, filtering: false }], nics: [PORT] }, 'error', 'ip link set dev br0 type bridge vlan_filtering 1'],
    ['a default PVID', { bridges: [{ ...BRIDGE, defaultPvid: 1 }] }, 'warning', 'ip link set dev br0 type bridge vlan_default_pvid 0'],
    ['learning from link-local frames', { bridges: [{ ...BRIDGE, learnsLinkLocal: true }] }, 'warning', 'ip link set dev br0 type bridge no_linklocal_learn 1'],
    ['snooping without a querier', { bridges: [{ ...BRIDGE, snoops: true, uplinks: new Map() }] }, 'note', 'ip link set dev br0 type bridge mcast_querier 1'],
    ['a sub-interface that takes a VLAN in use', { bridges: [BRIDGE], nics: [PORT], subinterfaces: [{ ifname: 'eno1.10', parent: 'eno1', vid: 10, protocol: '802.1Q' }] }, 'error', 'ip link del eno1.10'],
    ['a sub-interface that takes another', { bridges: [BRIDGE], nics: [PORT], subinterfaces: [{ ifname: 'eno1.11', parent: 'eno1', vid: 11, protocol: '802.1Q' }] }, 'warning', 'ip link del eno1.11'],
    ['an uplink that is no port', { bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }] }, 'error', 'ip link set dev eno2 master br0'],
    ['VLANs that no uplink carries', { bridges: [{ ...BRIDGE, uplinks: new Map() }], nics: [PORT] }, 'note', 'uplinks = ["..."] in [bridge.br0] of the host config'],
    ['an address of two guests', { nics: [{ ...LINK, addresses: ['fe80::9'] }, { ...LINK, guest: 'web2', mac: undefined, addresses: ['fe80::9'] }] }, 'error', 'virsh edit web2'],
    ['a MAC of two guests', { bridges: [BRIDGE], nics: [PORT, { ...PORT, guest: 'fw2' }] }, 'warning', 'virsh edit fw2'],
    ['IPv4 forwarding off', { nics: [LINK], ...sysctls({ 'net/ipv4/ip_forward': '0' }) }, 'error', 'sysctl -w net.ipv4.ip_forward=1'],
    ['IPv6 forwarding off', { nics: [LINK], uplinks: ['eno1.5'], ...sysctls({ 'net/ipv6/conf/all/forwarding': '0', 'net/ipv6/conf/eno1.5/accept_ra': '1' }) }, 'error', 'sysctl -w net.ipv6.conf.eno1/5.accept_ra=2 net.ipv6.conf.all.forwarding=1'],
    ['an uplink that takes no advertisements', { uplinks: ['eno1'], ...sysctls({ 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/eno1/accept_ra': '1' }) }, 'warning', 'sysctl -w net.ipv6.conf.eno1.accept_ra=2'],
    ['strict rp_filter', { uplinks: ['eno1'], ...sysctls({ 'net/ipv4/conf/all/rp_filter': '0', 'net/ipv4/conf/eno1/rp_filter': '1' }) }, 'note', 'sysctl -w net.ipv4.conf.eno1.rp_filter=2'],
    ['loose rp_filter of all', sysctls({ 'net/ipv4/conf/all/rp_filter': '2' }), 'warning', 'sysctl -w net.ipv4.conf.all.rp_filter=0'],
    ['a small neighbour table', { nics: [LINK], ...sysctls({ 'net/ipv6/neigh/default/gc_thresh3': '8' }) }, 'warning', 'sysctl -w net.ipv6.neigh.default.gc_thresh3=16 net.ipv6.neigh.default.gc_thresh2=8'],
    ['br_netfilter', sysctls({ 'net/bridge/bridge-nf-call-iptables': '1' }), 'warning', 'sysctl -w net.bridge.bridge-nf-call-iptables=0'],
    ['a forward chain that drops', { nics: [LINK], dropping: ['ip filter FORWARD'] }, 'warning', "nft list chain ip filter FORWARD, and accept there what goes to and from guests' links"],
    ['a daemon that was not told', { untold: ['NetworkManager'] }, 'warning', 'guestwire install --drop-ins'],
    ['a hook that is not installed', { install: [{ severity: 'error', what: 'it is not', cure: 'guestwire install' }] }, 'error', 'guestwire install'],
    ['an old libvirt', { libvirt: [6, 4] }, 'warning', 'update libvirt to 9.0 or newer'],
    ['an old kernel', { kernel: [5, 9] }, 'warning', 'update the kernel to 5.10 or newer'],
  ])('%s', (_, facts, severity, cure) => {
    expect(diagnose({ ...SOUND, ...facts })).toContainEqual({ severity, cure, what: expect.any(String), why: expect.any(String) });
  });

  test('errors come first', () => {
    expect(diagnose({ ...SOUND, libvirt: [6, 4], bridges: [{ ...BRIDGE, uplinks: new Map([['eno2', undefined]]) }] }).map(({ severity }) => severity)).toEqual(['error', 'warning']);
  });
});

testWith('root', 'netns', 'nft')('guestwire doctor finds on a real kernel what was done to it', async () => {
  const host = await openGuestHost();
  try {
    host.say(guestXml({ name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'] }), false);
    host.say(guestXml({ name: 'web2', tap: 'vnet2', addresses: ['192.0.2.10'] }), false);
    host.netns.sh(`sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=2
      nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'`);
    const before = host.netns.dump();
    const { status, stdout } = host.guestwire(['doctor', '--json']);
    expect(status).toBe(1);
    const { findings } = JSON.parse(stdout) as { findings: { what: string }[] };
    expect(findings.map(({ what }) => what)).toEqual(expect.arrayContaining(['this host does not forward IPv4', 'rp_filter of all links is loose', "chain 'ip filter FORWARD' drops what nobody lets pass"]));
    expect(host.netns.dump()).toBe(before);
    expect(host.guestwire(['doctor']).stdout).toMatch(/^error: .*\n {2}why: {2}.*\n {2}cure: /);
  } finally {
    host.close();
  }
}, 30_000);
