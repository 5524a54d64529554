// @tier fast
/** Which links guestwire takes for its own and for idle: what it once made, and what no guest uses any more. */
import { describe, expect, test } from '@jest/globals';
import { idleLinks } from '../../lib/attachments/ledger.js';
import type { LinkFacts } from '../../lib/kernel/observation.js';

describe('what no guest uses any more', () => {
  const facts = (ifname: string, more: Partial<LinkFacts> = {}): LinkFacts => ({
    ifname, ifindex: 9, mac: undefined, up: true, txqlen: 1000,
    mtu: 1500, allmulticast: false, alias: 'guestwire:vlan-bridge', peer: undefined,
    tap: undefined, master: undefined, addresses: [], isolated: undefined, bridge: undefined, ...more,
  });
  const bridge = facts('br30', { bridge: { capable: true, filtering: false, protocol: '802.1Q', defaultPvid: 1 } });
  const sub = facts('eno1.30', { master: 'br30', vlan: { parent: 'eno1', vid: 30, protocol: '802.1Q' } });

  test('is known by its alias', () => {
    const removed = [{ kind: 'bridge', dev: 'br30' }, { kind: 'vlan-link', dev: 'eno1.30', parent: 'eno1', vid: 30 }];
    expect(idleLinks([bridge, sub, facts('eno1', { alias: undefined })], new Set())).toEqual(removed);
    expect(idleLinks([bridge, sub], new Set(['br30', 'eno1.30', 'eno1']))).toEqual([]);
    expect(idleLinks([{ ...bridge, alias: undefined }, { ...sub, alias: 'mine' }], new Set())).toEqual([]);
  });

  test('stays while another port is on it', () => {
    expect(idleLinks([bridge, sub, facts('other0', { alias: undefined, master: 'br30' })], new Set())).toEqual([]);
  });

  test('is nothing else that has the alias', () => {
    expect(idleLinks([facts('x0')], new Set())).toEqual([]);
  });
});
