// @tier fast
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { parseConfig } from '../../lib/config/file.js';
import { parseVidList } from '../../lib/config/guest-tables.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { ConfigError, ValueError } from '../../lib/errors.js';
import { parseAddress, parseOwn, parsePrefix } from '../../lib/values/address.js';
import { formatMembership } from '../../lib/values/vlan.js';

const PATH = '/etc/guestwire/config.toml';
const NIC = '[guest.web1."52:54:00:aa:bb:03"]';
const AT = "[guest.web1.'52:54:00:aa:bb:03']";

function fixture(name: string): string {
  return readFileSync(new URL(`../../fixtures/config/${name}`, import.meta.url), 'utf8');
}

/** A bridge of which the host config says nothing. */
const PLAIN = {
  uplinks: [], protected: new Set(), allowed: undefined, trust: new Set(), vlan: undefined, undeclared: 'leave',
  filter: 'declared',
};

/** What parseConfig() says against a text; undefined when it takes it. */
function refusal(toml: string): string | undefined {
  try {
    parseConfig(toml, PATH);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
}

/** The VLANs of one NIC, in words. */
function vlanOf(vlan: string): string | undefined {
  const members = parseConfig(`${NIC}\nvlan = { ${vlan} }`, PATH).guests.get('web1')?.get('52:54:00:aa:bb:03')?.vlan;
  return members && formatMembership(members);
}

describe('what is read', () => {
  test('every key', () => {
    expect(parseConfig(fixture('every-key.toml'), PATH)).toEqual({
      bridges: new Map([
        ['br0', {
          uplinks: ['eno1', 'eno2.100'], protected: new Set([1, 5]), allowed: new Set([10, 11, 12, 300]),
          trust: new Set(['ra', 'dhcp']), vlan: undefined, undeclared: 'leave', filter: 'declared',
        }],
        ['br1', { ...PLAIN, vlan: [{ vid: 10, pvid: true, untagged: true }], filter: 'all' }],
        ['br2', { ...PLAIN, undeclared: 'refuse' }],
        ['br30', {
          ...PLAIN, made: { vid: 30, parent: 'eno1' },
        }],
      ]),
      patterns: [{ name: 'br{vid}', parent: 'eno1', allowed: new Set([100, 101]), trust: new Set(['dhcp']) }],
      networks: new Map([['v30', 'br30']]),
      routed: {
        gateways: ['169.254.0.1', 'fe80::1'].map(parseAddress),
        prefixes: ['2001:db8:0:10::/60', '192.0.2.0/26'].map(parsePrefix),
        table: '100', protocol: 118, proxy: ['eno1'], announce: false,
        probe: true, migration: 'manual', manageSysctls: false, trust: new Set(['mac']),
        tables: [{ first: 100, last: 100 }, { first: 200, last: 209 }], vrfs: new Set(['blue']),
        linkLocal: [parseAddress('169.254.169.254')],
        sources: ['192.0.2.1', '2001:db8:0:f::1'].map(parseAddress),
      },
      portgroups:
        new Map([['lan', new Map([['dmz', { vlan: [{ vid: 30, pvid: true, untagged: true }] }]])], ['v30', new Map()]]),
      guests: new Map([['web1', new Map([
        ['52:54:00:aa:bb:03', {
          vlan: [
            { vid: 10, pvid: true, untagged: false },
            ...[20, 21, 22].map((vid) => ({ vid, pvid: false, untagged: false })),
          ],
          isolated: true, routed: undefined,
          filter: { trust: { stp: true }, log: true, ips: ['192.0.2.1', '2001:db8:1::/64'].map(parseOwn) },
        }],
        ['52:54:00:aa:bb:04', {
          vlan: undefined, isolated: undefined,
          filter: {
            profile: 'closed', groups: ['backends'],
            allows: [
              {
                direction: 'in', proto: 'tcp', ports: [{ first: 443, last: 443 }],
                peers: [{ kind: 'guest', name: 'web1' }], origin: 'allow[0] of [guest] in the host config',
              },
              {
                direction: 'out', proto: undefined, ports: [],
                peers: [{ kind: 'host' }, { kind: 'prefix', prefix: parsePrefix('2001:db8::/32') }],
                origin: 'allow[1] of [guest] in the host config',
              },
            ],
          },
          routed: {
            addresses: ['2001:db8:0:10::a', '192.0.2.10'].map(parseAddress),
            routes: [
              { to: parsePrefix('2001:db8:0:20::/64'), gateway: parseAddress('2001:db8:0:10::a') },
              { to: parsePrefix('192.0.2.11/32'), gateway: undefined },
            ],
          },
        }],
      ])]]),
      filter: { profile: 'open', log: true, groups: new Set(['backends']) },
    });
  });

  test('an empty file is the default', () => {
    const config = {
      bridges: new Map(), patterns: [], networks: new Map(),
      portgroups: new Map(), guests: new Map(), filter: { profile: undefined, log: false, groups: undefined },
      routed: {
        gateways: ['169.254.0.1', 'fe80::1'].map(parseAddress),
        prefixes: undefined, table: 'main', protocol: 117, proxy: [], announce: true,
        probe: false, migration: 'refuse', manageSysctls: false, trust: new Set(),
        tables: [], vrfs: new Set(), linkLocal: [], sources: [],
      },
    };
    expect(defaultConfig()).toEqual(config);
    expect(parseConfig('', PATH)).toEqual(config);
    expect(parseConfig('\ufeff[routed]\r\n[guest]\r\n[network.lan]\r\n', PATH).routed).toEqual(config.routed);
  });

  test('names that mean something elsewhere are only names here', () => {
    const { guests, portgroups } = parseConfig(fixture('odd-names.toml'), PATH);
    expect([...guests].map(([name, nics]) => [name, ...nics.keys()])).toEqual([
      ['__proto__', '52:54:00:aa:bb:01'],
      ['constructor', '52:54:00:aa:bb:02'],
      ['1e5', '52:54:00:aa:bb:03'],
      ['007', '52:54:00:aa:bb:04'],
      ['web 1 # not a comment', '52:54:00:aa:bb:05'],
      ['a"b\n', '52:54:00:aa:bb:06'],
      ['www.example.org', '52:54:00:aa:bb:07'],
    ]);
    expect(portgroups.get('__proto__')?.get('__proto__')?.vlan).toHaveLength(1);
    expect(({} as Record<string, unknown>)['isolated']).toBeUndefined();
    expect(guests.get('toString')).toBeUndefined();
  });

  test('any guest name keeps its NIC to itself', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (name) => {
      const key = `"${Array.from(name, (each) => `\\U${(each.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`).join('')}"`;
      const { guests } = parseConfig(`[guest.${key}."52:54:00:aa:bb:03"]\nisolated = false`, PATH);
      expect([...guests.keys()]).toEqual([name]);
    }));
  });
});

