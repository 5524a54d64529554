/** Lists as guests' authors write them: nothing twice, and not so long that the host's lock is held for it. */
import { ValueError } from '../errors.js';

/** Returns the first item that comes a second time; undefined: none does. Linear. */
export function repeated(list: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return list.find((item) => seen.size === seen.add(item).size);
}

/** Throws ValueError when the list has more items than one NIC may have; `items` names them: 'addresses'. */
export function assertAtMost(most: number, items: string, count: number): void {
  if (count > most) throw new ValueError(`one NIC has at most ${most} ${items}, and ${count} are listed: remove some`);
}
