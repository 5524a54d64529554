/** Differences from the desired state, in words. Pure. */
import { objectKind, type NetObject } from './objects.js';
import type { BatchLine } from './render.js';
import { shownLink, objectName, vidsIn } from './words.js';

/** Returns the difference that a line of a batch removes: `VLAN 10 pvid untagged is missing on 'vnet7'`. */
export function difference(line: BatchLine): string | undefined {
  const [first] = line.operations;
  if (first === undefined) return undefined;
  const { before, after } = first;
  const object = after ?? before;
  if (object === undefined) return undefined;
  const vids = vidsIn(line);
  if (before === undefined) return `${objectName(object, vids)} is missing${shownLink(object)}`;
  if (after === undefined) return `${objectName(object, vids)}${shownLink(object)} should not be there`;
  return changeWords(before, after, vids);
}

function changeWords(before: NetObject, after: NetObject, vids: string | undefined): string {
  const words = objectKind(after).drift?.(before, after);
  return words ?? `${objectName(before, vids)}${shownLink(before)} should be ${objectName(after, vids)}`;
}
