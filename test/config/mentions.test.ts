// @tier fast long
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { parseConfig } from '../../lib/config/file.js';
import { configMayDecide, configMentions } from '../../lib/config/mentions.js';
import { rounds } from '../tiers/bound.js';

describe('configMentions', () => {
  test.each([
    ['[guest.web1."52:54:00:aa:bb:03"]', 'web1', true],
    ['[guest.web1', 'web1', true],
    ['[ guest . web1 ]', 'web1', true],
    ['guest.web1={', 'web1', true],
    ['[guest."web1"', 'web1', true],
    ["[guest.'web1'", 'web1', true],
    ['web1', 'web1', true],
    ['[guest."www.example.org"]', 'www.example.org', true],
    ['[guest."web 1"]', 'web 1', true],
    ['[guest."web#1"]', 'web#1', true],
    ['x = "a # b" # web1', 'web1', true],
    ['[guest.web10]\n[guest.web1]', 'web1', true],
    ['[guest.web10]', 'web1', false],
    ['[guest.old-web1]', 'web1', false],
    ['[guest.db1]', 'web1', false],
    ['# [guest.web1]\n \t# web1\r\n[guest.db1]', 'web1', false],
    ['[guest.db1]\r\n#web1', 'web1', false],
    ['[guest.db1."52:54:00:AA:BB:03"]', '52:54:00:aa:bb:03', true],
    ['[guest.db1."52:54:00:aa:bb:03"]', '52:54:00:AA:BB:03', true],
    ['[guest.db1."52:54:00:aa:bb:03"]', '52:54:00:aa:bb:04', false],
    ['[network.lan.portgroup.dmz]', 'lan', true],
    ['[network.lan.portgroup.dmz]', 'default', false],
    ['[guest."w\\u0065b1"]', 'web1', true],
    ['[guest."w\\U00000065b1"]', 'web1', true],
    ['[guest."w\\x65b1"]', 'web1', true],
    ['# \\u0065', 'web1', false],
    ['[guest."a\\"b"]', 'a"b', true],
    ['[guest."a\\tb"]', 'a\tb', true],
    ["[guest.'a\\b']", 'a\\b', true],
    ['[guest."\\t"]', 'web1', false],
    ["[guest.'a\"b']", 'a"b', true],
    ['[guest.web1]', 'a"b', false],
    ['[guest."caf\ufffd"]', 'caf\u00e9', true],
    ['[guest."caf\ufffd"]', 'web1', false],
    ['[\0g\0u\0e\0s\0t\0', 'web1', true],
    ["'\u039f\u0394\u039f\u03a3'.a", '\u039f\u0394\u039f\u03a3', true],
    ['', 'web1', false],
    ['[guest.""]', '', false],
  ])('%j, %j: %s', (text, name, mentioned) => {
    expect(configMentions(text, [name])).toBe(mentioned);
    expect(configMentions(text, ['nobody', name])).toBe(mentioned);
  });

  test('no names are not mentioned', () => {
    expect(configMentions('[guest.web1]', [])).toBe(false);
  });

  test('whatever a good config speaks of is mentioned, however TOML lets it be written', () => {
    const awkward = fc.array(
      fc.constantFrom('a', 'B', '1', '-', '_', '.', ' ', '#', '"', "'", '\\', '\n', '\t', '\u00e9', '\u03a3', ']'),
      { minLength: 1, maxLength: 6 },
    )
      .map((parts) => parts.join(''));
    const style = fc.constantFrom(bare, basic, literal);
    fc.assert(fc.property(awkward, style, fc.boolean(), (name, written, upper) => {
      const mac = upper ? '52:54:00:AA:BB:03' : '52:54:00:aa:bb:03';
      const text = `[guest.${written(name)}."${mac}"]\nisolated = true\n[network.${written(name)}]`;
      expect([...parseConfig(text, '/x').guests.keys()]).toEqual([name]);
      expect(configMentions(text, [name])).toBe(true);
      expect(configMentions(`${text}\nbroken`, ['52:54:00:aa:bb:03'])).toBe(true);
    }), { numRuns: rounds(2000) });
  });
});

describe('configMayDecide', () => {
  test.each([
    ['[bridge.br30]\nvid = 30', 'br30', true],
    ['[bridge.br30\nvid', 'br30', true],
    ['[bridge.br30]\nvid = 30\n[bridge.br0]\nuplinks = []', 'br0', false],
    ['[bridge.br0]\nuplinks = []\n[bridge.br30]\nvid = 30', 'br0', false],
    ['[bridge.br0]\nvlan = { tags = [10] }', 'br0', true],
    ['[bridge.br0]\nundeclared = "refuse"', 'br0', true],
    ['[bridge.br0]\nfilter = "all"', 'br0', false],
    ['[bridge.br30]\nuplinks = []', 'br30', false],
    ['[bridge.br300]\nvid = 30', 'br30', false],
    ['[bridge.br30]\nvid = 30', 'br3', false],
    ['bridge={br30={vid=30,parent="x"}}', 'br30', true],
    ['[bridge]\nbr30.vid = 30', 'br30', true],
    ['[bridge."br{vid}"]', 'br30', true],
    ['[bridge."br{vid}x"]', 'br30x', true],
    ['[bridge."br{vid}"]', 'br030', false],
    ['[bridge."br{vid}"]', 'br', false],
    ['[bridge."br{vid}"]', 'br30x', false],
    ['[bridge."{vid}x"]', 'x', false],
    ['[bridge]\n"br{vid}".parent = "x"\nbr0.uplinks = []', 'br0', false],
    ['# [bridge.br30]\n# vid = 30', 'br30', false],
    ['[bridge."b.*"]\nvid = 30', 'br0', false],
    ['[bridge."br0.30"]\nvid = 30', 'br0.30', true],
    ['[bridge."br0x30"]\nvid = 30', 'br0.30', false],
    ['[bridge.""]\nvid = 30', '', false],
    ['[bridge."a b"]\nvid = 30', 'a b', false],
  ])('%j, %j: %s', (text, bridge, may) => {
    expect(configMayDecide(text, [bridge], false)).toBe(may);
    expect(configMayDecide(text, ['none', bridge], false)).toBe(may);
    expect(configMayDecide(text, [], true)).toBe(false);
  });

  test.each([
    ['[bridge.br0]\nuplinks = ["eno1"]', 'br0', true],
    ['[bridge.br0]\nallowed = [', 'br0', true],
    ['[bridge.br1]\nuplinks = ["eno1"]', 'br0', false],
    ['# [bridge.br0]', 'br0', false],
  ])("with libvirt's own <vlan>: %j, %j: %s", (text, bridge, may) => {
    expect(configMayDecide(text, [bridge], true)).toBe(may);
  });
});

function bare(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : basic(name);
}

function basic(name: string): string {
  return JSON.stringify(name);
}

function literal(name: string): string {
  return /['\n]/.test(name) ? basic(name) : `'${name}'`;
}
