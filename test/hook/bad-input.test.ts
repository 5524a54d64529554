// @tier kernel long
/**
 * What a guest's XML can do wrong, on the real hook: the guest does not start, its user reads one sentence, nothing on
 * the host has changed, and a guest that guestwire has nothing to do with starts beside it.
 */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  bridgeNic, domainXml, ethernetNic, type HookHost, openHookHost, PLAIN, PORT_MAC, routedXml, TAP_MAC, vlanXml,
} from '../places/hook-run.js';
import { COMING, expectDone, expectRefused, LIFE, type Refusal } from '../places/refused.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const ADDRESS = '2001:db8:0:10::a';
const WIRED = domainXml({ metadata: routedXml([ADDRESS]) });
const NIC0 = `guest 'web1' NIC 0 (${PORT_MAC})`;
const NIC1 = `guest 'web1' NIC 1 (${TAP_MAC})`;
/** With it the launcher cannot tell that a guest has no part in the config, and node reads the XML of every guest. */
const OTHERS_CONFIG = '[guest.other."52:54:00:aa:bb:99"]\nvlan = { tags = [10] }\n';

interface Row extends Refusal {
  readonly config?: string;
}

function refuse(rows: Readonly<Record<string, Row>>): void {
  for (const [at, [title, { config = '', ...refusal }]] of Object.entries(rows).entries()) {
    hookTest(title, async () => {
      host.write('/run/config.toml', config);
      await expectRefused(host, { ...refusal, operations: at === 0 ? LIFE : COMING });
    });
  }
}

/** The same document, broken in the same way, of a guest that asks for something and of one that does not. */
function broken(how: (xml: string) => string | Uint8Array, says: string): Row {
  return { xml: how(WIRED), bystander: how(PLAIN), says: `guest 'web1': ${says}`, config: OTHERS_CONFIG };
}

describe('a document that is no domain XML', () => {
  const config = `[guest.web1."${TAP_MAC}"]\nrouted = { ip = ["192.0.2.10"] }\n`;
  const tooLong = 'domain XML is longer than 4194304 bytes, the most that guestwire reads';
  const doctype = 'a DOCTYPE is not accepted: libvirt writes none, and its entities could grow without bound';
  refuse({
    'is empty': { ...broken(() => '', 'domain XML is empty: pass the XML of one domain'), config },
    'is white space': { ...broken(() => ' \n', 'domain XML is empty: pass the XML of one domain'), config },
    'ends between two elements': broken((xml) => xml.slice(0, xml.indexOf('</devices>')), "domain XML line 19 column 2: unclosed tag 'devices'"),
    'ends within a tag': broken((xml) => xml.slice(0, xml.indexOf('</metadata>') + 5), "domain XML line 6 column 7: unclosed tag 'metadata'"),
    'is of a network': broken((xml) => xml.replaceAll('domain', 'network'), "'network' is not a domain: the root element of domain XML is <domain>, in no namespace"),
    'has its root in a namespace': broken((xml) => xml.replace('<domain ', '<domain xmlns="urn:x" '), "'{urn:x}domain' is not a domain: the root element of domain XML is <domain>, in no namespace"),
    'has two roots': broken((xml) => xml + xml, 'domain XML line 21 column 8: documents may contain only one root'),
    'is JSON': broken((xml) => JSON.stringify({ xml }), 'domain XML line 1 column 9: text data outside of root node'),
    'has more than 4 MiB in an element': broken((xml) => xml.replace('<devices>', `${'x'.repeat(4 * 1024 * 1024)}<devices>`), tooLong),
    'has more than 4 MiB of white space at its end': broken((xml) => xml + ' '.repeat(4 * 1024 * 1024), tooLong),
    'is 1,000 levels deep': broken((xml) => xml.replace('<devices>', `${'<a>'.repeat(1000)}${'</a>'.repeat(1000)}<devices>`), 'domain XML line 7 column 770: elements are nested deeper than 256 levels'),
    'has 100,001 elements': broken((xml) => xml.replace('<devices>', `${'<a/>'.repeat(100_001)}<devices>`), 'domain XML line 7 column 399953: more than 100000 elements and attributes'),
    'has a DOCTYPE': broken((xml) => `<!DOCTYPE domain>${xml}`, `domain XML line 1 column 17: ${doctype}`),
    'defines entities': broken((xml) => `<!DOCTYPE domain [<!ENTITY a "&a;&a;">]>${xml.replace('kvm', '&a;')}`, `domain XML line 1 column 40: ${doctype}`),
    'refers to an external file': broken((xml) => `<!DOCTYPE domain SYSTEM "/etc/shadow">${xml}`, `domain XML line 1 column 38: ${doctype}`),
    'names an entity nobody defined': broken((xml) => xml.replace('vnet1', '&lol;'), 'domain XML line 16 column 24: undefined entity'),
    'is not UTF-8': broken((xml) => Buffer.concat([Buffer.from(xml), Buffer.from([0x3c, 0xc3, 0x28])]), 'domain XML is not UTF-8 text: save the document as UTF-8'),
    'holds a control character': broken((xml) => xml.replace('vnet1', 'vnet\x01'), 'domain XML line 16 column 24: disallowed character'),
    'does not bind its prefix': broken((xml) => xml.replace('xmlns:gw=', 'about='), "domain XML line 5 column 42: unbound namespace prefix 'gw'"),
    'has no name': broken((xml) => xml.replace(/<name>.*<\/name>/, ''), 'the domain has no name: <domain> needs a <name>'),
    'has no UUID': broken((xml) => xml.replace(/<uuid>.*<\/uuid>/, ''), "the domain XML has no <uuid>: libvirt's own XML has one"),
    'has a UUID that is none': broken((xml) => xml.replace(/<uuid>.*<\/uuid>/, '<uuid>../../etc</uuid>'), "<uuid> '../../etc' is not a UUID: it has 32 hexadecimal digits"),
  });
});

