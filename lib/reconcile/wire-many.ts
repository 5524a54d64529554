/**
 * Several guests wired as if they were one: one observation, one run of each tool, one look at what came of it, however
 * many they are. The pipeline is the one of a single guest; the journal shows it one entry and keeps one for each.
 */
import { claimsOf, hasSatellites, holdsAny, proxiesOf } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import { type Guest, NIL_UUID } from '../domain/guest.js';
import type { Entry, Journal } from '../journal/journal.js';
import { describeLine } from '../state/words.js';
import type { Host } from './host.js';
import { labelOf, ownersOf } from './owners.js';
import { warningsOf } from './plan-log.js';
import type { Plan } from './plan.js';
import { wire } from './reconcile.js';
import type { Wish } from './request.js';

/** Returns whether these guests can be wired as one: each known by its links, and none in another's way. */
export function canGoTogether({ journal, isQuarantined }: Pick<Host, 'journal' | 'isQuarantined'>, wishes: readonly Wish[]): boolean {
  const seen = new Set<string>();
  const members = wishes.map(({ guest, attachments }) => ({ guest, attachments, entry: journal.read(guest.uuid) }));
  return members.every((member, index) => {
    const { guest, attachments, entry } = member;
    // These need another kind of start; made links are recorded with an ifindex that other links may have, too.
    if (isQuarantined(guest.uuid) || entry?.incoming === true || [...attachments, ...entry?.wired ?? []].some(hasSatellites)) return false;
    const links = linksOf(attachments, entry);
    if ([...links].some((link) => seen.has(link))) return false;
    for (const link of links) seen.add(link);
    return !members.slice(0, index).some((other) => isRival(attachments, other.attachments));
  });
}

/**
 * Does what {@link wire} does for each of several guests that run and that {@link canGoTogether}: all of it or, when it
 * throws, nothing. The error names no guest; wire them one by one to learn which. Warnings are not logged here: see
 * {@link warningsFor}.
 */
export async function wireTogether(host: Host, wishes: readonly Wish[]): Promise<Plan> {
  const { log, journal, isQuarantined } = host;
  const attachments = wishes.flatMap((wish) => wish.attachments);
  const subjects = wishes.map((wish) => ({ ...wish, entry: journal.read(wish.guest.uuid) }));
  const all: Host = {
    ...host, log: () => undefined, warn: () => undefined, journal: journalOf(journal, subjects),
    isQuarantined: (uuid) => uuid !== ALL.uuid && isQuarantined(uuid),
  };
  const plan = await wire(all, { guest: ALL, attachments, fresh: false, incoming: false });
  const owner = ownersOf(subjects, [plan]);
  for (const line of plan.batches.flatMap(({ lines }) => lines)) {
    const said = describeLine(line);
    const [operation] = line.operations;
    if (said !== undefined && operation !== undefined) log(`${labelOf(owner(operation.after ?? operation.before))}: ${said}`);
  }
  return plan;
}

/** Returns what of a plan for several guests concerns this one, and is not mended by any change. */
export function warningsFor({ warnings }: Plan, { guest, attachments }: Pick<Wish, 'guest' | 'attachments'>): string[] {
  const own = new Set(attachments.map(({ link }) => link));
  return warningsOf(guest.name, warnings.filter(({ links }) => links.some((link) => own.has(link))));
}

/** Returns what of a plan for several guests announces this one. */
export function partOf({ operations, presence }: Plan, attachments: readonly Attachment[]): Pick<Plan, 'operations' | 'presence'> {
  const own = new Set(proxiesOf(attachments).map(({ address }) => address));
  const part = presence.map((where) => ({ ...where, addresses: where.addresses.filter((address) => own.has(address)) }));
  return { operations, presence: part.filter(({ addresses }) => addresses.length > 0) };
}

const ALL: Guest = { name: 'all', uuid: NIL_UUID };

/** `before`: the members, each with its entry as it is now. */
function journalOf(journal: Journal, before: readonly (Wish & { entry: Entry | undefined })[]): Journal {
  const uuids = new Set(before.map(({ guest }) => guest.uuid));
  const now = new Date().toISOString();
  return {
    ...journal,
    read: (uuid) => {
      if (uuid !== ALL.uuid) return journal.read(uuid);
      if (before.every(({ entry }) => entry === undefined)) return undefined;
      const entries = before.flatMap(({ guest }) => journal.read(guest.uuid) ?? []);
      return {
        version: 1, guest: ALL, since: now, incoming: false,
        wired: entries.flatMap(({ wired }) => wired), original: entries.flatMap(({ original }) => original),
      };
    },
    list: () => journal.list().filter(({ guest }) => !uuids.has(guest.uuid)),
    write: ({ incoming, wired, original }) => {
      for (const { guest, attachments, entry } of before) {
        const links = linksOf(attachments, entry);
        const part = wired.filter(({ link }) => links.has(link));
        if (part.length === 0) journal.remove(guest.uuid);
        else journal.write({ version: 1, guest, since: entry?.since ?? now, incoming, wired: part, original: original.filter(({ dev }) => links.has(dev)) });
      }
    },
    remove: (uuid) => {
      for (const each of uuid === ALL.uuid ? uuids : [uuid]) journal.remove(each);
    },
  };
}

function linksOf(attachments: readonly Attachment[], entry: Entry | undefined): Set<string> {
  return new Set([...attachments.flatMap(({ link }) => link ?? []), ...(entry?.wired ?? []).map(({ link }) => link)]);
}

/** A conflict between two of them would be seen by neither. */
function isRival(attachments: readonly Attachment[], others: readonly Attachment[]): boolean {
  const claims = claimsOf(attachments);
  return others.some((one) => holdsAny(one, claims));
}
