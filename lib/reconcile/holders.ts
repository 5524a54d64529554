/** Other guests that may hold what a guest asks for, and which of them are still there. */
import { claimsOf, hasOwnTable, holdsAny } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import { livingOf } from '../attachments/wired.js';
import type { Holding } from '../journal/journal.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import type { Host, Past } from './host.js';

/**
 * Other guests that hold what these attachments claim, by the journal. A guest without any of its links is stale: it
 * holds nothing.
 */
export async function rivalsOf(
  host: Pick<Host, 'kernel'>, attachments: readonly Attachment[], past: Past,
): Promise<{ live: Holding[]; stale: Holding[] }> {
  const claims = claimsOf(attachments);
  // A rule names a link: the rule of a removed link would lead the next link of that name.
  const names = new Set(attachments.map(({ link }) => link));
  const rivals = claims.length === 0 ? [] : past.others().filter((entry) =>
    entry.wired.some((one) => holdsAny(one, claims) || (hasOwnTable(one) && names.has(one.link))));
  return byLife(host, rivals);
}

/** Returns entries by whether a link of theirs is still there. */
export async function byLife(
  { kernel }: Pick<Host, 'kernel'>, entries: readonly Holding[],
): Promise<{ live: Holding[]; stale: Holding[] }> {
  if (entries.length === 0) return { live: [], stale: [] };
  const observation = await kernel.observe({
    ...EMPTY_SCOPE, links: entries.flatMap(({ wired }) => wired.map(({ link }) => link)),
  });
  const isLive = ({ wired }: Holding): boolean => livingOf(wired, observation).length > 0;
  return { live: entries.filter(isLive), stale: entries.filter((entry) => !isLive(entry)) };
}