function vlan(tags: string, says: string): Row {
  return { xml: domainXml({ metadata: vlanXml(tags) }), says: `${NIC0}: ${says}` };
}

function nativeVlan(tags: string, says: string): Row {
  const xml = domainXml({ nics: [bridgeNic({ more: `<vlan>${tags}</vlan>\n      ` })] });
  // A table of the bridge: without it the guest starts.
  return { xml, says: `${NIC0}: ${says}`, config: '[bridge.br0]\n' };
}

function tag(id: string, says: string): Row {
  return vlan(`<gw:tag id="${id}"/>`, says);
}

describe('a VLAN', () => {
  const noNumber = "is not a number or range of numbers: write '10' or '10-19'";
  const noTag = "<vlan> has no <tag>: add at least one <tag id='...'/>";
  const config = '[bridge.br0]\nallowed = ["10-199", 300]\n';
  const notAllowed = "is not allowed on bridge 'br0': its 'allowed' in the host config has '10-199,300'";
  refuse({
    '0': tag('0', "VLAN ID '0' is outside 1-4094"),
    '4095': tag('4095', "VLAN ID '4095' is outside 1-4094"),
    '99999999999999999999': tag('99999999999999999999', "VLAN ID '99999999999999999999' is outside 1-4094"),
    'abc': tag('abc', `VLAN ID 'abc' ${noNumber}`),
    '0x10': tag('0x10', `VLAN ID '0x10' ${noNumber}`),
    'that is negative': tag('-5', `VLAN ID '-5' ${noNumber}`),
    'with a command behind it': tag('5; reboot', `VLAN ID '5; reboot' ${noNumber}`),
    'with a line behind it': tag('5&#10;vlan del', `VLAN ID '5\\nvlan del' ${noNumber}`),
    '200-100': tag('200-100', "VLAN range '200-100' runs backwards: write '100-200'"),
    'that is listed twice': vlan('<gw:tag id="10"/><gw:tag id="10"/>', "VLAN ID '10' is listed twice: list each VLAN once"),
    'that a range holds too': vlan('<gw:tag id="10-20"/><gw:tag id="15"/>', "VLAN ID '15' is listed twice: list each VLAN once"),
    'beside another native one': vlan('<gw:tag id="10" nativeMode="tagged"/><gw:tag id="20" nativeMode="untagged"/>', "VLAN IDs '10' and '20' are both native: a port has one native VLAN"),
    'trunk with no tags': {
      xml: domainXml({ metadata: vlanXml('').replace('<gw:vlan>', '<gw:vlan trunk="yes">') }),
      says: `${NIC0}: ${noTag}`,
    },
    '0 in the <interface>': nativeVlan("<tag id='0'/>", "VLAN ID '0' is outside 1-4094"),
    '4095 in the <interface>': nativeVlan("<tag id='4095'/>", "VLAN ID '4095' is outside 1-4094"),
    'that is listed twice in the <interface>': nativeVlan("<tag id='10'/><tag id='10'/>", "VLAN ID '10' is listed twice: list each VLAN once"),
    'element with no tags in the <interface>': nativeVlan('', noTag),
    'outside those allowed': { ...tag('200', `VLAN '200' ${notAllowed}`), config },
    'range partly outside those allowed': { ...nativeVlan("<tag id='8-11'/>", `VLAN '8-9' ${notAllowed}`), config },
  });
});

