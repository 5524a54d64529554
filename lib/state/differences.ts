/** What differs from what should be, in words. Pure. */
import { quote, sysctlName } from '../values/quote.js';
import type { NetObject } from './netstate.js';
import type { BatchLine } from './render.js';
import { isFilter, isSysctl, nameOf, placeOf, vidsIn } from './words.js';

/** Returns what a line of a batch would mend: `VLAN 10 pvid untagged is missing on 'vnet7'`; undefined: nothing. */
export function differenceOf(line: BatchLine): string | undefined {
  const [first] = line.operations;
  if (first === undefined) return undefined;
  const { before, after } = first;
  const object = after ?? before;
  if (object === undefined) return undefined;
  const vids = vidsIn(line);
  if (before === undefined) return `${nameOf(object, vids)} is missing${placeOf(object)}`;
  if (after === undefined) return `${nameOf(object, vids)}${placeOf(object)} should not be there`;
  return changeWords(before, after, vids);
}

/** Returns whether a line is about nftables. */
export function isOfFilters({ operations: [first] }: BatchLine): boolean {
  const object = first?.after ?? first?.before;
  return object !== undefined && isFilter(object);
}

function changeWords(before: NetObject, after: NetObject, vids: string | undefined): string {
  if (isFilter(after)) return `${nameOf(after)} differs from what guestwire writes`;
  if (isSysctl(before) && isSysctl(after)) return `sysctl ${sysctlName(before.path)} is ${before.value} and should be ${after.value}`;
  if (before.kind === 'link') return before.up ? `link ${quote(before.dev)} is up and should be down` : `link ${quote(before.dev)} is down and should be up`;
  if (before.kind === 'isolated') return before.on ? `port ${quote(before.dev)} is isolated and should not be` : `port ${quote(before.dev)} is not isolated and should be`;
  return `${nameOf(before, vids)}${placeOf(before)} should be ${nameOf(after, vids)}`;
}
