/**
 * The host observed and checked before a plan: the loop refuses here, while nothing has changed.
 */
import { type OtherGuest, preflight } from '../attachments/check.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { isUnfinished } from '../attachments/ledger.js';
import { furtherScope, scopeOf, withFurther } from '../attachments/scope.js';
import { filterFamilies } from '../attachments/wired.js';
import type { Holding } from '../journal/journal.js';
import type { Observation, Scope } from '../kernel/observation.js';
import { rivalsOf } from './holders.js';
import { type Host, listHoldings, pastOfAll, type Records } from './host.js';
import type { Member } from './request.js';

/** Observes the host and throws unless it can give what these guests ask for. Returns the observation. */
export async function examine(host: Host, members: readonly Member[]): Promise<Observation> {
  const { live } = await rivalsOf(host, members.flatMap(({ attachments }) => attachments), pastOfAll(host, members));
  return examineAmong(host, members, { rivals: live });
}

interface Examined {
  readonly rivals: readonly Holding[];
  /** Each table costs a program; what it is can be taken for granted until nft says otherwise. */
  readonly asksFilters?: boolean;
}

/** Does what {@link examine} does when it is known which other guests hold what these ask for. */
export async function examineAmong(
  host: Host, members: readonly Member[], { rivals, asksFilters = false }: Examined,
): Promise<Observation> {
  const wanted = members.flatMap(({ attachments }) => attachments);
  const recorded = members.flatMap(({ entry }) => entry?.wired ?? []);
  const observation = await observeFor(host, {
    wanted, recorded, ...(asksFilters && { filters: filterFamilies([...wanted, ...recorded]) }),
  });
  const others = rivals.map(otherGuest);
  // What these guests hold together is theirs: one of them may take over what another gives up.
  const own = [...wanted, ...recorded];
  for (const { guest, attachments } of members) {
    assertPossible(host, observation, { name: guest.name, attachments, recorded: own, others });
  }
  return observation;
}

interface Asking {
  readonly name: string;
  readonly attachments: readonly Attachment[];
  /** Links that belong to the guest: their addresses do not conflict with it. */
  readonly recorded: readonly (Attachment | Wired)[];
  readonly others: readonly OtherGuest[];
}

/** Returns a guest as a conflict with it is checked. */
export function otherGuest({ guest, wired }: Holding): OtherGuest {
  return { name: guest.name, attachments: wired };
}

/** Throws unless the host can give a guest what it asks for, with what the journal knows of the host. */
export function assertPossible(
  host: Records, observation: Observation, { name, attachments, recorded, others }: Asking,
): void {
  const { journal } = host;
  preflight(name, attachments, {
    observation, recorded, others,
    guestName: (uuid) => journal.read(uuid)?.guest.name,
    isUnfinished: (dev) => isUnfinished(journal.readLedger(), dev),
    isGuestLink: (dev) => listHoldings(host).some(({ wired }) => wired.some(({ link }) => link === dev)),
  });
}

interface Asked extends Partial<Pick<Scope, 'filters'>> {
  readonly wanted: readonly Attachment[];
  readonly recorded: readonly Wired[];
}

/** Returns all that the checks of these attachments need to know of the host: some of it depends on the rest. */
export async function observeFor(
  { kernel }: Pick<Host, 'kernel'>, { wanted, recorded, ...scope }: Asked,
): Promise<Observation> {
  const first = await kernel.observe({ ...scopeOf(wanted, recorded), ...scope });
  return withFurther(first, await kernel.observe(furtherScope(wanted, first)));
}
