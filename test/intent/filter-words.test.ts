// @tier fast
/** The words of trust and policy: what they mean, and what is said against wrong ones. */
import { describe, expect, test } from '@jest/globals';
import { parseConfig } from '../../lib/config/file.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { formatMetadata } from '../../lib/domain/metadata-writer.js';
import { type NicMetadata, readMetadata } from '../../lib/domain/metadata.js';
import type { Allow } from '../../lib/intent/policy.js';
import type { Stored } from '../../lib/attachments/schema.js';
import { link, MAC, PATH, port, refusal, TABLE, WHERE } from '../fakes/filter-xml.js';

function allowsOf(words: string, config?: string): readonly Allow[] | undefined {
  const attachment = link(words, config);
  return attachment?.kind === 'routed-link' ? attachment.policy.allows : undefined;
}

describe('a permission', () => {
  const rule = (attributes: string): Partial<Allow> | undefined => allowsOf(`<gw:allow ${attributes}/>`)?.[0];

  test.each<[string, Partial<Stored<Allow>>]>([
    ['direction="in"', { direction: 'in', proto: undefined, ports: [], peers: [] }],
    ['direction="out" proto="udp"', { direction: 'out', proto: 'udp', ports: [] }],
    ['direction="in" proto="tcp" port="443"', { ports: [{ first: 443, last: 443 }] }],
    ['direction="in" proto="tcp" port="8443-8450, 443"', { ports: [{ first: 443, last: 443 }, { first: 8443, last: 8450 }] }],
    ['direction="in" proto="sctp" port="82,80,81"', { ports: [{ first: 80, last: 82 }] }],
    ['direction="in" proto="tcp" port="1-65535"', { ports: [{ first: 1, last: 65535 }] }],
    ['direction="in" from="2001:DB8::/32"', { peers: [{ kind: 'prefix', prefix: '2001:db8::/32' }] }],
    ['direction="in" from="::/0, 192.0.2.1"', {
      peers: [{ kind: 'prefix', prefix: '::/0' }, { kind: 'prefix', prefix: '192.0.2.1/32' }],
    }],
    ['direction="in" from="guest:web 1:x, group:front-ends"', { peers: [{ kind: 'guest', name: 'web 1:x' }, { kind: 'group', name: 'front-ends' }] }],
    ['direction="out" to="host,guest:host"', { peers: [{ kind: 'host' }, { kind: 'guest', name: 'host' }] }],
    ['direction="in" proto="icmpv6" from="2001:db8::1"', { proto: 'icmpv6', peers: [{ kind: 'prefix', prefix: '2001:db8::1/128' }] }],
  ])('%s', (attributes, expected) => {
    const inJson = (value: unknown): Record<string, unknown> =>
      JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
    expect(inJson(rule(attributes))).toMatchObject(inJson(expected));
  });

  test('says where it is written', () => {
    expect(allowsOf('<gw:allow direction="in"/><gw:allow direction="out"/>')?.map(({ origin }) => origin))
      .toEqual(['<gw:allow> 1 in its metadata', '<gw:allow> 2 in its metadata']);
  });

  test('of a guest whose name holds a comma stands in the host config', () => {
    expect(allowsOf('', `${TABLE}\nallow = [{ direction = "in", from = ["guest:a, b"] }]`)).toEqual([
      { direction: 'in', proto: undefined, ports: [], peers: [{ kind: 'guest', name: 'a, b' }], origin: 'allow[0] of [guest] in the host config' },
    ]);
  });
});

