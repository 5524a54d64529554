// @tier fast
/**
 * iproute2's and nft's JSON to facts: what the versions print differently must come out the same, anything odd is an
 * error.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { ToolOutputError } from '../../lib/errors.js';
import {
  parseLinks, parseNextHops, parseRoutes, parseSubinterfaces, parseVlans,
} from '../../lib/kernel/iproute-output.js';
import { parseFilter } from '../../lib/kernel/nft-output.js';
import { parseAddress, parsePrefix } from '../../lib/values/address.js';

/** Captured by test/lab/uml/capture.js, which says how this host was made. */
describe.each(['6.1', '6.15'])('what iproute2 %s printed on a host with VLAN-aware bridges', (version) => {
  const captured = (name: string): unknown[] => JSON.parse(readFileSync(`fixtures/tools/iproute2-${version}/${name}.json`, 'utf8')) as unknown[];

  test.each(['bridge-vlan', 'bridge-vlan-compressed'])('%s: the VLANs of every port', (name) => {
    const vlans = parseVlans(captured(name));
    const shown = Object.fromEntries([...vlans].map(([port, members]) => [
      port, members.map(({ vid, pvid, untagged }) => `${vid}${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}`).join(', '),
    ]));
    expect(shown).toEqual({
      br0: '1 pvid untagged, 50, 51, 52',
      flat0: '1 pvid untagged',
      up0: '1 pvid untagged, 10, 20, 100, 101, 102, 103',
      access: '42 pvid untagged',
      trunk: '10, 20, 100, 101, 102, 103, 4094',
      native: '10, 20 pvid untagged, 30, 31, 32',
      nativetagged: '10, 20 pvid',
      isolated: '42 pvid untagged',
      default0: '1 pvid untagged',
      tap0: '1 pvid untagged',
    });
  });

  test('ip-link: bridges, ports and sub-interfaces', () => {
    const links = new Map(parseLinks(captured('ip-link')).map((link) => [link.ifname, link]));
    expect(links.get('br0')).toMatchObject({
      ifindex: 2, up: true, master: undefined, isolated: undefined,
      bridge: { capable: true, filtering: true, defaultPvid: 1 },
    });
    expect(links.get('flat0')).toMatchObject({ bridge: { capable: true, filtering: false, defaultPvid: 1 } });
    expect(links.get('isolated')).toMatchObject({ master: 'br0', isolated: true, bridge: undefined });
    expect(links.get('tap0')).toMatchObject({ master: 'br0', isolated: false, txqlen: 500 });
    const vlanLinks = captured('ip-link').filter((link) =>
      (link as { linkinfo?: { info_kind?: string } }).linkinfo?.info_kind === 'vlan');
    expect(vlanLinks).toHaveLength(2);
    expect(parseSubinterfaces(vlanLinks)).toEqual([
      { ifname: 'up0x.100', parent: 'up0x', vid: 100, protocol: '802.1Q' },
      { ifname: 'outer', parent: 'up0x', vid: 100, protocol: '802.1ad' },
    ]);
  });
});

describe('bridge -json vlan show', () => {
  const members = [
    { vid: 10, pvid: true, untagged: true },
    { vid: 100, pvid: false, untagged: false },
    { vid: 101, pvid: false, untagged: false },
  ];

  test('reads a tagged VID without flags, as it is printed uncompressed', () => {
    const answer = [
      { ifname: 'vnet0', vlans: [{ vlan: 10, flags: ['PVID', 'Egress Untagged'] }, { vlan: 100 }, { vlan: 101 }] },
    ];
    expect(parseVlans(answer)).toEqual(new Map([['vnet0', members]]));
  });

  test('reads a range with an empty list of flags, as it is printed compressed', () => {
    const answer = [{
      ifname: 'vnet0',
      vlans: [{ vlan: 100, vlanEnd: 101, flags: [] }, { vlan: 10, flags: ['PVID', 'Egress Untagged'] }],
    }];
    expect(parseVlans(answer)).toEqual(new Map([['vnet0', members]]));
  });

  test('a native-tagged VID has the PVID alone; a port without VLANs is not printed', () => {
    expect(parseVlans([{ ifname: 'a', vlans: [{ vlan: 7, flags: ['PVID'] }] }, {}]))
      .toEqual(new Map([['a', [{ vid: 7, pvid: true, untagged: false }]]]));
    expect(parseVlans([])).toEqual(new Map());
  });
});

