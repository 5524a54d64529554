/** Addresses of guests that libvirt has defined and that are off: no other guest gets them. */
import { claimsOf } from '../attachments/attachment.js';
import type { OtherGuest } from '../attachments/check.js';
import { deriveAttachments } from '../attachments/derive.js';
import { parseDomain } from '../domain/domain.js';
import { type Guest, guestLabel } from '../domain/guest.js';
import { GuestwireError } from '../errors.js';
import type { Holding } from '../journal/journal.js';
import { oneLine } from '../values/quote.js';
import type { Host, Reserved } from './host.js';
import type { Member } from './request.js';

/**
 * Returns the guests outside `live` that had something of what these claim when they last ran, with what their
 * definitions ask for now.
 */
export function absentHolders(
  { reserved }: Pick<Host, 'reserved'>, members: readonly Member[], live: readonly Holding[],
): OtherGuest[] {
  if (reserved === undefined) return [];
  const present = new Set([...members, ...live].map(({ guest }) => guest.uuid));
  const holders = reserved.record.find(claimsOf(members.flatMap(({ attachments }) => attachments)))
    .filter(({ uuid }) => !present.has(uuid))
    .map((guest) => ({ guest, xml: reserved.record.definition(guest) }));
  forget(reserved, holders.flatMap(({ guest, xml }) => (xml === undefined ? [guest] : [])));
  return holders.flatMap(({ xml }) => defined(reserved, xml) ?? []);
}

/** A record that cannot be removed only costs time. */
function forget({ record }: Reserved, gone: readonly Guest[]): void {
  try {
    record.drop(gone);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
}

/** A definition that cannot be derived lets its guest not start, so it claims nothing. */
function defined({ config }: Reserved, xml: string | undefined): OtherGuest | undefined {
  if (xml === undefined) return undefined;
  try {
    const domain = parseDomain(xml);
    return { name: domain.name, attachments: deriveAttachments(domain, config()), isOff: true };
  } catch (error) {
    if (error instanceof GuestwireError) return undefined;
    throw error;
  }
}

/** Records that these guests have what they claim. A full disk refuses no start. */
export function reserve(
  { reserved, warn, log }: Pick<Host, 'reserved' | 'warn' | 'log'>, members: readonly Member[],
): void {
  for (const { guest, attachments } of members) {
    try {
      reserved?.record.take(guest, claimsOf(attachments));
    } catch (error) {
      (warn ?? log)(`${guestLabel(guest.name)}: its addresses cannot be kept for it while it is off: ${oneLine((error as Error).message)}`);
    }
  }
}