/** Every wrong permission, as metadata and as the host config has it, with what is wrong. */
const WRONG: [string, string][] = [
  ['direction="inn"', "direction 'inn' is neither 'in' nor 'out'"],
  ['direction="in" proto="http"', "proto 'http' is not one of 'tcp', 'udp', 'sctp', 'icmp', 'icmpv6'"],
  ['direction="in" port="443"', "port '443' needs a proto: add proto 'tcp', 'udp' or 'sctp'"],
  ['direction="in" proto="icmp" port="8"', "port '8' does not fit proto 'icmp', which has no ports: remove it"],
  ['direction="in" proto="tcp" port="https"', "port 'https' is not a number or range of numbers: write '443' or '8443-8450'"],
  ['direction="in" proto="tcp" port=""', "port '' is not a number or range of numbers: write '443' or '8443-8450'"],
  ['direction="in" proto="tcp" port="443,"', "port '' is not a number or range of numbers: write '443' or '8443-8450'"],
  ['direction="in" proto="tcp" port="0"', "port '0' is outside 1-65535"],
  ['direction="in" proto="tcp" port="65536"', "port '65536' is outside 1-65535"],
  ['direction="in" proto="tcp" port="080"', "port '080' has a leading zero: write it without"],
  ['direction="in" proto="tcp" port="90-80"', "port range '90-80' runs backwards: write '80-90'"],
  ['direction="in" proto="tcp" port="80-90,85"', "port '85' is listed twice: list each port once"],
  ['direction="in" to="192.0.2.1"', "'to' does not fit direction 'in': name the senders in 'from'"],
  ['direction="out" from="192.0.2.1"', "'from' does not fit direction 'out': name the receivers in 'to'"],
  ['direction="in" from="web1"', "from: 'web1' is neither an address nor a prefix: for a guest or a group write 'guest:web1' or 'group:web1'"],
  ['direction="out" to="world"', "to: 'world' is neither an address nor a prefix: for a guest or a group write 'guest:world' or 'group:world'"],
  ['direction="in" from="host"', "from: 'host' is not allowed here: on a routed link packets of this host itself always come in; on a VLAN port name this host's addresses"],
  ['direction="in" from="guests:web1"', "from: 'guests:web1' begins with 'guests:': only 'guest:' and 'group:' are known"],
  ['direction="in" from="guest:"', "from: 'guest:' has no name: write 'guest:' and the name"],
  ['direction="in" from="group:a b"', "from: group name 'a b' must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit"],
  ['direction="in" from=""', 'from: an item is empty: remove the comma beside it'],
  ['direction="in" from="192.0.2.1,,192.0.2.2"', 'from: an item is empty: remove the comma beside it'],
  ['direction="in" from="192.0.2.1/24"', "from: prefix '192.0.2.1/24' has host bits set: write '192.0.2.0/24'"],
  ['direction="in" from="192.0.2.0/33"', "from: prefix length '33' of '192.0.2.0' is outside 0-32"],
  ['direction="in" from="192.0.2.300"', "from: address '192.0.2.300' is not an IPv4 or IPv6 address"],
  ['direction="in" from="fe80::1%eth0"', "from: address 'fe80::1%eth0' has a zone: remove the '%' and everything after it"],
  ['direction="out" to="ff02::/16"', "to: prefix 'ff02::/16' is a multicast address"],
  ['direction="in" from="127.0.0.1"', "from: address '127.0.0.1' is a loopback address"],
  ['direction="in" from="192.0.2.1,192.0.2.1/32"', "'192.0.2.1' is listed twice in 'from': list it once"],
  ['direction="in" from="guest:a,guest:a"', "'guest:a' is listed twice in 'from': list it once"],
  ['direction="in" proto="icmp" from="2001:db8::/32"', "proto 'icmp' does not fit the address family of '2001:db8::/32' in 'from': write proto 'icmpv6'"],
  ['direction="out" proto="icmpv6" to="192.0.2.1"', "proto 'icmpv6' does not fit the address family of '192.0.2.1' in 'to': write proto 'icmp'"],
];

describe('a wrong permission is pointed at', () => {
  test.each(WRONG)('%s', (attributes, message) => {
    expect(refusal(() => link(`<gw:allow direction="in"/><gw:allow ${attributes}/>`))).toBe(`ERR_DOMAIN_XML ${WHERE}: <gw:allow> 2: ${message}`);
  });

  // The schema itself has words for a wrong direction or proto.
  test.each(WRONG.slice(2))('%s, in the host config', (attributes, message) => {
    const words = [...attributes.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', value = '']) => {
      const list = value.split(',').map((item) => JSON.stringify(item)).join(', ');
      return `${key} = ${key === 'from' || key === 'to' ? `[${list}]` : JSON.stringify(value)}`;
    });
    const config = `${TABLE}\nallow = [{ direction = "in" }, { ${words.join(', ')} }]`;
    expect(refusal(() => link('', config))).toBe(`ERR_CONFIG config '${PATH}': [guest.web1.'${MAC}'] allow[1]: ${message}`);
  });
});

