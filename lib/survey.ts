/**
 * The whole host at once: what every guest of the journal should have and what differs, from one observation. All guests
 * are planned as if they were one, so that a host with hundreds of them costs one run of each tool. Changes nothing.
 */
import { type Attachment, claimsOf, type Placed, placedOf } from './attachments/attachment.js';
import { furtherScope, preflight } from './attachments/check.js';
import { scopeOf } from './attachments/scope.js';
import { familiesOf, livingOf, type Wired } from './attachments/wired.js';
import { type Guest, nicLabel, NIL_UUID } from './domain/guest.js';
import { GuestwireError } from './errors.js';
import type { Entry } from './journal/journal.js';
import { underNewNames } from './journal/renamed-links.js';
import { EMPTY_SCOPE, type Observation } from './kernel/observation.js';
import { type Past, type Plan, planFor } from './plan.js';
import { type Host, pastOf } from './reconcile.js';
import type { BatchLine } from './state/render.js';
import type { Wish } from './together.js';
import { bare } from './values/address.js';
import { quote } from './values/quote.js';

/** One guest as it is surveyed. */
export interface Subject {
  readonly guest: Guest;
  /** undefined: nothing is recorded of it. */
  readonly entry: Entry | undefined;
  /** As its XML asks for now; undefined: nobody asked libvirt, and what was wired last is what is wanted. */
  readonly attachments: readonly Attachment[] | undefined;
}

/** Where a change belongs: without a guest it is the host's, and guests' together. */
export interface Owner {
  readonly guest: Guest | undefined;
  readonly nic: Pick<Wired, 'nic' | 'mac'> | undefined;
}

export interface Survey {
  readonly subjects: readonly Subject[];
  readonly observation: Observation;
  /** Lines that would be fed to the tools, each with whom it is for. */
  readonly changes: readonly (Owner & { readonly line: BatchLine })[];
  readonly plans: readonly Plan[];
}

/** Returns how messages name an owner: `guest 'web1' NIC 1 (52:54:00:12:34:56)`. */
export function labelOf({ guest, nic }: Owner): string {
  if (guest === undefined) return 'host';
  return nic === undefined ? `guest ${quote(guest.name)}` : nicLabel(guest.name, { index: nic.nic, mac: nic.mac });
}

/** Returns a message of this guest without its label, and with whom that names: the other way round {@link labelOf}. */
export function withOwner(guest: Guest, message: string): Owner & { readonly text: string } {
  const label = labelOf({ guest, nic: undefined });
  if (!message.startsWith(label)) return { guest, nic: undefined, text: message };
  const [whole = '', nic, mac] = /^(?: NIC (\d+)(?: \(([0-9a-f:]{17})\))?)?: /.exec(message.slice(label.length)) ?? [];
  return { guest, nic: nic === undefined ? undefined : { nic: Number(nic), mac }, text: whole === '' ? message : message.slice(label.length + whole.length) };
}

/** A guest for which something is to be done, and what its XML asks for. */
export type Task = Subject & { readonly attachments: readonly Attachment[] };

/**
 * Returns the guests that something is to be done for. What guests share is mended with any of them, so then it is all; and
 * of one whose links are not all known, or that came by migration, a survey does not see all.
 */
export function tasksOf({ subjects, changes, observation: { links } }: Survey): Task[] {
  const shared = changes.some(({ guest }) => guest === undefined);
  const concerned = new Set(changes.map(({ guest }) => guest?.uuid));
  return subjects.flatMap((subject) => {
    const { guest, entry, attachments } = subject;
    if (attachments === undefined) return [];
    const waits = entry?.incoming === true || attachments.some(({ link }) => link === undefined || !links.has(link));
    return shared || waits || concerned.has(guest.uuid) ? [{ ...subject, attachments }] : [];
  });
}

/** By UUID, what the XML of guests that run asks for. */
export type Wishes = ReadonlyMap<string, Wish>;

/** Returns what is and what should be, of all guests that the journal or `wishes` know. Throws CommandError, JournalError. */
export async function survey(host: Host, wishes: Wishes = new Map()): Promise<Survey> {
  const subjects = subjectsOf(host, wishes);
  const recorded = subjects.flatMap(({ entry }) => entry?.wired ?? []);
  const wanted = subjects.flatMap(({ attachments }) => attachments ?? []);
  const scope = { ...scopeOf([], [...recorded, ...wanted]), filters: familiesOf([...recorded, ...wanted]) };
  const first = await host.kernel.observe(scope);
  const { routers } = furtherScope([...recorded, ...wanted].filter(isAttachment), first);
  const observation = routers === true ? { ...first, routers: (await host.kernel.observe({ ...EMPTY_SCOPE, routers })).routers } : first;
  // What comes by migration is planned apart: nothing that attracts its traffic is wanted yet.
  const plans = [false, true].map((incoming) => planAll(host, subjects, { incoming, observation })).filter((plan) => plan !== undefined);
  const owner = ownersOf(subjects, plans);
  const changes = plans.flatMap(({ batches }) => batches.flatMap(({ lines }) => lines)).flatMap((line) => {
    const [operation] = line.operations;
    return operation === undefined ? [] : [{ ...owner(operation.after ?? operation.before), line }];
  });
  return { subjects, observation, changes, plans };
}

