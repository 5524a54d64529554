/**
 * Plans: what must change on the host so that it holds what a guest's attachments ask for, or what was there before the
 * guest. Pure: a plan is a value, so that showing it, carrying it out and undoing it are the same thing.
 */
import type { SharedWarning } from '../attachments/attached.js';
import { resolved, staysUntilRelease, asWaiting, withQuarantine } from '../attachments/attachment.js';
import type { Placed, Wired } from '../attachments/kinds.js';
import { type Ledger, observedShared, planShared } from '../attachments/ledger.js';
import type { Presence } from '../attachments/presence.js';
import { desiredState, leftState, observedState } from '../attachments/state.js';
import { livingOf } from '../attachments/wired.js';
import { type FilterPlan, planFilters } from '../filter/state.js';
import type { Entry, Holding } from '../journal/journal.js';
import type { Observation } from '../kernel/observation.js';
import { diff, type Operation } from '../state/diff.js';
import { type NetObject, type NetState, netState, withoutRoutes, withoutVlans } from '../state/netstate.js';
import {
  isBroken, isCut, isGrant, isLeftover, isSeenAgain, isSetting, isShared, keyOf, queueLength,
} from '../state/objects.js';
import { type Batch, flushBatch, render } from '../state/render.js';
import type { Past, RecordedWiring } from './host.js';
import type { StartMode } from './request.js';

/** What would be, or was, done for a guest. */
export interface Plan {
  readonly wired: readonly Wired[];
  /**
   * `wired`, and what the guest's earlier run wired otherwise, dead links included: where this plan may change
   * anything.
   */
  readonly touched: readonly Wired[];
  readonly desired: NetState;
  readonly observed: NetState;
  readonly operations: readonly Operation[];
  readonly batches: readonly Batch[];
  /** What guestwire records of what guests share, while the plan is carried out and after it. */
  readonly ledger: { readonly during: Ledger; readonly after: Ledger };
  /** Faults that no change repairs: each run reports them until the host is changed. */
  readonly warnings: readonly SharedWarning[];
  /** Where the host answers for the guests, after the plan. */
  readonly presence: readonly Presence[];
}

/** Returns the plan that wires `placed`, with links that `observation` knows, and gives up what else the guest had. */
export function planFor(
  placed: readonly Placed[], observation: Observation, { mode, past }: { mode: StartMode; past: Past },
): Plan {
  const wired = placed.map((attachment): Wired => ({
    ...resolved(mode.incoming ? asWaiting(attachment) : attachment, observation),
    ifindex: observation.links.get(attachment.link)?.ifindex ?? 0,
  })).map((one) => inQuarantine(one, past));
  const known = livingOf(past.entry?.wired ?? [], observation);
  // The guest still uses the links that were made for it, even if its XML has changed since: they go at `release`.
  wired.push(...known.filter((old) => staysUntilRelease(old) &&
    !wired.some(({ kind, link }) => kind === old.kind && link === old.link)));
  if (mode.keepsUnspoken === true) {
    wired.push(...known.filter(({ link }) => !wired.some((attachment) => attachment.link === link)));
  }
  const before = ofLinks(past.entry?.original ?? [], known);
  const given = known.filter(({ link }) => !wired.some((attachment) => attachment.link === link));
  const wanted = desiredState(wired, observation);
  const own = [
    ...withoutVlans(mode.fresh ? ofLinks(before, given) : leftState(given, ofLinks(before, given))),
    ...(mode.incoming ? withoutRoutes(wanted) : wanted),
    // A tap is mute after an interrupted flush, until its queue has its length again.
    ...before.filter((object) => queueLength(object) !== undefined),
  ];
  const plan = planTowards(own, observation, { wired, past, incoming: mode.incoming });
  return mode.fresh ? { ...plan, batches: withFlush(plan.batches, plan.desired) } : plan;
}

