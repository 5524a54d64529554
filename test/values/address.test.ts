// @tier fast kernel long
import { spawnSync } from 'node:child_process';
import { BlockList, isIP, SocketAddress } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { ValueError } from '../../lib/errors.js';
import {
  assertRoutable, assertUnicast, bare, contains, endsOf, type Family, isLinkLocal, overlaps, parseAddress,
  parseDestination, parseOwn, parsePrefix,
} from '../../lib/values/address.js';
import { rounds } from '../tiers/bound.js';

/** As inet_ntop(3) of glibc prints them. */
const CANONICAL: [string, string][] = [
  ['192.0.2.10', '192.0.2.10'],
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['2001:DB8::A', '2001:db8::a'],
  ['2001:0db8:0000:0010::000a', '2001:db8:0:10::a'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['1:0:0:2:2:0:0:3', '1::2:2:0:0:3'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['1:2:3:4:5:6:7:0', '1:2:3:4:5:6:7:0'],
  ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
  ['0:2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['0:0:3:4:5:6:7:8', '::3:4:5:6:7:8'],
  ['::ffff', '::ffff'],
  ['::1:2', '::0.1.0.2'],
  ['::102:304', '::1.2.3.4'],
  ['::ffff:102:304', '::ffff:1.2.3.4'],
  ['::ffff:0:0', '::ffff:0.0.0.0'],
  ['::ffff:0:1.2.3.4', '::ffff:0:102:304'],
  ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
];

const group = fc.oneof(fc.constant(0), fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff }));
const groups = fc.array(group, { minLength: 8, maxLength: 8 });
const anyV6 = groups.map((all) => all.map((each) => each.toString(16)).join(':'));
const anyV4 = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 4, maxLength: 4 })
  .map((bytes) => bytes.join('.'));
const anyAddress = fc.oneof(anyV4, anyV6);
const noise = fc.array(
  fc.constantFrom(
    '0', '1', '00', '01', '255', '256', 'f', 'fFfF', '10000', ':', '::', '.', '%', ' ', '\0', '1.2.3.4', '\n', 'g',
  ),
  { maxLength: 17 },
)
  .map((parts) => parts.join(''));

describe('parseAddress', () => {
  test.each(CANONICAL)('%s is %s', (text, canonical) => {
    expect(parseAddress(text)).toEqual({ family: text.includes(':') ? 'inet6' : 'inet', text: canonical });
  });

  test('any IPv6 address is as RFC 5952 has it', () => {
    // The two ranges that RFC 5952 section 5 leaves to dotted decimal are in the table above.
    const hex = groups.filter((all) =>
      all.slice(0, 5).some((each) => each !== 0) || (all[5] !== 0 && all[5] !== 0xffff));
    fc.assert(fc.property(hex, (all) => {
      const text = all.map((each) => each.toString(16).padStart(4, '0')).join(':');
      expect(`[${parseAddress(text).text}]`).toBe(new URL(`http://[${text}]/`).hostname);
    }), { numRuns: rounds(500) });
  });

  test('the canonical form is its own', () => {
    fc.assert(fc.property(anyAddress, (text) => {
      const address = parseAddress(text);
      expect(parseAddress(address.text)).toEqual(address);
    }));
  });

  test('takes exactly what net.isIP takes, without zones', () => {
    fc.assert(fc.property(fc.oneof(noise, anyAddress, fc.string()), (text) => {
      const family = isIP(text) === 0 || text.includes('%') ? undefined : { 4: 'inet', 6: 'inet6' }[isIP(text)];
      expect(familyOf(text)).toBe(family);
    }), { numRuns: rounds(5000) });
  });

  test.each([
    ['', "address '' is not an IPv4 or IPv6 address"],
    ['web1', "address 'web1' is not an IPv4 or IPv6 address"],
    ['010.1.1.1', "address '010.1.1.1' is not an IPv4 or IPv6 address"],
    ['0x7f.1', "address '0x7f.1' is not an IPv4 or IPv6 address"],
    ['10.1', "address '10.1' is not an IPv4 or IPv6 address"],
    ['256.1.1.1', "address '256.1.1.1' is not an IPv4 or IPv6 address"],
    ['1.2.3.4 ', "address '1.2.3.4 ' is not an IPv4 or IPv6 address"],
    ['1.2.3.4\0', "address '1.2.3.4\\u{0}' is not an IPv4 or IPv6 address"],
    ['1::2::3', "address '1::2::3' is not an IPv4 or IPv6 address"],
    ['::12345', "address '::12345' is not an IPv4 or IPv6 address"],
    ['1:2:3:4:5:6:7', "address '1:2:3:4:5:6:7' is not an IPv4 or IPv6 address"],
    ['fe80::1%eth0', "address 'fe80::1%eth0' has a zone: remove the '%' and everything after it"],
    ['192.0.2.1/32', "address '192.0.2.1/32' has a prefix length: remove the '/' and everything after it"],
  ])('refuses %j', (text, message) => {
    expect(() => parseAddress(text)).toThrow(new ValueError(message));
  });

  const printed = printedByTheKernel(CANONICAL.map(([text]) => text).filter((text) =>
    text.includes(':') && text !== '::'));
  (Array.isArray(printed) ? test : test.skip)(`is what ip -6 route prints${Array.isArray(printed) ? '' : ` (${printed})`}`, () => {
    const ours = CANONICAL.map(([, canonical]) => canonical).filter((text) => text.includes(':') && text !== '::');
    expect(printed).toEqual([...new Set(ours)].sort());
  });
});

