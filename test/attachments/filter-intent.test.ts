// @tier fast
/** The words of trust and policy from several sources: which wins, what the host permits, where they mean nothing. */
import { describe, expect, test } from '@jest/globals';
import { NO_TRUST, TRUST_WORDS } from '../../lib/intent/policy.js';
import { parseAddress, parseOwn } from '../../lib/values/address.js';
import { derive, link, port, refusal, ROUTED, TABLE, VLAN, WHERE } from '../fakes/filter-xml.js';

describe('trust', () => {
  test.each(TRUST_WORDS)('%s is for the host to allow', (word) => {
    const asked = `<gw:trust ${word}="yes"/>`;
    const full = { ...NO_TRUST, [word]: true };
    expect(refusal(() => port(asked))).toBe(`ERR_NOT_ALLOWED ${WHERE}: <gw:trust> ${word}='yes' is not allowed on bridge 'br0': add "${word}" to 'trust' in [bridge.br0] of the host config, or remove it`);
    expect(refusal(() => link(asked))).toBe(`ERR_NOT_ALLOWED ${WHERE}: <gw:trust> ${word}='yes' is not allowed on routed links: add "${word}" to 'trust' in [routed] of the host config, or remove it`);
    expect(port(asked, `[bridge.br0]\ntrust = ["${word}"]`)?.trust).toEqual(full);
    expect(link(asked, `[routed]\ntrust = ["${word}"]`)?.trust).toEqual(full);
    expect(port('', `${TABLE}\ntrust = { ${word} = true }`)?.trust).toEqual(full);
    expect(port(asked, `${TABLE}\ntrust = { ${word} = true }`)?.trust).toEqual(full);
  });

  test('of the metadata wins word by word, and none is left out', () => {
    const config = `${TABLE}\ntrust = { stp = true, ra = true, mac = false }`;
    expect(port('<gw:trust ra="no" stp="yes"/>', config)?.trust).toEqual({ ...NO_TRUST, stp: true });
    expect(port('<gw:trust ra="no" stp="no"/>', config)).not.toHaveProperty('trust');
    expect(port('')).not.toHaveProperty('trust');
  });

  test('of a NIC whose bridge is not known yet is judged when it is', () => {
    expect(derive(`${VLAN}<gw:trust ra="yes"/>`, { kind: 'network' })?.trust?.ra).toBe(true);
  });
});

describe('sources', () => {
  test.each<[string, string, string, string, string | undefined]>([
    ['nobody speaks', '', '', 'isolated', undefined],
    ['[filter]', '', '[filter]\nprofile = "open"', 'open', '[filter] in the host config'],
    ['[guest] over [filter]', '', `[filter]\nprofile = "open"\n${TABLE}\nprofile = "closed"`, 'closed', '[guest] in the host config'],
    ['metadata over both', '<gw:policy profile="isolated"/>', `[filter]\nprofile = "open"\n${TABLE}\nprofile = "closed"`, 'isolated', 'its metadata'],
    [
      'metadata without a profile', '<gw:policy log="yes"/>', '[filter]\nprofile = "open"', 'open',
      '[filter] in the host config',
    ],
  ])('the profile when %s', (_, words, config, profile, profileOrigin) => {
    const attachment = link(words, config);
    expect(attachment?.kind === 'routed-link' ? [attachment.policy.profile, attachment.policy.profileOrigin] : [])
      .toEqual([profile, profileOrigin]);
  });

  test.each<[string, string, true | undefined]>([
    ['', '', undefined],
    ['', '[filter]\nlog = true', true],
    ['', `[filter]\nlog = true\n${TABLE}\nlog = false`, undefined],
    ['<gw:policy log="no"/>', `${TABLE}\nlog = true`, undefined],
    ['<gw:policy log="yes"/>', '', true],
  ])('whether drops are logged: %j, %j', (words, config, logged) => {
    expect(link(words, config)?.logged).toBe(logged);
    expect(port(words, config)?.logged).toBe(logged);
  });

  test('permissions and groups are the metadata\'s, if it has any', () => {
    const config = `${TABLE}\nallow = [{ direction = "out" }]\ngroups = ["b"]`;
    const both = (words: string): unknown => {
      const attachment = link(words, config);
      return attachment?.kind === 'routed-link'
        && [attachment.policy.allows.map(({ direction }) => direction), attachment.policy.groups];
    };
    expect(both('')).toEqual([['out'], ['b']]);
    expect(both('<gw:allow direction="in"/>')).toEqual([['in'], ['b']]);
    expect(both('<gw:group name="a"/>')).toEqual([['out'], ['a']]);
  });

  test('what the host offers stands in the policy', () => {
    const offers = (config: string): unknown => {
      const attachment = link('', config);
      return attachment?.kind === 'routed-link' && attachment.policy.offers;
    };
    expect(offers('')).toEqual({ dhcp: false, dns: [] });
    expect(offers('[serve]\ndns = ["2001:DB8::53"]')).toEqual({ dhcp: true, dns: [parseAddress('2001:db8::53')] });
    expect(offers('[serve]\non = false\ndns = ["192.0.2.53"]')).toEqual({ dhcp: false, dns: [parseAddress('192.0.2.53')] });
  });
});

