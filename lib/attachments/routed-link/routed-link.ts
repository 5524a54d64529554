/** A routed link as a value: addresses, routes and gateways of a point-to-point link, and what it claims. */
import type { Policy } from '../../intent/policy.js';
import {
  bare, type Family, hostPrefix, lastAddress, overlaps, parseAddress, parsePrefix, type Prefix,
} from '../../values/address.js';
import { type Attached, distinct, type Recorded, type WiredLink } from '../attached.js';
import type { MadeLink } from '../made-link/made-link.js';

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

export type PlacedLink = RoutedLink & { readonly link: string };

export type WiredRoutedLink = PlacedLink & Recorded;

/** Returns the routed links among these. */
export function linksIn(links: readonly WiredLink[]): WiredRoutedLink[] {
  return links.filter((one): one is WiredRoutedLink => one.kind === 'routed-link');
}

/** Returns whether one of `claims` overlaps a claim of `link`. Both are canonical, so that few need to be parsed. */
export function holdsAny(link: RoutedLink, claims: readonly Prefix[]): boolean {
  const addresses = new Set(link.addresses);
  const wide = claims.filter(({ first, last }) => first !== last);
  if (claims.some((claim) => addresses.has(bare(claim)))) return true;
  if (wide.length === 0 && link.routes.length === 0) return false;
  return claimsOf(link).some((held) => claims.some((claim) => overlaps(held, claim)));
}

/**
 * Who looks at all guests at once asks for each of them again and again, and reading addresses takes most of that time.
 */
const CLAIMS = new WeakMap<RoutedLink, readonly Prefix[]>();

/** Returns every destination that the host routes to this link. */
export function claimsOf(link: RoutedLink): readonly Prefix[] {
  const known = CLAIMS.get(link);
  if (known !== undefined) return known;
  const claims = [
    ...link.addresses.map((text) => hostPrefix(parseAddress(text))),
    ...link.routes.map((route) => parsePrefix(route.to)),
  ];
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
