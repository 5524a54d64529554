// @tier fast long
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { METADATA_NAMESPACE, parseDomain } from '../../lib/domain/domain.js';
import { formatMetadata } from '../../lib/domain/metadata-writer.js';
import { type NicMetadata, readMetadata } from '../../lib/domain/metadata.js';
import { DomainXmlError, GuestwireError } from '../../lib/errors.js';
import { rounds } from '../tiers/bound.js';

const FIXTURES = new URL('../../fixtures/', import.meta.url);
const MACS = ['52:54:00:aa:bb:01', '52:54:00:aa:bb:02', '52:54:00:aa:bb:03', '52:54:00:aa:bb:04'];
const [MAC = ''] = MACS;

const EXAMPLE: NicMetadata[] = [
  {
    mac: '52:54:00:aa:bb:01',
    vlan: {
      trunk: 'yes',
      tags: [
        { id: '10', nativeMode: 'untagged' },
        { id: '20', nativeMode: undefined },
        { id: '100-199', nativeMode: undefined },
      ],
    },
    isolated: 'yes',
    routed: undefined,
  },
  {
    mac: '52:54:00:aa:bb:02',
    vlan: undefined,
    isolated: undefined,
    routed: {
      ips: [{ address: '2001:db8:0:10::a', prefix: undefined }, { address: '192.0.2.10', prefix: undefined }],
      routes: [{ address: '2001:db8:0:20::', prefix: '64', gateway: undefined }],
    },
  },
];

describe('metadata that is right', () => {
  test('says what each NIC is meant to be', () => {
    expect(readMetadata(parseDomain(fixture('xml/metadata.xml')))).toEqual(EXAMPLE);
  });

  test.each([
    ['another prefix', `<zz:guestwire xmlns:zz="${METADATA_NAMESPACE}"><zz:interface mac="${MAC}"><zz:port isolated="no"/></zz:interface></zz:guestwire>`],
    ['the default namespace', `<guestwire xmlns="${METADATA_NAMESPACE}"><interface mac="${MAC}"><port isolated="no"/></interface></guestwire>`],
    ['two prefixes', `<a:guestwire xmlns:a="${METADATA_NAMESPACE}" xmlns:b="${METADATA_NAMESPACE}"><b:interface mac="${MAC}"><a:port isolated="no"/></b:interface></a:guestwire>`],
    ['a MAC in upper case', gw(`<gw:interface mac="${MAC.toUpperCase()}"><gw:port isolated="no"/></gw:interface>`)],
    ['comments, white space and attributes of others', gw(`<!-- a -->\n<gw:interface xmlns:x="urn:x" x:y="1" xml:lang="en" mac="${MAC}">\t<gw:port isolated="no"> <!-- b --> </gw:port></gw:interface>`)],
  ])('reads the same with %s', (_, metadata) => {
    expect(read(metadata)).toEqual([{ mac: MAC, vlan: undefined, isolated: 'no', routed: undefined }]);
  });

  test('may be declared on <metadata> itself, as libvirt prints it at times', () => {
    const xml = `<domain><name>web1</name><metadata xmlns:g="${METADATA_NAMESPACE}"><g:guestwire/></metadata></domain>`;
    expect(readMetadata(parseDomain(xml))).toEqual([]);
  });

  test.each([
    ['none', '<domain><name>web1</name></domain>'],
    ['that of others', domain('<x:guestwire xmlns:x="urn:guestwire:2"><x:interface/></x:guestwire><guestwire/>')],
    ['an element in a prefix gw of others', domain('<gw:guestwire xmlns:gw="urn:example:1" a="b"/>')],
    ['an empty element', domain(gw(''))],
  ])('%s says nothing', (_, xml) => { expect(readMetadata(parseDomain(xml))).toEqual([]); });

  test.each([
    ['an empty <gw:vlan>', '<gw:vlan/>', { vlan: { trunk: undefined, tags: [] } }],
    ['an empty <gw:routed>', '<gw:routed/>', { routed: { ips: [], routes: [] } }],
    ['nonsense for values', '<gw:vlan trunk="maybe"><gw:tag id="" nativeMode="x"/></gw:vlan><gw:port isolated="2"/>',
      { vlan: { trunk: 'maybe', tags: [{ id: '', nativeMode: 'x' }] }, isolated: '2' }],
  ])('%s is judged elsewhere', (_, inner, expected) => {
    expect(read(nic(inner)))
      .toEqual([{ mac: MAC, vlan: undefined, isolated: undefined, routed: undefined, ...expected }]);
  });
});

const NIC = "<gw:interface mac='52:54:00:aa:bb:01'>";