describe('the policy of a VLAN port', () => {
  const policyOf = (...args: Parameters<typeof port>): unknown => {
    const attachment = port(...args);
    return attachment?.kind === 'vlan-port' && attachment.policy;
  };
  const OPEN = { profile: 'open', allows: [], guest: 'web1', groups: [], offers: { dhcp: false, dns: [] } };

  test('is open when nobody speaks of it, whatever routed links have and are offered', () => {
    expect(policyOf('')).toEqual(OPEN);
    expect(policyOf('', '[filter]\nprofile = "closed"\n[serve]\ndns = ["192.0.2.53"]')).toEqual(OPEN);
    expect(policyOf('<gw:group name="a"/>')).toEqual({ ...OPEN, groups: ['a'] });
  });

  test('has the words of the metadata, else of the host config', () => {
    const config = `${TABLE}\nprofile = "closed"\ngroups = ["b"]\nallow = [{ direction = "in" }]`;
    expect(policyOf('', config)).toMatchObject({
      profile: 'closed', profileOrigin: '[guest] in the host config', groups: ['b'], allows: [{ direction: 'in' }],
    });
    expect(policyOf('<gw:policy profile="isolated"/><gw:group name="a"/><gw:allow direction="out"/>', config)).toMatchObject({
      profile: 'isolated', profileOrigin: 'its metadata', groups: ['a'], allows: [{ direction: 'out' }],
    });
  });
});