describe('the fast way', () => {
  test('takes no text that is not canonical', () => {
    const some = fc.array(fc.constantFrom('0', '0', '1', 'a', 'ff', '00', '1000', '', '12345'), { maxLength: 9 });
    fc.assert(fc.property(fc.oneof(some.map((parts) => parts.join(':')), anyAddress, noise), (text) => {
      const slow = canonicalOf(text);
      expect(addressText(text)).toBe(text.includes('%') ? undefined : slow);
    }), { numRuns: rounds(5000) });
  });
});

/** Returns what SocketAddress makes of a text; undefined: it refuses it. */
function canonicalOf(text: string): string | undefined {
  if (!/^[0-9a-fA-F:.]+$/.test(text)) return undefined;
  try {
    return new SocketAddress({ address: text, family: text.includes(':') ? 'ipv6' : 'ipv4' }).address;
  } catch {
    return undefined;
  }
}

function addressText(text: string): string | undefined {
  return familyOf(text) === undefined ? undefined : parseAddress(text).text;
}

describe('values', () => {
  test('compute their numbers when they are asked, and are text in JSON', () => {
    const prefix = parsePrefix('2001:db8:0:20::/64');
    expect(Object.keys(prefix)).toEqual(['family', 'text', 'length']);
    expect([prefix.first, prefix.last]).toEqual([0x20010db8_0000_0020n << 64n, (0x20010db8_0000_0021n << 64n) - 1n]);
    expect(JSON.stringify({ prefix, address: parseAddress('192.0.2.1') })).toBe('{"prefix":"2001:db8:0:20::/64","address":"192.0.2.1"}');
  });

  test('of one address are that address, whatever length is written', () => {
    expect(['192.0.2.1', '192.0.2.1/32', '192.0.2.0/24', '2001:db8::1/128'].map((text) => parseOwn(text).text))
      .toEqual(['192.0.2.1', '192.0.2.1', '192.0.2.0/24', '2001:db8::1']);
  });

  test.each<[string, boolean]>([
    ['fe80::1', true], ['febf::1', true], ['fec0::1', false], ['fe8::1', false], ['169.254.0.1', true],
    ['169.25.4.1', false], ['2001:db8::fe80:1', false],
  ])('%s is link-local: %s', (text, expected) => { expect(isLinkLocal(parseAddress(text))).toBe(expected); });
});

