/** Objects of nftables: guestwire's tables, the filter of each NIC, and sets that rules name. */
import { type FilterFamily, type NicFilter, nicLines, TABLE, tableName, withoutNicLines } from '../nft.js';
import type { ObjectKind } from '../object-kind.js';

const COMMON = {
  tool: () => 'nft',
  namesItsLink: true,
  verbs: { set: 'renew' },
  owner: 'filter',
  // Listing a table costs a run of nft in each start, and a transaction of nft succeeds as a whole or not at all.
  isSeenAgain: () => false,
} satisfies Partial<ObjectKind<FilterTable | FilterOfNic | FilterSet>>;

export interface FilterTable {
  readonly kind: 'filter-table';
  readonly dev: string;
  readonly family: FilterFamily;
  /** The lines that make the table without guests. */
  readonly lines?: readonly string[];
  readonly broken?: true;
}

/** A table of guestwire's without its guests. */
export const filterTable: ObjectKind<FilterTable> = {
  ...COMMON,
  key: ({ family, dev }) => `filter-table ${family} ${dev}`,
  phase: () => 'filter-tables',
  set: ({ lines = [] }) => lines.join('\n'),
  remove: ({ family }) => `delete table ${family} ${TABLE}`,
  // The old table goes in the same transaction, which costs a grace period of the kernel (17 ms against 4 ms for a new
  // table, Linux 6.18). It may have gone since: `add` lets the deletion succeed.
  replace: (_, { family, lines = [] }) =>
    [`add table ${family} ${TABLE}`, `delete table ${family} ${TABLE}`, ...lines].join('\n'),
  name: ({ family }) => tableName(family),
  drift: (_, { family }) => driftOf(tableName(family)),
  isBroken: ({ broken }) => broken === true,
};

export interface FilterOfNic {
  readonly kind: 'nic-filter';
  readonly dev: string;
  readonly family: FilterFamily;
  readonly ifindex: number;
  readonly filter: NicFilter;
}

/** The part of one NIC in one table. A changed filter is made again, in one transaction. */
export const filterOfNic: ObjectKind<FilterOfNic> = {
  ...COMMON,
  key: ({ family, ifindex }) => `nic-filter ${family} ${ifindex}`,
  phase: () => 'nic-filters',
  set: (one) => nicLines(one.family, one.filter, one).join('\n'),
  remove: (one) => withoutNicLines(one.family, one.filter, one).join('\n'),
  replace: (before, after) => [
    ...withoutNicLines(before.family, before.filter, before),
    ...nicLines(after.family, after.filter, after),
  ].join('\n'),
  name: nicFilterName,
  drift: (_, after) => driftOf(nicFilterName(after)),
  within: ({ family }) => tableKey(family),
};

export interface FilterSet {
  readonly kind: 'filter-set';
  readonly dev: string;
  readonly family: FilterFamily;
}

/** A set that no rule names any longer. `dev` is the name of the set. */
export const filterSet: ObjectKind<FilterSet> = {
  ...COMMON,
  key: ({ family, dev }) => `filter-set ${family} ${dev}`,
  phase: () => 'filter-sets',
  set: ({ family, dev }) => `add set ${family} ${TABLE} ${dev} { type iface_index; }`,
  remove: ({ family, dev }) => `delete set ${family} ${TABLE} ${dev}`,
  name: setName,
  drift: (_, after) => driftOf(setName(after)),
  within: ({ family }) => tableKey(family),
};

/** Returns the key of guestwire's table of a family. */
export function tableKey(family: FilterFamily): string {
  return filterTable.key({ kind: 'filter-table', dev: TABLE, family });
}

function nicFilterName({ dev, family }: FilterOfNic): string {
  return `${family === 'inet' ? 'policy' : 'filter'} of '${dev}' (${tableName(family)})`;
}

function setName({ dev, family }: FilterSet): string {
  return `set '${dev}' (${tableName(family)})`;
}

/** nft prints one rule in several ways, by its version: the message does not quote it. */
function driftOf(name: string): string {
  return `${name} differs from what guestwire writes`;
}
