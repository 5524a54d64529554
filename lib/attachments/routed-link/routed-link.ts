/** A routed link as a value: addresses, routes and gateways of a point-to-point link, and what it claims. */
import type { Policy } from '../../intent/policy.js';
import { type Address, asPrefix, type Family, isSingle, overlaps, type Prefix } from '../../values/address.js';
import type { Attached, Recorded, WiredLink } from '../attached.js';
import type { MadeLink } from '../made-link/made-link.js';

/** A point-to-point link: gateways on the host's end, a host route for each address of the guest. */
export interface RoutedLink extends Attached {
  readonly kind: 'routed-link';
  /** The guest's addresses, in the order written. */
  readonly addresses: readonly Address[];
  /** Prefixes behind the guest, each with the guest's address that is its next hop. */
  readonly routes: readonly { readonly to: Prefix; readonly via: Address }[];
  /** Addresses of the host's end, of the families the guest has. */
  readonly gateways: readonly Address[];
  /** Route table as `ip route` takes it; of a VRF, 'vrf NAME' until the host has told its number. */
  readonly table: string;
  /** The guest's metadata chose the table: it is not one that routing rules of this host use. */
  readonly asksTable?: true | undefined;
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
  /** Link-local destinations beyond this host that the guest may reach; absent: none. */
  readonly linkLocal?: readonly Address[] | undefined;
  /** The host's own addresses towards the guest, one of a family at most; absent: the kernel chooses. */
  readonly sources?: readonly Address[] | undefined;
  readonly policy: Policy;
}

export type PlacedLink = RoutedLink & { readonly link: string };

export type WiredRoutedLink = PlacedLink & Recorded;

/** Returns the routed links among these. */
export function linksIn(links: readonly WiredLink[]): WiredRoutedLink[] {
  return links.filter((one): one is WiredRoutedLink => one.kind === 'routed-link');
}

/** Returns whether one of `claims` overlaps a claim of `link`. Single addresses are compared as text, as most are. */
export function linkHoldsAny(link: RoutedLink, claims: readonly Prefix[]): boolean {
  if (claims.some((claim) => link.addresses.some(({ prefix }) => prefix.text === claim.text))) return true;
  if (link.routes.length === 0 && claims.every(isSingle)) return false;
  return linkClaims(link).some((held) => claims.some((claim) => overlaps(held, claim)));
}

/** Returns every destination that the host routes to this link. */
export function linkClaims({ addresses, routes }: RoutedLink): Prefix[] {
  return [...addresses, ...routes.map(({ to }) => to)].map(asPrefix);
}

/** Returns the families of a routed link's addresses. */
export function addressFamilies({ addresses }: RoutedLink): ReadonlySet<Family> {
  return new Set(addresses.map(({ family }) => family));
}
