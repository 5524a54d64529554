/**
 * Links that were renamed while their guest runs. libvirt and the journal know a link by the name it had, the kernel by
 * its ifindex: here an entry gets the names of now, and remembers the others. The journal itself keeps what was
 * written.
 */
import { isNic, namesOf, staysUntilRelease } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import type { LinkNames } from '../kernel/link-files.js';
import { renamed as underName } from '../state/objects.js';
import type { Entry, Holding } from './journal.js';

/** Returns the entry with its links under their names of now. */
export function entryNow(entry: Entry, names: LinkNames): Entry {
  const now = holdingNow(entry, names);
  if (now === entry) return entry;
  const renamed = new Map(entry.wired.map(({ link }, index) => [link, now.wired[index]?.link ?? link]));
  return { ...now, original: entry.original.map((object) => underName(object, renamed.get(object.dev) ?? object.dev)) };
}

/** Does the same for what a guest holds. */
export function holdingNow<Some extends Holding>(entry: Some, names: LinkNames): Some {
  const wired = entry.wired.map((one) => wiredNow(one, entry, names));
  return wired.every((one, index) => one === entry.wired[index]) ? entry : { ...entry, wired };
}

/** What guestwire makes it makes under one name. */
function wiredNow(one: Wired, { wired }: Holding, names: LinkNames): Wired {
  if (!isNic(one) || wired.some((other) => staysUntilRelease(other) && namesOf(other).includes(one.link))) return one;
  const link = names.has(one.link) ? undefined : names.of(one.ifindex);
  if (link === undefined) return one;
  const was = one.was ?? one.link;
  return { ...one, link, was: was === link ? undefined : was };
}

/** Returns attachments, which have libvirt's names, with those that the links of `wired` have now. */
export function underNewNames(attachments: readonly Attachment[], wired: readonly Wired[]): Attachment[] {
  return attachments.map((attachment) => {
    const now = wired.find(({ was, kind, mac }) =>
      was !== undefined && was === attachment.link && kind === attachment.kind && mac === attachment.mac);
    return now === undefined ? attachment : { ...attachment, link: now.link, was: now.was };
  });
}
