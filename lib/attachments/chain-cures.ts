/** Rules that let guests through a chain of another program that drops by default. */
import type { DroppingChain } from '../kernel/host-chains.js';

/** Returns whether a link is among those that rules name; '*' stands for the rest of a name. */
export function isAmong(link: string, accepted: readonly string[]): boolean {
  return accepted.some((one) => one === link || (one.endsWith('*') && link.startsWith(one.slice(0, -1))));
}

/** Returns the line that accepts what matches, first in the chain, because whatever drops may stand anywhere. */
export function lineFor({ name }: DroppingChain, match: string): string {
  return `nft insert rule ${name} '${match} accept'`;
}

/**
 * Returns the lines that let everything pass from and to these links; undefined: the chain accepts it already.
 */
export function throughCure(chain: DroppingChain, links: readonly string[]): string | undefined {
  const sides = chain.hook === 'forward' ? (['from', 'to'] as const) : (['from'] as const);
  const lines = sides.flatMap((side) => links
    .filter((link) => !isAmong(link, chain[side]))
    .map((link) => acceptRule(chain, side, link)));
  return lines.length === 0 ? undefined : lines.join(' && ');
}

function acceptRule(chain: DroppingChain, side: 'from' | 'to', link: string): string {
  if (chain.kind === 'legacy') return `${chain.name} -I FORWARD ${side === 'from' ? '-i' : '-o'} ${link.replace(/\*$/, '+')} -j ACCEPT`;
  return `nft insert rule ${chain.name} ${side === 'from' ? 'iifname' : 'oifname'} '"${link}"' accept`;
}
