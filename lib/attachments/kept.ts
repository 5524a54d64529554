/** What may stay on a host when the leftovers of guests that are gone are removed. */
import type { Attachment, Wired } from './kinds.js';

export interface Kept {
  /** What the journal has of guests, and what running guests ask for: an entry may be lost. */
  readonly held: readonly (Wired | Attachment)[];
  /** UUIDs of guests that have an entry or run: guestwire repairs and releases what they have with them. */
  readonly uuids: ReadonlySet<string>;
  /** Route protocols that mark what is guestwire's. */
  readonly protocols: readonly number[];
}
