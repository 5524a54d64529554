/**
 * The loop: observe, check, plan, record, run, verify. Wiring, release and rollback differ in the target only. Every
 * function here expects the lock to be held, and leaves the host as it was when it throws, or says in a RollbackError
 * what it could not put back.
 */
import { distinct } from '../attachments/attached.js';
import { attraction, isNic, madeOf, placingOf, staysUntilRelease } from '../attachments/attachment.js';
import type { Attachment, Placed } from '../attachments/kinds.js';
import { scopeOf } from '../attachments/scope.js';
import { guestLabel, nicLabel } from '../domain/guest.js';
import { GuestwireError, HostError, VerifyError } from '../errors.js';
import type { Holding } from '../journal/journal.js';
import { underNewNames } from '../journal/renamed-links.js';
import { foundOtherwise } from '../kernel/nft-output.js';
import { EMPTY_SCOPE, type Observation } from '../kernel/observation.js';
import { quote } from '../values/quote.js';
import { runPlan, settle, writeLedger } from './carry-out.js';
import { examine, examineAmong } from './examine.js';
import { rivalsOf } from './holders.js';
import { type Host, type Past, pastOf, pastOfAll, readEntry } from './host.js';
import { logPlan } from './plan-log.js';
import { type Plan, planFilterOf, planFor } from './plan.js';
import { ofRunning, planTakeBack, type TakeBack } from './release-plan.js';
import { releaseDead } from './unrecorded.js';
import { reserve } from './reserved.js';
import type { Member, StartMode, Wanted, WireRequest } from './request.js';

/** The warning about a NIC that stays wired although nothing asks for it. */
export const UNSPOKEN = "neither XML nor host config asks for this wiring now: it stays until 'guestwire reconcile'";

/** Does for one guest what {@link wireAll} does. */
export async function wire(host: Host, { guest, attachments, ...mode }: WireRequest): Promise<Plan> {
  return wireAll(host, [{ guest, attachments }], mode);
}

/**
 * Makes the host agree with what these guests ask for, in one plan, and returns what was done. Objects that the guests'
 * earlier entries recorded and that are no longer wanted are given up. Throws when the host cannot give it, or does not
 * hold it afterwards; then nothing changed for any of them. Several guests must be able to go together.
 */
export async function wireAll(host: Host, wanted: readonly Wanted[], mode: StartMode): Promise<Plan> {
  const members = wanted.map((one) => memberOf(host, one, mode));
  // Filters of a guest that runs without an entry are there already. The rollback of a wrong guess would remove them.
  const adopted = mode.fresh ? [] : members.filter(({ entry }) => entry === undefined);
  const plan = await wireMembers(host, members, { mode, asksFilters: adopted.length > 0 });
  for (const { guest } of adopted) host.log(`${guestLabel(guest.name)}: its record is written, because it was missing`);
  for (const member of members) tellLeft(host, plan, { member, mode });
  return plan;
}

function memberOf(host: Host, { guest, attachments }: Wanted, { fresh }: Pick<StartMode, 'fresh'>): Member {
  const entry = readEntry(host, guest.uuid);
  return { guest, entry, attachments: fresh ? attachments : underNewNames(attachments, entry?.wired ?? []) };
}

interface Left {
  readonly member: Member;
  readonly mode: StartMode;
}

/** Tells what of a guest is not as its XML says once it is wired, and is meant so. */
function tellLeft({ log }: Pick<Host, 'log'>, plan: Plan, { member: { guest, attachments }, mode }: Left): void {
  for (const one of mode.keepsUnspoken === true ? plan.wired : []) {
    const { nic, mac, link } = one;
    if (isNic(one) && !attachments.some((attachment) => attachment.link === link)) {
      log(`${nicLabel(guest.name, { index: nic, mac })}: ${UNSPOKEN}`);
    }
  }
  const waiting = mode.incoming ? attachments.flatMap((one) => attraction(one)?.what ?? []) : [];
  if (waiting.length > 0) {
    log(`guest ${quote(guest.name)} arrives by migration: ${distinct(waiting).join(' and ')} wait for 'guestwire reconcile'`);
  }
}

