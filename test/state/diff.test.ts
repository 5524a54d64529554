// @tier fast
/**
 * diff and render as properties: whatever two states there are, carrying out the difference turns one into the other.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { diff, type Operation } from '../../lib/state/diff.js';
import { type NetObject, netState, type NetState } from '../../lib/state/netstate.js';
import type { NicFilter } from '../../lib/state/nft.js';
import { isSetting, keyOf } from '../../lib/state/objects.js';
import { flushBatch, render } from '../../lib/state/render.js';
import { describeOperation as inWords } from '../../lib/state/words.js';

const FILTER: NicFilter = {
  chains: [{ name: 'nic_7', rules: [{ match: 'ether saddr != 52:54:00:aa:bb:01', why: 'source MAC' }] }],
  elements: [{ set: 'ports', verdict: 'goto nic_7' }],
  named: [],
};
const OTHER_FILTER: NicFilter = { ...FILTER, chains: [{ name: 'nic_7', rules: [] }] };

const dev = fc.constantFrom('vnet0', 'vnet1');
const object: fc.Arbitrary<NetObject> = fc.oneof(
  fc.record({
    kind: fc.constant('vlan' as const), dev, vid: fc.integer({ min: 1, max: 12 }), pvid: fc.boolean(),
    untagged: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('uplink-vlan' as const), dev: fc.constant('up0'), vid: fc.integer({ min: 1, max: 12 }),
  }),
  fc.record({
    kind: fc.constant('filter-table' as const),
    dev: fc.constant('guestwire'),
    family: fc.constantFrom('bridge' as const, 'inet' as const),
  }),
  fc.record({
    kind: fc.constant('nic-filter' as const), dev, family: fc.constant('bridge' as const),
    ifindex: fc.integer({ min: 1, max: 4 }), filter: fc.constantFrom(FILTER, OTHER_FILTER),
  }),
  fc.record({ kind: fc.constant('isolated' as const), dev, on: fc.boolean() }),
  fc.record({ kind: fc.constant('link' as const), dev, up: fc.boolean() }),
  fc.record({ kind: fc.constant('txqlen' as const), dev, length: fc.constantFrom(0, 1000) }),
  fc.record({
    kind: fc.constant('sysctl' as const), dev: fc.constant('vnet0'), path: fc.constantFrom('net/a', 'net/b'),
    value: fc.constantFrom('0', '1'),
  }),
  fc.record({
    kind: fc.constant('address' as const), dev, address: fc.constantFrom('fe80::1', '169.254.0.1'),
    length: fc.constantFrom(32, 64),
  }),
  fc.record({
    kind: fc.constant('route' as const), dev, to: fc.constantFrom('192.0.2.1/32', '192.0.2.2/32'),
    via: fc.constantFrom(undefined, '192.0.2.9'), table: fc.constant('main'), protocol: fc.constant(117),
  }),
);
const state = fc.array(object, { maxLength: 14 }).map(netState);

/** What holds after every operation is carried out. */
function carryOut(observed: NetState, operations: readonly Operation[]): NetState {
  const objects = new Map(observed.map((found) => [keyOf(found), found]));
  for (const { key, before, after } of operations) {
    expect(objects.get(key)).toEqual(before);
    if (after === undefined) objects.delete(key);
    else objects.set(key, after);
  }
  return netState([...objects.values()]);
}

