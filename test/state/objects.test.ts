// @tier fast
/**
 * The records of the object kinds, as a table of verb and object: every kind is made, changed and removed, or is a
 * setting that has no removal. A kind without a sample fails here.
 */
import { describe, expect, test } from '@jest/globals';
import { difference } from '../../lib/state/differences.js';
import { diff } from '../../lib/state/diff.js';
import { netState } from '../../lib/state/netstate.js';
import {
  isBroken, isCut, isFilter, isGrant, isGuard, isLeftover, isMade, isSeenAgain, isSetting, isShared, keyOf, masterOf,
  needOf, type NetObject, numberOf, objectKind, OBJECTS, sysctlPath, queueLength, reaches, renamed, withinOf,
} from '../../lib/state/objects.js';
import { tableKey } from '../../lib/state/objects/nft.js';
import { render } from '../../lib/state/render.js';
import { describeOperation as inWords } from '../../lib/state/words.js';
import { SAMPLES } from '../places/object-samples.js';

const kinds = Object.keys(OBJECTS).sort();
const all = SAMPLES.map(({ one }) => one);
const kindsWith = (has: (object: NetObject) => boolean): string[] =>
  [...new Set(all.filter(has).map(({ kind }) => kind))].sort();

/** Returns what the tools are fed for a change. */
function textOf(desired: readonly NetObject[], observed: readonly NetObject[]): string {
  const batches = render(diff(netState(desired), netState(observed)));
  return batches.flatMap(({ tool, lines }) => lines.map(({ text }) => `${tool}: ${text}`)).join('\n');
}

test('every kind has a sample', () => {
  expect([...new Set(all.map(({ kind }) => kind))].sort()).toEqual(kinds);
});

test('no two samples have one key', () => {
  expect(netState(all)).toHaveLength(all.length);
});

describe.each(SAMPLES.map((sample) => [sample.words, sample] as const))('%s', (words, sample) => {
  const { one, other, set, remove, change, drift } = sample;

  test('is made by its line', () => {
    expect(textOf([one], [])).toBe(set);
    expect(inWords({ key: '', before: undefined, after: one })).toBe(words);
  });

  test('is removed by its line, or is a setting', () => {
    expect(textOf([], [one])).toBe(remove ?? '');
    expect(isSetting(one)).toBe(remove === undefined);
  });

  if (other === undefined) return;
  test('changes in place', () => {
    expect(keyOf(other)).toBe(keyOf(one));
    expect(textOf([other], [one])).toBe(change);
    expect(difference({ text: '', operations: [{ key: '', before: one, after: other }] })).toBe(drift);
  });
});

describe('what others ask of an object', () => {
  test.each<[string, (object: NetObject) => boolean, readonly string[]]>([
    ['is a link that guestwire made', isMade, ['tap', 'veth']],
    ['is a leftover when it was there before', isLeftover, ['route', 'tap', 'veth']],
    ['lets the guest into a network', isGrant, ['port', 'vlan']],
    ['protects the host from the guest', isGuard, ['ipv6', 'isolated', 'sysctl']],
    ['cuts the guest off when it goes', (one) => isCut({ before: one, after: undefined }), ['port', 'vlan']],
    ['routes traffic to the guest', reaches, ['route', 'rule']],
    ['is in nftables', isFilter, ['filter-set', 'filter-table', 'nic-filter']],
    ['is shared', (object) => isShared(object) && !isFilter(object),
      [
        'bridge', 'bridge-settings', 'host-sysctl', 'last-resort', 'mac', 'neighbour-proxy', 'proxy-sysctl', 'rule',
        'uplink-vlan', 'vlan-link',
      ]],
    ['is not seen again', (object) => !isSeenAgain(object),
      ['filter-set', 'filter-table', 'host-sysctl', 'nic-filter']],
    ['can be broken', isBroken, ['filter-table']],
    ['is within another', (object) => withinOf(object) !== undefined, ['filter-set', 'nic-filter']],
    ['meets a need', (object) => needOf(object) !== undefined, ['neighbour-proxy', 'uplink-vlan']],
    ['has a number', (object) => numberOf(object) !== undefined, ['uplink-vlan', 'vlan']],
    ['has a path', (object) => sysctlPath(object) !== undefined, ['host-sysctl', 'proxy-sysctl', 'sysctl']],
    ['has a master', (object) => masterOf(object) !== undefined, ['master', 'port']],
    ['has a queue', (object) => queueLength(object) !== undefined, ['txqlen']],
  ])('%s', (_, has, expected) => {
    expect(kindsWith(has)).toEqual(expected);
  });

  test('a rule routes traffic to the guest only with a destination', () => {
    expect(all.filter((one) => one.kind === 'rule').map((one) => [one.to, reaches(one)]))
      .toEqual([['192.0.2.9/32', true], [undefined, false], [undefined, false]]);
  });

  test('what is within a table has the key of that table', () => {
    expect(all.flatMap((one) => withinOf(one) ?? [])).toEqual([tableKey('bridge'), tableKey('inet'), tableKey('inet')]);
  });

  const own = all.filter((one) => !isShared(one)).map((one) => [one.kind, one] as const);
  test.each(own)('%s follows the new name of its link', (_, one) => {
    const now = renamed(one, 'web0');
    expect(now.dev).toBe('web0');
    expect(keyOf(now)).not.toMatch(/\bvnet0\b/);
    expect(objectKind(now).set(now)).not.toMatch(/\bvnet0\b/);
  });
});
