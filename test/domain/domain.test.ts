// @tier fast
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type Domain, type Nic, type NicJoin, parseDomain } from '../../lib/domain/domain.js';
import { DomainXmlError } from '../../lib/errors.js';

const HOOK_STDIN = new URL('../../fixtures/hook-stdin/', import.meta.url);
const XML = new URL('../../fixtures/xml/', import.meta.url);

const documents = readdirSync(HOOK_STDIN, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.xml'))
  .sort();
const domains = documents.filter((name) => !name.includes('/network-'));
const networks = documents.filter((name) => name.includes('/network-'));

const xmllint = spawnSync('xmllint', ['--version']).error === undefined;
const asXmllint = xmllint ? 'every document libvirt gave a hook reads as xmllint reads it' : 'xmllint is missing, so it is not asked';

(xmllint ? describe : describe.skip)(asXmllint, () => {
  test.each(domains)('%s', (name) => {
    const path = new URL(name, HOOK_STDIN);
    const domain = parseDomain(readFileSync(path, 'utf8'));
    const facts = factsOf(domain);
    expect(`${domain.nics.length}\n${facts.map(([, value]) => shown(value)).join('\n')}\n`).toBe(xpath(path, facts));
  });

  test('for every type of NIC', () => {
    const path = new URL('every-nic.xml', XML);
    const facts = factsOf(parseDomain(readFileSync(path, 'utf8')));
    expect(facts.filter(([, value]) => value !== undefined).length).toBeGreaterThan(60);
    expect(`20\n${facts.map(([, value]) => shown(value)).join('\n')}\n`).toBe(xpath(path, facts));
  });
});

describe('what libvirt gives the network hook is no domain', () => {
  test.each(networks)('%s', (name) => {
    expect(() => parseDomain(readFileSync(new URL(name, HOOK_STDIN), 'utf8'))).toThrow(new DomainXmlError(
      "'hookData' is not a domain: the root element of domain XML is <domain>, in no namespace"));
  });

  test('both kinds are there', () => {
    expect([domains.length, networks.length]).toEqual([29, 6]);
  });
});

describe('a NIC joins what its elements say, not what its type says', () => {
  test.each<[string, NicJoin[]]>([
    ['libvirt-9.0.0/qemu-multi-start-begin.xml', [
      bridge('lvnat0'), bridge('lvroute0'), bridge('lvopen0'),
      bridge('lvtest0'), direct('lvup0', 'bridge'), bridge('lvtest0'),
      { kind: 'ethernet' }, { kind: 'ethernet' }, direct('lvup1', 'bridge'),
      { kind: 'none' }, { kind: 'none' }, bridge('lvisol0'),
    ]],
    ['libvirt-9.0.0/qemu-multi-prepare-begin.xml', [
      network('lvnat'), network('lvroute'), network('lvopen'), network('lvbr'), network('lvmvt'), bridge('lvtest0'),
      { kind: 'ethernet' }, { kind: 'ethernet' }, direct('lvup1', 'bridge'),
      { kind: 'none' }, { kind: 'none' }, network('lvisol'),
    ]],
    ['libvirt-9.0.0/lxc-lc-start-begin.xml', [network('lvbr'), bridge('lvtest0'), { kind: 'ethernet' }]],
    ['libvirt-11.3.0/qemu-v-start-begin.5.xml', [bridge('lvtest0')]],
  ])('%s', (name, joins) => {
    expect(nicsOf(readFileSync(new URL(name, HOOK_STDIN), 'utf8')).map((nic) => nic.joins)).toEqual(joins);
  });

  test('for every type libvirt has', () => {
    const { nics } = parseDomain(readFileSync(new URL('every-nic.xml', XML), 'utf8'));
    expect(nics.map(({ type, joins }) => [type, joins])).toEqual([
      ['bridge', bridge('br0')],
      ['bridge', { kind: 'openvswitch', bridge: 'ovsbr0' }],
      ['bridge', { kind: 'none' }],
      ['network', network('lan')],
      ['network', network('lan')],
      ['network', network('lan')],
      ['network', { kind: 'openvswitch', bridge: undefined }],
      ['ethernet', { kind: 'ethernet' }],
      ['direct', direct('eno1', 'private')],
      ...['user', 'vhostuser', 'hostdev', 'vdpa', 'mcast', 'udp', 'server', 'client', 'internal', 'null', 'vds']
        .map((type) => [type, { kind: 'none' }]),
    ]);
  });

  test.each<[string, string, NicJoin]>([
    ['a libvirt network of bridge kind', "<interface type='bridge'><source network='n' portgroup='p' portid='i' bridge='b'/></interface>", bridge('b')],
    ['a libvirt network of Open vSwitch kind', "<interface type='bridge'><source network='n' bridge='b'/><virtualport type='openvswitch'/></interface>",
      { kind: 'openvswitch', bridge: 'b' }],
    ['a macvtap pool with 802.1Qbh', "<interface type='direct'><source network='n' dev='d' mode='vepa'/><virtualport type='802.1Qbh'/></interface>", direct('d', 'vepa')],
    ['a bridge with 802.1Qbh', "<interface type='bridge'><source bridge='b'/><virtualport type='802.1Qbh'/></interface>", bridge('b')],
    ['a bridge without a bridge', "<interface type='bridge'><source network='n'/></interface>", { kind: 'none' }],
    ['a network without a source', "<interface type='network'/>", network(undefined)],
    ['direct without a source', "<interface type='direct'/>", direct(undefined, undefined)],
    ['ethernet with a bridge, which libvirt drops', "<interface type='ethernet'><source bridge='b'/></interface>", { kind: 'ethernet' }],
    ['direct with a bridge, which libvirt drops', "<interface type='direct'><source bridge='b' dev='d'/></interface>", direct('d', undefined)],
    ['a bridge of another namespace', "<interface type='network'><x:source xmlns:x='urn:x' bridge='b'/></interface>", network(undefined)],
    ['a type yet to come', "<interface type='teleport'><source bridge='b'/></interface>", { kind: 'none' }],
  ])('%s', (_, xml, joins) => {
    expect(nicsOf(domain(`<devices>${xml}</devices>`))[0]?.joins).toEqual(joins);
  });
});

describe('a NIC keeps what is written', () => {
  const { nics } = parseDomain(readFileSync(new URL('every-nic.xml', XML), 'utf8'));

  test('all of a full <interface>', () => {
    expect(nics[0]).toEqual({
      index: 0,
      type: 'bridge',
      mac: '52:54:00:00:0a:00',
      joins: bridge('br0'),
      source: {
        bridge: 'br0', dev: undefined, mode: undefined, network: undefined, portgroup: undefined, portid: undefined,
      },
      target: { dev: 'web0', managed: undefined },
      vlan: { trunk: 'yes', tags: [{ id: '10', nativeMode: 'untagged' }, { id: '20', nativeMode: undefined }] },
      isolated: 'yes',
      virtualport: undefined,
      mtu: '9000',
      queues: undefined,
      linkState: 'up',
      filterref: {
        filter: 'clean-traffic', parameters: [{ name: 'IP', value: '10.0.0.5' }, { name: 'IP', value: '10.0.0.6' }],
      },
      hostIp: { ips: [], routes: [] },
      guestIp: { ips: [], routes: [] },
      backend: { tap: '/dev/net/tun', vhost: '/dev/vhost-net' },
      alias: 'ua-web',
    } satisfies Nic);
  });

  test('host side and guest side addresses', () => {
    const absent = { family: undefined, peer: undefined, prefix: undefined, netmask: undefined, metric: undefined };
    expect(nics[7]?.target).toEqual({ dev: 'p2p0', managed: 'no' });
    expect(nics[7]?.hostIp).toEqual({
      ips: [{ address: '10.77.0.1', prefix: '32', family: 'ipv4', peer: '10.77.0.2' }],
      routes: [{
        address: '10.78.0.0', prefix: '24', netmask: absent.netmask, family: 'ipv4', gateway: '10.77.0.2', metric: '2',
      }],
    });
    expect(nics[7]?.guestIp).toEqual({
      ips: [{ address: '2001:db8::2', prefix: '64', family: 'ipv6', peer: absent.peer }],
      routes: [{
        address: '10.0.0.0', prefix: absent.prefix, netmask: '255.0.0.0', family: 'ipv4', gateway: '10.77.0.1',
        metric: absent.metric,
      }],
    });
  });

  test('the configured MAC, in lower case, not the one the guest set', () => {
    const [nic] = nicsOf(domain("<devices><interface type='user'><mac address='52:54:00:AA:BB:0C' currentAddress='02:00:00:00:00:01'/></interface></devices>"));
    expect(nic?.mac).toBe('52:54:00:aa:bb:0c');
  });

  test.each([
    "<vlan/>", "<vlan trunk='maybe'><tag id='x'/></vlan>", "<target dev='-a b'/>", "<mtu size='big'/>",
    "<mac address='nonsense'/>", "<backend __proto__='1'/>",
  ])(
    '%s makes no error here', (xml) => { expect(nicsOf(domain(`<devices><interface type='bridge'>${xml}</interface></devices>`))).toHaveLength(1); });
});

describe('a repeated element is read as libvirt reads it: the first wins', () => {
  const xml = readFileSync(new URL('repeated.xml', XML), 'utf8');
  const repeated = parseDomain(xml);

  test('everywhere but in <devices>', () => {
    expect(repeated).toMatchObject({ name: 'repeated', uuid: '0f3db4cb-4ebc-4c73-a061-8d1c8d5b3f4f' });
    expect(repeated.metadata.map(({ local }) => local)).toEqual(['guestwire']);
    expect(repeated.nics.map(({ type, mac }) => [type, mac])).toEqual([
      ['bridge', '52:54:00:aa:00:01'], ['user', '52:54:00:aa:00:05'],
      ['ethernet', '52:54:00:aa:00:03'], ['direct', '52:54:00:aa:00:04'],
    ]);
  });

  const virsh = spawnSync('virsh', ['--version']).error === undefined;
  (virsh ? test : test.skip)(virsh ? 'and what libvirt makes of it reads the same' : 'virsh is missing, so libvirt is not asked', () => {
    const commands = `define ${new URL('repeated.xml', XML).pathname}; dumpxml repeated`;
    const { stdout } = spawnSync('virsh', ['--quiet', '--connect', 'test:///default', commands], { encoding: 'utf8' });
    const printed = parseDomain(stdout);
    // What a type does not use libvirt drops from <source>; what counts of it is in `joins`.
    const compared = ({ nics, ...rest }: Domain): object => ({
      ...rest, nics: nics.map((nic) => ({ ...nic, source: {} })),
    });
    expect(compared(printed)).toEqual({ ...compared(repeated), metadata: printed.metadata });
    expect(printed.metadata).toMatchObject([{ local: 'guestwire', children: [] }]);
  });
});

describe('a domain needs a name, and nothing else', () => {
  test.each([
    ['1e5', '1e5'], ['007', '007'], ['__proto__', '__proto__'],
    ['a&#xE9;&#x1F600;', 'aé\u{1F600}'], ['  a  b ', '  a  b '], ['<![CDATA[<&>]]>', '<&>'],
    ['a<!-- b -->c', 'ac'], ['-v', '-v'], ["it's", "it's"], ['true', 'true'],
  ])('<name>%s</name>', (written, name) => {
    expect(parseDomain(`<domain><name>${written}</name></domain>`)).toEqual({ type: undefined, name, uuid: undefined, nics: [], metadata: [] });
  });

  test.each([
    ['53C6C930-6871-485F-856A-9A73F12CD3C1', '53c6c930-6871-485f-856a-9a73f12cd3c1'],
    [' \n53c6c9306871485f856a9a73f12cd3c1 ', '53c6c930-6871-485f-856a-9a73f12cd3c1'],
    ['', undefined],
  ])('<uuid>%j</uuid>', (written, uuid) => {
    expect(parseDomain(domain(`<uuid>${written}</uuid>`)).uuid).toBe(uuid);
  });

  test.each([
    ['<network/>', "'network' is not a domain: the root element of domain XML is <domain>, in no namespace"],
    ["<domain xmlns='urn:x'/>", "'{urn:x}domain' is not a domain: the root element of domain XML is <domain>, in no namespace"],
    ["<__proto__ name='domain'/>", "'__proto__' is not a domain: the root element of domain XML is <domain>, in no namespace"],
    ['<domain/>', 'the domain has no name: <domain> needs a <name>'],
    ['<domain><name/></domain>', 'the domain has no name: <domain> needs a <name>'],
    ["<domain><name xmlns='urn:x'>a</name></domain>", 'the domain has no name: <domain> needs a <name>'],
    [domain('<uuid>../../etc</uuid>'), "guest 'web1': <uuid> '../../etc' is not a UUID: it has 32 hexadecimal digits"],
    [domain('<uuid>53c6c930-6871-485f-856a-9a73f12cd3c12</uuid>'),
      "guest 'web1': <uuid> '53c6c930-6871-485f-856a-9a73f12cd3c12' is not a UUID: it has 32 hexadecimal digits"],
    ['', 'domain XML is empty: pass the XML of one domain'],
    ['<domain>\n <name>a</nam>\n</domain>', 'domain XML line 2 column 14: unexpected close tag'],
  ])('%j', (xml, message) => {
    expect(() => parseDomain(xml)).toThrow(new DomainXmlError(message));
  });

  test('broken metadata is kept for whoever reads it', () => {
    const xml = domain("<metadata>x<a/><g:guestwire xmlns:g='urn:guestwire:1' y='1'><z/></g:guestwire><b xmlns='urn:guestwire:1'/></metadata>");
    expect(parseDomain(xml).metadata.map(({ local }) => local)).toEqual(['guestwire', 'b']);
  });
});

/** A value parseDomain() found, and the XPath that finds it in the document. */
type Fact = [string, string | undefined];

function factsOf(domain: Domain): Fact[] {
  const nics = domain.nics.flatMap((nic, index) =>
    nicFacts(nic).map(([path, value]): Fact => [`(/domain/devices/interface)[${index + 1}]/${path}`, value]));
  return [['/domain/@type', domain.type], ['/domain/name', domain.name], ['/domain/uuid', domain.uuid], ...nics];
}

function nicFacts(nic: Nic): Fact[] {
  const { source, target, vlan, filterref } = nic;
  return [
    ['@type', nic.type], ['mac/@address', nic.mac], ['target/@dev', target.dev], ['target/@managed', target.managed],
    ['source/@bridge', source.bridge], ['source/@dev', source.dev], ['source/@mode', source.mode],
    ['source/@network', source.network], ['source/@portgroup', source.portgroup], ['source/@portid', source.portid],
    ['port/@isolated', nic.isolated], ['virtualport/@type', nic.virtualport], ['mtu/@size', nic.mtu],
    ['link/@state', nic.linkState], ['filterref/@filter', filterref?.filter],
    ['alias/@name', nic.alias], ['vlan/@trunk', vlan?.trunk],
    ...[0, 1, 2].flatMap((index): Fact[] => [
      [`vlan/tag[${index + 1}]/@id`, vlan?.tags[index]?.id],
      [`vlan/tag[${index + 1}]/@nativeMode`, vlan?.tags[index]?.nativeMode],
      [`filterref/parameter[${index + 1}]/@value`, filterref?.parameters[index]?.value],
      ...ipFacts(`source/ip[${index + 1}]`, nic.hostIp.ips[index]),
      ...ipFacts(`ip[${index + 1}]`, nic.guestIp.ips[index]),
      ...ipFacts(`source/route[${index + 1}]`, nic.hostIp.routes[index]),
      ...ipFacts(`route[${index + 1}]`, nic.guestIp.routes[index]),
    ]),
  ];
}

function ipFacts(path: string, ip: Readonly<Record<string, string | undefined>> | undefined): Fact[] {
  return ['address', 'prefix', 'family', 'peer', 'gateway', 'metric'].map((name) => [`${path}/@${name}`, ip?.[name]]);
}

/** Absent and empty must look different. */
function shown(value: string | undefined): string {
  return value === undefined ? '-' : `=${value}`;
}

/** What xmllint finds by the same paths, shown the same way, after the number of NICs. */
function xpath(path: URL, facts: readonly Fact[]): string {
  const parts = facts.map(([of]) => `'\n', substring('-', 1 + count(${of})), substring('=', 2 - count(${of})), string(${of})`);
  // In slices, because Linux takes at most 128 KiB as one argument.
  const slices = parts.flatMap((_, index) => (index % 200 === 0 ? [parts.slice(index, index + 200).join(', ')] : []));
  const found = ['count(/domain/devices/interface)', ...slices.map((slice) => `concat(${slice})`)].map((expression) => {
    const { stdout, stderr } = spawnSync('xmllint', ['--xpath', expression, path.pathname], { encoding: 'utf8' });
    expect(stderr).toBe('');
    return stdout.replace(/\n$/, '');
  });
  return `${found.join('')}\n`;
}

function nicsOf(xml: string): readonly Nic[] {
  return parseDomain(xml).nics;
}

function domain(inner: string): string {
  return `<domain><name>web1</name>${inner}</domain>`;
}

function bridge(name: string): NicJoin {
  return { kind: 'bridge', bridge: name };
}

function network(name: string | undefined): NicJoin {
  return { kind: 'network', network: name };
}

function direct(dev: string | undefined, mode: string | undefined): NicJoin {
  return { kind: 'direct', dev, mode };
}
