/**
 * What a caller asks the loop to wire.
 */
import type { Attachment } from '../attachments/kinds.js';
import type { Nic } from '../domain/domain.js';
import type { Guest } from '../domain/guest.js';
import type { Entry } from '../journal/journal.js';

/** How guests start: `fresh` when no instruction of theirs has run, `incoming` when they come by migration. */
export interface StartMode {
  readonly fresh: boolean;
  readonly incoming: boolean;
  /** What a guest has, and neither its XML nor the host config asks for any more, stays as it is. */
  readonly keepsUnspoken?: boolean;
}

/** A guest, and what its XML and the host config ask for. */
export interface Wanted {
  readonly guest: Guest;
  readonly attachments: readonly Attachment[];
}

/** One guest that starts in this way. */
export interface WireRequest extends StartMode, Wanted {}

/** A guest that runs. */
export interface RunningGuest extends Wanted {
  /** As its XML has them, by their positions: what libvirt itself would set on a port that comes back to its bridge. */
  readonly nics?: readonly Pick<Nic, 'isolated'>[] | undefined;
}

/** A guest in the loop: what it asks for, under the present names of its links, and what the journal records. */
export interface Member extends Wanted {
  readonly entry: Entry | undefined;
}