/** A kernel that can filter has its own sentence; netns.test.ts and the lab have such kernels. */
const canFilter = (): boolean => host.sh('ip -details link show br0').includes('vlan_protocol');

describe('a bridge', () => {
  const on = (bridge: string): string =>
    domainXml({ metadata: vlanXml('<gw:tag id="10"/>'), nics: [bridgeNic({ bridge })] });
  refuse({
    'that does not exist': { xml: on('br9'), says: `${NIC0}: bridge 'br9' does not exist: create it, or name an existing one in <source bridge>` },
    'that is another kind of link': { xml: on('eno1'), says: `${NIC0}: 'eno1' is not a bridge: name a bridge in <source bridge>` },
    'with a name that is none': { xml: on('br0 up'), says: `${NIC0}: bridge: interface name 'br0 up' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'` },
  });

  hookTest('that does not filter VLANs, or whose kernel cannot', async () => {
    const unable = "this kernel cannot filter VLANs on bridge 'br0': it needs CONFIG_BRIDGE_VLAN_FILTERING";
    const off = "bridge 'br0' does not filter VLANs: turn it on with 'ip link set dev br0 type bridge vlan_filtering 1' (its ports then drop tagged frames in VLANs that they do not have)";
    const says = `${NIC0}: ${canFilter() ? off : unable}`;
    await expectRefused(host, { xml: on('br0'), says });
  });

  hookTest('that does not filter VLANs, with a kernel that could', async () => {
    const path = host.tools({ ip: 'filtering-off' });
    await expectRefused(host, { xml: on('br0'), args: { path }, says: `${NIC0}: bridge 'br0' does not filter VLANs: turn it on with 'ip link set dev br0 type bridge vlan_filtering 1' (its ports then drop tagged frames in VLANs that they do not have)` });
  });
});

function address(text: string, says: string): Row {
  return { xml: domainXml({ metadata: routedXml([text]) }), says: `${NIC1}: ${says}` };
}

function prefix(text: string, length: number, says: string): Row {
  const element = `<gw:route address="${text}" prefix="${length}"/>`;
  const metadata = routedXml(['192.0.2.10']).replace('</gw:routed>', `${element}</gw:routed>`);
  return { xml: domainXml({ metadata }), says: `${NIC1}: ${says}` };
}

