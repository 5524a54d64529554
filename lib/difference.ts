/** What differs from what should be, in words. Pure. */
import type { NetObject } from './netstate.js';
import { type BatchLine, nameOf, vidsIn } from './operation.js';
import { quote } from './quote.js';

/** Returns what a line of a batch would mend: `VLAN 10 pvid untagged is missing on 'vnet7'`; undefined: nothing. */
export function differenceOf(line: BatchLine): string | undefined {
  const [first] = line.operations;
  if (first === undefined) return undefined;
  const { before, after } = first;
  const object = after ?? before;
  if (object === undefined) return undefined;
  if (FILTERS.has(object.kind)) return filterWords(object, { before, after });
  const vids = vidsIn(line);
  const place = `on ${quote(object.dev)}`;
  if (before === undefined) return `${nameOf(object, vids)} is missing ${place}`;
  if (after === undefined) return `${nameOf(object, vids)} ${place} should not be there`;
  return `${nameOf(before, vids)} ${place} should be ${nameOf(after, vids)}`;
}

const FILTERS: ReadonlySet<NetObject['kind']> = new Set(['filter-table', 'nic-filter', 'filter-set'] as const);

/** Returns whether a line is about nftables. */
export function isOfFilters({ operations: [first] }: BatchLine): boolean {
  const object = first?.after ?? first?.before;
  return object !== undefined && FILTERS.has(object.kind);
}

function filterWords(object: NetObject, { before, after }: { before: NetObject | undefined; after: NetObject | undefined }): string {
  const what = object.kind === 'filter-table' ? nameOf(object) : object.kind === 'filter-set' ? `${nameOf(object)} ${quote(object.dev)}` : `${nameOf(object)} of ${quote(object.dev)} in ${nameOf({ kind: 'filter-table', dev: 'guestwire', family: familyOf(object) })}`;
  if (before === undefined) return `${what} is missing`;
  return after === undefined ? `${what} should not be there` : `${what} is not as guestwire writes it`;
}

function familyOf(object: NetObject): 'bridge' | 'netdev' | 'inet' {
  return object.kind === 'nic-filter' ? object.family : 'inet';
}