describe('other wrong words in the metadata are pointed at', () => {
  test.each([
    ['<gw:trust ra="maybe"/>', "<gw:trust>: ra='maybe' is neither 'yes' nor 'no'"],
    ['<gw:trust/>', "<gw:trust>: no attribute is set: add one of mac='yes', ip='yes', ra='yes', dhcp='yes', stp='yes', vid0='yes', or remove it"],
    ['<gw:policy/>', "<gw:policy>: no attribute is set: add profile='isolated' or log='yes', or remove it"],
    ['<gw:policy profile="strict"/>', "<gw:policy>: profile 'strict' is not one of 'open', 'isolated', 'closed'"],
    ['<gw:policy log="true"/>', "<gw:policy>: log='true' is neither 'yes' nor 'no'"],
    ['<gw:group name=""/>', "<gw:group>: group name '' must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit"],
    ['<gw:group name="-a"/>', "<gw:group>: group name '-a' must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit"],
    [`<gw:group name="${'a'.repeat(64)}"/>`, `<gw:group>: group name '${'a'.repeat(64)}' must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit`],
    ['<gw:group name="a"/><gw:group name="a"/>', "<gw:group>: 'a' is listed twice: list it once"],
    ['<gw:ip address="ff02::1"/>', "<gw:ip>: address 'ff02::1' is a multicast address"],
    ['<gw:ip address="127.0.0.1"/>', "<gw:ip>: address '127.0.0.1' is a loopback address"],
    ['<gw:ip address="0.0.0.0"/>', "<gw:ip>: address '0.0.0.0' is the unspecified address"],
    ['<gw:ip address="0.0.0.0" prefix="0"/>', "<gw:ip>: prefix '0.0.0.0/0' covers every address: list only the guest's own addresses"],
    ['<gw:ip address="192.0.2.1" prefix="24"/>', "<gw:ip>: prefix '192.0.2.1/24' has host bits set: write '192.0.2.0/24'"],
    ['<gw:ip address="192.0.2.1/24"/>', "<gw:ip>: address '192.0.2.1/24' has a prefix length: remove the '/' and everything after it"],
    ['<gw:ip address="192.0.2.1"/><gw:ip address="192.0.2.1" prefix="32"/>', "<gw:ip>: '192.0.2.1' is listed twice: list it once"],
  ])('%s', (words, message) => {
    expect(refusal(() => port(words))).toBe(`ERR_DOMAIN_XML ${WHERE}: ${message}`);
  });

  const NIC = `guest 'web1': <gw:interface mac='${MAC}'>`;
  test.each([
    ['<gw:allow direction="in"/><gw:allow proto="tcp"/>', "<gw:allow> 2: attribute 'direction' is missing: add it"],
    ['<gw:allow direction="in" ports="443"/>', "<gw:allow> 1: unknown attribute 'ports': allowed are 'direction', 'proto', 'port', 'from', 'to'"],
    ['<gw:allow direction="in">443</gw:allow>', "<gw:allow> 1: text '443' has no meaning here: remove it"],
    ['<gw:trust arp="yes"/>', "<gw:trust>: unknown attribute 'arp': allowed are 'mac', 'ip', 'ra', 'dhcp', 'stp', 'vid0'"],
    ['<gw:trust ra="yes"/><gw:trust dhcp="yes"/>', '<gw:trust> appears twice: merge the two'],
    ['<gw:policy name="open"/>', "<gw:policy>: unknown attribute 'name': allowed are 'profile', 'log'"],
    ['<gw:policy log="yes"/><gw:policy/>', '<gw:policy> appears twice: merge the two'],
    ['<gw:group>a</gw:group>', "<gw:group>: attribute 'name' is missing: add it"],
    ['<gw:ip/>', "<gw:ip>: attribute 'address' is missing: add it"],
    ['<gw:deny direction="in"/>', "unknown element 'gw:deny': allowed are 'gw:vlan', 'gw:port', 'gw:routed', 'gw:trust', 'gw:policy', 'gw:allow', 'gw:group', 'gw:ip'"],
  ])('%s', (words, message) => {
    expect(refusal(() => port(words))).toBe(`ERR_DOMAIN_XML ${NIC}: ${message}`);
  });
});