describe('addresses of a VLAN port', () => {
  const filterref = (...parameters: readonly (readonly [string, string])[]): string =>
    `<filterref filter="clean-traffic">${parameters.map(([name, value]) => `<parameter name="${name}" value="${value}"/>`).join('')}</filterref>`;
  const declared = (...args: Parameters<typeof port>): unknown => {
    const attachment = port(...args);
    return attachment?.kind === 'vlan-port' && attachment.declared;
  };
  const REF = filterref(['IP', '192.0.2.1'], ['IP', '192.0.2.2'], ['IPV6', '2001:DB8::1'], ['MAC', 'x'], ['IPS', 'y']);

  test('are canonical, single ones bare', () => {
    expect(declared('<gw:ip address="192.0.2.1" prefix="32"/><gw:ip address="2001:DB8:1::" prefix="64"/><gw:ip address="fe80::a"/>')).toEqual(['192.0.2.1', '2001:db8:1::/64', 'fe80::a'].map(parseOwn));
    expect(port('')).not.toHaveProperty('declared');
  });

  test('are those of the metadata, else of the filterref, else of the host config', () => {
    const config = `${TABLE}\nip = ["198.51.100.1"]`;
    expect(declared('<gw:ip address="192.0.2.9"/>', config, REF)).toEqual(['192.0.2.9'].map(parseOwn));
    expect(declared('', config, REF)).toEqual(['192.0.2.1', '192.0.2.2', '2001:db8::1'].map(parseOwn));
    expect(declared('', config, filterref(['CTRL_IP_LEARNING', 'dhcp']))).toEqual(['198.51.100.1'].map(parseOwn));
  });

  test.each<[string, [string, string][], string]>([
    ['no address', [['IP', 'x']], "parameter 'IP': address 'x' is not an IPv4 or IPv6 address"],
    ['the other family', [['IP', '2001:db8::1']], "parameter 'IP': '2001:db8::1' is an IPv6 address: name the parameter 'IPV6'"],
    ['the other family again', [['IPV6', '192.0.2.1']], "parameter 'IPV6': '192.0.2.1' is an IPv4 address: name the parameter 'IP'"],
    ['multicast', [['IPV6', 'ff02::1']], "address 'ff02::1' is a multicast address"],
    ['one twice', [['IP', '192.0.2.1'], ['IP', '192.0.2.1']], "'192.0.2.1' is listed twice: list it once"],
  ])('in a filterref: %s', (_, parameters, message) => {
    expect(refusal(() => port('', '', filterref(...parameters)))).toBe(`ERR_DOMAIN_XML ${WHERE}: <filterref>: ${message}`);
  });

  test('a filterref on a routed link is not read', () => {
    expect(derive(ROUTED, { kind: 'ethernet', filterref: filterref(['IP', 'x']) })).not.toHaveProperty('declared');
  });
});

describe('words in the wrong place', () => {
  test.each([
    ['<gw:allow direction="in"/><gw:allow direction="out" to="192.0.2.1,host"/>', '', '<gw:allow> 2 in its metadata'],
    ['', `${TABLE}\nallow = [{ direction = "out", to = ["host"] }]`, 'allow[0] of [guest] in the host config'],
  ])('%j %j: this host on a VLAN port', (words, config, what) => {
    expect(refusal(() => port(words, config))).toBe(`ERR_UNSUPPORTED ${WHERE}: ${what}: 'host' does not work on a VLAN port: name this host's addresses, and protect the host with its own firewall`);
  });

  test.each([
    ['<gw:ip address="192.0.2.1"/>', '', '<gw:ip> is outside <gw:routed>: move it into <gw:routed>'],
    ['', `${TABLE}\nip = ["192.0.2.1"]`, "'ip' of [guest] in the host config is outside 'routed': move it into 'routed'"],
  ])('%j %j on a routed link', (words, config, message) => {
    expect(refusal(() => link(words, config))).toBe(`ERR_UNSUPPORTED ${WHERE}: ${message}`);
  });

  const METADATA = '<gw:trust>, <gw:allow>, <gw:policy>, <gw:group> or <gw:ip> needs a VLAN or a routed link: add the <vlan> or <routed> of this NIC, or remove it';
  const CONFIG = "'trust', 'allow', 'profile', 'log', 'groups' or 'ip' in [guest] of the host config needs a VLAN or a routed link: add the <vlan> or <routed> of this NIC, or remove it";
  test.each([
    ['<gw:trust ra="no"/>', '', METADATA],
    ['<gw:allow direction="in"/>', '', METADATA],
    ['<gw:policy log="yes"/>', '', METADATA],
    ['<gw:group name="a"/>', '', METADATA],
    ['<gw:ip address="192.0.2.1"/>', '', METADATA],
    ['', `${TABLE}\ntrust = { stp = true }`, CONFIG],
  ])('%j %j on a NIC that is neither', (words, config, message) => {
    for (const kind of ['bridge', 'ethernet'] as const)
      expect(refusal(() => derive(words, { kind, config }))).toBe(`ERR_UNSUPPORTED ${WHERE}: ${message}`);
    // Before `start` the XML does not hold what the portgroup will say.
    expect(derive(words, { kind: 'network', config })).toBeUndefined();
  });
});