/** Every way to be wrong, with its whole message after `guest 'web1': `. */
const WRONG: [string, string, string][] = [
  ['a misspelt root', `<gw:guestwires xmlns:gw="${METADATA_NAMESPACE}"/>`, "<metadata>: unknown element 'gw:guestwires': only 'gw:guestwire' is allowed"],
  ['a second root', gw('') + gw(''), '<metadata>: <gw:guestwire> appears twice: merge the two, because libvirt keeps only one'],
  ['a root attribute', `<gw:guestwire xmlns:gw="${METADATA_NAMESPACE}" version="1"/>`, "<gw:guestwire>: unknown attribute 'version': none is allowed here"],
  ['text in the root', gw('\n hello\n'), "<gw:guestwire>: text 'hello' has no meaning here: remove it"],
  ['an element in the root', gw('<gw:vlan/>'), "<gw:guestwire>: unknown element 'gw:vlan': only 'gw:interface' is allowed"],
  ['an element of no namespace', gw(`<interface mac="${MAC}"/>`), "<gw:guestwire>: unknown element 'interface': only 'gw:interface' is allowed"],
  ['an element of another namespace', gw('<x:interface xmlns:x="urn:x"/>'), "<gw:guestwire>: unknown element '{urn:x}interface': only 'gw:interface' is allowed"],
  ['no MAC', gw('<gw:interface/>'), "<gw:interface>: attribute 'mac' is missing: add it"],
  ['a prefixed MAC', gw(`<gw:interface gw:mac="${MAC}"/>`), "<gw:interface>: attribute 'gw:mac' has a prefix: remove the prefix"],
  ['what is no MAC', gw('<gw:interface mac="52-54-00-aa-bb-01"/>'),
    "<gw:interface mac='52-54-00-aa-bb-01'>: '52-54-00-aa-bb-01' is not a MAC address: write it like '52:54:00:aa:bb:01'"],
  ['a MAC that breaks the line', gw('<gw:interface mac="5&#10;2\'"/>'), "<gw:interface mac='5\\n2\\''>: '5\\n2\\'' is not a MAC address: write it like '52:54:00:aa:bb:01'"],
  ["a MAC that is no NIC's", gw('<gw:interface mac="52:54:00:AA:BB:09"/>'),
    "<gw:interface mac='52:54:00:AA:BB:09'>: no NIC has this MAC, the guest has '52:54:00:aa:bb:01', '52:54:00:aa:bb:02', '52:54:00:aa:bb:03', '52:54:00:aa:bb:04': use one of its MACs, or add <mac address='52:54:00:aa:bb:09'/> to the intended <interface>"],
  ['a MAC twice', gw(`<gw:interface mac="${MAC}"/><gw:interface mac="${MAC.toUpperCase()}"/>`),
    "<gw:interface mac='52:54:00:AA:BB:01'>: the MAC is listed twice: merge the two <gw:interface> elements"],
  ['a misspelt attribute', gw(`<gw:interface mac="${MAC}" foo="1"/>`), `${NIC}: unknown attribute 'foo': only 'mac' is allowed`],
  ['a misspelt element', nic('<gw:vlans/>'), `${NIC}: unknown element 'gw:vlans': allowed are 'gw:vlan', 'gw:port', 'gw:routed', 'gw:trust', 'gw:policy', 'gw:allow', 'gw:group', 'gw:ip'`],
  ['<gw:route> outside <gw:routed>', nic('<gw:route address="192.0.2.1"/>'), `${NIC}: unknown element 'gw:route': allowed are 'gw:vlan', 'gw:port', 'gw:routed', 'gw:trust', 'gw:policy', 'gw:allow', 'gw:group', 'gw:ip'`],
  ['two <gw:vlan>', nic('<gw:vlan/><gw:vlan/>'), `${NIC}: <gw:vlan> appears twice: merge the two`],
  ['two <gw:port>', nic('<gw:port isolated="yes"/><gw:port isolated="no"/>'), `${NIC}: <gw:port> appears twice: merge the two`],
  ['two <gw:routed>', nic('<gw:routed/><gw:routed/>'), `${NIC}: <gw:routed> appears twice: merge the two`],
  ['text in a NIC', nic('10'), `${NIC}: text '10' has no meaning here: remove it`],
  ['a misspelt trunk', nic('<gw:vlan trunks="yes"/>'), `${NIC}: <gw:vlan>: unknown attribute 'trunks': only 'trunk' is allowed`],
  ['text for a tag', nic('<gw:vlan><gw:tag>10</gw:tag></gw:vlan>'), `${NIC}: <gw:vlan>: <gw:tag>: attribute 'id' is missing: add it`],
  ['a tag of no namespace', nic('<gw:vlan><tag id="10"/></gw:vlan>'), `${NIC}: <gw:vlan>: unknown element 'tag': only 'gw:tag' is allowed`],
  ['a misspelt nativeMode', nic('<gw:vlan><gw:tag id="10" nativemode="tagged"/></gw:vlan>'),
    `${NIC}: <gw:vlan>: <gw:tag id='10'>: unknown attribute 'nativemode': allowed are 'id', 'nativeMode'`],
  ['an element in a tag', nic('<gw:vlan><gw:tag id="10"><gw:tag id="20"/></gw:tag></gw:vlan>'), `${NIC}: <gw:vlan>: <gw:tag id='10'>: unknown element 'gw:tag': none is allowed here`],
  ['an empty <gw:port>', nic('<gw:port/>'), `${NIC}: <gw:port>: attribute 'isolated' is missing: add it`],
  ['an attribute of <gw:routed>', nic('<gw:routed via="x"/>'), `${NIC}: <gw:routed>: unknown attribute 'via': allowed are 'table', 'vrf'`],
  ['<gw:ip> without address', nic('<gw:routed><gw:ip>192.0.2.1</gw:ip></gw:routed>'), `${NIC}: <gw:routed>: <gw:ip>: attribute 'address' is missing: add it`],
  ["libvirt's family on <gw:ip>", nic('<gw:routed><gw:ip address="192.0.2.1" family="ipv4"/></gw:routed>'),
    `${NIC}: <gw:routed>: <gw:ip address='192.0.2.1'>: unknown attribute 'family': allowed are 'address', 'prefix'`],
  ["libvirt's metric on <gw:route>", nic('<gw:routed><gw:route address="192.0.2.0" metric="1"/></gw:routed>'),
    `${NIC}: <gw:routed>: <gw:route address='192.0.2.0'>: unknown attribute 'metric': allowed are 'address', 'prefix', 'gateway'`],
  ['<gw:route> without address', nic('<gw:routed><gw:route prefix="64"/></gw:routed>'), `${NIC}: <gw:routed>: <gw:route>: attribute 'address' is missing: add it`],
  ['an unknown element of <gw:routed>', nic('<gw:routed><gw:gateway/></gw:routed>'), `${NIC}: <gw:routed>: unknown element 'gw:gateway': allowed are 'gw:veth', 'gw:ip', 'gw:route'`],
  ['a veth of another namespace', nic('<gw:routed><veth dev="a"/></gw:routed>'), `${NIC}: <gw:routed>: unknown element 'veth': allowed are 'gw:veth', 'gw:ip', 'gw:route'`],
];

