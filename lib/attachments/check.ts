/**
 * What must be true of the host before the first effect, by each attachment's kind. Pure; each refusal names guest,
 * NIC, cause and cure.
 */
import { aboutNic } from '../domain/guest.js';
import { claimsOf, routingOf } from './attachment.js';
import type { Holder, Surroundings } from './attached.js';
import { type Attachment, kindOf, type Placed } from './kinds.js';

/** Another guest that holds what a guest may ask for: a live one that guestwire wired, or one that is off. */
export interface OtherGuest {
  readonly name: string;
  readonly attachments: readonly (Attachment | Placed)[];
  /** It is defined and does not run. */
  readonly isOff?: boolean;
}

export interface CheckFacts extends Pick<Surroundings, 'observation'> {
  readonly others: readonly OtherGuest[];
  /** What the guest's earlier run wired. */
  readonly recorded: readonly (Attachment | Placed)[];
  readonly guestName?: Surroundings['guestName'];
  readonly isUnfinished?: Surroundings['isUnfinished'];
  readonly isGuestLink?: Surroundings['isGuestLink'];
}

/**
 * Throws HostError when the host cannot give what an attachment needs, ConflictError when something else holds it.
 * Checks what is known: an attachment without a link yet is checked as far as its bridge and addresses go.
 */
export function preflight(
  guest: string, attachments: readonly Attachment[],
  {
    observation, others, recorded, guestName = () => undefined, isUnfinished = () => false, isGuestLink = () => false,
  }: CheckFacts,
): void {
  const own = [...attachments, ...recorded].flatMap((one) => {
    const routing = routingOf(one);
    return routing === undefined ? [] : [{ link: one.link, protocol: routing.protocol }];
  });
  const holders = others.map(claimHolder);
  for (const one of attachments) {
    const { nic, mac, link } = one;
    const surroundings = { observation, holders, own, guestName, isUnfinished, isGuestLink };
    aboutNic({ guest, nic, mac, link }, () => { kindOf(one).check?.(one, surroundings); });
  }
}

/** Returns what a guest holds of addresses and prefixes, NIC by NIC. */
export function claimHolder({ name, attachments, isOff = false }: OtherGuest): Holder {
  const nics = attachments.map((one) => ({ nic: one.nic, mac: one.mac, claims: claimsOf([one]) }));
  return { name, isOff, nics: nics.filter(({ claims }) => claims.length > 0) };
}