interface Attempt {
  readonly mode: StartMode;
  readonly asksFilters: boolean;
}

async function wireMembers(host: Host, members: readonly Member[], { mode, asksFilters }: Attempt): Promise<Plan> {
  const known = pastOfAll(host, members);
  const { live, stale } = await rivalsOf(host, members.flatMap(({ attachments }) => attachments), known);
  await collect(host, stale);
  const past = stale.length === 0 ? known : pastOfAll(host, members);
  const { observation, members: possible } = await examineAmong(host, members, { rivals: live, asksFilters });
  try {
    const plan = await settle(host, {
      members: possible, incoming: mode.incoming, past, plan: planAll(host, possible, { observation, mode, past }),
    });
    reserve(host, possible);
    return plan;
  } catch (error) {
    // An assumption about the filters was wrong. The rollback has already undone all changes.
    if (asksFilters || !foundOtherwise(error)) throw error;
    return wireMembers(host, members, { mode, asksFilters: true });
  }
}

/**
 * Checks, before libvirt makes or looks for any link of the guest, whether the host can give what `attachments` ask
 * for, and makes the links that guestwire makes. Returns what was done; undefined: no link is to be made. Throws as
 * {@link wire} does; then nothing changed.
 */
export async function make(
  host: Host, { guest, attachments, incoming }: Omit<WireRequest, 'fresh'>,
): Promise<Plan | undefined> {
  const entry = readEntry(host, guest.uuid);
  // A tap that has the name of a guest's own target is another's, for now.
  const unplaced = attachments.map((attachment) => ({ ...attachment, link: undefined }));
  const { observation } = await examine(host, [{ guest, entry, attachments: unplaced }]);
  const made = madeOf(attachments);
  if (made.length === 0) return undefined;
  const members = [{ guest, entry, attachments }];
  const past = pastOfAll(host, members);
  return settle(host, {
    members, incoming, past, plan: planFor(made, observation, { mode: { fresh: false, incoming }, past }),
  });
}

/**
 * How a start that is to come is seen: the host with the links that libvirt will make, and the attachments that name
 * them.
 */
export type Foresee = (
  observation: Observation,
) => Promise<{ readonly observation: Observation; readonly attachments: readonly Attachment[] }>;

/**
 * Returns what wiring would do now, with every check made and nothing changed. With `foresee`, a NIC without its link
 * is checked as far as that goes, and planned as `foresee` shows it.
 */
export async function planWiring(
  host: Host, { guest, attachments, foresee, ...mode }: WireRequest & { readonly foresee?: Foresee }, past: Past,
): Promise<Plan> {
  const entry = readEntry(host, guest.uuid);
  const member: Member = { guest, entry, attachments: underNewNames(attachments, past.entry?.wired ?? []) };
  if (foresee === undefined) {
    const { observation, members } = await examine(host, [member]);
    return planAll(host, members, { observation, mode, past });
  }
  const named = member.attachments.flatMap(({ link }) => link ?? []);
  const { links } = await host.kernel.observe({ ...EMPTY_SCOPE, links: named });
  const there = member.attachments.map((one): Attachment => (one.link === undefined || links.has(one.link) ? one : {
    ...one, link: undefined,
  }));
  const { observation, members } = await examine(host, [{ ...member, attachments: there }]);
  const possible = new Set(members.flatMap((one) => one.attachments.map(({ nic }) => nic)));
  const seen = await foresee(observation);
  return planAll(host, [{ ...member, attachments: seen.attachments.filter(({ nic }) => possible.has(nic)) }], {
    observation: seen.observation, mode, past,
  });
}

interface Planning {
  readonly observation: Observation;
  readonly mode: StartMode;
  readonly past: Past;
}

function planAll(host: Host, members: readonly Member[], { observation, mode, past }: Planning): Plan {
  return planFor(members.flatMap((member) => markedIn(host, member.guest.uuid, placedIn(member))), observation, {
    mode, past,
  });
}

