// @tier fast
/** Routing rules as `ip -json -details -Numeric rule show` prints them (iproute2 6.1). */
import { expect, test } from '@jest/globals';
import { parseHostRules } from '../../lib/kernel/host-rules.js';

test('a rule has what it matches and what it does; one that matches by a mark is partial', () => {
  const rules = parseHostRules([
    { priority: 100, src: '192.0.2.0', srclen: 24, action: '8', protocol: '0' },
    { priority: 101, src: 'all', dst: '192.0.2.10', table: '100', protocol: '0' },
    { priority: 102, not: null, src: 'all', fwmark: '0x5', table: '51820', protocol: '0' },
    { priority: 103, src: 'all', table: '254', suppress_prefixlen: 0, protocol: '0' },
    { priority: 104, src: 'all', iif: 'eno1', action: '6' },
  ], 'inet');
  expect(rules.map(({ priority, from, to, iif, isPartial, action }) =>
    [priority, from?.text, to?.text, iif, isPartial, action])).toEqual([
    [100, '192.0.2.0/24', undefined, undefined, false, 'prohibit'],
    [101, undefined, '192.0.2.10/32', undefined, false, 'lookup 100'],
    [102, undefined, undefined, undefined, true, 'lookup 51820'],
    [103, undefined, undefined, undefined, true, 'lookup 254'],
    [104, undefined, undefined, 'eno1', false, 'blackhole'],
  ]);
});

test('an answer that cannot be read is an error', () => {
  expect(() => parseHostRules([{ src: 'all' }], 'inet')).toThrow("ip rule: unexpected JSON '{\"src\":\"all\"}'");
});
