/**
 * Whether another guest has what one is to be given: of this host's, those that are wired and those that are only
 * defined.
 */
import { claimsOf } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import type { Holder } from '../attachments/attached.js';
import { claimHolder } from '../attachments/check.js';
import { assertUnclaimed } from '../attachments/claims.js';
import { aboutNic } from '../domain/guest.js';
import type { Connection } from '../libvirt/connection.js';
import type { DomainRef } from '../libvirt/refs.js';
import { rivalsOf } from '../reconcile/holders.js';
import { hostFrom, pastOf } from '../reconcile/host.js';
import { readDomains } from './ask-libvirt.js';
import type { Io } from './io.js';

interface Wanted {
  readonly wanted: readonly Attachment[];
  /** What the guest had before: a guest that already shares it is not reported again. */
  readonly had: readonly Attachment[];
}

/**
 * Throws ConflictError when another guest has an address or a prefix that is new. Through virsh, no guest is checked: a
 * remote host has its own guests, and each question costs a login there.
 */
export async function assertFree(
  { io, libvirt }: { readonly io: Io; readonly libvirt: Connection }, guest: DomainRef, { wanted, had }: Wanted,
): Promise<void> {
  const before = new Set(claimsOf(had).map(({ text }) => text));
  if (libvirt.transport !== 'socket' || claimsOf(wanted).every(({ text }) => before.has(text))) return;
  const holders = [...await wiredBeside(io, guest, wanted), ...await definedBeside({ io, libvirt }, guest)];
  for (const one of wanted) {
    const { nic, mac } = one;
    aboutNic({ guest: guest.name, nic, mac }, () => {
      for (const claim of claimsOf([one])) if (!before.has(claim.text)) assertUnclaimed(claim, holders);
    });
  }
}

/** A guest may be wired for what its XML says no more. The state directory is root's. */
async function wiredBeside(io: Io, { uuid }: DomainRef, wanted: readonly Attachment[]): Promise<Holder[]> {
  if (process.geteuid?.() !== 0) return [];
  const host = hostFrom(io);
  const { live } = await rivalsOf(host, wanted, pastOf(host, uuid));
  return live.map(({ guest, wired }) => (claimHolder({ name: guest.name, attachments: wired })));
}

async function definedBeside(
  { io, libvirt }: { readonly io: Io; readonly libvirt: Connection }, { uuid }: DomainRef,
): Promise<Holder[]> {
  const others = (await libvirt.listDomains()).filter((domain) => domain.uuid !== uuid);
  // Faults in the XML of other guests are ignored here.
  const quiet = { ...io, warn: () => undefined };
  // A running guest may have a saved config that differs from its live XML.
  const found = (await Promise.all([
    readDomains({ connection: libvirt, io: quiet }, others.filter(({ id }) => id !== undefined)),
    readDomains({ connection: libvirt, io: quiet, from: 'inactive' }, others),
  ])).flat();
  return found.flatMap((one) => ('error' in one ? [] : [claimHolder({
    name: one.guest.name, attachments: one.attachments,
  })]));
}