function subjectsOf({ journal }: Host, wishes: Wishes): Subject[] {
  const entries = journal.list().flatMap(({ guest }) => journal.read(guest.uuid) ?? []);
  const known = entries.map((entry): Subject => {
    const wish = wishes.get(entry.guest.uuid);
    return { guest: entry.guest, entry, attachments: wish && underNewNames(wish.attachments, entry.wired) };
  });
  const further = [...wishes.values()].filter(({ guest, attachments }) => attachments.length > 0 && !entries.some((entry) => entry.guest.uuid === guest.uuid));
  return [...known, ...further.map((wish): Subject => ({ ...wish, entry: undefined }))];
}

/** A guest that is gone has nothing that is wanted; its NICs whose links are gone have not, either. */
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
  const entries = part.flatMap(({ entry }) => entry ?? []);
  const others = subjects.filter((subject) => !isOfPart(subject)).flatMap(({ entry }) => entry ?? []);
  const one: Entry = {
    version: 1, guest: { name: '', uuid: '' }, since: '', incoming,
    wired: entries.flatMap(({ wired }) => wired), original: entries.flatMap(({ original }) => original),
  };
  const past: Past = { ...pastOf(host, entries[0]?.guest.uuid ?? NIL_UUID), entry: one, others: () => others, quarantined: false };
  const placed = part.flatMap((subject) => {
    const quarantined = host.isQuarantined(subject.guest.uuid) ? { quarantined: true as const } : { quarantined: undefined };
    return wantedOf(subject, observation).map((attachment) => ({ ...attachment, ...quarantined }));
  });
  return planFor(placed, observation, { mode: { fresh: false, incoming }, past });
}

type Named = { readonly kind: string; readonly dev: string; readonly address?: string; readonly vid?: number } | undefined;

/** Returns whose an object of these plans is: what is on a guest's link is the guest's, and what is elsewhere for its sake alone. */
export function ownersOf(subjects: readonly Subject[], plans: readonly Plan[]): (object: Named) => Owner {
  const wired = new Map<string, Owner>();
  const byAddress = new Map<string, Owner>();
  const owned = subjects.flatMap(({ guest, entry, attachments }) => [...(entry?.wired ?? []), ...placedOf(attachments ?? [])].map((one) => ({ one, owner: { guest, nic: { nic: one.nic, mac: one.mac } } })));
  for (const { one, owner } of owned) {
    wired.set(one.link, owner);
    if ('was' in one && one.was !== undefined) wired.set(one.was, owner);
    if (one.kind === 'made-link' && one.made.kind === 'veth') wired.set(one.made.peer, owner);
    if (one.kind === 'routed-link') for (const claim of claimsOf(one)) byAddress.set(bare(claim), owner);
  }
  const byVid = new Map<string, Owner>();
  for (const port of plans.flatMap((plan) => plan.touched)) {
    if (port.kind !== 'vlan-port') continue;
    for (const { vid } of port.vlans) for (const dev of port.uplinks) byVid.set(`${dev} ${vid}`, wired.get(port.link) ?? NOBODY);
  }
  return (object) => {
    if (object?.kind === 'neighbour-proxy') return byAddress.get(object.address ?? '') ?? NOBODY;
    if (object?.kind === 'uplink-vlan') return byVid.get(`${object.dev} ${object.vid ?? ''}`) ?? NOBODY;
    return wired.get(object?.dev ?? '') ?? NOBODY;
  };
}

const NOBODY: Owner = { guest: undefined, nic: undefined };

/**
 * Returns why guests could not be wired anew, a sentence a guest: what no operation shows, such as a bridge that no longer
 * filters, a host that no longer forwards, or an address that somebody else holds by now.
 */
export async function refusals(host: Host, { subjects }: Survey): Promise<(Owner & { readonly text: string })[]> {
  const asked = subjects.map((subject) => ({ ...subject, wanted: (subject.attachments ?? subject.entry?.wired ?? []).filter(isAttachment) }));
  const recorded = asked.flatMap(({ entry }) => entry?.wired ?? []);
  const wanted = asked.flatMap((subject) => subject.wanted);
  const first = await host.kernel.observe({ ...scopeOf(wanted, recorded), filters: [] });
  const { nextHops, exact, routers } = await host.kernel.observe({ ...EMPTY_SCOPE, ...furtherScope(wanted, first) });
  const observation = { ...first, nextHops, routers, exact: [...first.exact, ...exact] };
  const holders = asked.flatMap(({ guest, entry }) => (livingOf(entry?.wired ?? [], observation).length === 0 ? [] : [{ uuid: guest.uuid, name: guest.name, attachments: entry?.wired ?? [] }]));
  const guestName = (uuid: string): string | undefined => asked.find(({ guest }) => guest.uuid === uuid)?.guest.name;
  return asked.flatMap(({ guest, entry, wanted: attachments }) => {
    const there = attachments.filter(({ link }) => link === undefined || observation.links.has(link));
    try {
      preflight(guest.name, there, { observation, holders: holders.filter(({ uuid }) => uuid !== guest.uuid), recorded: entry?.wired ?? [], guestName });
      return [];
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      return [withOwner(guest, error.message)];
    }
  });
}

function isAttachment(one: Attachment | Placed): one is Attachment {
  return one.kind === 'vlan-port' || one.kind === 'routed-link';
}
