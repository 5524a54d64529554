/**
 * Running guests made to agree with what their XML asks for, under the host's lock: together where they can, and one by
 * one where one of them fails or is in another's way.
 */
import { type Guest, guestLabel } from '../domain/guest.js';
import { GuestwireError, HostError } from '../errors.js';
import type { Host } from '../reconcile/host.js';
import type { Plan } from '../reconcile/plan.js';
import { refilter, releaseRunning, wire, wireAll } from '../reconcile/reconcile.js';
import { rejoin } from '../reconcile/rejoin.js';
import type { RunningGuest } from '../reconcile/request.js';
import { canGoTogether, partOf } from '../reconcile/together.js';

/**
 * The part of a plan that says where to announce the guest; undefined: the guest asks for nothing any more, so what was
 * wired for it is released.
 */
export type Part = Pick<Plan, 'operations' | 'presence'> | undefined;

/** What came of one guest. */
export type Repaired<G extends RunningGuest> = { readonly running: G } & (
  | { readonly part: Part }
  | { readonly error: GuestwireError }
);

/** Makes the host agree with each of these guests. A guest that fails keeps no other from being wired. */
export async function repairAll<G extends RunningGuest>(host: Host, guests: readonly G[]): Promise<Repaired<G>[]> {
  const made = await wireThoseThatCan(host, guests);
  const done = new Set(made.map(({ running }) => running));
  for (const running of guests.filter((one) => !done.has(one))) {
    try {
      made.push({ running, part: await repairGuest(host, running) });
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      made.push({ running, error });
    }
  }
  return made;
}

/** Wires guests in one run of the loop. Returns those that are wired: all that ask for something, or none. */
export async function wireThoseThatCan<G extends RunningGuest>(
  host: Host, guests: readonly G[],
): Promise<Repaired<G>[]> {
  const asking = guests.filter(({ attachments }) => attachments.length > 0);
  if (asking.length < 2 || !canGoTogether(host, asking)) return [];
  try {
    const plan = await wireAll(host, asking, { fresh: false, incoming: false });
    return asking.map((running) => ({ running, part: partOf(plan, running.attachments) }));
  } catch (error) {
    if (error instanceof GuestwireError) return [];
    throw error;
  }
}

/**
 * Makes the host agree with what a running guest asks for. Returns what was done; undefined: the guest asks for
 * nothing, so what was wired for it is released.
 */
export async function repairGuest(host: Host, running: RunningGuest): Promise<Plan | undefined> {
  if (running.attachments.length > 0) return wireRejoined(host, running);
  await releaseRunning(host, running.guest.uuid);
  return undefined;
}

/**
 * Wires a guest that runs, and first puts its taps back into their bridge if that is why it cannot be. To look for such
 * each time would be one more program, at a tenth of the cost of all the rest.
 */
async function wireRejoined(host: Host, running: RunningGuest): Promise<Plan> {
  const request = { guest: running.guest, attachments: running.attachments, fresh: false, incoming: false };
  try {
    return await wire(host, request);
  } catch (error) {
    if (error instanceof HostError && await rejoin(host, running)) return wire(host, request);
    if (error instanceof GuestwireError) await repairFilters(host, running.guest);
    throw error;
  }
}

/** A guest that cannot be wired, for lack of forwarding for instance, still runs: its filters are repaired. */
async function repairFilters(host: Host, { name, uuid }: Guest): Promise<void> {
  const { log, warn = log } = host;
  try {
    await refilter(host, uuid);
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    warn(`${guestLabel(name)}: its filters could not be repaired: ${error.detail}`);
  }
}
