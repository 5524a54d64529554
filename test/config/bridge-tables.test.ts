// @tier fast
/** `[bridge.NAME]` with `vid`, or with `{vid}` in the name, and the bridge of `[network.NAME]`. */
import { describe, expect, test } from '@jest/globals';
import { bridgeHeader, bridgeNamed, subinterfaceName } from '../../lib/config/bridge-tables.js';
import { parseConfig } from '../../lib/config/file.js';
import type { HostConfig } from '../../lib/config/host-config.js';
import { ConfigError } from '../../lib/errors.js';

const PATH = '/etc/guestwire/config.toml';
const read = (toml: string): HostConfig => parseConfig(toml, PATH);

/** What parseConfig() says against a text, without the path; undefined when it takes it. */
function refusal(toml: string): string | undefined {
  try {
    parseConfig(toml, PATH);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as ConfigError;
    expect(message.length).toBeLessThanOrEqual(200);
    return message.replace(`config '${PATH}': `, '');
  }
}

describe('a bridge of one VLAN', () => {
  test('has a VLAN and a parent, and what its guests may be trusted with', () => {
    const config = read('[bridge.br30]\nvid = 30\nparent = "eno1"\ntrust = ["dhcp"]\n[bridge.br0]\n');
    expect(bridgeNamed(config, 'br30')).toEqual({
      uplinks: [], protected: new Set(), allowed: undefined, trust: new Set(['dhcp']), vlan: undefined,
      undeclared: 'leave', filter: 'declared',
      made: { vid: 30, parent: 'eno1' },
    });
    expect(bridgeNamed(config, 'br0')?.made).toBeUndefined();
    expect(bridgeNamed(config, 'br31')).toBeUndefined();
    expect(bridgeHeader(config, 'br30')).toBe('[bridge.br30]');
  });

  test('may write its VLAN as a text, as every VLAN of the host config', () => {
    expect(bridgeNamed(read('[bridge.br30]\nvid = "30"\nparent = "eno1"\n'), 'br30')?.made).toEqual({ vid: 30, parent: 'eno1' });
  });

  test.each([
    ['eno1', 30, 'eno1.30'],
    ['enp129s0f0', 4094, 'enp129s0f0.4094'],
    ['enp129s0f0n', 4094, 'vlan4094'],
    ['enp129s0f0np12', 1, 'vlan1'],
    ['enx0123456789ab', 30, 'vlan30'],
    ['br0', 30, 'br0.30'],
  ])('on %s in VLAN %d has the sub-interface %s', (parent, vid, name) => {
    expect(subinterfaceName({ parent, vid })).toBe(name);
  });
});

describe('a name with {vid}', () => {
  const config = read('[bridge."br{vid}"]\nparent = "eno1"\nallowed = ["10-199", 300]\ntrust = ["ra"]\n[bridge.br20]\nuplinks = ["eno2"]\n[bridge.br21]\nvid = 21\nparent = "eno3"\n');

  test('stands for a bridge for each VLAN that is allowed', () => {
    expect(bridgeNamed(config, 'br10')).toEqual({
      uplinks: [], protected: new Set(), allowed: undefined, trust: new Set(['ra']), made: { vid: 10, parent: 'eno1' },
      vlan: undefined, undeclared: 'leave', filter: 'declared',
    });
    expect(bridgeNamed(config, 'br300')?.made).toEqual({ vid: 300, parent: 'eno1' });
    expect(bridgeHeader(config, 'br300')).toBe("[bridge.'br{vid}']");
  });

  test.each([
    'br', 'br9', 'br200', 'br010', 'br0', 'br4095', 'br99999', 'br1x', 'xbr10', 'br10 ', 'br-10', 'br1e2', 'br{vid}',
    '',
  ])('is not the name of bridge %j', (name) => {
    expect(bridgeNamed(config, name)).toBeUndefined();
  });

  test('yields to an exact name', () => {
    expect(bridgeNamed(config, 'br20')?.made).toBeUndefined();
    expect(bridgeNamed(config, 'br20')?.uplinks).toEqual(['eno2']);
    expect(bridgeNamed(config, 'br21')?.made).toEqual({ vid: 21, parent: 'eno3' });
    expect(bridgeHeader(config, 'br21')).toBe('[bridge.br21]');
  });

  test('may have letters behind the VLAN', () => {
    expect(bridgeNamed(read('[bridge."v{vid}.lan"]\nparent = "eno1"\nallowed = [7]\n'), 'v7.lan')?.made?.vid).toBe(7);
  });

  test('may stand beside others that have other VLANs', () => {
    const two = read('[bridge."br{vid}"]\nparent = "eno1"\nallowed = ["10-19"]\n[bridge."lan{vid}"]\nparent = "eno1"\nallowed = ["20-29"]\n');
    expect(bridgeNamed(two, 'br15')?.made).toEqual({ vid: 15, parent: 'eno1' });
    expect(bridgeNamed(two, 'lan25')?.made).toEqual({ vid: 25, parent: 'eno1' });
    expect(bridgeNamed(two, 'lan15')).toBeUndefined();
  });
});

