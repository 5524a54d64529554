/**
 * The loop: observe, check, diff, record, run, verify. Wiring, release and rollback differ in the target only. Every
 * function here expects the lock to be held, and leaves the host as it was when it throws, or says in a RollbackError
 * what it could not put back.
 */
import { overlaps } from './address.js';
import { type Attachment, claimsOf, type Placed, placedOf } from './attachment.js';
import { diff, type Operation } from './diff.js';
import { HostError, RollbackError, VerifyError } from './errors.js';
import type { Entry, Journal, Wired } from './journal.js';
import type { Kernel } from './kernel.js';
import { desiredState, isSetting, netState, type NetObject, type NetState, observedState, withoutRoutes } from './netstate.js';
import { EMPTY_SCOPE, type Observation } from './observation.js';
import { type Batch, describe, flushBatch, render } from './operation.js';
import { claimsNearHost, type Holder, preflight } from './preflight.js';
import { nicLabel, oneLine, quote } from './quote.js';
import { scopeOf } from './scope.js';

/** Where effects go: injected at the top, so that tests put fakes in. */
export interface Host {
  readonly kernel: Kernel;
  readonly journal: Journal;
  /** Told what was done, a line a change. */
  readonly log: (line: string) => void;
}

export interface Guest {
  readonly name: string;
  readonly uuid: string;
}

export interface WireRequest {
  readonly guest: Guest;
  readonly attachments: readonly Attachment[];
  /** The guest does not run yet: what waits in its taps' queues is dropped. Never so for a running guest. */
  readonly fresh: boolean;
  /** The guest comes by migration: its routes wait. */
  readonly incoming: boolean;
}

/** What would be, or was, done for a guest. */
export interface Plan {
  readonly wired: readonly Wired[];
  /** `wired`, and links that were wired and are given up. */
  readonly touched: readonly Wired[];
  readonly desired: NetState;
  readonly observed: NetState;
  readonly operations: readonly Operation[];
  readonly batches: readonly Batch[];
}

/**
 * Makes the host agree with `attachments` and returns what was done. What the guest's earlier entry recorded and is not
 * wanted any more is given up. Throws when the host cannot give it, or does not hold it afterwards; then nothing changed.
 */
export async function wire(host: Host, request: WireRequest): Promise<Plan> {
  const entry = host.journal.read(request.guest.uuid);
  const plan = await planWiring(host, request, entry);
  const original = originalOf(plan, entry);
  const { guest, incoming } = request;
  // Before the first effect: whoever dies after it leaves what the guest's release needs to know.
  host.journal.write({ version: 1, guest, since: entry?.since ?? new Date().toISOString(), incoming, wired: plan.wired, original });
  try {
    await host.kernel.run(plan.batches, 'stop-at-failure');
    await verify(host.kernel, plan);
  } catch (error) {
    await rollBack(host, { guest, plan, entry }, error as Error);
    throw error;
  }
  logOperations(host, guest, plan);
  return plan;
}

/** Returns what wiring would do now, with every check made and nothing changed. `entry` is the guest's, if it has one. */
export async function planWiring(host: Host, request: WireRequest, entry: Entry | undefined): Promise<Plan> {
  const { guest, attachments } = request;
  const observation = await check(host, guest, attachments);
  const placed = placedOf(attachments);
  const missing = attachments.find((attachment) => !placed.includes(attachment as Placed));
  if (missing !== undefined) {
    const where = nicLabel(guest.name, { index: missing.nic, mac: missing.mac });
    throw new HostError(`${where}: libvirt gives it no ${missing.link === undefined ? 'link' : 'Linux bridge'} to wire: use an interface that has one`);
  }
  return planFor(placed, observation, { ...request, entry });
}

/** Returns the plan for attachments whose links `observation` knows. Pure. */
export function planFor(
  placed: readonly Placed[],
  observation: Observation,
  { entry, fresh, incoming }: Pick<WireRequest, 'fresh' | 'incoming'> & { readonly entry: Entry | undefined },
): Plan {
  const wired = placed.map((attachment): Wired => ({ ...attachment, ifindex: observation.links.get(attachment.link)?.ifindex ?? 0 }));
  const known = livingOf(entry, observation);
  const given = known.filter(({ link }) => !wired.some((attachment) => attachment.link === link));
  const touched = [...given, ...wired];
  const before = ofLinks(entry?.original ?? [], known);
  const observed = observedState(touched, observation);
  const wanted = desiredState(wired, observation);
  const desired = netState([
    ...ofLinks(before, given),
    ...(incoming ? withoutRoutes(wanted) : wanted),
    // A tap whose flush was cut short is mute until its queue has its length again.
    ...before.filter(({ kind }) => kind === 'txqlen'),
  ]);
  const operations = diff(desired, observed);
  const batches = fresh ? withFlush(render(operations), desired) : render(operations);
  return { wired, touched, desired, observed, operations, batches };
}