describe('diff', () => {
  test('of a state with itself is empty', () => {
    fc.assert(fc.property(state, (a) => { expect(diff(a, a)).toEqual([]); }));
  });

  test('turns any state into any other; settings that are not desired stay', () => {
    fc.assert(fc.property(state, state, (desired, observed) => {
      const kept = observed.filter((found) =>
        isSetting(found) && !desired.some((wanted) => keyOf(wanted) === keyOf(found)));
      expect(carryOut(observed, diff(desired, observed))).toEqual(netState([...desired, ...kept]));
    }));
  });

  test('is undone by the difference the other way', () => {
    fc.assert(fc.property(state, state, (a, b) => {
      const settings = (of: NetState): string => JSON.stringify(of.filter(isSetting).map(keyOf));
      fc.pre(settings(a) === settings(b));
      expect(carryOut(carryOut(a, diff(b, a)), diff(a, b))).toEqual(a);
    }));
  });

  test('never has a port in a VLAN that neither state has, and revokes before it grants', () => {
    fc.assert(fc.property(state, state, (desired, observed) => {
      const vlans = diff(desired, observed).filter(({ before, after }) => (after ?? before)?.kind === 'vlan');
      const firstGrant = vlans.findIndex(({ before }) => before === undefined);
      const lastRevoke = vlans.map(({ after }) => after === undefined).lastIndexOf(true);
      expect(firstGrant === -1 || lastRevoke < firstGrant).toBe(true);
    }));
  });

  test('puts filters first and takes them away last; a next hop is reachable before and after every route by it', () => {
    const host = {
      kind: 'route', dev: 'vnet0', to: '192.0.2.9/32', via: undefined, table: 'main', protocol: 117,
    } as const;
    const behind = { ...host, to: '198.51.100.0/24', via: '192.0.2.9' } as const;
    const all = netState([
      behind, host, { kind: 'address', dev: 'vnet0', address: 'fe80::1', length: 64 },
      { kind: 'filter-table', dev: 'guestwire', family: 'bridge' },
      { kind: 'nic-filter', dev: 'vnet0', family: 'bridge', ifindex: 7, filter: FILTER },
      { kind: 'vlan', dev: 'vnet0', vid: 10, pvid: true, untagged: true },
    ]);
    const kinds = (operations: readonly Operation[]): string[] => operations.map(({ before, after }) => {
      const object = after ?? before;
      return object?.kind === 'route' ? `route ${object.to}` : (object?.kind ?? '');
    });
    const up = ['filter-table', 'nic-filter', 'vlan', 'address', 'route 192.0.2.9/32', 'route 198.51.100.0/24'];
    expect(kinds(diff(all, []))).toEqual(up);
    expect(kinds(diff([], all)))
      .toEqual(['vlan', 'route 198.51.100.0/24', 'route 192.0.2.9/32', 'address', 'nic-filter', 'filter-table']);
  });
});

describe('render', () => {
  const rendered = (desired: readonly NetObject[], observed: readonly NetObject[] = []): string[] =>
    render(diff(netState(desired), netState(observed))).flatMap(({ tool, lines }) =>
      lines.map(({ text }) => `${tool} ${text}`));
  const vlan = (vid: number, flags = ''): NetObject => ({
    kind: 'vlan', dev: 'vnet0', vid, pvid: flags.includes('pvid'), untagged: flags.includes('untagged'),
  });

  test('joins neighbouring VIDs of one kind into a range, and never one with the PVID', () => {
    expect(rendered([vlan(10, 'pvid untagged'), ...[20, 21, 22, 30].map((vid) => vlan(vid))])).toEqual([
      'bridge vlan add dev vnet0 vid 10 pvid untagged', 'bridge vlan add dev vnet0 vid 20-22', 'bridge vlan add dev vnet0 vid 30',
    ]);
    expect(rendered([], [vlan(1, 'pvid untagged'), vlan(2, 'untagged'), vlan(3)]))
      .toEqual(['bridge vlan del dev vnet0 vid 1-3']);
  });

  test('every line of a range knows all of its operations', () => {
    const [batch] = render(diff(netState([20, 21, 22].map((vid) => vlan(vid))), []));
    expect(batch?.lines.map(({ operations }) => operations.map((operation) => inWords(operation)))).toEqual([[
      "add VLAN 20 on 'vnet0'", "add VLAN 21 on 'vnet0'", "add VLAN 22 on 'vnet0'",
    ]]);
  });

  test('a change of flags is one line that says the new ones, revokes before grants', () => {
    expect(rendered([vlan(10), vlan(20, 'pvid untagged')], [vlan(10, 'pvid untagged'), vlan(20)])).toEqual([
      'bridge vlan add dev vnet0 vid 10', 'bridge vlan add dev vnet0 vid 20 pvid untagged',
    ]);
  });

  test('a flush is the queue length set to 0 and back', () => {
    expect(flushBatch([{ dev: 'vnet0', txqlen: 500 }]).lines.map(({ text }) => text))
      .toEqual(['link set dev vnet0 txqueuelen 0', 'link set dev vnet0 txqueuelen 500']);
  });
});