describe('VLANs of a NIC or portgroup', () => {
  test.each([
    ['tags = [10]', 'access 10'],
    ['tags = ["10"]', 'access 10'],
    ['tags = ["10-10"]', 'access 10'],
    ['tags = [10], trunk = false', 'access 10'],
    ['tags = [10], trunk = true', 'trunk 10'],
    ['tags = [20, 10]', 'trunk 10,20'],
    ['tags = ["20-29"]', 'trunk 20-29'],
    ['tags = ["20-29", 40], native = 10', 'trunk 20-29,40 native 10'],
    ['tags = ["20-29"], native = 25', 'trunk 20-24,26-29 native 25'],
    ['tags = ["20-29"], native = "10", native_mode = "tagged"', 'trunk 20-29 native 10 tagged'],
    ['tags = [20], native = 10', 'trunk 20 native 10'],
    ['tags = [10], native = 10', 'access 10'],
    ['tags = [10], native = 10, native_mode = "tagged"', 'trunk native 10 tagged'],
    ['tags = [10], native = 10, native_mode = "untagged", trunk = true', 'access 10'],
  ])('%s is %s', (vlan, words) => {
    expect(vlanOf(vlan)).toBe(words);
  });

  test.each([
    ['tags = []', 'tags is empty: list at least one VLAN'],
    ['tags = [10, 10]', "VLAN ID '10' is listed twice: list each VLAN once"],
    ['tags = [10, 10], native = 10', "VLAN ID '10' is listed twice: list each VLAN once"],
    ['tags = ["10-20", 15]', "VLAN ID '15' is listed twice: list each VLAN once"],
    ['tags = [10, 20], trunk = false', 'trunk is false, but more than one VLAN or a native VLAN is given: remove one or the other'],
    ['tags = [10], native = 10, trunk = false', 'trunk is false, but more than one VLAN or a native VLAN is given: remove one or the other'],
    ['tags = [10], native_mode = "tagged"', 'native_mode needs native: add the native VLAN'],
    ['tags = [20], native = "10-11"', "native '10-11' is a range: a native VLAN is one VLAN ID"],
    ['tags = [20], native = 0', "VLAN ID '0' is outside 1-4094"],
    ['tags = [5000]', "VLAN ID '5000' is outside 1-4094"],
    ['tags = [10.5]', "VLAN ID '10.5' is not a number or range of numbers: write '10' or '10-19'"],
    ['tags = ["010"]', "VLAN ID '010' has a leading zero: write '10'"],
  ])('refuses %s', (vlan, words) => {
    expect(refusal(`${NIC}\nvlan = { ${vlan} }`)).toBe(`config '${PATH}': ${AT} vlan: ${words}`);
    expect(refusal(`[network.lan.portgroup.dmz]\nvlan = { ${vlan} }`))
      .toBe(`config '${PATH}': [network.lan.portgroup.dmz] vlan: ${words}`);
  });

  test('the native VLAN may be listed or not: it means the same', () => {
    const vid = fc.integer({ min: 1, max: 4094 });
    fc.assert(fc.property(
      fc.uniqueArray(vid, { minLength: 2, maxLength: 8 }), fc.constantFrom('tagged', 'untagged'), (vids, mode) => {
        const [native, ...others] = vids;
        const rest = `native = ${String(native)}, native_mode = "${mode}"`;
        expect(vlanOf(`tags = [${vids.join()}], ${rest}`)).toBe(vlanOf(`tags = [${others.join()}], ${rest}`));
      },
    ));
  });
});