function inQuarantine(wired: Wired, { quarantined }: Past): Wired {
  return quarantined ? withQuarantine(wired, true) : wired;
}

/** Returns the plan that makes the filters of a wired guest what they should be, and touches nothing else. */
export function planFilterOf(entry: Entry, observation: Observation, past: Past): Plan {
  const touched = entry.wired.map((one) => inQuarantine({ ...one, quarantined: undefined }, past));
  const links = { wired: livingOf(touched, observation), touched };
  const { desired, observed } = filtersPlan(observation, links, past);
  const operations = diff(netState(desired), netState(observed));
  return {
    ...links, desired: netState(desired), observed: netState(observed), operations, batches: render(operations),
    ledger: { during: past.ledger, after: past.ledger }, warnings: [], presence: [],
  };
}

/** Returns the plan that undoes as much of `plan` as is done. A link that went away took its objects with it. */
export function planUndo(plan: Plan, observation: Observation, past: Past): Plan {
  const observed = look(observation, plan, { ...past, ledger: plan.ledger.during });
  // What guests need of the filters stays, whether or not it was known to be there; a broken table is not broken again.
  const links = { wired: livingOf(past.entry?.wired ?? [], observation), touched: plan.touched };
  const filters = filtersPlan(observation, links, past);
  const living = new Set(livingOf(plan.touched, observation).map(({ link }) => link));
  const before = plan.observed.filter((object) => (isShared(object) ? !isBroken(object) : living.has(object.dev)));
  const desired = netState([...before, ...filters.desired]);
  const operations = diff(desired, observed);
  return { ...plan, desired, observed, operations, batches: render(operations) };
}

/**
 * Returns what is left to do after `plan` was carried out; nothing when it succeeded. An observation after a run has no
 * filters unless they were read again.
 */
export function leftOf(
  plan: Plan, observation: Observation, { past, hasFilters = false }: { past: Past; hasFilters?: boolean },
): Operation[] {
  const isKnown = (object: NetObject): boolean => hasFilters || isSeenAgain(object);
  const observed = look(observation, plan, { ...past, ledger: plan.ledger.during });
  return diff(plan.desired.filter(isKnown), observed.filter(isKnown));
}

/** Returns the operations of a plan that keep all frames from passing the links that it gives up. */
export function cutsIn({ operations, wired }: Pick<Plan, 'operations' | 'wired'>): Operation[] {
  const kept = new Set(wired.map(({ link }) => link));
  return operations.filter((operation) =>
    isCut(operation) && (operation.after !== undefined || !kept.has(operation.before?.dev ?? '')));
}

/** Returns what is left of the batches once the plan's links are cut: a link that goes down takes its routes along. */
export function batchesAfterCut(plan: Plan, observation: Observation, past: Past): Batch[] {
  const there = new Set(look(observation, plan, { ...past, ledger: plan.ledger.during }).map(keyOf));
  const cut = new Set(cutsIn(plan));
  const isLeft = (operation: Operation): boolean => {
    const { key, before } = operation;
    return !cut.has(operation) && (before === undefined || !isSeenAgain(before) || there.has(key));
  };
  return plan.batches.map(({ tool, lines }) => ({
    tool, lines: lines.filter(({ operations }) => operations.length === 0 || operations.some(isLeft)),
  })).filter(({ lines }) => lines.length > 0);
}

/** What the wired links held before guestwire first touched them. Our routes are a leftover, nothing to bring back. */
export function originalOf({ touched, observed }: Plan, entry: RecordedWiring | undefined): NetState {
  const isKnown = ({ dev }: NetObject): boolean =>
    (entry?.wired ?? []).some((old) => old.link === dev &&
      touched.some((now) => now.link === dev && now.ifindex === old.ifindex));
  const before = (entry?.original ?? []).filter(isKnown);
  const first = observed.filter((object) =>
    !isShared(object) && !isLeftover(object) && (isSetting(object) || !isKnown(object)));
  return netState([...first, ...before]);
}