describe('other wrong words in the host config are pointed at', () => {
  const AT = `[guest.web1.'${MAC}']`;
  test.each([
    ['[filter]\nprofile = "strict"', '[filter] profile: must be one of "open", "isolated", "closed", not the text \'strict\''],
    ['[filter]\nlog = "yes"', "[filter] log: must be true or false, not the text 'yes'"],
    ['[filter]\ntrust = ["ra"]', "[filter]: unknown key 'trust': allowed are 'profile', 'log', 'groups'"],
    ['[bridge.br0]\ntrust = ["arp"]', '[bridge.br0] trust[0]: must be one of "mac", "ip", "ra", "dhcp", "stp", "vid0", not the text \'arp\''],
    ['[bridge.br0]\ntrust = "ra"', '[bridge.br0] trust: must be a list such as ["ra", "dhcp"], not the text \'ra\''],
    ['[routed]\ntrust = ["ra", "ra"]', "[routed] trust: 'ra' is listed twice: list it once"],
    [`${TABLE}\ntrust = ["ra"]`, `${AT} trust: must be a table, not a list`],
    [`${TABLE}\ntrust = { ra = "yes" }`, `${AT} trust.ra: must be true or false, not the text 'yes'`],
    [`${TABLE}\nallow = { direction = "in" }`, `${AT} allow: must be a list of tables such as [{ direction = "in", proto = "tcp", port = "443" }], not a table`],
    [`${TABLE}\nallow = [{ proto = "tcp" }]`, `${AT} allow[0].direction: missing, must be "in" or "out"`],
    [`${TABLE}\nallow = [{ direction = "both" }]`, `${AT} allow[0].direction: must be "in" or "out", not the text 'both'`],
    [`${TABLE}\nallow = [{ direction = "in", proto = "http" }]`, `${AT} allow[0].proto: must be one of "tcp", "udp", "sctp", "icmp", "icmpv6", not the text 'http'`],
    [`${TABLE}\nallow = [{ direction = "in", port = [443] }]`, `${AT} allow[0].port: must be a port such as 443 or ports such as "443,8443-8450", not a list`],
    [`${TABLE}\nallow = [{ direction = "in", from = "guest:a" }]`, `${AT} allow[0].from: must be a list such as ["guest:web1", "2001:db8::/32"], not the text 'guest:a'`],
    [`${TABLE}\nallow = [{ direction = "in", from = [] }]`, `${AT} allow[0]: 'from' is empty: remove it to allow any peer`],
    [`${TABLE}\nallow = [{ direction = "in", proto = "tcp", port = 4.5 }]`, `${AT} allow[0]: port '4.5' is not a number or range of numbers: write '443' or '8443-8450'`],
    [`${TABLE}\nprofile = "none"`, `${AT} profile: must be one of "open", "isolated", "closed", not the text 'none'`],
    [`${TABLE}\ngroups = ["a", "a"]`, `${AT} groups: 'a' is listed twice: list it once`],
    [`${TABLE}\ngroups = ["a b"]`, `${AT} groups: group name 'a b' must have 1 to 63 letters, digits, '_', '.' or '-', and start with a letter or digit`],
    [`${TABLE}\nip = ["ff02::1"]`, `${AT} ip: address 'ff02::1' is a multicast address`],
    [`${TABLE}\nip = ["192.0.2.1/24"]`, `${AT} ip: prefix '192.0.2.1/24' has host bits set: write '192.0.2.0/24'`],
  ])('%j', (toml, message) => {
    expect(refusal(() => parseConfig(toml, PATH))).toBe(`ERR_CONFIG config '${PATH}': ${message}`);
  });
});

test('formatMetadata writes what readMetadata reads', () => {
  const intents: NicMetadata[] = [{
    mac: MAC, vlan: undefined, isolated: undefined, routed: undefined,
    filter: {
      trust: { ra: 'yes', stp: 'n"o' }, policy: { profile: 'open', log: undefined }, groups: ['a', '<b>'],
      ips: [{ address: '192.0.2.1', prefix: undefined }, { address: '2001:db8::', prefix: '64' }],
      allows: [
        { direction: 'in', proto: 'tcp', port: '443,8443-8450', from: 'guest:a & b', to: undefined },
        { direction: 'out', proto: undefined, port: undefined, from: undefined, to: 'host' },
      ],
    },
  }];
  const xml = formatMetadata(intents);
  expect(readMetadata(parseDomain(`<domain><name>web1</name><metadata>${xml}</metadata><devices><interface><mac address="${MAC}"/></interface></devices></domain>`))).toEqual(intents);
  expect(xml).toContain('<gw:allow direction="out" to="host"/>');
});
