// @tier fast
/** The order of changes: every phase has a reason and a use, and the whole order, up and down, is written here. */
import { describe, expect, test } from '@jest/globals';
import { diff, type Operation } from '../../lib/state/diff.js';
import { netState } from '../../lib/state/netstate.js';
import { keyOf, objectKind, type NetObject } from '../../lib/state/objects.js';
import { type Phase, PHASES, phaseRank } from '../../lib/state/order.js';
import { describeOperation as inWords } from '../../lib/state/words.js';
import { SAMPLES } from '../places/object-samples.js';

const names = Object.keys(PHASES) as Phase[];
const all = SAMPLES.map(({ one }) => one);

/** All that can happen to the samples: each is made, changed and removed. */
const changes = SAMPLES.flatMap(({ one, other }): Operation[] => [
  { key: keyOf(one), before: undefined, after: one },
  { key: keyOf(one), before: one, after: undefined },
  ...(other === undefined ? [] : [{ key: keyOf(one), before: one, after: other }]),
]);

function phaseOf(operation: Operation): Phase {
  const object = (operation.after ?? operation.before) as NetObject;
  return objectKind(object).phase(object, operation);
}

describe('a phase', () => {
  test.each(names)('%s has a reason, one sentence that ends', (name) => {
    expect(PHASES[name]).toMatch(/^[A-Z].{20,110}\.$/);
  });

  test('has a use, and none is missing', () => {
    const freed = all.flatMap((object) => objectKind(object).place?.freed ?? []);
    expect(names.filter((name) => ![...changes.map(phaseOf), ...freed].includes(name))).toEqual([]);
  });

  test('of the way down comes after all of the way up, in reverse', () => {
    const up = names.map((name) => phaseRank(name, 'wire'));
    const ranks = [...up, ...[...names].reverse().map((name) => phaseRank(name, 'unwire'))];
    expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
  });
});

describe('the order', () => {
  const pairs = (operations: readonly Operation[]): unknown[] => operations.map(({ before, after }) => [before, after]);
  const order = (operations: readonly Operation[]): string[] =>
    [...new Set(operations.map(({ before, after }) => (after ?? before)?.kind ?? ''))];

  test('of wiring', () => {
    expect(order(diff(netState(all), []))).toEqual([
      'filter-table', 'filter-set', 'nic-filter', 'link', 'bridge', 'tap',
      'veth', 'vlan-link', 'alias', 'bridge-settings', 'mac',
      'mtu', 'port', 'isolated', 'vlan', 'uplink-vlan', 'host-sysctl', 'rule',
      'ipv6', 'proxy-sysctl', 'sysctl', 'txqlen', 'last-resort', 'master', 'allmulticast',
      'address', 'route', 'neighbour-proxy',
    ]);
  });

  test('of unwiring: what cuts the guest off first, then back the way it came', () => {
    expect(order(diff([], netState(all)))).toEqual([
      'port', 'vlan', 'neighbour-proxy', 'route', 'address', 'uplink-vlan', 'master', 'rule', 'last-resort', 'bridge',
      'tap', 'veth', 'vlan-link', 'nic-filter', 'filter-set', 'filter-table',
    ]);
  });

  test('of settings that go back to what they were: a link goes down first and up last', () => {
    const kinds = new Set(['link', 'isolated', 'vlan', 'mtu']);
    const changed = SAMPLES.flatMap(({ one, other }) => (other && kinds.has(one.kind) ? [{ one, other }] : []));
    const words = diff(netState(changed.map(({ other }) => other)), netState(changed.map(({ one }) => one)))
      .map((operation) => inWords(operation));
    expect(words).toEqual([
      "set link 'vnet0' down", "set mtu 1500 of 'vnet0' on 'vnet0'", "set port 'vnet1' isolated",
      "set VLAN 10 on 'vnet0'", "set VLAN 42 pvid on 'vnet0'", "set port 'vnet0' not isolated", "set link 'vnet1' up",
    ]);
  });

  const route = { kind: 'route', to: '192.0.2.9/32', via: undefined, table: 'main', protocol: 117 } as const;
  const address = { kind: 'address', dev: 'vnet0' } as const;
  test.each<[string, NetObject, NetObject]>([
    ['a route that moves', { ...route, dev: 'vnet0' }, { ...route, dev: 'vnet1' }],
    ['an IPv6 address with another length',
      { ...address, address: 'fe80::1', length: 64 }, { ...address, address: 'fe80::1', length: 128 }],
  ])('of %s: the old one makes room first', (_, old, now) => {
    expect(pairs(diff([now], [old]))).toEqual([[old, undefined], [undefined, now]]);
  });

  test('of an IPv4 address with another length: the new one comes first', () => {
    const old = { ...address, address: '192.0.2.1', length: 24 };
    const now = { ...old, length: 32 };
    expect(pairs(diff([now], [old]))).toEqual([[undefined, now], [old, undefined]]);
  });
});