/** Returns the plan that leads from what is observed to `own` and what guests share. */
export function planTowards(
  own: NetState, observation: Observation,
  { wired, past, incoming }: { wired: readonly Wired[]; past: Past; incoming: boolean },
): Plan {
  const same = new Set(wired.map((one) => JSON.stringify(one)));
  const touched = [...(past.entry?.wired ?? []).filter((old) => !same.has(JSON.stringify(old))), ...wired];
  const shared = planShared(askFor({ wired, touched }, past), past.ledger, observation);
  const filters = filtersPlan(observation, { wired, touched }, past);
  const observed = look(observation, { wired, touched }, past);
  const desired = netState([
    ...own, ...filters.desired, ...(incoming ? withoutRoutes(shared.desired) : shared.desired),
  ]);
  const operations = diff(desired, observed);
  const { during, after, warnings, presence } = shared;
  return {
    wired, touched, desired, observed, operations, batches: render(operations), ledger: { during, after }, warnings,
    presence,
  };
}

type Links = Pick<Plan, 'wired' | 'touched'>;

function look(observation: Observation, links: Links, past: Past): NetState {
  const shared = observedShared(askFor(links, past), past.ledger, observation);
  const filters = filtersPlan(observation, links, past);
  const wired = new Set(links.wired.map(({ link }) => link));
  const givenUp = links.touched.filter(({ link }) => !wired.has(link));
  const given = new Set(desiredState(givenUp, observation).filter(isGrant).map(keyOf));
  const own = observedState(livingOf(links.touched, observation), observation).filter((object) =>
    isTaken(object, { wired, given, touched: links.touched }, past));
  return netState([...own, ...filters.observed, ...shared]);
}

interface Taken extends Pick<Links, 'touched'> {
  readonly wired: ReadonlySet<string>;
  readonly given: ReadonlySet<string>;
}

/**
 * A port that is given up loses the VLANs it was given, and keeps those that were put there since, unless its guest is
 * in quarantine.
 */
function isTaken(
  object: NetObject, { wired, touched, given }: Taken, { entry, quarantined }: Past,
): boolean {
  if (!isGrant(object) || wired.has(object.dev)) return true;
  if (quarantined || touched.some((one) => one.link === object.dev && one.quarantined === true)) return true;
  return given.has(keyOf(object)) || (entry?.original ?? []).some((original) => keyOf(original) === keyOf(object));
}

/** Shared objects, and objects that outlive a tap, are maintained even when the guest's links are gone. */
function askFor({ wired, touched }: Links, { others, protectedOn }: Past): Parameters<typeof planShared>[0] {
  return { wanted: wired, concerned: touched, others: () => wiredOf(others()), protectedOn };
}

function filtersPlan(observation: Observation, { wired, touched }: Links, past: Past): FilterPlan {
  return planFilters({ wanted: wired, recorded: touched, others: () => wiredOf(past.others()) }, observation);
}

function wiredOf(entries: readonly Holding[]): Wired[] {
  return entries.flatMap(({ wired }) => wired);
}

export function ofLinks(state: NetState, attachments: readonly Placed[]): NetState {
  const links = new Set(attachments.map(({ link }) => link));
  return state.filter(({ dev }) => links.has(dev));
}

/**
 * The flush is part of the last run of `ip`. The port is exact before that, because VLANs come first in every order.
 */
function withFlush(batches: readonly Batch[], desired: NetState): Batch[] {
  const taps = desired
    .map((object) => ({ dev: object.dev, txqlen: queueLength(object) ?? 0 }))
    .filter(({ txqlen }) => txqlen > 0);
  if (taps.length === 0) return [...batches];
  const flush = flushBatch(taps);
  const last = batches.at(-1);
  if (last?.tool !== flush.tool) return [...batches, flush];
  return [...batches.slice(0, -1), { ...last, lines: [...last.lines, ...flush.lines] }];
}
