// @tier fast
/** Forward chains that drop, as iptables-legacy prints them. */
import { describe, expect, test } from '@jest/globals';
import { droppingLegacy } from '../../lib/kernel/forward-chains.js';

describe('droppingLegacy', () => {
  test('a chain of iptables-legacy is told by its policy or its last rule', () => {
    expect(droppingLegacy('iptables-legacy', '-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n')).toBeUndefined();
    expect(droppingLegacy('iptables-legacy', '-P FORWARD DROP\n-A FORWARD -i vnet+ -j ACCEPT\n-A FORWARD -o web1 -j ACCEPT\n-A FORWARD -i br0 -p tcp -j ACCEPT\n'))
      .toEqual({ kind: 'legacy', name: 'iptables-legacy', from: ['vnet*'], to: ['web1'] });
    expect(droppingLegacy('iptables-legacy', '-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\n')).toMatchObject({ from: [], to: [] });
  });
});
