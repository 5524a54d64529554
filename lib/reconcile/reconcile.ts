/**
 * The loop: observe, check, plan, record, run, verify. Wiring, release and rollback differ in the target only. Every
 * function here expects the lock to be held, and leaves the host as it was when it throws, or says in a RollbackError
 * what it could not put back.
 */
import { isNic, madeOf, placingOf, staysUntilRelease, waitsForMigration } from '../attachments/attachment.js';
import { changedIn, type Ledger, LEDGER_NAMES } from '../attachments/ledger.js';
import { scopeOf } from '../attachments/scope.js';
import { isPending } from '../attachments/wired.js';
import { type Guest, nicLabel } from '../domain/guest.js';
import { CommandError, HostError, RollbackError, VerifyError } from '../errors.js';
import type { Entry, Holding } from '../journal/journal.js';
import { underNewNames } from '../journal/renamed-links.js';
import type { RunMode } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type Observation } from '../kernel/observation.js';
import { describe } from '../state/words.js';
import { oneLine, quote } from '../values/quote.js';
import { check, examine } from './examine.js';
import { rivalsOf } from './holders.js';
import { type Host, type Past, pastOf } from './host.js';
import { logPlan } from './plan-log.js';
import { leftOf, originalOf, type Plan, planFilterOf, planFor, planUndo } from './plan.js';
import { ofRunning, planTakeBack, type TakeBack } from './release-plan.js';
import type { WireRequest } from './request.js';

/** Said of what the guest has and nobody speaks of any more. */
export const UNSPOKEN = "stays wired while the guest runs, although neither its XML nor the host config asks for that now: 'guestwire reconcile' removes the wiring";

/**
 * Makes the host agree with `attachments` and returns what was done. What the guest's earlier entry recorded and is not
 * wanted any more is given up. Throws when the host cannot give it, or does not hold it afterwards; then nothing changed.
 */
export async function wire(host: Host, request: WireRequest): Promise<Plan> {
  const { guest } = request;
  const attachments = request.fresh ? request.attachments : underNewNames(request.attachments, host.journal.read(guest.uuid)?.wired ?? []);
  const plan = await wireAnew(host, { ...request, attachments }, { asksFilters: false });
  for (const one of request.keepsUnspoken === true ? plan.wired : []) {
    const { nic, mac, link } = one;
    if (isNic(one) && !attachments.some((attachment) => attachment.link === link)) {
      host.log(`${nicLabel(guest.name, { index: nic, mac })}: ${UNSPOKEN}`);
    }
  }
  if (request.incoming && attachments.some(waitsForMigration)) {
    host.log(`guest ${quote(guest.name)} arrives by migration: its routes wait for 'guestwire reconcile'`);
  }
  return plan;
}

async function wireAnew(host: Host, request: WireRequest, { asksFilters }: { asksFilters: boolean }): Promise<Plan> {
  const { guest, incoming } = request;
  const known = pastOf(host, guest.uuid);
  const { live, stale } = await rivalsOf(host, request.attachments, known);
  await collect(host, stale);
  const past = stale.length === 0 ? known : pastOf(host, guest.uuid);
  const observation = await examine(host, { ...request, asksFilters }, live);
  try {
    return await settle(host, { guest, incoming, past, plan: planFrom(observation, request, past) });
  } catch (error) {
    if (asksFilters || !isSurprise(error)) throw error;
    return wireAnew(host, request, { asksFilters: true });
  }
}

/** Returns whether what was taken for granted of the filters was wrong. All that was done is undone by now. */
function isSurprise(error: unknown): boolean {
  return error instanceof CommandError && error.failure.tool === 'nft' && /File exists|No such file or directory/.test(error.failure.stderr);
}

/**
 * Checks, before libvirt makes or looks for any link of the guest, whether the host can give what `attachments` ask for,
 * and makes the links that are guestwire's to make. Returns what was done; undefined: there are none to make. Throws as
 * {@link wire} does; then nothing changed.
 */
