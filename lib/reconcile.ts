/**
 * The loop: observe, check, plan, record, run, verify. Wiring, release and rollback differ in the target only. Every
 * function here expects the lock to be held, and leaves the host as it was when it throws, or says in a RollbackError
 * what it could not put back.
 */
import { type Attachment, claimsOf, holdsAny, type Placed, placedOf } from './attachment.js';
import { HostError, RollbackError, VerifyError } from './errors.js';
import type { Entry, Holding, Journal } from './journal.js';
import type { Kernel, RunMode } from './kernel.js';
import { type NetState, withoutVlans } from './netstate.js';
import { EMPTY_SCOPE, type Observation } from './observation.js';
import { describe } from './operation.js';
import { leftOf, livingOf, originalOf, type Past, type Plan, planFor, planRelease, planUndo, type StartMode } from './plan.js';
import { furtherScope, type Holder, preflight } from './preflight.js';
import { nicLabel, oneLine, quote } from './quote.js';
import { scopeOf } from './scope.js';
import { wasAbsent } from './sources.js';
import { hasTable } from './tables.js';

/** Where effects go: injected at the top, so that tests put fakes in. */
export interface Host {
  readonly kernel: Kernel;
  readonly journal: Journal;
  /** Told what was done, a line a change. */
  readonly log: (line: string) => void;
  /** VIDs that the host config says never to remove from the uplinks of a bridge. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
}

export interface Guest {
  readonly name: string;
  readonly uuid: string;
}

export interface WireRequest extends StartMode {
  readonly guest: Guest;
  readonly attachments: readonly Attachment[];
}

/**
 * Makes the host agree with `attachments` and returns what was done. What the guest's earlier entry recorded and is not
 * wanted any more is given up. Throws when the host cannot give it, or does not hold it afterwards; then nothing changed.
 */
export async function wire(host: Host, request: WireRequest): Promise<Plan> {
  const { guest, incoming } = request;
  const known = pastOf(host, guest.uuid);
  const { live, stale } = await rivalsOf(host, request.attachments, known);
  await collect(host, stale);
  const past = stale.length === 0 ? known : pastOf(host, guest.uuid);
  const observation = await examine(host, request, live);
  const plan = planFrom(observation, request, past);
  const entry: Entry = {
    version: 1, guest, since: past.entry?.since ?? new Date().toISOString(), incoming,
    wired: plan.touched, original: originalOf(plan, past.entry),
  };
  // Before the first effect: whoever dies after it leaves what the guest's release needs to know.
  host.journal.write(entry);
  try {
    await carryOut(host, plan, past);
  } catch (error) {
    const seen = await rollBack(host, { guest, plan, past }, error as Error);
    if (!wasAbsent(plan.observed, { asked: observation.sources, seen: seen.sources })) throw error;
    // Undoing has made the source filter again, for the guests that lost it.
    return wire(host, request);
  }
  if (plan.touched.length > plan.wired.length) host.journal.write({ ...entry, wired: plan.wired });
  logPlan(host, guest, plan);
  if (incoming && request.attachments.some(({ kind }) => kind === 'routed-link')) {
    host.log(`guest ${quote(guest.name)} comes by migration: its routes wait for 'guestwire reconcile'`);
  }
  return plan;
}

/** Returns what wiring would do now, with every check made and nothing changed. */
export async function planWiring(host: Host, request: WireRequest, past: Past): Promise<Plan> {
  return planFrom(await check(host, request.guest, request.attachments), request, past);
}

function planFrom(observation: Observation, { guest, attachments, fresh, incoming }: WireRequest, past: Past): Plan {
  const placed = placedOf(attachments);
  const missing = attachments.find((attachment) => !placed.includes(attachment as Placed));
  if (missing !== undefined) {
    const where = nicLabel(guest.name, { index: missing.nic, mac: missing.mac });
    throw new HostError(`${where}: libvirt gives it no ${missing.link === undefined ? 'link' : 'Linux bridge'} to wire: use an interface that has one`);
  }
  return planFor(placed, observation, { mode: { fresh, incoming }, past });
}

/** Returns what a plan for this guest starts from. */
export function pastOf({ journal, protectedOn }: Host, uuid: string): Past {
  let listed: readonly Holding[] | undefined;
  const others = (): readonly Holding[] => (listed ??= journal.list().filter(({ guest }) => guest.uuid !== uuid));
  return { entry: journal.read(uuid), uplinks: journal.readUplinks(), others, protectedOn };
}

/** Observes the host and throws unless it can give what `attachments` ask for. Returns the observation. */
export async function check(host: Host, guest: Guest, attachments: readonly Attachment[]): Promise<Observation> {
  const { live } = await rivalsOf(host, attachments, pastOf(host, guest.uuid));
  return examine(host, { guest, attachments }, live);
}

async function examine(host: Host, { guest, attachments }: Pick<WireRequest, 'guest' | 'attachments'>, rivals: readonly Holding[]): Promise<Observation> {
  const recorded = host.journal.read(guest.uuid)?.wired ?? [];
  const first = await host.kernel.observe(scopeOf(attachments, recorded));
  const further = furtherScope(attachments, first);
  const { nextHops, exact, routers } = await host.kernel.observe({ ...EMPTY_SCOPE, ...further });
  const observation = { ...first, nextHops, routers, exact: [...first.exact, ...exact] };
  const holders = rivals.map((entry): Holder => ({ name: entry.guest.name, attachments: entry.wired }));
  preflight(guest.name, attachments, { observation, holders, recorded });
  return observation;
}

/**
 * Puts back what was there before the guest was wired, as far as its links still exist, and forgets the guest. A guest
 * without an entry is no error. Throws after doing all it could; the entry then stays, for the next try.
 */
export async function release(host: Host, uuid: string): Promise<void> {
  await unwire(host, uuid);
  host.journal.remove(uuid);
}

/**
 * Does what {@link release} does for a guest that runs on: its ports are put into no VLAN at all, because the one they
 * were made in is nobody's grant.
 */
export async function releaseRunning(host: Host, uuid: string): Promise<void> {
  await unwire(host, uuid, withoutVlans);
  host.journal.remove(uuid);
}

/** Does what {@link release} does, and keeps the entry: for `stopped`, after which `release` still comes. */
export async function unwire(host: Host, uuid: string, target: (original: NetState) => NetState = (original) => original): Promise<void> {
  const past = pastOf(host, uuid);
  if (past.entry === undefined) return;
  const entry = { ...past.entry, original: target(past.entry.original) };
  const observation = await host.kernel.observe(scopeOf([], entry.wired));
  const plan = planRelease(entry, observation, past);
  await runPlan(host, plan, { past, mode: 'carry-on' });
  writeUplinks(host, past.uplinks, plan.uplinks.after);
  logPlan(host, entry.guest, plan);
}

async function carryOut(host: Host, plan: Plan, past: Past): Promise<void> {
  writeUplinks(host, past.uplinks, plan.uplinks.during);
  await runPlan(host, plan, { past, mode: 'stop-at-failure' });
  writeUplinks(host, plan.uplinks.during, plan.uplinks.after);
}

/** Carries `plan` out, and believes what the kernel then holds, not what the tools said. */
async function runPlan({ kernel }: Host, plan: Plan, { past, mode }: { past: Past; mode: RunMode }): Promise<void> {
  if (plan.batches.length === 0) return;
  const { observation, failure } = await kernel.run(plan.batches, mode, { ...scopeOf([], plan.touched), filter: false, sources: false });
  // nft carries out a file whole or not at all (nft(8)), so its success is proof enough, and saves a program.
  const left = leftOf(plan, observation, past);
  if (failure !== undefined && (left.length > 0 || failure.failure.tool === 'nft')) throw failure;
  if (left.length === 0) return;
  throw new VerifyError(`the kernel does not hold what was asked of it: still to do: ${left.slice(0, 3).map(describe).join(', ')}${left.length > 3 ? ` and ${left.length - 3} more` : ''}`);
}

/** Aims at the state observed before. Returns what was there when it began. */
async function rollBack(host: Host, { guest, plan, past }: { guest: Guest; plan: Plan; past: Past }, cause: Error): Promise<Observation> {
  try {
    const seen = await host.kernel.observe(scopeOf([], plan.touched));
    const undo = planUndo(plan, seen, past);
    await runPlan(host, undo, { past, mode: 'carry-on' });
    host.journal.writeUplinks(past.uplinks);
    if (past.entry === undefined) host.journal.remove(guest.uuid);
    else host.journal.write(past.entry);
    return seen;
  } catch (error) {
    throw new RollbackError(`${cause.message}; and it could not be undone: ${oneLine((error as Error).message)}`, { cause });
  }
}

async function collect(host: Host, stale: readonly Holding[]): Promise<void> {
  for (const entry of stale) {
    await release(host, entry.guest.uuid);
    host.log(`guest ${quote(entry.guest.name)}: forgotten: its links are gone`);
  }
}

/**
 * Other guests that the journal says hold what these attachments claim. Those whose links are gone are stale: they hold
 * nothing.
 */
async function rivalsOf(host: Host, attachments: readonly Attachment[], past: Past): Promise<{ live: Holding[]; stale: Holding[] }> {
  const claims = attachments.flatMap((attachment) => (attachment.kind === 'routed-link' ? claimsOf(attachment) : []));
  // Rules go by the name of a link: those of a dead one would lead the next of its name.
  const names = new Set(attachments.map(({ link }) => link));
  const rivals = claims.length === 0 ? [] : past.others().filter((entry) =>
    entry.wired.some((attachment) => attachment.kind === 'routed-link' && (holdsAny(attachment, claims) || (hasTable(attachment) && names.has(attachment.link)))));
  return byLife(host, rivals);
}

/** Returns entries by whether a link of theirs is still there. */
export async function byLife({ kernel }: Pick<Host, 'kernel'>, entries: readonly Holding[]): Promise<{ live: Holding[]; stale: Holding[] }> {
  if (entries.length === 0) return { live: [], stale: [] };
  const observation = await kernel.observe({ ...EMPTY_SCOPE, links: entries.flatMap(({ wired }) => wired.map(({ link }) => link)) });
  const isLive = ({ wired }: Holding): boolean => livingOf(wired, observation).length > 0;
  return { live: entries.filter(isLive), stale: entries.filter((entry) => !isLive(entry)) };
}

function writeUplinks({ journal }: Host, before: Past['uplinks'], after: Past['uplinks']): void {
  if (JSON.stringify(before) !== JSON.stringify(after)) journal.writeUplinks(after);
}

function logPlan({ log }: Host, { name }: Guest, { touched, operations, uplinks }: Plan): void {
  for (const dev of uplinks.missing) {
    log(`guest ${quote(name)}: uplink ${quote(dev)} of the host config is no port of its bridge: the guest's VLANs do not leave this host by it`);
  }
  for (const operation of operations) {
    const dev = (operation.after ?? operation.before)?.dev;
    const attachment = touched.find(({ link }) => link === dev);
    const where = attachment === undefined ? `guest ${quote(name)}` : nicLabel(name, { index: attachment.nic, mac: attachment.mac });
    log(`${where}: ${describe(operation)}`);
  }
}
