// @tier fast long
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { parseConfig } from '../../lib/config/file.js';
import { tableHeader, readToml } from '../../lib/config/toml.js';
import { ConfigError, ValueError } from '../../lib/errors.js';
import { rounds } from '../tiers/bound.js';

const PATH = '/etc/guestwire/config.toml';
const NIC = '[guest.web1."52:54:00:aa:bb:03"]';
const AT = "[guest.web1.'52:54:00:aa:bb:03']";

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

describe('broken TOML', () => {
  test.each([
    ['a = ', 'line 1 column 5: invalid value'],
    ['[bridge.br0]\nuplinks = ["eno1"\n[routed]\n', 'line 3 column 1: expected comma or end of structure'],
    ['[bridge.br0]\n[bridge.br0]', 'line 2 column 2: trying to redefine an already defined table or value'],
    ['[bridge.br0]\nuplinks = []\nuplinks = []', 'line 3 column 1: trying to redefine an already defined table or value'],
    ['[guest.web1.52:54:00:aa:bb:03]', 'line 1 column 15: illegal character in key'],
    ['a = "x', 'line 1 column 5: unfinished string'],
    ['a = "\u0001"', 'line 1 column 6: control characters are not allowed in strings'],
    ['a = 99999999999999999999', 'line 1 column 5: integer value cannot be represented losslessly'],
    [`a = ${'['.repeat(2000)}`, 'line 1 column 1005: document contains excessively nested structures. aborting.'],
  ])('%j gives the place and the parser\'s words', (toml, words) => {
    expect(refusal(toml)).toBe(`config '${PATH}': ${words}`);
  });

  test('a fixture with a bracket missing', () => {
    const text = readFileSync(new URL('../../fixtures/config/broken-syntax.toml', import.meta.url), 'utf8');
    expect(refusal(text)).toBe(`config '${PATH}': line 5 column 32: illegal character in key`);
  });

  test('a fault inside the parser is no less a ValueError', () => {
    expect(() => readToml(undefined as unknown as string)).toThrow(ValueError);
    expect(() => readToml(undefined as unknown as string)).toThrow(/^not readable as TOML: TypeError: /);
  });

  test('whatever the text, either it is read or a ValueError of one line says why not', () => {
    const part = fc.constantFrom(
      '[', ']', '[[', ']]', 'a', '__proto__', '.', '=', '"', "'", '"""', '\n', ' ', '#', '1', '1979-05-27', '{', '}',
      ',', '\\u0041', '\\', 'true', 'nan', '\0', '\ud800',
    );
    fc.assert(fc.property(fc.array(part, { maxLength: 25 }).map((parts) => parts.join('')), (text) => {
      try {
        readToml(text);
      } catch (error) {
        expect(error).toBeInstanceOf(ValueError);
        expect((error as Error).message).toMatch(/^line \d+ column \d+: [ -~]+$/);
      }
    }), { numRuns: rounds(5000) });
  });
});

