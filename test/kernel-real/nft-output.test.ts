// @tier kernel
/** What nft says of the tables to facts, on a real kernel: each change that somebody makes to them is seen. */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import type { Wired } from '../../lib/attachments/kinds.js';
import { shapeName, tableLines, TABLES } from '../../lib/filter/nft-tables.js';
import { nicFilter } from '../../lib/filter/nic-filter.js';
import { isIntact } from '../../lib/filter/state.js';
import { parseFilter } from '../../lib/kernel/nft-output.js';
import { type FilterFamily, type NicFilter, nicLines, withoutNicLines } from '../../lib/state/nft.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const netnsTest = testWith('root', 'netns');
const FAMILIES = ['bridge', 'netdev', 'inet'] as const;

let netns: Netns;
let wired: Record<FilterFamily, Wired>;
beforeAll(async () => {
  netns = await openNetns();
  netns.sh('ip tuntap add t0 mode tap');
  const ifindex = Number(netns.sh('cat /sys/class/net/t0/ifindex'));
  const one = { nic: 0, mac: '52:54:00:aa:bb:01', link: 't0', ifindex };
  const link = wiredOf({
    kind: 'routed-link', ...one, addresses: ['192.0.2.10', '2001:db8::a'],
    routes: [{ to: '2001:db8:1::/64', via: '2001:db8::a' }], gateways: ['169.254.0.1', 'fe80::1'], table: 'main',
    protocol: 117, policy: POLICY,
  });
  const port: Wired = {
    kind: 'vlan-port', ...one, bridge: 'br0', isolated: undefined, uplinks: [],
    vlans: [{ vid: 10, pvid: true, untagged: true }], policy: { ...POLICY, profile: 'open' },
  };
  wired = { bridge: port, netdev: link, inet: link };
});
afterAll(() => { netns.close(); });

const filterOf = (family: FilterFamily): NicFilter => nicFilter(wired[family], family) as NicFilter;

function load(family: FilterFamily, ...more: string[]): ReturnType<typeof parseFilter> {
  const lines = [
    `add table ${family} guestwire`, `delete table ${family} guestwire`, ...tableLines(family),
    ...nicLines(family, filterOf(family), wired[family]), ...more,
  ];
  const { status, stderr } = netns.run('nft', ['-f', '-'], { input: `${lines.join('\n')}\n` });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return parseFilter(netns.sh(`nft --json list table ${family} guestwire`));
}

describe.each(FAMILIES)('the table of family %s', (family) => {
  netnsTest('is intact as it is made, with the NIC in it', () => {
    const facts = load(family);
    expect(isIntact(facts, family)).toBe(true);
    for (const chain of filterOf(family).chains)
      expect(facts.chains.get(chain.name)).toHaveLength(chain.rules.length + 1);
    for (const { set } of filterOf(family).elements) expect(facts.elements.get(set)).toEqual(new Set(['t0']));
  });

  netnsTest('is not when a set of it is gone', () => {
    const [name = ''] = [...TABLES[family].sets.keys()].filter((set) => set === 'quarantined');
    expect(isIntact(load(family, `add table ${family} other`), family)).toBe(true);
    const { nftables } = JSON.parse(netns.sh(`nft --json list table ${family} guestwire`)) as { nftables: { set?: { name: string } }[] };
    const without = { nftables: nftables.filter(({ set }) => set?.name !== name) };
    expect(isIntact(parseFilter(JSON.stringify(without)), family)).toBe(false);
  });
});

describe.each<[string, FilterFamily, string]>([
  ['a rule more in a chain of guestwire', 'bridge', 'add rule bridge guestwire from_guests counter comment "mine"'],
  ['a rule without a comment', 'inet', 'add rule inet guestwire between counter'],
  ['no rules in a chain', 'inet', 'flush chain inet guestwire to_host'],
])('%s', (_, family, line) => {
  netnsTest('is seen', () => { expect(isIntact(load(family, line), family)).toBe(false); });
});

netnsTest('a chain of somebody else beside guestwire leaves it intact', () => {
  expect(isIntact(load('inet', 'add chain inet guestwire mine', 'add rule inet guestwire mine counter'), 'inet'))
    .toBe(true);
});

describe.each(FAMILIES)('the table of family %s', (family) => {
  netnsTest('gives back all that a NIC had, quarantine included', () => {
    wired[family] = { ...wired[family], quarantined: true };
    expect(load(family).elements.get('quarantined')).toEqual(new Set(['t0']));
    const { chains, elements } = load(family, ...withoutNicLines(family, filterOf(family), wired[family]));
    expect([...chains.keys()].sort())
      .toEqual([...TABLES[family].chains.map(({ name }) => name), shapeName(family)].sort());
    expect([...elements.values()].flatMap((held) => [...held])).toEqual([]);
  });
});