describe('an address', () => {
  const noAddress = 'is not an IPv4 or IPv6 address';
  const config = '[routed]\nprefixes = ["2001:db8:0:10::/60", "192.0.2.0/26"]\n';
  const outside = "is outside the prefixes of this host: 'prefixes' in [routed] of the host config has '2001:db8:0:10::/60, 192.0.2.0/26'";
  refuse({
    'with a letter too many': address('2001:db8::g', `address '2001:db8::g' ${noAddress}`),
    'with a number too high': address('192.0.2.300', `address '192.0.2.300' ${noAddress}`),
    'with a number too few': address('192.0.2', `address '192.0.2' ${noAddress}`),
    'in octal': address('0300.0.2.1', `address '0300.0.2.1' ${noAddress}`),
    'that is empty': address('', `address '' ${noAddress}`),
    'that is a name': address('www.example.org', `address 'www.example.org' ${noAddress}`),
    'with a device behind it': address('192.0.2.1 dev lo', `address '192.0.2.1 dev lo' ${noAddress}`),
    'with a line behind it': address('192.0.2.1&#10;route flush', `address '192.0.2.1\\nroute flush' ${noAddress}`),
    'with a length': address('192.0.2.10/32', "address '192.0.2.10/32' has a prefix length: remove the '/' and everything after it"),
    'with a zone': address('fe80::1%eno1', "address 'fe80::1%eno1' has a zone: remove the '%' and everything after it"),
    'that is multicast': address('ff02::1', "address 'ff02::1' is a multicast address"),
    'that is IPv4 multicast': address('224.0.0.1', "address '224.0.0.1' is a multicast address"),
    'that is unspecified': address('::', "address '::' is the unspecified address"),
    'that is unspecified in IPv4': address('0.0.0.0', "address '0.0.0.0' is the unspecified address"),
    'that is loopback': address('127.0.0.1', "address '127.0.0.1' is a loopback address"),
    'that is link-local': address('fe80::5', "address 'fe80::5' is link-local, which cannot be routed"),
    'that is IPv4-mapped': address('::ffff:192.0.2.1', "address '::ffff:192.0.2.1' is an IPv4-mapped address: write it as IPv4"),
    'outside the prefixes of the host': { ...address('2001:db8:0:20::a', `'2001:db8:0:20::a' ${outside}`), config },
    'just outside the prefixes of the host': { ...address('192.0.2.64', `'192.0.2.64' ${outside}`), config },
    'of the host': address('203.0.113.2', "'203.0.113.2' contains '203.0.113.2', an address of this host on 'eno1': give the guest another address"),
    "that is the host's next hop": address('203.0.113.1', "'203.0.113.1' contains '203.0.113.1', the next hop of this host's route '0.0.0.0/0': give the guest another address"),
    "that is broadcast on the host's network": address('203.0.113.255', "'203.0.113.255' belongs to this host itself: route 'broadcast 203.0.113.255' on 'eno1': give the guest another address"),
    'listed twice': { xml: domainXml({ metadata: routedXml([ADDRESS, ADDRESS]) }), says: `${NIC1}: '${ADDRESS}' is listed twice, also on NIC 1: list it once` },
    'list that is empty': { xml: domainXml({ metadata: routedXml([]) }), says: `${NIC1}: a routed link needs an address: add at least one <ip>` },
    'prefix of length 0': prefix('0.0.0.0', 0, "prefix '0.0.0.0/0' is the default route: a guest cannot claim it"),
    'prefix with an address of the host in it': prefix('203.0.112.0', 23, "'203.0.112.0/23' contains '203.0.113.2', an address of this host on 'eno1': give the guest another address"),
  });

  hookTest('that another guest has, for as long as that guest lives', async () => {
    host.write('/run/config.toml', '');
    const before = host.dump();
    const rival = { guest: 'db1', xml: domainXml({
      name: 'db1',
      uuid: '33333333-2222-3333-4444-555555555555',
      metadata: routedXml(['192.0.2.10', ADDRESS], '52:54:00:aa:bb:03'),
      nics: [ethernetNic({ mac: '52:54:00:aa:bb:03', dev: 'vnet2' })],
    }) };
    await expectDone(host, ['start'], rival);
    const holder = "guest 'db1' NIC 0 (52:54:00:aa:bb:03)";
    await expectRefused(host, { xml: WIRED, says: `${NIC1}: '${ADDRESS}' is held by ${holder} as '${ADDRESS}': give one of the two another address` });
    await expectRefused(host, prefix('2001:db8:0:10::', 64, "route '2001:db8:0:10::/64' has no next hop: add an <ip> of its family, or a gateway"));
    const around = WIRED.replace(`address="${ADDRESS}"`, 'address="198.51.100.1"/><gw:route address="192.0.2.0" prefix="24"');
    await expectRefused(host, { xml: around, says: `${NIC1}: '192.0.2.0/24' is held by ${holder} as '192.0.2.10': give one of the two another address` });
    await expectDone(host, ['release'], rival);
    expect(host.dump()).toBe(before);
    await expectDone(host, ['start', 'release'], { xml: WIRED });
    expect(host.dump()).toBe(before);
  });
});
