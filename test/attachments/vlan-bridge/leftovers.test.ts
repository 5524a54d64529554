// @tier fast
/** Which bridges and sub-interfaces guestwire takes for its own and for idle. */
import { describe, expect, test } from '@jest/globals';
import { idleBridges } from '../../../lib/attachments/vlan-bridge/leftovers.js';
import type { LinkFacts } from '../../../lib/kernel/observation.js';

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
    expect(idleBridges([bridge, sub, facts('eno1', { alias: undefined })], new Set())).toEqual(removed);
    expect(idleBridges([bridge, sub], new Set(['br30', 'eno1.30', 'eno1']))).toEqual([]);
    expect(idleBridges([{ ...bridge, alias: undefined }, { ...sub, alias: 'mine' }], new Set())).toEqual([]);
  });

  test('stays while another port is on it', () => {
    expect(idleBridges([bridge, sub, facts('other0', { alias: undefined, master: 'br30' })], new Set())).toEqual([]);
  });

  test('is nothing else that has the alias', () => {
    expect(idleBridges([facts('x0')], new Set())).toEqual([]);
  });
});