function placedIn({ guest, attachments }: Member): Placed[] {
  return attachments.flatMap((one) => {
    const placing = placingOf(one);
    if ('links' in placing) return placing.links;
    const { nic, mac, link } = one;
    const where = nicLabel(guest.name, { index: nic, mac });
    throw new HostError(`libvirt ${placing.lacks}`, { cure: 'use another interface type' })
      .placeAt({ guest: guest.name, nic, mac, link }, where);
  });
}

/** Returns these links of a guest, marked when nothing may pass to or from it. */
export function markedIn(
  { isQuarantined }: Pick<Host, 'isQuarantined'>, uuid: string, placed: readonly Placed[],
): Placed[] {
  const quarantined = isQuarantined(uuid) || undefined;
  return placed.map((one) => (isNic(one) ? { ...one, quarantined } : one));
}

/**
 * Puts back what was there before the guest was wired, as far as its links still exist, and removes its entry. Does
 * nothing for a guest without an entry. Throws after doing all it could; the entry then stays, for the next try.
 */
export async function release(host: Host, uuid: string): Promise<void> {
  await takeBack(host, uuid, { keepMade: false });
  host.journal.remove(uuid);
}

/**
 * Does what {@link release} does for a running guest. First nothing passes its links any more: routed links go down,
 * and ports lose all VLANs, because libvirt's default VLAN is not a permission. Filters go last, and settings that
 * protect the host stay. Made links stay, and are still recorded. Without `keepMade` they go, and their NICs are dead
 * until the guest is started again.
 */
export async function releaseRunning(host: Host, uuid: string, { keepMade = true } = {}): Promise<void> {
  const hasMade = readEntry(host, uuid)?.wired.some(staysUntilRelease) === true;
  await takeBack(host, uuid, ofRunning(host, uuid));
  if (!hasMade) host.journal.remove(uuid);
  else if (!keepMade) await release(host, uuid);
}

/**
 * Does what {@link release} does, but keeps made links and the entry: for `stopped`, after which `release` still comes.
 */
export async function unwire(host: Host, uuid: string): Promise<void> {
  await takeBack(host, uuid, { keepMade: true });
}

/**
 * Makes the filters of a wired guest what they should be, its quarantine above all, and touches nothing else. Returns
 * what was done; undefined when the guest is not wired. Throws CommandError; the filters are then as they were.
 */
export async function refilter(host: Host, uuid: string): Promise<Plan | undefined> {
  const entry = readEntry(host, uuid);
  if (entry === undefined) return undefined;
  const past = pastOf(host, uuid);
  const planNow = async (): Promise<Plan> =>
    planFilterOf(entry, await host.kernel.observe(scopeOf([], entry.wired)), past);
  const plan = await planNow();
  // nft carries out a file whole or not at all, so there is nothing to undo.
  await host.kernel.run(plan.batches, 'stop-at-failure', EMPTY_SCOPE);
  if (plan.batches.length > 0 && (await planNow()).batches.length > 0) {
    throw new VerifyError('the kernel differs from what guestwire set: nft reported success and changed no filter')
      .placeAt({ guest: entry.guest.name }, guestLabel(entry.guest.name));
  }
  host.journal.write({ ...entry, wired: plan.touched });
  logPlan(host, [{ guest: entry.guest, attachments: [], entry }], plan);
  return plan;
}

async function takeBack(host: Host, uuid: string, how: TakeBack): Promise<void> {
  const planned = await planTakeBack(host, uuid, how);
  if (planned === undefined) {
    if (host.journal.has(uuid)) await releaseDead(host, { uuid, made: !how.keepMade });
    return;
  }
  const { entry, past, plan, blind } = planned;
  try {
    await runPlan(host, plan, { past, mode: 'carry-on' });
  } catch (error) {
    if (error instanceof GuestwireError) error.placeAt({ guest: entry.guest.name }, guestLabel(entry.guest.name));
    throw error;
  }
  writeLedger(host, past.ledger, plan.ledger.after);
  logPlan(host, [{ guest: entry.guest, attachments: [], entry }], plan);
  if (blind !== undefined) throw blind;
}

async function collect(host: Host, stale: readonly Holding[]): Promise<void> {
  for (const entry of stale) {
    await release(host, entry.guest.uuid);
    host.log(`guest ${quote(entry.guest.name)}: its record is removed: its links are gone`);
  }
}