describe('metadata that is wrong is refused in one sentence', () => {
  test.each(WRONG)('%s', (_, metadata, message) => {
    expect(refusal(domain(metadata))).toEqual([DomainXmlError.name, `guest 'web1': ${message}`]);
  });

  test('a routed link on a veth pair is none of that', () => {
    const [intent] = read(nic('<gw:routed><gw:veth dev="web1" mtu="1400"/><gw:ip address="192.0.2.1"/></gw:routed>'));
    expect(intent?.routed?.veth).toEqual({ dev: 'web1', mtu: '1400' });
  });

  test('a MAC that NICs share names none of them', () => {
    expect(refusal(domain(nic(''), [MAC, MACS[1] ?? '', MAC.toUpperCase()]))).toEqual(
      [DomainXmlError.name, `guest 'web1': ${NIC}: the MAC matches NICs 0 and 2: give each NIC its own <mac address>`]);
  });

  test('a guest whose NICs have no MAC is told so', () => {
    expect(refusal(domain(nic(''), []))).toEqual(
      [DomainXmlError.name, `guest 'web1': ${NIC}: no NIC has this MAC, the guest has none: use one of its MACs, or add <mac address='52:54:00:aa:bb:01'/> to the intended <interface>`]);
  });

  test("a guest's name cannot forge a line", () => {
    expect(refusal(domain(gw('x')).replace('web1', "a'&#10;b"))[1]).toBe("guest 'a\\'\\nb': <gw:guestwire>: text 'x' has no meaning here: remove it");
  });
});

