/**
 * Plans: what must change on the host so that it holds what a guest's attachments ask for, or what was there before the
 * guest. Pure: a plan is a value, so that showing it, carrying it out and undoing it are the same thing.
 */
import type { Placed, PlacedPort } from './attachment.js';
import { diff, type Operation } from './diff.js';
import { planFilter } from './filter.js';
import type { Entry, Holding, Wired } from './journal.js';
import { desiredState, isSetting, netState, type NetObject, type NetState, observedState, withoutRoutes, withoutVlans } from './netstate.js';
import type { Observation } from './observation.js';
import { type Batch, flushBatch, render } from './operation.js';
import { planForwarding } from './forwarding.js';
import { planSources } from './sources.js';
import { planTables } from './tables.js';
import { planUplinks, type UplinkRecord } from './uplink.js';

/** What would be, or was, done for a guest. */
export interface Plan {
  readonly wired: readonly Wired[];
  /** `wired`, and what the guest's earlier run wired otherwise, dead links included: where this plan may change anything. */
  readonly touched: readonly Wired[];
  readonly desired: NetState;
  readonly observed: NetState;
  readonly operations: readonly Operation[];
  readonly batches: readonly Batch[];
  /** What guestwire has on uplinks while the plan is carried out and after it. */
  readonly uplinks: { readonly during: readonly UplinkRecord[]; readonly after: readonly UplinkRecord[]; readonly missing: readonly string[] };
}

/** What a plan starts from, besides the kernel. */
export interface Past {
  /** The guest's entry in the journal, if it has one. */
  readonly entry: Entry | undefined;
  readonly uplinks: readonly UplinkRecord[];
  /** What the journal says of other guests; read when first called. */
  readonly others: () => readonly Holding[];
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
}

/** How a guest starts: `fresh` when no instruction of it has run, `incoming` when it comes by migration. */
export interface StartMode {
  readonly fresh: boolean;
  readonly incoming: boolean;
}

/** Returns the plan that wires `placed`, whose links `observation` knows, and gives up what else the guest had. */
export function planFor(placed: readonly Placed[], observation: Observation, { mode, past }: { mode: StartMode; past: Past }): Plan {
  const wired = placed.map((attachment): Wired => ({ ...withTable(attachment, observation), ifindex: observation.links.get(attachment.link)?.ifindex ?? 0 }));
  const known = livingOf(past.entry?.wired ?? [], observation);
  const before = ofLinks(past.entry?.original ?? [], known);
  const given = known.filter(({ link }) => !wired.some((attachment) => attachment.link === link));
  const wanted = desiredState(wired, observation);
  const own = [
    ...withoutVlans(ofLinks(before, given)),
    ...(mode.incoming ? withoutRoutes(wanted) : wanted),
    // A tap whose flush was cut short is mute until its queue has its length again.
    ...before.filter(({ kind }) => kind === 'txqlen'),
  ];
  const plan = planTowards(own, observation, { wired, past, incoming: mode.incoming });
  return mode.fresh ? { ...plan, batches: withFlush(plan.batches, plan.desired) } : plan;
}

/** What a VRF's table is, only the host knows. */
function withTable(placed: Placed, { links }: Observation): Placed {
  const vrf = placed.kind === 'routed-link' && placed.vrf !== undefined ? links.get(placed.vrf) : undefined;
  return vrf?.vrfTable === undefined ? placed : { ...placed, table: vrf.vrfTable } as Placed;
}

/** Returns the plan that puts back what was there before the guest, as far as its links still exist. */
export function planRelease(entry: Entry, observation: Observation, past: Past): Plan {
  const own = ofLinks(entry.original, livingOf(entry.wired, observation));
  return planTowards(own, observation, { wired: [], past, incoming: false });
}

/** Returns the plan that undoes as much of `plan` as is done. A link that went away took its objects with it. */
export function planUndo(plan: Plan, observation: Observation, past: Past): Plan {
  const observed = look(observation, plan, { ...past, uplinks: plan.uplinks.during });
  // What other guests need stays, whether or not it was known to be there.
  const { sources } = sharedPlan(observation, { wired: [], touched: plan.touched }, past);
  const living = new Set(livingOf(plan.touched, observation).map(({ link }) => link));
  const desired = netState([...plan.observed.filter((object) => isShared(object) || living.has(object.dev)), ...sources.desired]);
  const operations = diff(desired, observed);
  return { ...plan, desired, observed, operations, batches: render(operations) };
}