export async function make(host: Host, request: Omit<WireRequest, 'fresh'>): Promise<Plan | undefined> {
  const { guest, incoming } = request;
  // A tap that has the name of a guest's own target is somebody else's, for now.
  const observation = await check(host, guest, request.attachments.map((attachment) => ({ ...attachment, link: undefined })));
  const made = madeOf(request.attachments);
  if (made.length === 0) return undefined;
  const past = pastOf(host, guest.uuid);
  return settle(host, { guest, incoming, past, plan: planFor(made, observation, { mode: { fresh: false, incoming }, past }) });
}

interface Settling {
  readonly guest: Guest;
  readonly incoming: boolean;
  readonly plan: Plan;
  readonly past: Past;
}

/** Records, carries out and verifies a plan, or undoes it and throws why. */
async function settle(host: Host, { guest, incoming, plan, past }: Settling): Promise<Plan> {
  const entry: Entry = {
    version: 1, guest, since: past.entry?.since ?? new Date().toISOString(), incoming,
    wired: plan.touched, original: originalOf(plan, past.entry),
  };
  // Before the first effect: whoever dies after it leaves what the guest's release needs to know.
  host.journal.write(entry);
  let after: Observation | undefined;
  try {
    after = await carryOut(host, plan, past);
  } catch (error) {
    await rollBack(host, { guest, plan, past }, error as Error);
    throw error;
  }
  const wired = plan.wired.map((one) => (isPending(one) ? { ...one, ifindex: after?.links.get(one.link)?.ifindex ?? one.ifindex } : one));
  if (plan.touched.length > plan.wired.length || wired.some((one, index) => one !== plan.wired[index])) host.journal.write({ ...entry, wired });
  logPlan(host, guest, plan);
  return plan;
}

/** Returns what wiring would do now, with every check made and nothing changed. */
export async function planWiring(host: Host, request: WireRequest, past: Past): Promise<Plan> {
  const attachments = underNewNames(request.attachments, past.entry?.wired ?? []);
  return planFrom(await check(host, request.guest, attachments), { ...request, attachments }, past);
}

function planFrom(observation: Observation, { guest, attachments, ...mode }: WireRequest, past: Past): Plan {
  const placed = attachments.flatMap((attachment) => {
    const placing = placingOf(attachment);
    if ('links' in placing) return placing.links;
    const where = nicLabel(guest.name, { index: attachment.nic, mac: attachment.mac });
    throw new HostError(`${where}: libvirt gives it no ${placing.lacks} to wire: use an interface that has one`);
  });
  return planFor(placed, observation, { mode, past });
}

/**
 * Puts back what was there before the guest was wired, as far as its links still exist, and forgets the guest. A guest
 * without an entry is no error. Throws after doing all it could; the entry then stays, for the next try.
 */
export async function release(host: Host, uuid: string): Promise<void> {
  await takeBack(host, uuid, { keepMade: false });
  host.journal.remove(uuid);
}

/**
 * Does what {@link release} does for a guest that runs on: its ports are put into no VLAN, because the one they were made in
 * is nobody's grant, and its routed links are down, because no filter is left, unless `keepLinksUp`. Made links stay, and
 * are still recorded; without `keepMade` they go, and their NICs are dead until the guest is started again.
 */
export async function releaseRunning(host: Host, uuid: string, { keepMade = true, keepLinksUp = false } = {}): Promise<void> {
  const keeps = keepMade && host.journal.read(uuid)?.wired.some(staysUntilRelease) === true;
  await takeBack(host, uuid, ofRunning(host, uuid, { keepMade, keepLinksUp }));
  if (!keeps) host.journal.remove(uuid);
}

/** Does what {@link release} does, but keeps made links and the entry: for `stopped`, after which `release` still comes. */
export async function unwire(host: Host, uuid: string): Promise<void> {
  await takeBack(host, uuid, { keepMade: true });
}

/**
 * Makes the filters of a wired guest what they should be, its quarantine above all, and touches nothing else. Returns what
 * was done; undefined when the guest is not wired. Throws CommandError; the filters are then as they were.
 */