describe('formatMetadata', () => {
  test('writes what a user would write', () => {
    expect(formatMetadata(EXAMPLE)).toBe(`<gw:guestwire xmlns:gw="urn:guestwire:1">
  <gw:interface mac="52:54:00:aa:bb:01">
    <gw:vlan trunk="yes">
      <gw:tag id="10" nativeMode="untagged"/>
      <gw:tag id="20"/>
      <gw:tag id="100-199"/>
    </gw:vlan>
    <gw:port isolated="yes"/>
  </gw:interface>
  <gw:interface mac="52:54:00:aa:bb:02">
    <gw:routed>
      <gw:ip address="2001:db8:0:10::a"/>
      <gw:ip address="192.0.2.10"/>
      <gw:route address="2001:db8:0:20::" prefix="64"/>
    </gw:routed>
  </gw:interface>
</gw:guestwire>`);
  });

  test.each([
    'true', '', '\n\t\r', `"><gw:vlan/>'&amp;`, '0010', '1e3', ' x ', ']]>', '&#10;', '__proto__',
  ])('keeps the value %j', (isolated) => {
    expect(read(formatMetadata([{ mac: MAC, vlan: undefined, isolated, routed: undefined }]))[0]?.isolated)
      .toBe(isolated);
  });

  test('is read back as it was, whatever the values', () => {
    const character = fc.oneof(
      fc.constantFrom('<', '>', '&', '"', "'", ' ', '\t', '\n', '\r', ';', ']]>', '--'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    );
    // eslint-disable-next-line no-control-regex
    const value = fc.string({ unit: character }).filter((text) => !/[\0-\x08\v\f\x0e-\x1f\uFFFE\uFFFF]/.test(text));
    const maybe = fc.option(value, { nil: undefined });
    const intent = fc.record({
      vlan: fc.option(
        fc.record({ trunk: maybe, tags: fc.array(fc.record({ id: value, nativeMode: maybe }), { maxLength: 4 }) }),
        { nil: undefined },
      ),
      isolated: maybe,
      routed: fc.option(fc.record({
        ips: fc.array(fc.record({ address: value, prefix: maybe }), { maxLength: 3 }),
        routes: fc.array(fc.record({ address: value, prefix: maybe, gateway: maybe }), { maxLength: 3 }),
      }), { nil: undefined }),
    });
    fc.assert(fc.property(fc.shuffledSubarray(MACS), fc.array(
      intent, { minLength: 4, maxLength: 4 },
    ), (macs, parts) => {
      const intents = macs.flatMap((mac, index): NicMetadata[] =>
        parts.slice(index, index + 1).map((part) => ({ mac, ...part })));
      expect(read(formatMetadata(intents))).toEqual(intents);
    }), { numRuns: rounds(500) });
  });
});

test('a damaged document is read or refused, never anything else', () => {
  const real = readdirSync(new URL('hook-stdin/', FIXTURES), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.xml'));
  const sources = [fixture('xml/metadata.xml'), ...real.map((name) => fixture(`hook-stdin/${name}`))];
  const piece = fc.oneof(
    fc.constantFrom(
      '<', '>', '/', '&', ';', '"', "'", '=', ':', ']]>', '<!--', '-->', '<![CDATA[', '<!DOCTYPE a [', '<?xml ', '&#0;',
      '&#xD800;', '\0', 'xmlns', 'xmlns:gw="x"', '<domain>', '</domain>', '<interface>', '<gw:vlan>', '__proto__',
      '\uD800', '\uFEFF',
    ),
    fc.string({ unit: 'binary', maxLength: 3 }),
  );
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }), remove: fc.oneof(fc.constant(0), fc.nat(40)), insert: piece,
  });
  fc.assert(fc.property(fc.oneof(
    fc.constant(sources[0] ?? ''), fc.constantFrom(...sources),
  ), fc.array(edit, { minLength: 1, maxLength: 4 }), (source, edits) => {
    const damaged = edits.reduce((text, { at, remove, insert }) => {
      const position = Math.floor(at * text.length);
      return text.slice(0, position) + insert + text.slice(position + remove);
    }, source);
    const [name, message] = refusal(damaged);
    expect(name).toMatch(/^(none|DomainXmlError|UnsupportedError)$/);
    expect(message).toMatch(/^(none$|domain XML|the domain has|guest '|'.*' is not a domain)/);
    expect(message).not.toMatch(/[\p{Cc}\p{Cs}]|\.$/u);
  }), { numRuns: rounds(3_000) });
});

function refusal(xml: string): [string, string] {
  try {
    readMetadata(parseDomain(xml));
    return ['none', 'none'];
  } catch (error) {
    if (error instanceof GuestwireError) return [error.name, error.message];
    throw error;
  }
}

function read(metadata: string): NicMetadata[] {
  return readMetadata(parseDomain(domain(metadata)));
}

function domain(metadata: string, macs: readonly string[] = MACS): string {
  const nics = macs.map((mac) => `<interface type="bridge"><mac address="${mac}"/></interface>`).join('');
  return `<domain><name>web1</name><metadata>${metadata}</metadata><devices>${nics}<interface/></devices></domain>`;
}

function gw(inner: string): string {
  return `<gw:guestwire xmlns:gw="${METADATA_NAMESPACE}">${inner}</gw:guestwire>`;
}

function nic(inner: string): string {
  return gw(`<gw:interface mac="${MAC}">${inner}</gw:interface>`);
}

function fixture(name: string): string {
  return readFileSync(new URL(name, FIXTURES), 'utf8');
}
