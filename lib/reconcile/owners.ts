/**
 * Which guest and NIC a link belongs to, so that a difference can name them.
 */
import { claimsOf, dependence, namesOf, placedOf } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { type Guest, guestLabel, nicLabel } from '../domain/guest.js';
import type { GuestwireError } from '../errors.js';
import type { Entry } from '../journal/journal.js';
import { type NetObject, needOf } from '../state/objects.js';
import { bare } from '../values/address.js';
import type { Plan } from './plan.js';

/** One guest as it is surveyed. */
export interface Subject {
  readonly guest: Guest;
  /** undefined: nothing is recorded of it. */
  readonly entry: Entry | undefined;
  /** What the guest's XML asks for now; undefined: libvirt was not asked, and the last wiring is the wanted state. */
  readonly attachments: readonly Attachment[] | undefined;
}

/** Where a change belongs: without a guest it is the host's, and guests' together. */
export interface Owner {
  readonly guest: Guest | undefined;
  readonly nic: Pick<Wired, 'nic' | 'mac'> | undefined;
}

/** Returns how messages name an owner: `guest 'web1' NIC 1 (52:54:00:12:34:56)`. */
export function ownerLabel({ guest, nic }: Owner): string {
  if (guest === undefined) return 'host';
  return nic === undefined ? guestLabel(guest.name) : nicLabel(guest.name, { index: nic.nic, mac: nic.mac });
}

/** Returns what went wrong for a guest, with the NIC that the error is about. */
export function withOwner(guest: Guest, error: GuestwireError): Owner & { readonly text: string } {
  const { nic, mac } = error;
  return {
    guest, nic: nic === undefined ? undefined : { nic, mac },
    text: error.placeAt({ guest: guest.name }, guestLabel(guest.name)).detail,
  };
}

/** Returns the owner of an object: the guest of its link, or the guest with the address or VLAN that needs it. */
export function objectOwners(subjects: readonly Subject[], plans: readonly Plan[]): (
  object: NetObject | undefined,
) => Owner {
  const wired = new Map<string, Owner>();
  const byNeed = new Map<string, Owner>();
  const owned = subjects.flatMap(({ guest, entry, attachments }) => [
    ...(entry?.wired ?? []), ...placedOf(attachments ?? []),
  ].map((one) => ({ one, owner: { guest, nic: { nic: one.nic, mac: one.mac } } })));
  for (const { one, owner } of owned) {
    if (one.was !== undefined) wired.set(one.was, owner);
    for (const name of namesOf(one)) wired.set(name, owner);
    for (const claim of claimsOf([one])) byNeed.set(bare(claim), owner);
  }
  for (const port of plans.flatMap((plan) => plan.touched)) {
    for (const [dev, vids] of dependence(port).carried) {
      for (const vid of vids) byNeed.set(`${dev} ${vid}`, wired.get(port.link) ?? NO_OWNER);
    }
  }
  return (object) => {
    const need = object && needOf(object);
    return (need === undefined ? wired.get(object?.dev ?? '') : byNeed.get(need)) ?? NO_OWNER;
  };
}

const NO_OWNER: Owner = { guest: undefined, nic: undefined };