describe('parsePrefix', () => {
  test.each([
    ['192.0.2.0/24', '192.0.2.0/24', '192.0.2.255'],
    ['0.0.0.0/0', '0.0.0.0/0', '255.255.255.255'],
    ['192.0.2.1/32', '192.0.2.1/32', '192.0.2.1'],
    ['2001:DB8:0:10::/60', '2001:db8:0:10::/60', '2001:db8:0:1f:ffff:ffff:ffff:ffff'],
    ['::/0', '::/0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    ['::ffff:1.2.3.0/120', '::ffff:1.2.3.0/120', '::ffff:1.2.3.255'],
    ['2001:db8::a/128', '2001:db8::a/128', '2001:db8::a'],
  ])('%s is %s, up to %s', (text, canonical, last) => {
    const prefix = parsePrefix(text);
    expect(prefix.text).toBe(canonical);
    expect(endsOf(prefix).at(-1)).toBe(last);
    expect(bare(prefix)).toBe(/\/(32|128)$/.test(canonical) ? canonical.replace(/\/.*/, '') : canonical);
  });

  test.each([
    ['192.0.2.0', "prefix '192.0.2.0' is not 'address/length'"],
    ['192.0.2.0/24/8', "prefix '192.0.2.0/24/8' is not 'address/length'"],
    ['192.0.2.0/', "prefix length '' of '192.0.2.0' is outside 0-32"],
    ['192.0.2.0/33', "prefix length '33' of '192.0.2.0' is outside 0-32"],
    ['192.0.2.0/-1', "prefix length '-1' of '192.0.2.0' is outside 0-32"],
    ['192.0.2.0/024', "prefix length '024' of '192.0.2.0' is outside 0-32"],
    ['192.0.2.0/255.255.255.0', "prefix length '255.255.255.0' of '192.0.2.0' is outside 0-32"],
    ['2001:DB8::/129', "prefix length '129' of '2001:db8::' is outside 0-128"],
    ['192.0.2.10/24', "prefix '192.0.2.10/24' has host bits set: write '192.0.2.0/24'"],
    ['2001:DB8:0:1F::/60', "prefix '2001:db8:0:1f::/60' has host bits set: write '2001:db8:0:10::/60'"],
    ['x/24', "address 'x' is not an IPv4 or IPv6 address"],
  ])('refuses %j', (text, message) => {
    expect(() => parsePrefix(text)).toThrow(new ValueError(message));
  });

  test('takes the prefix that it proposes for one with host bits, and that prefix holds the address', () => {
    fc.assert(fc.property(anyAddress, fc.nat(128), (address, length) => {
      const cidr = `${address}/${address.includes(':') ? length : length % 33}`;
      const network = networkOf(cidr);
      expect(parsePrefix(network).text).toBe(network);
      expect(contains(parsePrefix(network), parseAddress(address).prefix)).toBe(true);
    }));
  });
});

/** Returns what parsePrefix says to write for an address with a length. */
function networkOf(cidr: string): string {
  try {
    return parsePrefix(cidr).text;
  } catch (error) {
    return /has host bits set: write '(.*)'$/.exec((error as Error).message)?.[1] ?? '';
  }
}

describe('contains and overlaps', () => {
  test('agree with net.BlockList on addresses at, in and around a prefix', () => {
    fc.assert(fc.property(anyAddress, anyAddress, fc.nat(128), (near, far, length) => {
      const prefix = parsePrefix(networkOf(`${near}/${near.includes(':') ? length : length % 33}`));
      const list = new BlockList();
      list.addSubnet(prefix.text.replace(/\/.*/, ''), prefix.length, prefix.family === 'inet' ? 'ipv4' : 'ipv6');
      for (const text of [near, far, endsOf(prefix).at(-1) ?? '']) {
        const inner = parseAddress(text).prefix;
        // BlockList takes IPv4 and IPv4-mapped addresses for the same; routes do not.
        const inside = inner.family === prefix.family && list.check(text, inner.family === 'inet' ? 'ipv4' : 'ipv6');
        expect(contains(prefix, inner)).toBe(inside);
        expect(overlaps(inner, prefix)).toBe(inside);
      }
    }), { numRuns: rounds(500) });
  });

  test.each([
    ['10.0.0.0/8', '10.1.0.0/16', { contains: true, overlaps: true }],
    ['10.1.0.0/16', '10.0.0.0/8', { contains: false, overlaps: true }],
    ['10.0.0.0/9', '10.128.0.0/9', { contains: false, overlaps: false }],
    ['0.0.0.0/0', '::/0', { contains: false, overlaps: false }],
    ['::/0', '2001:db8::/32', { contains: true, overlaps: true }],
  ])('%s and %s: %j', (outer, inner, answers) => {
    const [a, b] = [parsePrefix(outer), parsePrefix(inner)];
    expect({ contains: contains(a, b), overlaps: overlaps(a, b) }).toEqual(answers);
  });
});

describe('parseDestination', () => {
  test.each<[string, Family, string]>([
    ['default', 'inet', '0.0.0.0/0'],
    ['default', 'inet6', '::/0'],
    ['192.0.2.10', 'inet', '192.0.2.10/32'],
    ['192.0.2.0/26', 'inet', '192.0.2.0/26'],
    ['2001:db8::a', 'inet6', '2001:db8::a/128'],
    ['::ffff:1.2.3.4', 'inet6', '::ffff:1.2.3.4/128'],
  ])('%s of %s is %s', (dst, family, text) => {
    expect(parseDestination(dst, family).text).toBe(text);
  });
});

describe('assertRoutable', () => {
  test.each([
    '192.0.2.10/32', '192.0.2.0/24', '10.0.0.0/8', '2001:db8::/32', 'fc00::/7', '64:ff9b::/96', '2000::/3',
  ])('takes %s', (text) => {
    expect(() => { assertRoutable(parsePrefix(text)); }).not.toThrow();
  });

  test.each([
    ['0.0.0.0/0', "prefix '0.0.0.0/0' is the default route: a guest cannot claim it"],
    ['::/0', "prefix '::/0' is the default route: a guest cannot claim it"],
    ['0.0.0.0/32', "address '0.0.0.0' is the unspecified address"],
    ['::/128', "address '::' is the unspecified address"],
    ['0.0.0.1/32', "address '0.0.0.1' is in '0.0.0.0/8', which has no unicast addresses"],
    ['127.0.0.1/32', "address '127.0.0.1' is a loopback address"],
    ['::1/128', "address '::1' is a loopback address"],
    ['169.254.1.0/24', "prefix '169.254.1.0/24' is link-local, which cannot be routed"],
    ['fe80::1/128', "address 'fe80::1' is link-local, which cannot be routed"],
    ['239.0.0.0/8', "prefix '239.0.0.0/8' is a multicast address"],
    ['ff02::1/128', "address 'ff02::1' is a multicast address"],
    ['255.255.255.255/32', "address '255.255.255.255' is in '240.0.0.0/4', which has no unicast addresses"],
    ['::ffff:1.2.3.4/128', "address '::ffff:1.2.3.4' is an IPv4-mapped address: write it as IPv4"],
    ['0.0.0.0/1', "prefix '0.0.0.0/1' contains address '0.0.0.0', which is the unspecified address"],
    ['128.0.0.0/1', "prefix '128.0.0.0/1' contains prefix '224.0.0.0/4', which is a multicast address"],
    ['fe00::/8', "prefix 'fe00::/8' contains prefix 'fe80::/10', which is link-local, which cannot be routed"],
    ['8000::/1', "prefix '8000::/1' contains prefix 'ff00::/8', which is a multicast address"],
  ])('refuses %s', (text, message) => {
    expect(() => { assertRoutable(parsePrefix(text)); }).toThrow(new ValueError(message));
  });
});

describe('assertUnicast', () => {
  test('takes link-local addresses, and refuses what no link can have', () => {
    for (const text of ['169.254.0.1', 'fe80::1', '192.0.2.1'])
      expect(() => { assertUnicast(parseAddress(text)); }).not.toThrow();
    expect(() => { assertUnicast(parseAddress('ff02::1')); }).toThrow(new ValueError("address 'ff02::1' is a multicast address"));
    expect(() => { assertUnicast(parseAddress('::')); }).toThrow(new ValueError("address '::' is the unspecified address"));
  });
});

function familyOf(text: string): string | undefined {
  try {
    return parseAddress(text).family;
  } catch (error) {
    expect(error).toBeInstanceOf(ValueError);
    return undefined;
  }
}

/** Returns the IPv6 destinations as iproute2 prints them, sorted, or why that cannot be had here. */
function printedByTheKernel(addresses: string[]): string[] | string {
  const script = 'for a; do ip -6 route replace blackhole "$a" || exit 9; done; ip -6 route show type blackhole';
  const { status, stdout, stderr } = spawnSync(
    'unshare', ['-rn', 'sh', '-c', script, 'sh', ...addresses], { encoding: 'utf8' },
  );
  if (status !== 0) return `no network namespace with iproute2 here: ${stderr.split('\n')[0] ?? ''}`;
  return stdout.trim().split('\n').map((line) => line.split(' ')[1] ?? '').sort();
}
