/**
 * Which guests one run of the loop may wire, and what of its plan announces each: one observation, one run of each tool
 * and one look at the result then serve them all.
 */
import { claimsOf, hasSatellites, holdsAny, proxiesOf } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import type { Entry } from '../journal/journal.js';
import { type Host, readEntry, type Records } from './host.js';
import type { Plan } from './plan.js';
import type { Wanted } from './request.js';

/** Returns whether these guests can be wired together: each known by its links, and none in another's way. */
export function canGoTogether(host: Records & Pick<Host, 'isQuarantined'>, wanted: readonly Wanted[]): boolean {
  const seen = new Set<string>();
  const members = wanted.map(({ guest, attachments }) => ({ guest, attachments, entry: readEntry(host, guest.uuid) }));
  return members.every((member, index) => {
    const { guest, attachments, entry } = member;
    // These need another kind of start; made links are recorded with an ifindex that other links may have, too.
    if (host.isQuarantined(guest.uuid) || entry?.incoming === true) return false;
    if ([...attachments, ...entry?.wired ?? []].some(hasSatellites)) return false;
    const links = linksOf(attachments, entry);
    if ([...links].some((link) => seen.has(link))) return false;
    for (const link of links) seen.add(link);
    return !members.slice(0, index).some((other) => isRival(attachments, other.attachments));
  });
}

/** Returns what of a plan for several guests announces this one. */
export function partOf(
  { operations, presence }: Plan, attachments: readonly Attachment[],
): Pick<Plan, 'operations' | 'presence'> {
  const own = new Set(proxiesOf(attachments).map(({ address }) => address.text));
  const part = presence.map((where) => ({
    ...where, addresses: where.addresses.filter(({ text }) => own.has(text)),
  }));
  return { operations, presence: part.filter(({ addresses }) => addresses.length > 0) };
}

function linksOf(attachments: readonly Attachment[], entry: Entry | undefined): Set<string> {
  return new Set([...attachments.flatMap(({ link }) => link ?? []), ...(entry?.wired ?? []).map(({ link }) => link)]);
}

/** A conflict between two of them would be seen by neither. */
function isRival(attachments: readonly Attachment[], others: readonly Attachment[]): boolean {
  const claims = claimsOf(attachments);
  return others.some((one) => holdsAny(one, claims));
}
