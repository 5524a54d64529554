/**
 * Plans carried out: recorded before the first effect, verified by what the kernel holds afterwards, and undone when
 * that is not what was asked for.
 */
import { placedOf } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { changedIn, type Ledger, LEDGER_NAMES } from '../attachments/ledger.js';
import { scopeOf } from '../attachments/scope.js';
import { isPending } from '../attachments/wired.js';
import { CommandError, GuestwireError, RollbackError, VerifyError } from '../errors.js';
import type { RunMode } from '../kernel/kernel.js';
import type { Observation, Scope } from '../kernel/observation.js';
import type { Operation } from '../state/diff.js';
import type { NetState } from '../state/netstate.js';
import { type Batch, render } from '../state/render.js';
import { isWhole } from '../state/tools.js';
import { describeOperation } from '../state/words.js';
import { oneLine } from '../values/quote.js';
import type { Host, Past } from './host.js';
import { logPlan } from './plan-log.js';
import { batchesAfterCut, cutsIn, leftOf, originalOf, type Plan, planUndo } from './plan.js';
import type { Member } from './request.js';

interface Settling {
  readonly members: readonly Member[];
  readonly incoming: boolean;
  readonly plan: Plan;
  readonly past: Past;
}

/** Records, carries out and verifies a plan, or undoes it and throws why. */
export async function settle(host: Host, { members, incoming, plan, past }: Settling): Promise<Plan> {
  const original = originalOf(plan, past.entry);
  const record = (wired: readonly Wired[]): void => { recordParts(host, members, { wired, original, incoming }); };
  // Before the first effect: a run that dies after it leaves what the guests' releases need to know.
  record(plan.touched);
  let after: Observation | undefined;
  try {
    after = await carryOut(host, plan, past);
  } catch (error) {
    if (error instanceof GuestwireError) placeIn(error, members, plan);
    await rollBack(host, { members, plan, past }, error as Error);
    throw error;
  }
  const wired = plan.wired.map((one) => (isPending(one)
    ? { ...one, ifindex: after?.links.get(one.link)?.ifindex ?? one.ifindex }
    : one));
  if (plan.touched.length > plan.wired.length || wired.some((one, index) => one !== plan.wired[index])) record(wired);
  logPlan(host, members, plan);
  return plan;
}

/** Says for which guest and NIC a change failed, as far as its link tells. */
function placeIn(error: GuestwireError, members: readonly Member[], { touched }: Plan): void {
  const owner = error.link === undefined && members.length > 1 ? undefined : ownerOfLinks(members)(error.link ?? '');
  const wired = touched.find(({ link }) => link === error.link);
  if (owner !== undefined) error.placeAt({ guest: owner.guest.name, nic: wired?.nic, mac: wired?.mac });
}

interface Parts {
  readonly wired: readonly Wired[];
  readonly original: NetState;
  readonly incoming: boolean;
}

/** Writes each guest's entry: its links, and what was on them. */
function recordParts(
  { journal }: Pick<Host, 'journal'>, members: readonly Member[], { wired, original, incoming }: Parts,
): void {
  const now = new Date().toISOString();
  const owner = ownerOfLinks(members);
  for (const member of members) {
    const { guest, entry } = member;
    journal.write({
      version: 1, guest, since: entry?.since ?? now, incoming,
      wired: wired.filter(({ link }) => owner(link) === member),
      original: original.filter(({ dev }) => owner(dev) === member),
    });
  }
}

/** Guests that go together share no link. All that a guest has when it goes alone is its own. */
function ownerOfLinks(members: readonly Member[]): (link: string) => Member | undefined {
  const [first, ...rest] = members;
  if (rest.length === 0) return () => first;
  const owners = new Map(members.flatMap((member) =>
    [...placedOf(member.attachments), ...(member.entry?.wired ?? [])].map(({ link }) => [link, member] as const)));
  return (link) => owners.get(link);
}

async function carryOut(host: Host, plan: Plan, past: Past): Promise<Observation | undefined> {
  const { during, after: ledger } = plan.ledger;
  writeLedger(host, past.ledger, during);
  const after = await runPlan(host, plan, { past, mode: 'stop-at-failure' });
  writeLedger(host, during, ledger);
  return after;
}