describe('the bridge of a libvirt network', () => {
  test('is read beside its portgroups', () => {
    const { networks, portgroups } = read('[network.v30]\nbridge = "br30"\n[network.lan.portgroup.dmz]\nvlan = { tags = [30] }\n');
    expect(networks).toEqual(new Map([['v30', 'br30']]));
    expect(portgroups.get('lan')?.size).toBe(1);
    expect(portgroups.get('v30')?.size).toBe(0);
  });

  test.each([
    ['bridge = 30', "[network.v30] bridge: must be text in quotes, not the number '30'"],
    ['bridge = ""', "[network.v30] bridge: interface name '' is empty"],
    ['bridge = "br 30"', "[network.v30] bridge: interface name 'br 30' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['bridges = "br30"', "[network.v30]: unknown key 'bridges': allowed are 'portgroup', 'bridge'"],
  ])('refuses %s', (line, words) => {
    expect(refusal(`[network.v30]\n${line}\n`)).toBe(words);
  });
});

describe('what makes no sense is refused', () => {
  test.each([
    ['vid = 30', "[bridge.br30]: 'vid' needs 'parent': add the link that carries VLAN '30', or remove 'vid'"],
    ['parent = "eno1"', "[bridge.br30]: 'parent' needs 'vid': add the VLAN ID of the bridge, or remove 'parent'"],
    ['vid = 0\nparent = "eno1"', "[bridge.br30] vid: VLAN ID '0' is outside 1-4094"],
    ['vid = 4095\nparent = "eno1"', "[bridge.br30] vid: VLAN ID '4095' is outside 1-4094"],
    ['vid = -1\nparent = "eno1"', "[bridge.br30] vid: VLAN ID '-1' is not a number or range of numbers: write '10' or '10-19'"],
    ['vid = 1.5\nparent = "eno1"', "[bridge.br30] vid: VLAN ID '1.5' is not a number or range of numbers: write '10' or '10-19'"],
    ['vid = "30-31"\nparent = "eno1"', "[bridge.br30] vid: '30-31' is a range: a bridge of one VLAN has one VLAN ID"],
    ['vid = [30]\nparent = "eno1"', '[bridge.br30] vid: must be a VLAN ID such as 30, not a list'],
    ['vid = true\nparent = "eno1"', "[bridge.br30] vid: must be a VLAN ID such as 30, not 'true'"],
    ['vid = 30\nparent = ["eno1"]', '[bridge.br30] parent: must be the name of a link in quotes, not a list'],
    ['vid = 30\nparent = ""', "[bridge.br30] parent: interface name '' is empty"],
    ['vid = 30\nparent = "-eno1"', "[bridge.br30] parent: interface name '-eno1' starts with a dash: tools would read it as an option"],
    ['vid = 30\nparent = "enp129s0f0np1234"', "[bridge.br30] parent: interface name 'enp129s0f0np1234' has 16 characters: the kernel accepts at most 15"],
    ['vid = 30\nparent = "br30"', "[bridge.br30] parent: 'br30' is the bridge itself: name the link that carries the VLAN"],
    ['vid = 30\nparent = "eno1"\nuplinks = ["eno2"]', "[bridge.br30]: 'uplinks' has no meaning on a bridge of one VLAN, because 'parent' is its way to the world: remove it"],
    ['vid = 30\nparent = "eno1"\nprotected = [1]', "[bridge.br30]: 'protected' has no meaning on a bridge of one VLAN, because all of the bridge is one VLAN: remove it"],
    ['vid = 30\nparent = "eno1"\nallowed = [30]', "[bridge.br30]: 'allowed' has no meaning on a bridge of one VLAN, because 'vid' says its one VLAN: remove it"],
    ['vid = 30\nparent = "eno1"\nmtu = 1500', "[bridge.br30]: unknown key 'mtu': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
  ])('in a table: %s', (lines, words) => {
    expect(refusal(`[bridge.br30]\n${lines}\n`)).toBe(words);
  });

  const once = "a bridge name holds '{vid}' once, and no other brace: write a name such as 'br{vid}'";
  test.each([
    ['br{vid}', 'allowed = [30]', "[bridge.'br{vid}']: 'parent' is missing: name the link that carries the VLANs"],
    ['br{vid}', 'parent = "eno1"', "[bridge.'br{vid}']: 'allowed' is missing: list the VLANs that may have a bridge, such as [\"10-199\"]"],
    ['br{vid}', 'parent = "eno1"\nallowed = []', "[bridge.'br{vid}'] allowed: the list is empty: list at least one VLAN"],
    ['br{vid}', 'parent = "eno1"\nallowed = [5000]', "[bridge.'br{vid}'] allowed: VLAN ID '5000' is outside 1-4094"],
    ['br{vid}', 'parent = "eno1"\nallowed = [30]\nvid = 30', "[bridge.'br{vid}']: '{vid}' in the name already says which VLAN: remove 'vid'"],
    ['br{vid}', 'parent = "eno1"\nallowed = [30]\nuplinks = ["eno2"]', "[bridge.'br{vid}']: 'uplinks' has no meaning on a bridge of one VLAN, because 'parent' is its way to the world: remove it"],
    ['br{vid}', 'parent = "eno1"\nallowed = [30]\nprotected = [1]', "[bridge.'br{vid}']: 'protected' has no meaning on a bridge of one VLAN, because all of the bridge is one VLAN: remove it"],
    ['br{vid}', 'parent = "eno 1"\nallowed = [30]', "[bridge.'br{vid}'] parent: interface name 'eno 1' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br{vid}-{vid}', 'parent = "eno1"\nallowed = [30]', `[bridge.'br{vid}-{vid}']: ${once}`],
    ['br{VID}', 'parent = "eno1"\nallowed = [30]', `[bridge.'br{VID}']: ${once}`],
    ['br{vid', 'parent = "eno1"\nallowed = [30]', `[bridge.'br{vid']: ${once}`],
    ['{br{vid}', 'parent = "eno1"\nallowed = [30]', `[bridge.'{br{vid}']: ${once}`],
    ['{vid}', 'parent = "eno1"\nallowed = [30]', "[bridge.'{vid}']: interface name '30' is a number: nft would take it for the index of another link"],
    ['b r{vid}', 'parent = "eno1"\nallowed = [30]', "[bridge.'b r{vid}']: interface name 'b r30' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['productions-{vid}', 'parent = "eno1"\nallowed = ["10-1000"]', "[bridge.'productions-{vid}']: interface name 'productions-1000' has 16 characters: the kernel accepts at most 15"],
  ])('in a table [bridge."%s"]: %s', (name, lines, words) => {
    expect(refusal(`[bridge."${name}"]\n${lines}\n`)).toBe(words);
  });

  const one = (name: string, vid: number, parent: string): string => `[bridge.${name}]\nvid = ${vid}\nparent = "${parent}"\n`;
  const many = (name: string, allowed: string, parent: string): string => `[bridge."${name}"]\nparent = "${parent}"\nallowed = [${allowed}]\n`;
  test.each([
    ['two bridges of one VLAN of one parent', one('br30', 30, 'eno1') + one('dmz', 30, 'eno1'),
      "[bridge.dmz]: VLAN '30' of 'eno1' already belongs to bridge 'br30': a sub-interface is a port of one bridge, so keep one of the two"],
    ['a name and a pattern of one VLAN of one parent', one('dmz', 30, 'eno1') + many('br{vid}', '"10-199"', 'eno1'),
      "[bridge.'br{vid}']: VLAN '30' of 'eno1' already belongs to bridge 'dmz': a sub-interface is a port of one bridge, so keep one of the two"],
    ['an exact name with the VLAN of another name of the pattern', one('br30', 31, 'eno1') + many('br{vid}', '"10-199"', 'eno1'),
      "[bridge.'br{vid}']: VLAN '31' of 'eno1' already belongs to bridge 'br30': a sub-interface is a port of one bridge, so keep one of the two"],
    ['two patterns that share a VLAN', many('br{vid}', '"10-20"', 'eno1') + many('lan{vid}', '"20-30"', 'eno1'),
      "[bridge.'lan{vid}']: VLAN '20' of 'eno1' already belongs to bridge 'br20': a sub-interface is a port of one bridge, so keep one of the two"],
    ['two patterns that share a bridge', many('br{vid}', '15', 'eno1') + many('br1{vid}', '5', 'eno2'),
      "[bridge.'br{vid}'] and [bridge.'br1{vid}'] both stand for bridge 'br15': take its VLAN out of 'allowed' of one"],
    ['two long parents with one VLAN', one('br1', 30, 'enp129s0f0np0') + one('br2', 30, 'enp129s0f0np1'),
      "[bridge.br2]: sub-interface 'vlan30' of 'enp129s0f0np1' already belongs to bridge 'br1': a sub-interface is a port of one bridge, so keep one of the two"],
    ['a bridge with the name of its sub-interface', one('"eno1.30"', 30, 'eno1'),
      "[bridge.'eno1.30']: bridge 'eno1.30' has the name of a sub-interface of 'eno1': give it another name"],
    ['bridges with the names of their sub-interfaces', many('vlan{vid}', '7', 'enp129s0f0np12'),
      "[bridge.'vlan{vid}']: bridge 'vlan7' has the name of a sub-interface of 'enp129s0f0np12': give it another name"],
    ['a bridge of a bridge of one VLAN', one('br30', 30, 'eno1') + one('br31', 31, 'br30'),
      "[bridge.br31] parent: 'br30' is itself a bridge of one VLAN: name the link that carries VLAN '31'"],
    ['a sub-interface that is an uplink', one('br30', 30, 'eno1') + '[bridge.br0]\nuplinks = ["eno1.30"]\n',
      "[bridge.br30]: sub-interface 'eno1.30' is an uplink of bridge 'br0', too: it can be a port of one bridge only"],
  ])('of several tables: %s', (_, toml, words) => {
    expect(refusal(toml)).toBe(words);
  });

  test('and nothing else: the same VLAN of other parents, and a parent with bridges of other VLANs', () => {
    expect(refusal(
      one('br30', 30, 'eno1') + one('br31', 31, 'eno1') + one('dmz', 30, 'eno2') + many('br{vid}', '"10-199"', 'eno1'),
    )).toBeUndefined();
  });
});
