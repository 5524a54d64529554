/**
 * The host observed and checked before a plan: the loop refuses here, while nothing has changed.
 */
import { type OtherGuest, preflight } from '../attachments/check.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { isUnfinished } from '../attachments/ledger.js';
import { furtherScope, scopeOf, withFurther } from '../attachments/scope.js';
import { filterFamilies } from '../attachments/wired.js';
import { GuestwireError } from '../errors.js';
import type { Holding } from '../journal/journal.js';
import { hasSolicitations } from '../kernel/link-files.js';
import type { Observation, Scope } from '../kernel/observation.js';
import { rivalsOf } from './holders.js';
import { type Host, listHoldings, pastOfAll, type Records } from './host.js';
import { absentHolders } from './reserved.js';
import type { Member } from './request.js';

/** Observes the host and throws unless it can give what these guests ask for. */
export async function examine(host: Host, members: readonly Member[]): Promise<Examination> {
  const { live } = await rivalsOf(host, members.flatMap(({ attachments }) => attachments), pastOfAll(host, members));
  return examineAmong(host, members, { rivals: live });
}

export interface Examination {
  readonly observation: Observation;
  /** The guests without the lenient NICs that the host cannot wire. */
  readonly members: readonly Member[];
}

interface Examined {
  readonly rivals: readonly Holding[];
  /** Each table costs a program; what it is can be taken for granted until nft says otherwise. */
  readonly asksFilters?: boolean;
}

/** Does what {@link examine} does when it is known which other guests hold what these ask for. */
export async function examineAmong(
  host: Host, members: readonly Member[], { rivals, asksFilters = false }: Examined,
): Promise<Examination> {
  const wanted = members.flatMap(({ attachments }) => attachments);
  const recorded = members.flatMap(({ entry }) => entry?.wired ?? []);
  const observation = await observeFor(host, {
    wanted, recorded, ...(asksFilters && { filters: filterFamilies([...wanted, ...recorded]) }),
  });
  const others = [...rivals.map(otherGuest), ...absentHolders(host, members, rivals)];
  // What these guests hold together is theirs: one of them may take over what another gives up.
  const own = [...wanted, ...recorded];
  return {
    observation,
    members: members.map((member) => ({
      ...member, attachments: possibleOf(host, observation, { member, recorded: own, others }),
    })),
  };
}

/**
 * Returns what the host can give. Throws for the first attachment that it cannot give. A lenient NIC that was never
 * wired is left out instead; a guest that has only such NICs keeps all of them as libvirt made them.
 */
function possibleOf(
  host: Host, observation: Observation,
  { member: { guest, entry, attachments }, ...facts }: Omit<Asking, 'name' | 'attachments'> & { member: Member },
): Attachment[] {
  return attachments.filter((one) => {
    try {
      assertPossible(host, observation, { name: guest.name, attachments: [one], ...facts });
      return true;
    } catch (error) {
      const isWired = entry?.wired.some(({ nic }) => nic === one.nic) === true;
      if (!(error instanceof GuestwireError) || one.lenient !== true || isWired) throw error;
      if (attachments.every(({ lenient }) => lenient === true)) throw error;
      (host.warn ?? host.log)(`${error.message}: the NIC stays as libvirt made it`);
      return false;
    }
  });
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
    isGuestLink: (dev) => hasSolicitations(dev) ||
      listHoldings(host).some(({ wired }) => wired.some(({ link }) => link === dev)),
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