describe('ip -json -details address show', () => {
  const link = { ifindex: 7, ifname: 'vnet0', flags: ['BROADCAST', 'UP'], txqlen: 1000 };

  test('reads what is needed and passes over the rest', () => {
    const answer = [{ ...link, master: 'br0', mtu: 1500, addr_info: [
      { family: 'inet6', local: 'FE80:0::1', prefixlen: 64, nodad: true },
    ],
      linkinfo: {
        info_kind: 'tun', info_slave_kind: 'bridge', info_slave_data: { isolated: true, state: 'forwarding' },
      } }];
    expect(parseLinks(answer)).toEqual([{
      ifname: 'vnet0', ifindex: 7, up: true, txqlen: 1000,
      master: 'br0', addresses: [{ address: parseAddress('fe80::1'), length: 64 }], isolated: true, bridge: undefined,
      mtu: 1500, allmulticast: false, alias: undefined, peer: undefined, tap: undefined,
    }]);
  });

  test('a link that is down, alone and without a queue', () => {
    expect(parseLinks([{ ifindex: 7, ifname: 'vnet0', flags: [] }])).toEqual([{
      ifname: 'vnet0', ifindex: 7, up: false, txqlen: 0,
      master: undefined, addresses: [], isolated: undefined, bridge: undefined,
      mtu: undefined, allmulticast: false, alias: undefined, peer: undefined, tap: undefined,
    }]);
  });

  test.each([
    [
      'that filters', { vlan_filtering: 1, vlan_protocol: '802.1Q', vlan_default_pvid: 0 },
      { capable: true, filtering: true, protocol: '802.1Q', defaultPvid: 0 },
    ],
    [
      'that does not', { vlan_filtering: 0, vlan_protocol: '802.1Q', vlan_default_pvid: 1 },
      { capable: true, filtering: false, protocol: '802.1Q', defaultPvid: 1 },
    ],
    [
      'in a kernel that cannot', { vlan_filtering: 0 },
      { capable: false, filtering: false, protocol: '802.1Q', defaultPvid: 0 },
    ],
  ])('a bridge %s', (_, info_data, bridge) => {
    expect(parseLinks([{ ...link, linkinfo: { info_kind: 'bridge', info_data } }])[0]?.bridge).toMatchObject(bridge);
  });

  test('a bridge says whether it speaks spanning tree, and how long a new port waits', () => {
    const of = (info_data: object): unknown =>
      parseLinks([{ ...link, linkinfo: { info_kind: 'bridge', info_data } }])[0]?.bridge;
    expect(of({ forward_delay: 1500, stp_state: 0 })).toMatchObject({ stp: false, forwardDelay: 1500 });
    expect(of({ forward_delay: 0, stp_state: 2 })).toMatchObject({ stp: true, forwardDelay: 0 });
  });

  test('a sub-interface says whose it is and of which VLAN', () => {
    const of = (more: object, info_data: object): unknown =>
      parseLinks([{ ...link, ...more, linkinfo: { info_kind: 'vlan', info_data } }])[0]?.vlan;
    expect(of({ link: 'eno1' }, { protocol: '802.1Q', id: 30 }))
      .toEqual({ parent: 'eno1', vid: 30, protocol: '802.1Q' });
    expect(of({ link: 'eno1' }, { protocol: '802.1ad', id: 30 }))
      .toEqual({ parent: 'eno1', vid: 30, protocol: '802.1ad' });
    // Its parent is in another network namespace.
    expect(of({ link_index: 7 }, { protocol: '802.1Q', id: 30 })).toBeUndefined();
    expect(parseLinks([link])[0]?.vlan).toBeUndefined();
  });

  test('the empty object that stands for a link left out is no link', () => {
    expect(parseLinks([{}, link, {}])).toHaveLength(1);
  });
});