/** Returns what is left to do after `plan` was carried out, its filter left out of account; nothing when it succeeded. */
export function leftOf(plan: Plan, observation: Observation, past: Past): Operation[] {
  const withoutFilter = (state: NetState): NetState => state.filter((object) => !FILTER_KINDS.has(object.kind) && !(object.kind === 'host-sysctl' && object.dev !== 'all'));
  return diff(withoutFilter(plan.desired), withoutFilter(look(observation, plan, { ...past, uplinks: plan.uplinks.during })));
}

/** What the wired links held before guestwire first touched them. Our routes are a leftover, nothing to bring back. */
export function originalOf({ touched, observed }: Plan, entry: Entry | undefined): NetState {
  const isKnown = ({ dev }: NetObject): boolean =>
    (entry?.wired ?? []).some((old) => old.link === dev && touched.some((now) => now.link === dev && now.ifindex === old.ifindex));
  const before = (entry?.original ?? []).filter(isKnown);
  const first = observed.filter((object) => !isShared(object) && object.kind !== 'route' && (isSetting(object) || !isKnown(object)));
  return netState([...first, ...before]);
}

/** Nothing is taken from a link whose ifindex is another: its name was reused by somebody else. */
export function livingOf(wired: readonly Wired[], { links }: Observation): Wired[] {
  return wired.filter(({ link, ifindex }) => links.get(link)?.ifindex === ifindex);
}

function planTowards(own: NetState, observation: Observation, { wired, past, incoming }: { wired: readonly Wired[]; past: Past; incoming: boolean }): Plan {
  const touched = [...(past.entry?.wired ?? []).filter((old) => !wired.some((now) => isEqual(now, old))), ...wired];
  const shared = sharedPlan(observation, { wired, touched }, past);
  const observed = look(observation, { wired, touched }, past);
  const desired = netState([...own, ...shared.filter.desired, ...shared.sources.desired, ...(incoming ? withoutRoutes(shared.tables.desired) : shared.tables.desired), ...shared.forwarding.desired, ...shared.uplinks.desired]);
  const operations = diff(desired, observed);
  return { wired, touched, desired, observed, operations, batches: render(operations), uplinks: shared.uplinks };
}

type Links = Pick<Plan, 'wired' | 'touched'>;

function look(observation: Observation, links: Links, past: Past): NetState {
  const { filter, sources, tables, forwarding, uplinks } = sharedPlan(observation, links, past);
  return netState([...observedState(livingOf(links.touched, observation), observation), ...filter.observed, ...sources.observed, ...tables.observed, ...forwarding.observed, ...uplinks.observed]);
}

/** What guests share, or what outlives a tap: it is looked after even when the guest's links are gone. */
function sharedPlan(observation: Observation, { wired, touched }: Links, past: Past) {
  return {
    filter: planFilter(wired, touched, observation),
    tables: planTables({ wanted: wired, recorded: touched, others: past.others }, observation),
    forwarding: planForwarding(wired, observation),
    sources: planSources({ wanted: wired, recorded: touched, others: past.others }, observation),
    uplinks: planUplinks({ wanted: portsOf(wired), concerned: portsOf(touched), records: past.uplinks, protectedOn: past.protectedOn }, observation),
  };
}

function isShared({ kind }: NetObject): boolean {
  return kind === 'uplink-vlan' || kind === 'rule' || kind === 'last-resort' || kind === 'host-sysctl' || FILTER_KINDS.has(kind);
}

const FILTER_KINDS: ReadonlySet<NetObject['kind']> = new Set(['filter', 'bpdu-guard', 'source-filter', 'source-guard'] as const);

function isEqual(a: Wired, b: Wired): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function portsOf(attachments: readonly Placed[]): PlacedPort[] {
  return attachments.filter((attachment) => attachment.kind === 'vlan-port');
}

function ofLinks(state: NetState, attachments: readonly Placed[]): NetState {
  const links = new Set(attachments.map(({ link }) => link));
  return state.filter(({ dev }) => links.has(dev));
}

/** The flush rides in the last run of `ip`: by then the port is exact, because VLANs come first in every order. */
function withFlush(batches: readonly Batch[], desired: NetState): Batch[] {
  const taps = desired.flatMap((object) => (object.kind === 'txqlen' && object.length > 0 ? [{ dev: object.dev, txqlen: object.length }] : []));
  if (taps.length === 0) return [...batches];
  const flush = flushBatch(taps);
  const last = batches.at(-1);
  if (last?.tool !== 'ip') return [...batches, flush];
  return [...batches.slice(0, -1), { tool: 'ip', lines: [...last.lines, ...flush.lines] }];
}
