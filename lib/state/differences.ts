/** Differences from the desired state, in words. Pure. */
import { objectKindOf, type NetObject } from './objects.js';
import type { BatchLine } from './render.js';
import { linkOf, nameOf, vidsIn } from './words.js';

/** Returns the difference that a line of a batch removes: `VLAN 10 pvid untagged is missing on 'vnet7'`. */
export function differenceOf(line: BatchLine): string | undefined {
  const [first] = line.operations;
  if (first === undefined) return undefined;
  const { before, after } = first;
  const object = after ?? before;
  if (object === undefined) return undefined;
  const vids = vidsIn(line);
  if (before === undefined) return `${nameOf(object, vids)} is missing${linkOf(object)}`;
  if (after === undefined) return `${nameOf(object, vids)}${linkOf(object)} should not be there`;
  return changeWords(before, after, vids);
}

function changeWords(before: NetObject, after: NetObject, vids: string | undefined): string {
  const words = objectKindOf(after).drift?.(before, after);
  return words ?? `${nameOf(before, vids)}${linkOf(before)} should be ${nameOf(after, vids)}`;
}