describe('ip -json -details route', () => {
  test('the question fills in what the answer leaves out', () => {
    expect(
      parseRoutes([{ type: 'unicast', dst: '192.0.2.10', table: 'main' }], { dev: 'vnet0', protocol: '117' })[0],
    ).toMatchObject({
      to: { text: '192.0.2.10/32' }, dev: 'vnet0', via: undefined, table: 'main', protocol: '117',
    });
  });

  test('the source that a route prefers', () => {
    const sources = parseRoutes([
      { dst: '192.0.2.10', dev: 'vnet0', prefsrc: '198.51.100.1' }, { dst: '2001:db8::a', dev: 'vnet0' },
    ]).map(({ src }) => src);
    expect(sources).toEqual(['198.51.100.1', undefined]);
  });

  test('a route to nowhere is on no device, though iproute2 6.15 lists it in a batch for any', () => {
    expect(
      parseRoutes([{ type: '7', dst: 'default', table: '10', scope: '0', metric: 4294967295, flags: [] }], {
        dev: 'vnet0', protocol: '117',
      })[0],
    ).toMatchObject({
      type: 'unreachable', dev: undefined, table: '10', protocol: '117',
    });
  });

  test('default routes of both families, next hops of a multipath route, and of the other family', () => {
    const routes = parseRoutes([
      { dst: 'default', gateway: '203.0.113.1', dev: 'eno1', protocol: 'boot' },
      { dst: 'default', gateway: 'fe80::1', dev: 'eno1', protocol: 'ra' },
      { dst: '198.51.100.0/24', protocol: 'bgp', nexthops: [{ dev: 'a' }, { gateway: '203.0.113.9', dev: 'b' }] },
      { dst: '198.51.101.0/24', protocol: 'bgp', via: { family: 'inet6', host: 'fe80::9' }, dev: 'a' },
      { type: 'blackhole', dst: '2001:db8::/32', protocol: 'static' },
    ], {});
    expect(routes.map(({ hops }) => hops.map(({ text }) => text))).toEqual(
      [['203.0.113.1'], ['fe80::1'], ['203.0.113.9'], ['fe80::9'], []],
    );
    expect(routes.map(({ type, to, dev, via }) => [type, to.text, dev, via?.text])).toEqual([
      ['unicast', '0.0.0.0/0', 'eno1', '203.0.113.1'], ['unicast', '::/0', 'eno1', 'fe80::1'],
      ['unicast', '198.51.100.0/24', 'a', '203.0.113.9'], ['unicast', '198.51.101.0/24', 'a', 'fe80::9'],
      ['blackhole', '2001:db8::/32', undefined, undefined],
    ]);
  });
});

describe('next hops in a whole table', () => {
  const table = [
    {
      dst: 'default',
      protocol: 'static',
      nexthops: [{ gateway: '203.0.113.1', dev: 'a' }, { gateway: '203.0.113.129', dev: 'a' }],
    },
    { dst: 'default', protocol: 'ra', gateway: '2001:db8::1', dev: 'a' },
    { dst: '10.0.0.0/8', protocol: 'bgp', via: { family: 'inet6', host: '2001:db8::9' }, dev: 'a' },
    { dst: '192.0.2.0/24', dev: 'a', protocol: 'kernel' },
    { dst: 'rubbish that nobody asks about' },
  ];
  test.each([
    ['203.0.113.129/32', ['0.0.0.0/0']],
    ['203.0.113.0/24', ['0.0.0.0/0']],
    ['2001:db8::/64', ['::/0', '10.0.0.0/8']],
    ['192.0.2.1/32', []],
  ])('those in %s', (prefix, found) => {
    expect(parseNextHops(table, [parsePrefix(prefix)]).map(({ to }) => to.text)).toEqual(found);
  });

  test('a next hop that is no address is an error', () => {
    expect(() => parseNextHops([{ dst: 'default', gateway: 7 }], [])).toThrow(ToolOutputError);
  });
});

