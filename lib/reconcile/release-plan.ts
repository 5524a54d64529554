/** What taking a guest's wiring away would do: planned here, carried out by `release` and its kin in reconcile.ts. */
import { scopeOf } from '../attachments/scope.js';
import { staysUntilRelease } from '../attachments/attachment.js';
import { leftState, observedState } from '../attachments/state.js';
import { livingOf } from '../attachments/wired.js';
import type { CommandError } from '../errors.js';
import type { Entry } from '../journal/journal.js';
import { isOfNft, NO_TABLE } from '../kernel/nft-output.js';
import type { FilterFacts, Observation, Scope } from '../kernel/observation.js';
import { type NetState, withoutVlans } from '../state/netstate.js';
import { isMade } from '../state/objects.js';
import { type Host, type Past, pastOf, readEntry, type Records } from './host.js';
import { ofLinks, type Plan, planTowards } from './plan.js';

export interface TakeBack {
  readonly keepMade: boolean;
  /** What of the state before the guest is put back. */
  readonly target?: (original: NetState) => NetState;
}

export interface TakenBack {
  readonly entry: Entry;
  readonly past: Past;
  readonly plan: Plan;
  /** Why the filters could not be read. */
  readonly blind?: CommandError | undefined;
}

/** Returns the plan that puts back what was there before the guest; undefined: guestwire knows nothing of it. */
export async function planTakeBack(
  host: Host, uuid: string, { keepMade, target = (original) => original }: TakeBack,
): Promise<TakenBack | undefined> {
  const recorded = readEntry(host, uuid);
  if (recorded === undefined) return undefined;
  const past = pastOf(host, uuid);
  const entry = { ...recorded, original: target(recorded.original) };
  const { observation, blind } = await look(host, scopeOf([], entry.wired));
  return { entry, past, plan: planRelease(entry, observation, { keepMade, past }), blind };
}

/**
 * Returns the plan that puts back what was there before the guest, as far as its links still exist. Made links go with
 * all that is on them, unless `keepMade`: libvirt still uses them.
 */
export function planRelease(
  entry: Entry, observation: Observation, { keepMade, past }: { keepMade: boolean; past: Past },
): Plan {
  const living = livingOf(entry.wired, observation);
  const kept = keepMade ? living.filter(staysUntilRelease) : [];
  const target = { wired: kept, past, incoming: false };
  if (keepMade) return planTowards(
    [...ofLinks(entry.original, living), ...observedState(living, observation).filter(isMade)], observation, target,
  );
  // A macvtap goes with the veth end below it.
  const going = new Set(living.filter(staysUntilRelease).map(({ nic }) => nic));
  return planTowards(ofLinks(entry.original, living.filter(({ nic }) => !going.has(nic))), observation, target);
}

/** Returns how a guest that runs on gives up its wiring: see `releaseRunning`. */
export function ofRunning(records: Records, uuid: string): TakeBack {
  return { keepMade: true, target: (original) =>
    withoutVlans(leftState(readEntry(records, uuid)?.wired ?? [], original)) };
}

/** A table that could not be read. */
const UNREAD: FilterFacts = { ...NO_TABLE, there: true };

/** Observes for teardown. When a filter cannot be read, teardown still removes everything else. */
async function look({ kernel }: Host, scope: Scope): Promise<{ observation: Observation; blind?: CommandError }> {
  try {
    return { observation: await kernel.observe(scope) };
  } catch (error) {
    if (!isOfNft(error)) throw error;
    const observation = await kernel.observe({ ...scope, filters: [] });
    return {
      observation: { ...observation, filters: new Map(scope.filters.map((family) => [family, UNREAD])) }, blind: error,
    };
  }
}