describe('what is no part of the grammar', () => {
  test.each([
    ['bridges = 1', "top level: unknown key 'bridges': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'"],
    ['__proto__ = 1', "top level: unknown key '__proto__': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'"],
    ['[__proto__]\nrouted = 1', "top level: unknown key '__proto__': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'"],
    ['"a\\nb" = 1', "top level: unknown key 'a\\nb': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'"],
    ['bridge = 5', "bridge: must be a table, not the number '5'"],
    ['routed = 5', "[routed]: must be a table, not the number '5'"],
    ['[[routed]]', '[routed]: must be a table, not a list'],
    ['[[bridge.br0]]', '[bridge.br0]: must be a table, not a list'],
    ['bridge = 1979-05-27', 'bridge: must be a table, not a date'],
    ['[bridge.br0]\nuplink = ["eno1"]', "[bridge.br0]: unknown key 'uplink': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
    ['[bridge.br0]\nconstructor = 1', "[bridge.br0]: unknown key 'constructor': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
    ['[bridge.br0]\n__proto__ = 1', "[bridge.br0]: unknown key '__proto__': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
    ['[bridge.br0]\nuplinks = 5\nuplink = []', "[bridge.br0]: unknown key 'uplink': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
    ['[bridge.br0]\nuplinks = "eno1"', "[bridge.br0] uplinks: must be a list, not the text 'eno1'"],
    ['[bridge.br0]\nuplinks = ["eno1", 5]', "[bridge.br0] uplinks[1]: must be text in quotes, not the number '5'"],
    ['[bridge.br0]\nallowed = "10-19"', '[bridge.br0] allowed: must be a list of VLAN IDs such as [10, "20-29"], not the text \'10-19\''],
    ['[bridge.br0]\nallowed = [10, true]', '[bridge.br0] allowed[1]: must be a VLAN ID such as 10 or a range such as "10-19", not \'true\''],
    ['[bridge.br0]\nallowed = [[10, 19]]', '[bridge.br0] allowed[0]: must be a VLAN ID such as 10 or a range such as "10-19", not a list'],
    ['[bridge.br0]\nallowed = [nan]', '[bridge.br0] allowed[0]: must be a VLAN ID such as 10 or a range such as "10-19", not the number \'NaN\''],
    ['[routed]\nprotocol = "117"', "[routed] protocol: must be a number, not the text '117'"],
    ['[routed]\ntable = ["main"]', '[routed] table: must be "main" or a number, not a list'],
    ['[routed]\nmigration = "auto"', '[routed] migration: must be "refuse" or "manual", not the text \'auto\''],
    ['[network.lan]\nvlan = { tags = [1] }', "[network.lan]: unknown key 'vlan': allowed are 'portgroup', 'bridge'"],
    ['[network.lan]\nportgroup = "dmz"', "[network.lan] portgroup: must be a table, not the text 'dmz'"],
    ['[network.lan.portgroup.dmz]', '[network.lan.portgroup.dmz] vlan: missing, must be a table'],
    ['[guest]\nweb1 = true', "[guest.web1]: must be a table, not 'true'"],
    ['[guest.web1]\n"52:54:00:aa:bb:03" = 5', `${AT}: must be a table, not the number '5'`],
    [`${NIC}\nvlans = {}`, `${AT}: unknown key 'vlans': allowed are 'vlan', 'isolated', 'routed', 'trust', 'allow', 'profile', 'log', 'groups', 'ip'`],
    [`${NIC}\nvlan = 10`, `${AT} vlan: must be a table, not the number '10'`],
    [`${NIC}\nvlan = { tag = [10] }`, `${AT} vlan: unknown key 'tag': allowed are 'trunk', 'tags', 'native', 'native_mode'`],
    [`${NIC}\nvlan = { trunk = true }`, `${AT} vlan.tags: missing, must be a list of VLAN IDs such as [10, "20-29"]`],
    [`${NIC}\nvlan = { tags = [10], trunk = "yes" }`, `${AT} vlan.trunk: must be true or false, not the text 'yes'`],
    [`${NIC}\nvlan = { tags = [10], native = [5] }`, `${AT} vlan.native: must be a VLAN ID such as 10, not a list`],
    [`${NIC}\nvlan = { tags = [10], native = 5, native_mode = "trunk" }`, `${AT} vlan.native_mode: must be "tagged" or "untagged", not the text 'trunk'`],
    [`${NIC}\nisolated = "yes"`, `${AT} isolated: must be true or false, not the text 'yes'`],
    [`${NIC}\nrouted = {}`, `${AT} routed.ip: missing, must be a list of addresses`],
    [`${NIC}\nrouted = { ip = "192.0.2.1" }`, `${AT} routed.ip: must be a list of addresses, not the text '192.0.2.1'`],
    [`${NIC}\nrouted = { ip = [], routes = [] }`, `${AT} routed: unknown key 'routes': allowed are 'veth', 'mtu', 'ip', 'route', 'table', 'vrf'`],
    [`${NIC}\nrouted = { ip = [], route = ["2001:db8::/64"] }`, `${AT} routed.route[0]: must be a table, not the text '2001:db8::/64'`],
    [`${NIC}\nrouted = { ip = [], route = { address = "x" } }`, `${AT} routed.route: must be a list of tables such as [{ address = "2001:db8:0:20::", prefix = 64 }], not a table`],
    [`${NIC}\nrouted = { ip = [], route = [{ prefix = 64 }] }`, `${AT} routed.route[0].address: missing, must be text in quotes`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "x", via = "y" }] }`, `${AT} routed.route[0]: unknown key 'via': allowed are 'address', 'prefix', 'gateway'`],
    [`${NIC}\nrouted = { ip = [], route = [{ address = "x", prefix = "64" }] }`, `${AT} routed.route[0].prefix: must be a number, not the text '64'`],
  ])('%j names the table, the key and what is wanted', (toml, words) => {
    expect(refusal(toml)).toBe(`config '${PATH}': ${words}`);
  });
});

describe('header', () => {
  test('quotes only keys that TOML needs quoted', () => {
    expect(tableHeader(['guest', 'web-1_a', '52:54:00:aa:bb:03'])).toBe("[guest.web-1_a.'52:54:00:aa:bb:03']");
    expect(tableHeader(['guest', '', 'a.b', "it's"])).toBe("[guest.''.'a.b'.'it\\'s']");
  });
});
