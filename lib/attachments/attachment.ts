/** Questions to attachments of any kind, answered by their kinds. */
import type { Observation } from '../kernel/observation.js';
import type { Address, Prefix } from '../values/address.js';
import type { Dependence, Foreseen, Guard, GuestEnd, Placing, Recorded, Shown } from './attached.js';
import { type AnyKind, type Attachment, kindOf, type Placed, type Wired } from './kinds.js';

type Any = Attachment | Placed;

/** A wired link that is a NIC of the guest. */
export type WiredNic = Extract<Wired, { readonly kind: Attachment['kind'] }>;

/** Returns whether it is a NIC of the guest, and no link beside one. */
export function isNic(one: Any): boolean {
  return !kindOf(one).isSatellite;
}

/** Returns the NICs among these links. */
export function nicsAmong<Some extends Any>(
  links: readonly Some[],
): Extract<Some, { readonly kind: Attachment['kind'] }>[] {
  return links.filter(isNic) as Extract<Some, { readonly kind: Attachment['kind'] }>[];
}

/** Returns the links to wire for an attachment, or what libvirt has not named yet. */
export function placingOf(attachment: Attachment): Placing<Placed> {
  return kindOf(attachment).place(attachment) as Placing<Placed>;
}

/** Returns the links to wire for those attachments that have a known link. */
export function placedOf(attachments: readonly Attachment[]): Placed[] {
  return attachments.flatMap((attachment) => {
    const placing = placingOf(attachment);
    return 'links' in placing ? placing.links : [];
  });
}

/** Returns the links that guestwire makes for these attachments before libvirt looks for them. */
export function madeOf(attachments: readonly Attachment[]): Placed[] {
  return attachments.flatMap((attachment) => (kindOf(attachment).makes?.(attachment) ?? []) as readonly Placed[]);
}

/** Returns the names that a link has or takes on this host. */
export function namesOf(one: Placed): readonly string[] {
  return kindOf(one).names?.(one) ?? [one.link];
}

/** Returns every destination that the host routes to these. */
export function claimsOf(attachments: readonly Any[]): Prefix[] {
  return attachments.flatMap((one) => kindOf(one).claims?.(one) ?? []);
}

/** Returns whether one of these claims overlaps a claim of the attachment. */
export function holdsAny(one: Any, claims: readonly Prefix[]): boolean {
  return kindOf(one).holdsAny?.(one, claims) === true;
}

/** Returns the protocol and the table of its routes; undefined: the host routes nothing to it. */
export function routingOf(one: Any): { readonly protocol: number; readonly table: string } | undefined {
  return kindOf(one).routing?.(one);
}

/** Returns whether routing rules lead to its table: a rule names the link, and outlives it. */
export function hasOwnTable(one: Any): boolean {
  return (routingOf(one)?.table ?? 'main') !== 'main';
}

/** Returns where the host answers ARP and NDP for it. */
export function proxiesOf(attachments: readonly Any[]): readonly { readonly dev: string; readonly address: Address }[] {
  return attachments.flatMap((one) => kindOf(one).proxies?.(one) ?? []);
}

/** Returns how its link is guarded; undefined: it is not. */
export function guardOf(one: Any): Guard | undefined {
  return kindOf(one).guard?.(one);
}

/** Returns how its link is filtered; undefined: it has no filter. */
export function filterOf(one: Any & Partial<Recorded>): Guard | undefined {
  const guard = guardOf(one);
  return guard?.filters === true || one.quarantined === true ? guard : undefined;
}

/** Returns what the host tells the guest of its network; undefined: the network itself does. */
export function guestEnd(one: Any): GuestEnd | undefined {
  return kindOf(one).guestEnd?.(one);
}

const NO_DEPENDENCE: Dependence = { links: [], shared: [], carried: new Map() };

/** Returns the links outside the guest that it depends on. */
export function dependence(one: Any): Dependence {
  return kindOf(one).dependsOn?.(one) ?? NO_DEPENDENCE;
}

/** Returns the bridge that its link belongs in; undefined: none. */
export function bridgeOf(one: Any): { readonly bridge: string | undefined; readonly filters: boolean } | undefined {
  return kindOf(one).joins?.(one);
}

const NOTHING_SHOWN: Shown = { bridge: undefined, vlans: undefined, addresses: [], routes: [], network: '-' };

/** Returns what status, derive and doctor show of it. */
export function shownOf(one: Any | undefined): Shown {
  return (one && kindOf(one).shown?.(one)) ?? NOTHING_SHOWN;
}

/** Returns an attachment in words, as `derive` prints it. */
export function attachmentWords(one: Attachment): string {
  return kindOf(one).words?.(one) ?? one.kind;
}

/** Returns what of it attracts traffic: a guest that migrates to this host waits for that until it runs here. */
export function attraction(one: Any): AnyKind['attracts'] {
  return kindOf(one).attracts;
}

/** Returns whether its link stays until `release`. */
export function staysUntilRelease(one: Placed): boolean {
  return kindOf(one).staysUntilRelease;
}

/** Returns whether guestwire makes or wires links beside the NIC's own. */
export function hasSatellites(one: Any): boolean {
  return kindOf(one).isSatellite || (kindOf(one).makes?.(one) ?? []).length > 0;
}

/** Returns the link as it waits for a guest that comes by migration. */
export function asWaiting(one: Placed): Placed {
  return (kindOf(one).waiting?.(one) ?? one) as Placed;
}

/** Returns the link with what only the host knows. */
export function resolved(one: Placed, observation: Observation): Placed {
  return (kindOf(one).resolve?.(one, observation) ?? one) as Placed;
}

const NOTHING_FORESEEN: Foreseen = { sysctls: [], vlans: undefined, up: true };

/** Returns what the kernel will show of a link that is to come. */
export function foreseen(one: Placed, observation: Observation): Foreseen {
  return kindOf(one).foreseen?.(one, observation) ?? NOTHING_FORESEEN;
}

/** Returns the attachment with `name` for what libvirt has not named yet. */
export function withPlaceholders(one: Attachment, name: string): Attachment {
  return (kindOf(one).withPlaceholders?.(one, name) ?? one) as Attachment;
}

/**
 * Returns the wired link cut off, or let in again; a link beside the NIC's own carries no guest's frames of its own.
 */
export function withQuarantine(one: Wired, quarantined: true | undefined): Wired {
  return isNic(one) && one.quarantined !== quarantined ? { ...one, quarantined } : one;
}
