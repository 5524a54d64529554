/** Claims of guests against each other: no two guests of a host have one address. */
import { nicLabel } from '../domain/guest.js';
import { ConflictError } from '../errors.js';
import { bare, overlaps, type Prefix } from '../values/address.js';
import { quote } from '../values/quote.js';
import type { Holder } from './attached.js';

/** Throws ConflictError when one of `holders` has something of what `claim` covers. */
export function assertUnclaimed(claim: Prefix, holders: readonly Holder[]): void {
  for (const holder of holders) {
    for (const { nic, mac, claims } of holder.nics) {
      const held = claims.find((other) => overlaps(other, claim));
      if (held === undefined) continue;
      const other = nicLabel(holder.name, { index: nic, mac });
      throw new ConflictError(`${quote(bare(claim))} ${holder.isOff ? 'belongs to' : 'is held by'} ${other}${holder.isOff ? ', which is off,' : ''} as ${quote(bare(held))}: give one of the two another address`);
    }
  }
}
