/**
 * An attachment as the journal records it: with the ifindex of its link, which tells a living link from another of
 * the same name.
 */
import type { Observation } from '../kernel/observation.js';
import { FILTER_FAMILIES, type FilterFamily } from '../state/nft.js';
import { filterOf } from './attachment.js';
import type { Guard } from './attached.js';
import { type Attachment, kindOf, type Placed, type Wired } from './kinds.js';

/** The nftables families that each way to guard a link needs a table of. */
const GUARD_FAMILIES: Readonly<Record<Guard['how'], readonly FilterFamily[]>> = {
  port: ['bridge'], link: ['netdev', 'inet'],
};

/** Returns the families that these links need tables of. */
export function filterFamilies(links: readonly (Attachment | Placed)[]): FilterFamily[] {
  const needed = new Set(links.flatMap((one) => {
    const guard = filterOf(one);
    return guard === undefined ? [] : GUARD_FAMILIES[guard.how];
  }));
  return FILTER_FAMILIES.filter((family) => needed.has(family));
}

/** Returns the links that still exist. A link with another ifindex is another link: its name was reused. */
export function livingOf(wired: readonly Wired[], { links }: Observation): Wired[] {
  return wired.filter((one) => {
    const facts = links.get(one.link);
    return facts !== undefined && (facts.ifindex === one.ifindex || kindOf(one).isBeingMade?.(one, facts) === true);
  });
}

/** Returns whether the link is recorded as one to be made: its ifindex is not known before. */
export function isPending(wired: Wired): boolean {
  return wired.ifindex === 0 && kindOf(wired).isBeingMade !== undefined;
}