/** Observes the host and throws unless it can give what `attachments` ask for. Returns the observation. */
export async function check(host: Host, guest: Guest, attachments: readonly Attachment[]): Promise<Observation> {
  const recorded = host.journal.read(guest.uuid)?.wired ?? [];
  const first = await host.kernel.observe(scopeOf(attachments, recorded));
  const near = claimsNearHost(attachments, first);
  const { nextHops } = near.length === 0 ? first : await host.kernel.observe({ ...EMPTY_SCOPE, nextHops: near });
  const observation = { ...first, nextHops };
  preflight(guest.name, attachments, { observation, holders: await holdersOf(host, guest, attachments) });
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

/** Does what {@link release} does, and keeps the entry: for `stopped`, after which `release` still comes. */
export async function unwire(host: Host, uuid: string): Promise<void> {
  const entry = host.journal.read(uuid);
  if (entry === undefined) return;
  const observation = await host.kernel.observe(scopeOf([], entry.wired));
  const touched = livingOf(entry, observation);
  const desired = ofLinks(entry.original, touched);
  const operations = diff(desired, observedState(touched, observation));
  await host.kernel.run(render(operations), 'carry-on');
  await verify(host.kernel, { touched, desired, operations });
  logOperations(host, entry.guest, { touched, operations });
}

/** Guests whose links are gone hold nothing: their entries are collected when they stand in the way. */
async function holdersOf(host: Host, guest: Guest, attachments: readonly Attachment[]): Promise<Holder[]> {
  const claims = attachments.flatMap((attachment) => (attachment.kind === 'routed-link' ? claimsOf(attachment) : []));
  if (claims.length === 0) return [];
  const rivals = host.journal.list().filter(({ guest: { uuid }, wired }) => uuid !== guest.uuid && wired.some((attachment) =>
    attachment.kind === 'routed-link' && claimsOf(attachment).some((held) => claims.some((claim) => overlaps(held, claim)))));
  if (rivals.length === 0) return [];
  const observation = await host.kernel.observe({ ...EMPTY_SCOPE, links: rivals.flatMap(({ wired }) => wired.map(({ link }) => link)) });
  const isLive = ({ wired }: Entry): boolean => wired.some((attachment) => isSame(attachment, observation));
  for (const { guest: stale } of rivals.filter((entry) => !isLive(entry))) {
    host.journal.remove(stale.uuid);
    host.log(`guest ${quote(stale.name)}: forgotten: its links are gone`);
  }
  return rivals.filter(isLive).map((entry) => ({ name: entry.guest.name, attachments: entry.wired }));
}

async function verify(kernel: Kernel, { touched, desired, operations }: Aim): Promise<void> {
  if (operations.length === 0) return;
  const left = diff(desired, observedState(touched, await kernel.observe(scopeOf([], touched))));
  if (left.length === 0) return;
  throw new VerifyError(`the kernel does not hold what was asked of it: still to do: ${left.slice(0, 3).map(describe).join(', ')}${left.length > 3 ? ` and ${left.length - 3} more` : ''}`);
}

type Aim = Pick<Plan, 'touched' | 'desired' | 'operations'>;

/** Aims at the state observed before. A link that went away in the meantime took its objects with it. */
async function rollBack(
  host: Host,
  { guest, plan, entry }: { guest: Guest; plan: Plan; entry: Entry | undefined },
  cause: Error,
): Promise<void> {
  try {
    const observation = await host.kernel.observe(scopeOf([], plan.touched));
    const touched = plan.touched.filter((attachment) => isSame(attachment, observation));
    const desired = ofLinks(plan.observed, touched);
    const operations = diff(desired, observedState(touched, observation));
    await host.kernel.run(render(operations), 'carry-on');
    await verify(host.kernel, { touched, desired, operations });
    if (entry === undefined) host.journal.remove(guest.uuid);
    else host.journal.write(entry);
  } catch (error) {
    throw new RollbackError(`${cause.message}; and it could not be undone: ${oneLine((error as Error).message)}`, { cause });
  }
}

/** Nothing is taken from a link whose ifindex is another: its name was reused by somebody else. */
function isSame({ link, ifindex }: Wired, { links }: Observation): boolean {
  return links.get(link)?.ifindex === ifindex;
}

function livingOf(entry: Entry | undefined, observation: Observation): Wired[] {
  return (entry?.wired ?? []).filter((attachment) => isSame(attachment, observation));
}

/** What a link held before guestwire first touched it; our routes on it are a leftover, not something to bring back. */
function originalOf({ wired, observed }: Plan, entry: Entry | undefined): NetState {
  const isKnown = ({ dev }: NetObject): boolean =>
    (entry?.wired ?? []).some((old) => old.link === dev && wired.some((now) => now.link === dev && now.ifindex === old.ifindex));
  const before = (entry?.original ?? []).filter(isKnown);
  const first = observed.filter((object) => object.kind !== 'route' && (isSetting(object) || !isKnown(object)));
  return netState([...first, ...before]);
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

function logOperations({ log }: Host, { name }: Guest, { touched, operations }: Pick<Plan, 'touched' | 'operations'>): void {
  for (const operation of operations) {
    const dev = (operation.after ?? operation.before)?.dev;
    const attachment = touched.find(({ link }) => link === dev);
    const where = attachment === undefined ? `guest ${quote(name)}` : nicLabel(name, { index: attachment.nic, mac: attachment.mac });
    log(`${where}: ${describe(operation)}`);
  }
}
