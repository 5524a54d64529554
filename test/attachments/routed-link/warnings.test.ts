// @tier fast
/** What a start warns about: settings of the host that leave a guest without IPv4. */
import { expect, test } from '@jest/globals';
import { ignoredArp, unforwardedOn } from '../../../lib/attachments/routed-link/forwarding.js';

const at = (path: string, value: string): Map<string, string> => new Map([[path, value]]);

test('an uplink that does not forward IPv4, by its name with a dot, too', () => {
  expect(unforwardedOn('eno1.5', at('net/ipv4/conf/eno1.5/forwarding', '0')))
    .toEqual({ what: "uplink 'eno1.5' does not forward IPv4", cure: 'sysctl -w net.ipv4.conf.eno1/5.forwarding=1' });
  expect(unforwardedOn('eno1', at('net/ipv4/conf/eno1/forwarding', '1'))).toBeUndefined();
  expect(unforwardedOn('eno1', new Map())).toBeUndefined();
});

const ROWS: [string, boolean][] = [['0', false], ['1', false], ['2', true], ['3', false], ['8', true]];
test.each(ROWS)('arp_ignore %s: %s', (value, isFault) => {
  expect(ignoredArp(at('net/ipv4/conf/all/arp_ignore', value)) !== undefined).toBe(isFault);
});
