/**
 * The one list of what guests share on a host. Each entry is planned for a guest, with what other guests need of it in
 * mind.
 */
import type * as z from 'zod/mini';
import type { Observation } from '../kernel/observation.js';
import type { NetObject } from '../state/netstate.js';
import type { RecordedKind, SharedPlan, SharedRequest, SharedWarning, Surplus } from './attached.js';
import type { Presence } from './presence.js';
import { forwarding, isRefused } from './routed-link/forwarding.js';
import { type ProxyRecord, proxies } from './routed-link/proxies.js';
import { tables } from './routed-link/route-tables.js';
import { type BridgeRecord, bridges } from './vlan-bridge/bridges.js';
import { type UplinkRecord, uplinks } from './vlan-port/uplinks.js';

/** What the journal holds of each, for all guests together; what the kernel itself tells has no record. */
export interface Ledger {
  readonly bridges: readonly BridgeRecord[];
  readonly proxies: readonly ProxyRecord[];
  readonly uplinks: readonly UplinkRecord[];
}

export type LedgerName = keyof Ledger;

/** Those with records, by the name of their file in the journal. */
const RECORDED = { bridges, proxies, uplinks } satisfies { [N in LedgerName]: RecordedKind<Ledger[N][number]> };

const UNRECORDED = [tables, forwarding] as const;

export const LEDGER_NAMES = Object.keys(RECORDED) as readonly LedgerName[];

/** Schema of the records of one entry. */
export function ledgerSchema(name: LedgerName): z.ZodMiniType {
  return RECORDED[name].schema;
}

type Ask = Omit<SharedRequest, 'records'>;

/** Each entry of RECORDED takes its own records, which the type of a loop over them cannot tell. */
function recorded(name: LedgerName): RecordedKind<unknown> {
  return RECORDED[name] as unknown as RecordedKind<unknown>;
}

/** Returns what of all that guests share is on the host for these links' sake. */
export function observedShared(ask: Ask, ledger: Ledger, observation: Observation): NetObject[] {
  return [
    ...LEDGER_NAMES.flatMap((name) => recorded(name).observed({ ...ask, records: ledger[name] }, observation)),
    ...UNRECORDED.flatMap((kind) => kind.observed({ ...ask, records: [] }, observation)),
  ];
}

export interface LedgerPlan {
  readonly desired: readonly NetObject[];
  /** What guestwire records while the plan is carried out, and after it. */
  readonly during: Ledger;
  readonly after: Ledger;
  readonly warnings: readonly SharedWarning[];
  readonly presence: readonly Presence[];
}

/** Returns what of all that guests share is to be there for these links' sake, and what to record of it. */
export function planShared(ask: Ask, ledger: Ledger, observation: Observation): LedgerPlan {
  const named = LEDGER_NAMES.map((name) => ({
    name, plan: recorded(name).plan({ ...ask, records: ledger[name] }, observation),
  }));
  const plans: readonly SharedPlan<unknown>[] = [
    ...named.map(({ plan }) => plan), ...UNRECORDED.map((kind) => kind.plan({ ...ask, records: [] }, observation)),
  ];
  const records = (key: 'during' | 'after'): Ledger =>
    Object.fromEntries(named.map(({ name, plan }) => [name, plan[key]])) as unknown as Ledger;
  return {
    desired: plans.flatMap(({ desired }) => desired), during: records('during'), after: records('after'),
    warnings: plans.flatMap(({ warnings = [] }) => warnings), presence: plans.flatMap(({ presence = [] }) => presence),
  };
}

/** Returns the names of the entries that differ: only those are written. */
export function changedIn(before: Ledger, after: Ledger): LedgerName[] {
  return LEDGER_NAMES.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
}

const NO_SURPLUS: Surplus<unknown> = {
  scope: () => undefined, furtherScope: () => ({}), of: ({ records }) => ({ surplus: [], records }),
};

/** Returns how to find what no guest needs any more of one entry. */
export function surplusOf(name: LedgerName): Surplus<unknown> {
  return recorded(name).surplus ?? NO_SURPLUS;
}

/** Returns whether the ledger says that a run which was killed was about to make this link. */
export function isUnfinished(ledger: Ledger, dev: string): boolean {
  return LEDGER_NAMES.some((name) => recorded(name).isMaking?.(ledger[name], dev) === true);
}

/** By what is lacking, whether its refusal says a difference, too. They are not in the records: the hook never asks. */
const REFUSALS = [isRefused];

/** Returns whether the refusal for the lack of something shared says this difference, too. */
export function isSaid(difference: NetObject, observation: Pick<Observation, 'sysctls'>): boolean {
  return REFUSALS.some((says) => says(difference, observation));
}

/** Returns what `uninstall` cannot take away, in words: what the records still hold. */
export function leftWords(ledger: Ledger): string[] {
  return LEDGER_NAMES.flatMap((name) => ledger[name].map((record) => recorded(name).leftWords(record)));
}