/**
 * Carries `plan` out, and believes what the kernel then holds, not what the tools said. Returns what it holds;
 * undefined: nothing was changed, as there was nothing to do or as this is a dry run.
 */
export async function runPlan(
  { kernel }: Pick<Host, 'kernel'>, plan: Plan, { past, mode }: { past: Past; mode: RunMode },
): Promise<Observation | undefined> {
  if (plan.batches.length === 0) return undefined;
  const scope = { ...scopeOf([], plan.touched), filters: [], joined: [] };
  const batches = await cutOff({ kernel }, plan, { past, mode, scope });
  const { observation, failure, isDry, isUnproven } = await kernel.run(batches, mode, scope);
  if (isDry === true) return undefined;
  // The success of nft with the rules of one chain is proof enough: to read a table takes longer with every guest.
  const left = isUnproven === true
    ? leftOf(plan, await kernel.observe(scopeOf([], plan.touched)), { past, hasFilters: true })
    : leftOf(plan, observation, { past });
  if (failure !== undefined && (left.length > 0 || isWhole(failure.failure.tool))) throw failure;
  if (left.length === 0) return observation;
  throw differing(left);
}

/**
 * Keeps all frames from passing the links that the plan gives up, and returns what is then still to do. Throws when a
 * frame may still pass: then the filters and settings of the link stay.
 */
async function cutOff(
  { kernel }: Pick<Host, 'kernel'>, plan: Plan, { past, mode, scope }: { past: Past; mode: RunMode; scope: Scope },
): Promise<readonly Batch[]> {
  const cuts = cutsIn(plan);
  if (cuts.length === 0) return plan.batches;
  const { observation, failure, isDry } = await kernel.run(render(cuts), mode, scope);
  if (isDry === true) return plan.batches;
  const keys = new Set(cuts.map(({ key }) => key));
  const left = leftOf(plan, observation, { past }).filter(({ key }) => keys.has(key));
  if (left.length > 0) throw failure ?? differing(left);
  return batchesAfterCut(plan, observation, past);
}

function differing(left: readonly Operation[]): VerifyError {
  const shown = left.slice(0, 3).map((operation) => describeOperation(operation)).join(', ');
  const more = left.length > 3 ? ` and ${left.length - 3} more` : '';
  const [first] = left;
  return new VerifyError(`the kernel differs from what guestwire set: still to do: ${shown}${more}`)
    .placeAt({ link: (first?.after ?? first?.before)?.dev });
}

/** Aims at the state observed before. */
async function rollBack(host: Host, { members, plan, past }: Omit<Settling, 'incoming'>, cause: Error): Promise<void> {
  try {
    if (!isUntouched(plan, cause)) {
      const undo = planUndo(plan, await host.kernel.observe(scopeOf([], plan.touched)), past);
      await runPlan(host, undo, { past, mode: 'carry-on' });
    }
    for (const name of LEDGER_NAMES) host.journal.writeLedger(name, past.ledger[name]);
    for (const { guest, entry } of members) {
      if (entry === undefined) host.journal.remove(guest.uuid);
      else host.journal.write(entry);
    }
  } catch (error) {
    const failed = new RollbackError(`${cause.message}; the rollback failed too: ${oneLine((error as Error).message)}`, { cause });
    throw cause instanceof GuestwireError ? failed.placeAt(cause) : failed;
  }
}

/**
 * The nft batch runs first, so the host is unchanged when nft cannot start. A filter that nft could not read is
 * unchanged, too.
 */
function isUntouched({ batches: [first, ...rest] }: Plan, cause: Error): boolean {
  return cause instanceof CommandError && cause.failure.errno !== undefined && isWhole(first?.tool)
    && cause.failure.tool === first?.tool && rest.every(({ tool }) => !isWhole(tool));
}

/** What guests share is kept beside their entries, and written only when it changes. */
export function writeLedger({ journal }: Pick<Host, 'journal'>, before: Ledger, after: Ledger): void {
  for (const name of changedIn(before, after)) journal.writeLedger(name, after[name]);
}