export async function refilter(host: Host, uuid: string): Promise<Plan | undefined> {
  const past = pastOf(host, uuid);
  if (past.entry === undefined) return undefined;
  const plan = planFilterOf(past.entry, await host.kernel.observe(scopeOf([], past.entry.wired)), past);
  // nft carries out a file whole or not at all, so there is nothing to undo.
  await host.kernel.run(plan.batches, 'stop-at-failure', EMPTY_SCOPE);
  host.journal.write({ ...past.entry, wired: plan.touched });
  logPlan(host, past.entry.guest, plan);
  return plan;
}

async function takeBack(host: Host, uuid: string, how: TakeBack): Promise<void> {
  const planned = await planTakeBack(host, uuid, how);
  if (planned === undefined) return;
  const { entry, past, plan, blind } = planned;
  await runPlan(host, plan, { past, mode: 'carry-on' });
  writeLedger(host, past.ledger, plan.ledger.after);
  logPlan(host, entry.guest, plan);
  if (blind !== undefined) throw blind;
}

async function carryOut(host: Host, plan: Plan, past: Past): Promise<Observation | undefined> {
  const { during, after: ledger } = plan.ledger;
  writeLedger(host, past.ledger, during);
  const after = await runPlan(host, plan, { past, mode: 'stop-at-failure' });
  writeLedger(host, during, ledger);
  return after;
}

/** Carries `plan` out, and believes what the kernel then holds, not what the tools said. */
async function runPlan({ kernel }: Host, plan: Plan, { past, mode }: { past: Past; mode: RunMode }): Promise<Observation | undefined> {
  if (plan.batches.length === 0) return undefined;
  const { observation, failure } = await kernel.run(plan.batches, mode, { ...scopeOf([], plan.touched), filters: [], joined: [] });
  // nft carries out a file whole or not at all (nft(8)), so its success is proof enough, and saves a program.
  const left = leftOf(plan, observation, past);
  if (failure !== undefined && (left.length > 0 || failure.failure.tool === 'nft')) throw failure;
  if (left.length === 0) return observation;
  throw new VerifyError(`the kernel differs from what guestwire set: still to do: ${left.slice(0, 3).map((operation) => describe(operation)).join(', ')}${left.length > 3 ? ` and ${left.length - 3} more` : ''}`);
}

/** Aims at the state observed before. */
async function rollBack(host: Host, { guest, plan, past }: { guest: Guest; plan: Plan; past: Past }, cause: Error): Promise<void> {
  try {
    if (!isUntouched(plan, cause)) await runPlan(host, planUndo(plan, await host.kernel.observe(scopeOf([], plan.touched)), past), { past, mode: 'carry-on' });
    for (const name of LEDGER_NAMES) host.journal.writeLedger(name, past.ledger[name]);
    if (past.entry === undefined) host.journal.remove(guest.uuid);
    else host.journal.write(past.entry);
  } catch (error) {
    throw new RollbackError(`${cause.message}; and it could not be undone: ${oneLine((error as Error).message)}`, { cause });
  }
}

/** Filters are the first to come, so an nft that cannot be started did nothing, and what it could not read is as it was. */
function isUntouched({ batches: [first, ...rest] }: Plan, cause: Error): boolean {
  return cause instanceof CommandError && cause.failure.tool === 'nft' && cause.failure.errno !== undefined && first?.tool === 'nft' && rest.every(({ tool }) => tool !== 'nft');
}

async function collect(host: Host, stale: readonly Holding[]): Promise<void> {
  for (const entry of stale) {
    await release(host, entry.guest.uuid);
    host.log(`guest ${quote(entry.guest.name)}: forgotten: its links are gone`);
  }
}

/** What guests share is kept beside their entries, and written only when it changes. */
function writeLedger({ journal }: Host, before: Ledger, after: Ledger): void {
  for (const name of changedIn(before, after)) journal.writeLedger(name, after[name]);
}
