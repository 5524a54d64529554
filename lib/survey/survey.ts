/**
 * The whole host at once: what every guest of the journal should have and what differs, from one observation. All
 * guests are planned as if they were one, so that a host with hundreds of them costs one run of each tool. Changes
 * nothing.
 */
import { nicsAmong, placedOf } from '../attachments/attachment.js';
import type { Attachment, Placed, Wired } from '../attachments/kinds.js';
import { furtherScope, scopeOf } from '../attachments/scope.js';
import { filterFamilies, livingOf } from '../attachments/wired.js';
import { GuestwireError } from '../errors.js';
import { underNewNames } from '../journal/renamed-links.js';
import { EMPTY_SCOPE, type Observation } from '../kernel/observation.js';
import { assertPossible, observeFor, otherGuest } from '../reconcile/examine.js';
import { type Host, pastOfAll, readEntry } from '../reconcile/host.js';
import { type Owner, objectOwners, type Subject, withOwner } from '../reconcile/owners.js';
import { type Plan, planFor } from '../reconcile/plan.js';
import { markedIn } from '../reconcile/reconcile.js';
import type { RunningGuest } from '../reconcile/request.js';
import type { BatchLine } from '../state/render.js';

export interface Survey {
  readonly subjects: readonly Subject[];
  readonly observation: Observation;
  /** Lines that would be fed to the tools, each with its guest and NIC. */
  readonly changes: readonly (Owner & { readonly line: BatchLine })[];
  readonly plans: readonly Plan[];
}

/** A guest for which something is to be done, and what its XML asks for. */
export type Task = Subject & { readonly attachments: readonly Attachment[] };

/** Returns whether a running guest asks for wiring and has no entry in the journal: the entry may be lost. */
export function isUnrecorded({ entry, attachments = [] }: Subject): boolean {
  return entry === undefined && attachments.length > 0;
}

/**
 * Returns the guests that need work. If something shared differs, it returns every guest, because wiring any of them
 * repairs it. It also returns a guest without an entry, and one that the survey cannot see completely: one with unknown
 * links, or an incoming one.
 */
export function surveyTasks({ subjects, changes, observation: { links } }: Survey): Task[] {
  const shared = changes.some(({ guest }) => guest === undefined);
  const concerned = new Set(changes.map(({ guest }) => guest?.uuid));
  return subjects.flatMap((subject) => {
    const { guest, entry, attachments } = subject;
    if (attachments === undefined) return [];
    const waits = entry?.incoming === true || attachments.some(({ link }) => link === undefined || !links.has(link));
    return shared || waits || isUnrecorded(subject) || concerned.has(guest.uuid) ? [{ ...subject, attachments }] : [];
  });
}

/** By UUID, what the XML of guests that run asks for. */
export type RunningGuests = ReadonlyMap<string, RunningGuest>;

/**
 * Returns what is and what should be, of all guests that the journal or `running` know. Throws CommandError,
 * JournalError.
 */
export async function survey(host: Host, running: RunningGuests = new Map()): Promise<Survey> {
  const subjects = subjectsOf(host, running);
  const recorded = subjects.flatMap(({ entry }) => entry?.wired ?? []);
  const wanted = subjects.flatMap(({ attachments }) => attachments ?? []);
  const scope = { ...scopeOf([], [...recorded, ...wanted]), filters: filterFamilies([...recorded, ...wanted]) };
  const first = await host.kernel.observe(scope);
  const { routers } = furtherScope(nicsAmong([...recorded, ...wanted]), first);
  const observation = routers === true
    ? { ...first, routers: (await host.kernel.observe({ ...EMPTY_SCOPE, routers })).routers }
    : first;
  // Guests that come by migration are planned apart: nothing that attracts its traffic is wanted yet.
  const plans = [false, true]
    .map((incoming) => planAll(host, subjects, { incoming, observation }))
    .filter((plan) => plan !== undefined);
  const owner = objectOwners(subjects, plans);
  const changes = plans.flatMap(({ batches }) => batches.flatMap(({ lines }) => lines)).flatMap((line) => {
    const [operation] = line.operations;
    return operation === undefined ? [] : [{ ...owner(operation.after ?? operation.before), line }];
  });
  return { subjects, observation, changes, plans };
}

function subjectsOf(host: Host, running: RunningGuests): Subject[] {
  const entries = host.journal.list().flatMap(({ guest }) => readEntry(host, guest.uuid) ?? []);
  const known = entries.map((entry): Subject => {
    const asked = running.get(entry.guest.uuid);
    return { guest: entry.guest, entry, attachments: asked && underNewNames(asked.attachments, entry.wired) };
  });
  const recorded = new Set(entries.map(({ guest }) => guest.uuid));
  const further = [...running.values()].filter(({ guest, attachments }) => attachments.length > 0 &&
    !recorded.has(guest.uuid));
  return [...known, ...further.map((asked): Subject => ({ ...asked, entry: undefined }))];
}

/** Nothing is wanted for a guest that is gone, nor for a NIC without its link. */
function wantedOf({ entry, attachments }: Subject, observation: Observation): readonly Placed[] {
  if (attachments !== undefined) return placedOf(attachments).filter(({ link }) => observation.links.has(link));
  return livingOf(entry?.wired ?? [], observation);
}

interface Part {
  readonly incoming: boolean;
  readonly observation: Observation;
}

function planAll(host: Host, subjects: readonly Subject[], { incoming, observation }: Part): Plan | undefined {
  const isOfPart = ({ entry }: Subject): boolean => (entry?.incoming === true) === incoming;
  const part = subjects.filter(isOfPart);
  if (part.length === 0) return undefined;
  const others = subjects.filter((subject) => !isOfPart(subject)).flatMap(({ entry }) => entry ?? []);
  const placed = part.flatMap((subject) => markedIn(host, subject.guest.uuid, wantedOf(subject, observation)));
  return planFor(placed, observation, {
    mode: { fresh: false, incoming }, past: { ...pastOfAll(host, part), others: () => others },
  });
}

/**
 * Returns why guests could not be wired again, one sentence for each. No operation shows these faults: a bridge that no
 * longer filters, a host that no longer forwards, an address that another guest holds now.
 */
export async function refusals(host: Host, { subjects }: Survey): Promise<(Owner & { readonly text: string })[]> {
  const asked = subjects.map((subject) => ({
    ...subject, wanted: nicsAmong<Attachment | Wired>(subject.attachments ?? subject.entry?.wired ?? []),
  }));
  const recorded = asked.flatMap(({ entry }) => entry?.wired ?? []);
  const wanted = asked.flatMap((subject) => subject.wanted);
  const observation = await observeFor(host, { wanted, recorded, filters: [] });
  const holders = asked.flatMap(({ entry }) =>
    (entry === undefined || livingOf(entry.wired, observation).length === 0
      ? []
      : [{ uuid: entry.guest.uuid, other: otherGuest(entry) }]));
  return asked.flatMap(({ guest, entry, wanted: attachments }) => {
    const there = attachments.filter(({ link }) => link === undefined || observation.links.has(link));
    const others = holders.filter(({ uuid }) => uuid !== guest.uuid).map(({ other }) => other);
    try {
      assertPossible(host, observation, {
        name: guest.name, attachments: there, recorded: [...there, ...entry?.wired ?? []], others,
      });
      return [];
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      return [withOwner(guest, error)];
    }
  });
}