describe('ip -Numeric', () => {
  test.each([
    [
      { type: '1', dst: '192.0.2.10', dev: 't0', table: '254', protocol: '117', scope: '253', flags: [] },
      ['unicast', 'main', '117'],
    ],
    [{ type: '7', dst: '192.0.2.0/24', dev: 't0', table: '117', protocol: '186' }, ['unreachable', '117', 'bgp']],
    [{ type: '2', dst: '2001:db8::1', dev: 'lo', table: '255', protocol: '2' }, ['local', 'local', 'kernel']],
    [{ dst: '198.51.100.0/24', dev: 't0', table: '253' }, ['unicast', 'default', 'kernel']],
  ])('numbers of %j have the usual names, and guestwire\'s protocol stays a number', (route, expected) => {
    const [parsed] = parseRoutes([route], {});
    expect([parsed?.type, parsed?.table, parsed?.protocol]).toEqual(expected);
  });

  test('the tag of QinQ is a number in brackets', () => {
    const vlan = (protocol: string): object => ({
      ifname: 'eno1.7', link: 'eno1', linkinfo: { info_kind: 'vlan', info_data: { protocol, id: 7 } },
    });
    expect(parseSubinterfaces([vlan('[34984]')]))
      .toEqual([{ ifname: 'eno1.7', parent: 'eno1', vid: 7, protocol: '802.1ad' }]);
    expect(parseSubinterfaces([vlan('[33024]')]))
      .toEqual([{ ifname: 'eno1.7', parent: 'eno1', vid: 7, protocol: '802.1Q' }]);
  });
});

describe('802.1Q links and the filter', () => {
  test('sub-interfaces are read with parent and VID; those of other namespaces are none', () => {
    expect(parseSubinterfaces([
      {
        ifname: 'eno1.100',
        link: 'eno1',
        linkinfo: { info_kind: 'vlan', info_data: { protocol: '802.1Q', id: 100, flags: [] } },
      },
      { ifname: 'eno1.7', link: 'eno1', linkinfo: { info_kind: 'vlan', info_data: { protocol: '802.1ad', id: 7 } } },
      { ifname: 'v9', link_index: 9, linkinfo: { info_kind: 'vlan', info_data: { protocol: '802.1Q', id: 9 } } },
      {},
    ])).toEqual([
      { ifname: 'eno1.100', parent: 'eno1', vid: 100, protocol: '802.1Q' },
      { ifname: 'eno1.7', parent: 'eno1', vid: 7, protocol: '802.1ad' },
    ]);
  });

});

describe('output that is not what the tool documents', () => {
  test.each<[string, () => unknown, string]>([
    ['a link without an ifindex', () => parseLinks([{ ifname: 'x', flags: [] }]), "ip address: unexpected JSON at 'ifindex' in '{\"ifname\":\"x\",\"flags\":[]}'"],
    ['a VID as text', () => parseVlans([{ ifname: 'x', vlans: [{ vlan: '10' }] }]), "bridge vlan: unexpected JSON at 'vlans.0.vlan' in '{\"ifname\":\"x\",\"vlans\":[{\"vlan\":\"10\"}]}'"],
    ['a route without a destination', () => parseRoutes([{ dev: 'x' }], {}), "ip route: unexpected JSON at 'dst' in '{\"dev\":\"x\"}'"],
    ['text in place of JSON', () => parseFilter('table bridge guestwire {'), "nft: unexpected output 'table bridge guestwire {'"],
  ])('%s is an error', (_, parse, message) => {
    expect(parse).toThrow(ToolOutputError);
    expect(parse).toThrow(message);
  });
});