describe('values', () => {
  test.each([
    ['[routed]\ntable = "main"', 'main'],
    ['[routed]\ntable = 254', 'main'],
    ['[routed]\ntable = 100', '100'],
    ['[routed]\ntable = "100"', '100'],
    ['[routed]\ntable = 4294967295', '4294967295'],
  ])('%j is table %s', (toml, table) => {
    expect(parseConfig(toml, PATH).routed.table).toBe(table);
  });

  test('gateways of one family, or none', () => {
    expect(parseConfig('[routed]\ngateways = ["fe80::1"]', PATH).routed.gateways)
      .toEqual([{ family: 'inet6', text: 'fe80::1' }]);
    expect(parseConfig('[routed]\ngateways = []', PATH).routed.gateways).toEqual([]);
  });

  test('an empty list permits nothing, an absent one everything', () => {
    const config = parseConfig('[bridge.br0]\nallowed = []\n[bridge.br1]\n[routed]\nprefixes = []', PATH);
    expect([config.bridges.get('br0')?.allowed, config.bridges.get('br1')?.allowed]).toEqual([new Set(), undefined]);
    expect(config.routed.prefixes).toEqual([]);
  });

  test.each([
    ['[bridge.br0]\nallowed = ["5000"]', "[bridge.br0] allowed: VLAN ID '5000' is outside 1-4094"],
    ['[bridge.br0]\nprotected = ["9-1"]', "[bridge.br0] protected: VLAN range '9-1' runs backwards: write '1-9'"],
    ['[bridge.br0]\nuplinks = ["-x"]', "[bridge.br0] uplinks: interface name '-x' starts with a dash: tools would read it as an option"],
    ['[bridge.br0]\nuplinks = ["eno1", "eno1"]', "[bridge.br0] uplinks: 'eno1' is listed twice: list it once"],
    ['[bridge."br 0"]', "[bridge.'br 0']: interface name 'br 0' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['[routed]\ngateways = ["10.0.0.1/24"]', "[routed] gateways: address '10.0.0.1/24' has a prefix length: remove the '/' and everything after it"],
    ['[routed]\ngateways = ["fe80::1", "FE80:0::1"]', "[routed] gateways: 'fe80::1' is listed twice: list it once"],
    ['[routed]\ngateways = ["ff02::1"]', "[routed] gateways: address 'ff02::1' is a multicast address"],
    ['[routed]\nprefixes = ["192.0.2.1/24"]', "[routed] prefixes: prefix '192.0.2.1/24' has host bits set: write '192.0.2.0/24'"],
    ['[routed]\nprefixes = ["192.0.2.0"]', "[routed] prefixes: prefix '192.0.2.0' is not 'address/length'"],
    ['[routed]\nprefixes = ["2001:db8::/32", "2001:DB8::/32"]', "[routed] prefixes: '2001:db8::/32' is listed twice: list it once"],
    ['[routed]\nproxy = ["abcdefghijklmnop"]', "[routed] proxy: interface name 'abcdefghijklmnop' has 16 characters: the kernel accepts at most 15"],
    ['[routed]\nprobe = true', "[routed] probe: 'probe' needs a link: name the links towards the neighbours in 'proxy', or remove 'probe'"],
    ['[routed]\nproxy = []\nprobe = true', "[routed] probe: 'probe' needs a link: name the links towards the neighbours in 'proxy', or remove 'probe'"],
    ['[routed]\nproxy = ["eno1"]\nannounce = "no"', "[routed] announce: must be true or false, not the text 'no'"],
    ['[routed]\ntable = 0', "[routed] table: route table '0' is neither 'main' nor a number from 1 to 4294967295"],
    ['[routed]\ntable = 4294967296', "[routed] table: route table '4294967296' is neither 'main' nor a number from 1 to 4294967295"],
    ['[routed]\ntable = 1.5', "[routed] table: route table '1.5' is neither 'main' nor a number from 1 to 4294967295"],
    ['[routed]\ntable = "0x64"', "[routed] table: route table '0x64' is neither 'main' nor a number from 1 to 4294967295"],
    ['[routed]\ntable = "dmz"', "[routed] table: route table 'dmz' is neither 'main' nor a number from 1 to 4294967295"],
    ['[routed]\ntable = 255', "[routed] table: route table '255' is the kernel's own: use 'main' or another number"],
    ['[routed]\ntable = "local"', "[routed] table: route table 'local' is the kernel's own: use 'main' or another number"],
    ['[routed]\nprotocol = 0', "[routed] protocol: route protocol '0' is not a number from 1 to 255"],
    ['[routed]\nprotocol = 256', "[routed] protocol: route protocol '256' is not a number from 1 to 255"],
    ['[routed]\nprotocol = 7.5', "[routed] protocol: route protocol '7.5' is not a number from 1 to 255"],
    ['[routed]\nprotocol = 16', "[routed] protocol: route protocol '16' belongs to 'dhcp', and guestwire would take its routes for its own: use a free number such as 117"],
    ['[guest.web1.eth0]\nisolated = true', "[guest.web1]: 'eth0' is not a MAC address such as '52:54:00:aa:bb:01'"],
    ['[guest.web1]\nisolated = true', "[guest.web1]: 'isolated' is not a MAC address such as '52:54:00:aa:bb:01'"],
    ['[guest.web1."52-54-00-aa-bb-03"]', "[guest.web1]: '52-54-00-aa-bb-03' is not a MAC address such as '52:54:00:aa:bb:01'"],
    [`${NIC}\nisolated = true\n[guest.web1."52:54:00:AA:bb:03"]\nisolated = true`, "[guest.web1]: MAC '52:54:00:aa:bb:03' appears twice: keep one of the two tables"],
    [NIC, `${AT}: the table is empty: give it 'vlan', 'routed' or another of its keys, or remove it`],
    [`${NIC}\nrouted = { ip = ["192.0.2.300"] }`, `${AT} routed.ip: address '192.0.2.300' is not an IPv4 or IPv6 address`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "10.0.0.1", prefix = 8 }] }`, `${AT} routed.route[0]: prefix '10.0.0.1/8' has host bits set: write '10.0.0.0/8'`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "10.0.0.0", prefix = 8.5 }] }`, `${AT} routed.route[0]: prefix length '8.5' of '10.0.0.0' is outside 0-32`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "10.0.0.0", prefix = 8 }, { address = "x" }] }`, `${AT} routed.route[1]: address 'x' is not an IPv4 or IPv6 address`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "10.0.0.1", gateway = "fe80::1%eth0" }] }`, `${AT} routed.route[0]: address 'fe80::1%eth0' has a zone: remove the '%' and everything after it`],
  ])('refuses %j', (toml, words) => {
    expect(refusal(toml)).toBe(`config '${PATH}': ${words}`);
  });

  test('no number of another routing daemon is taken, nor the kernel\'s', () => {
    const taken = [
      1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 42, 84, 99, 186, 187, 188, 189, 190, 191, 192, 193, 194,
      195, 196, 197, 198,
    ];
    for (let protocol = 1; protocol <= 255; protocol += 1) {
      const refused = refusal(`[routed]\nprotocol = ${protocol}`) !== undefined;
      expect([protocol, refused]).toEqual([protocol, taken.includes(protocol)]);
    }
  });
});

describe('parseVidList', () => {
  test('keeps the order and doubles of what is written', () => {
    expect(parseVidList(['12-14', 10, '13'])).toEqual([12, 13, 14, 10, 13]);
    expect(parseVidList([])).toEqual([]);
    expect(() => parseVidList([10, 'x'])).toThrow(new ValueError("VLAN ID 'x' is not a number or range of numbers: write '10' or '10-19'"));
  });
});
