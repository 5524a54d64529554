/**
 * What a caller asks the loop to wire.
 */
import type { Attachment } from '../attachments/kinds.js';
import type { Nic } from '../domain/domain.js';
import type { Guest } from '../domain/guest.js';

/** How a guest starts: `fresh` when no instruction of it has run, `incoming` when it comes by migration. */
export interface StartMode {
  readonly fresh: boolean;
  readonly incoming: boolean;
  /** What the guest has and nobody speaks of any more stays as it is. */
  readonly keepsUnspoken?: boolean;
}

export interface WireRequest extends StartMode {
  readonly guest: Guest;
  readonly attachments: readonly Attachment[];
}

/** A guest that runs, and what its XML asks for. */
export interface Wish {
  readonly guest: Guest;
  readonly attachments: readonly Attachment[];
  /** As its XML has them, by their positions: what libvirt itself would set on a port that comes back to its bridge. */
  readonly nics?: readonly Pick<Nic, 'isolated'>[] | undefined;
}
