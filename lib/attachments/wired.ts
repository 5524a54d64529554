/**
 * An attachment as the journal records it: with the ifindex of its link, which tells a living link from another of
 * the same name.
 */
import type { Observation } from '../kernel/observation.js';
import type { FilterFamily } from '../state/nft.js';
import type { Placed } from './attachment.js';
import { isHalfMade } from './made-link/state.js';

/** Returns the families that these links need tables of. */
export function familiesOf(wired: readonly { readonly kind: string }[]): FilterFamily[] {
  const has = (kind: string): boolean => wired.some((one) => one.kind === kind);
  return [...(has('vlan-port') ? ['bridge' as const] : []), ...(has('routed-link') ? ['netdev' as const, 'inet' as const] : [])];
}

/** An attachment that was wired, with the ifindex of its link: names are reused, indexes are not. */
export type Wired = Placed & {
  readonly ifindex: number;
  /** Nothing passes to or from the guest. */
  readonly quarantined?: true | undefined;
};

/** Nothing is taken from a link whose ifindex is another: its name was reused by somebody else. */
export function livingOf(wired: readonly Wired[], { links }: Observation): Wired[] {
  return wired.filter((one) => {
    const facts = links.get(one.link);
    return facts !== undefined && (facts.ifindex === one.ifindex || (isPending(one) && isHalfMade(one, facts)));
  });
}

/** Returns whether the link is recorded as one to be made: its ifindex is not known before. */
export function isPending(wired: Wired): wired is Extract<Wired, { kind: 'made-link' }> {
  return wired.kind === 'made-link' && wired.ifindex === 0;
}
