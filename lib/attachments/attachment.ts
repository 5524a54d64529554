/**
 * Domain and host config to attachments: how each NIC joins the host network. Pure, and the only judge of intent: the
 * three sources are read in their order, per element, and checked against what the host permits. A NIC that no source
 * speaks of yields nothing, and its guest starts whatever else its XML holds.
 */
import type { Policy, Trust } from '../intent/policy.js';
import {
  bare, type Family, hostPrefix, lastAddress, overlaps, parseAddress, parsePrefix, type Prefix,
} from '../values/address.js';
import type { VlanMember } from '../values/vlan.js';
import type { MadeLink } from './made-link/made-link.js';

export type Attachment = VlanPort | RoutedLink;

interface Attached {
  /** Position of the NIC among the domain's interfaces, from 0. */
  readonly nic: number;
  /** Configured MAC, lower case; undefined only in hand-written XML. */
  readonly mac: string | undefined;
  /** Host-side link; undefined until libvirt has named it (before `start`). */
  readonly link: string | undefined;
  /** What libvirt calls it, since somebody gave it another name. */
  readonly was?: string | undefined;
  /** Absent: with nothing. */
  readonly trust?: Trust | undefined;
  /** Drops are logged. */
  readonly logged?: true | undefined;
}

/** A port of a VLAN-aware Linux bridge with exactly these VLANs. */
export interface VlanPort extends Attached {
  readonly kind: 'vlan-port';
  /** undefined while a libvirt network has not said which bridge it is (before `start`). */
  readonly bridge: string | undefined;
  readonly vlans: readonly VlanMember[];
  /** undefined: not declared, and then not ours to set. */
  readonly isolated: boolean | undefined;
  /** Ports of the bridge towards the world, from the host config: they carry this port's VLANs, too. */
  readonly uplinks: readonly string[];
  /** Addresses and prefixes the guest declares as its own, canonical; of a family without any, sources are not checked. */
  readonly declared?: readonly string[] | undefined;
  /** Absent in entries of releases that knew none on VLAN ports: then as if nobody said a word. */
  readonly policy?: Policy | undefined;
}

/** A point-to-point link: gateways on the host's end, a host route for each address of the guest. */
export interface RoutedLink extends Attached {
  readonly kind: 'routed-link';
  /** The guest's addresses, canonical, in the order written. */
  readonly addresses: readonly string[];
  /** Prefixes behind the guest, each with the guest's address that is its next hop. */
  readonly routes: readonly { readonly to: string; readonly via: string }[];
  /** Addresses of the host's end, of the families the guest has. */
  readonly gateways: readonly string[];
  /** Route table as `ip route` takes it; of a VRF, 'vrf NAME' until the host has told its number. */
  readonly table: string;
  /** The VRF that the link is put into. */
  readonly vrf?: string | undefined;
  readonly protocol: number;
  /** Bytes, as the NIC's XML says; undefined: not declared, and then not ours to set. */
  readonly mtu?: number | undefined;
  /** What guestwire itself makes before libvirt looks for it; undefined: libvirt makes the tap. */
  readonly made?: MadeLink | undefined;
  /** Links on which the host answers ARP and NDP for the addresses; absent: on none. */
  readonly proxy?: readonly string[] | undefined;
  /** guestwire may turn on forwarding for it. */
  readonly managesSysctls?: true | undefined;
  readonly policy: Policy;
}

/** An attachment whose link libvirt has named: what can be wired. */
export type Placed = PlacedPort | PlacedLink | PlacedMade | PlacedMacvtap;
export type PlacedPort = VlanPort & { readonly link: string; readonly bridge: string };
export type PlacedLink = RoutedLink & { readonly link: string };
/** The link that guestwire makes for a routed link, apart from it because it is there before and after it. */
export type PlacedMade = Attached & { readonly kind: 'made-link'; readonly link: string; readonly made: MadeLink };
/** The macvtap that libvirt puts on a veth pair's guest end: a link of its own, with its own ifindex and end. */
export type PlacedMacvtap = Attached & { readonly kind: 'macvtap'; readonly link: string };

/** Returns the attachments whose link, and bridge if they need one, is known. */
export function placedOf(attachments: readonly Attachment[]): Placed[] {
  return attachments.flatMap((attachment): Placed[] => {
    if (attachment.kind === 'routed-link') return placedLink(attachment);
    const { link, bridge } = attachment;
    return link === undefined || bridge === undefined ? [] : [attachment as PlacedPort];
  });
}

/** Returns the links that guestwire makes for these attachments. */
export function madeOf(attachments: readonly Attachment[]): PlacedMade[] {
  return attachments.flatMap((attachment): PlacedMade[] => {
    const made = attachment.kind === 'routed-link' ? attachment.made : undefined;
    return made === undefined ? [] : [{ kind: 'made-link', nic: attachment.nic, mac: attachment.mac, link: made.dev, made }];
  });
}

function placedLink(routed: RoutedLink): Placed[] {
  const { nic, mac, link, made } = routed;
  if (link === undefined) return [];
  const whole: Placed[] = [...madeOf([routed]), routed as PlacedLink];
  if (made?.kind !== 'veth' || made.on !== 'macvtap') return whole;
  return made.macvtap === undefined ? [] : [...whole, { kind: 'macvtap', nic, mac, link: made.macvtap }];
}

/** Returns whether one of `claims` overlaps a claim of `link`. Both are canonical, so that few need to be parsed. */
export function holdsAny(link: RoutedLink, claims: readonly Prefix[]): boolean {
  const addresses = new Set(link.addresses);
  const wide = claims.filter(({ first, last }) => first !== last);
  if (claims.some((claim) => addresses.has(bare(claim)))) return true;
  if (wide.length === 0 && link.routes.length === 0) return false;
  return claimsOf(link).some((held) => claims.some((claim) => overlaps(held, claim)));
}

/** Who looks at all guests at once asks for each of them again and again, and reading addresses takes most of that time. */
const CLAIMS = new WeakMap<RoutedLink, readonly Prefix[]>();

/** Returns every destination that the host routes to this link. */
export function claimsOf(link: RoutedLink): readonly Prefix[] {
  const known = CLAIMS.get(link);
  if (known !== undefined) return known;
  const claims = [...link.addresses.map((text) => hostPrefix(parseAddress(text))), ...link.routes.map((route) => parsePrefix(route.to))];
  CLAIMS.set(link, claims);
  return claims;
}

/** Returns the families of a routed link's addresses. */
export function familiesOf(routed: RoutedLink): ReadonlySet<Family> {
  return new Set(routed.addresses.map((address) => parseAddress(address).family));
}

/**
 * Returns the addresses whose lookup tells who holds a prefix. Looking up beats listing: on a full table a list takes a
 * hundred times longer. A longer route inside the prefix can hide the prefix at one address, hardly at both ends.
 */
export function probesOf(claim: Prefix): string[] {
  const first = claim.text.slice(0, claim.text.indexOf('/'));
  return distinct([first, parseAddress(lastAddress(claim)).text]);
}

export function distinct(values: readonly (string | undefined)[]): string[] {
  return [...new Set(values.filter((value): value is string => value !== undefined))];
}
