/** The sender of a frame, as the rules against forged frames know it, and the forms that these rules share. */
import type { Trust } from '../intent/policy.js';
import type { FilterRule } from '../state/nft.js';
import type { Family, Prefix } from '../values/address.js';

/** The guest behind a link. */
export interface Sender {
  readonly mac: string | undefined;
  readonly trust: Trust;
  /** By family, the addresses that it may send from; undefined: no rule checks them. */
  readonly own: Readonly<Record<Family, readonly Prefix[] | undefined>>;
  readonly linkLocal: readonly Range[];
  /**
   * The set that limits how many link-local addresses, and addresses of its prefixes, the guest has as a neighbour;
   * undefined: no limit.
   */
  readonly counted: string | undefined;
  readonly tagged: 'never' | 'members';
  /** Ethertypes that pass, as nft names them; undefined: all. */
  readonly protocols: readonly string[] | undefined;
}

/** Addresses from the first to the last; a prefix is one. */
export type Range = Pick<Prefix, 'first' | 'last'>;

/** QEMU announces a guest with it. */
export const RARP = '0x8035';

/** Returns the rule that drops what matches. */
export function dropped(match: string, why: string): FilterRule {
  return { match, why };
}

/** Returns the rule that lets pass what matches. */
export function passed(match: string): FilterRule {
  return { match, why: 'passed', verdict: 'accept' };
}

/** Most values that are compared one by one, in a rule of at most 128 expressions (NFT_RULE_MAXEXPRS). */
const FEW = 24;

/** Returns the match of packets in which `what` has none of the values. */
export function noneIn(what: string, values: readonly string[]): string {
  const distinct = [...new Set(values)];
  return distinct.length <= FEW
    ? distinct.map((value) => `${what} != ${value}`).join(' ')
    : `${what} != { ${distinct.join(', ')} }`;
}
