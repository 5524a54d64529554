/**
 * Domain and host config to attachments: how each NIC joins the host network. Pure, and the only judge of intent: the
 * three sources are read in their order, per element, and checked against what the host permits. A NIC that no source
 * speaks of yields nothing, and its guest starts whatever else its XML holds.
 */
import type { HostConfig } from './config/host-config.js';
import type { Domain, Nic } from './domain/domain.js';
import { nicLabel } from './domain/guest.js';
import type { OnStray } from './domain/metadata.js';
import { ConflictError, DomainXmlError, locate, NotAllowedError, UnsupportedError } from './errors.js';
import {
  asksForFilters, declaredBy, guardedBy, nowhereError, policyBy, portPolicyBy, type TrustPermit,
} from './filterwish.js';
import { type Intent, type RoutedWish, wishesOf } from './intent.js';
import type { Policy, Trust } from './intent/policy.js';
import { assertMtuCarries, assertNamesApart, linkWishOf, type MadeLink } from './madelink.js';
import {
  type Address, bare, contains, type Family, familyName, hostPrefix, overlaps, parseAddress, parsePrefix, type Prefix,
} from './values/address.js';
import { assertIfname } from './values/ifname.js';
import { quote } from './values/quote.js';
import { formatVids, type VlanMember } from './values/vlan.js';

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

/**
 * Returns the attachment of each NIC that a source speaks of, in document order. Throws DomainXmlError, UnsupportedError,
 * NotAllowedError or ConflictError; the message names the guest and the NIC. With `onStray` a MAC that no NIC has is none
 * of these: of a running guest a NIC may have been detached while its metadata stays.
 */
export function deriveAttachments(domain: Domain, config: HostConfig, onStray?: OnStray): Attachment[] {
  const attachments = wishesOf(domain, config, onStray).map((intent) => attach(domain, config, intent));
  assertClaimsApart(domain, attachments);
  assertNamesApart(domain, madeOf(attachments));
  return attachments;
}

function attach(domain: Domain, config: HostConfig, intent: Intent): Attachment {
  const { nic } = intent;
  const where = nicLabel(domain.name, nic);
  const { dev } = nic.target;
  if (dev !== undefined) locate(DomainXmlError, `${where}: target dev`, () => { assertIfname(dev); });
  if (intent.routed !== undefined) {
    if (intent.vlan !== undefined || intent.isolated !== undefined) {
      throw new UnsupportedError(`${where}: both a VLAN or port setting and a routed link are asked for: keep one of them`);
    }
    const link = routedLink(where, nic, { wish: intent.routed, config, domain });
    const permit: TrustPermit = { place: 'routed links', table: 'routed', words: config.routed.trust };
    return { ...link, ...guardedBy(where, intent.filter, { config, permit }), policy: policyBy(where, intent.filter, { config, name: domain.name }) };
  }
  return vlanPort(where, intent, { config, domain });
}

function vlanPort(where: string, { nic, vlan, isolated, filter }: Intent, { config, domain }: { config: HostConfig; domain: Domain }): VlanPort {
  if (vlan === undefined) {
    if (isolated === undefined && asksForFilters(filter)) throw nowhereError(where, filter);
    throw new UnsupportedError(`${where}: <port isolated> without a VLAN: add the <vlan> of this port, or set isolated in the <interface> itself`);
  }
  const bridge = bridgeOf(where, nic);
  if (bridge !== undefined) {
    locate(DomainXmlError, `${where}: bridge`, () => { assertIfname(bridge); });
    assertAllowed(where, vlan, { bridge, allowed: config.bridges.get(bridge)?.allowed });
  }
  const uplinks = bridge === undefined ? [] : (config.bridges.get(bridge)?.uplinks ?? []);
  return {
    kind: 'vlan-port', nic: nic.index, mac: nic.mac, link: nic.target.dev, bridge, vlans: vlan, isolated, uplinks,
    ...guardedBy(where, filter, { config, permit: bridge === undefined ? undefined : permitOf(bridge, config) }),
    ...declaredBy(filter), policy: portPolicyBy(where, filter, domain.name),
  };
}

function permitOf(bridge: string, { bridges }: HostConfig): TrustPermit {
  return { place: `bridge ${quote(bridge)}`, table: `bridge.${bridge}`, words: bridges.get(bridge)?.trust ?? new Set() };
}

function bridgeOf(where: string, nic: Nic): string | undefined {
  switch (nic.joins.kind) {
    case 'bridge':
      return nic.joins.bridge;
    case 'network':
      return undefined;
    case 'openvswitch':
      throw new UnsupportedError(`${where}: an Open vSwitch port cannot be wired by guestwire: put <vlan> into its <interface>, which libvirt gives to Open vSwitch`);
    case 'ethernet':
      throw new UnsupportedError(`${where}: interface type 'ethernet' joins no bridge, so it cannot be in a VLAN: use type 'bridge', or ask for a routed link`);
    case 'direct':
    case 'none':
      throw new UnsupportedError(`${where}: interface type ${quote(nic.type)} has no tap on a Linux bridge, so it cannot be in a VLAN: use type 'bridge'`);
  }
}

function assertAllowed(
  where: string,
  vlan: readonly VlanMember[],
  { bridge, allowed }: { bridge: string; allowed: ReadonlySet<number> | undefined },
): void {
  if (allowed === undefined) return;
  const refused = vlan.map((member) => member.vid).filter((vid) => !allowed.has(vid));
  if (refused.length === 0) return;
  throw new NotAllowedError(`${where}: VLAN ${quote(formatVids(refused))} is not allowed on bridge ${quote(bridge)}: its 'allowed' in the host config has ${quote(formatVids([...allowed]))}`);
}

function routedLink(where: string, nic: Nic, { wish, config, domain }: { wish: RoutedWish; config: HostConfig; domain: Domain }): Omit<RoutedLink, 'policy'> {
  const { link, mtu, made } = linkWishOf(where, { domain, nic, veth: wish.veth });
  for (const claim of [...wish.addresses.map(hostPrefix), ...wish.routes.map((route) => route.to)]) {
    assertPermitted(where, claim, config);
  }
  const families = new Set(wish.addresses.map((address) => address.family));
  const gateways = config.routed.gateways.filter((gateway) => families.has(gateway.family));
  for (const family of families) {
    if (gateways.some((gateway) => gateway.family === family)) continue;
    const shown = familyName(family);
    throw new NotAllowedError(`${where}: no ${shown} gateway on this host: add one to 'gateways' in [routed] of the host config, or remove the guest's ${shown} addresses`);
  }
  assertMtuCarries(where, mtu, families.has('inet6'));
  const { table, protocol, proxy, manageSysctls } = config.routed;
  return {
    kind: 'routed-link', nic: nic.index, mac: nic.mac, link,
    addresses: wish.addresses.map((address) => address.text),
    routes: wish.routes.map((route) => ({ to: route.to.text, via: route.via.text })),
    gateways: [...gateways, ...servingAddress(config, families)].map((gateway) => gateway.text),
    table: wish.vrf === undefined ? (wish.table ?? table) : `vrf ${wish.vrf}`,
    protocol,
    ...(wish.vrf === undefined ? {} : { vrf: wish.vrf }),
    ...(mtu !== undefined && { mtu }),
    ...(made && { made }),
    ...(proxy.length > 0 ? { proxy } : {}),
    ...(manageSysctls ? { managesSysctls: true } : {}),
  };
}

function servingAddress({ serve }: HostConfig, families: ReadonlySet<Family>): Address[] {
  return serve?.on === true && families.has('inet6') ? [serve.address] : [];
}

function assertPermitted(where: string, claim: Prefix, config: HostConfig): void {
  const { prefixes, gateways } = config.routed;
  if (prefixes !== undefined && !prefixes.some((prefix) => contains(prefix, claim))) {
    const offered = prefixes.map((prefix) => prefix.text).join(', ');
    throw new NotAllowedError(`${where}: ${quote(bare(claim))} is outside the prefixes of this host: 'prefixes' in [routed] of the host config has ${quote(offered)}`);
  }
  const gateway = [...gateways, ...servingAddress(config, new Set(['inet6']))].find((address) => contains(claim, hostPrefix(address)));
  if (gateway !== undefined) {
    throw new ConflictError(`${where}: ${quote(bare(claim))} holds this host's gateway ${quote(gateway.text)}: give the guest another address`);
  }
}

/** Two claims of one guest may nest (a /128 inside its own /64), but the same destination twice has two owners. */
function assertClaimsApart(domain: Domain, attachments: readonly Attachment[]): void {
  const seen = new Map<string, Attachment>();
  for (const attachment of attachments) {
    if (attachment.kind !== 'routed-link') continue;
    for (const claim of claimsOf(attachment)) {
      const other = seen.get(claim.text);
      if (other !== undefined) {
        const where = nicLabel(domain.name, { index: attachment.nic, mac: attachment.mac });
        throw new ConflictError(`${where}: ${quote(bare(claim))} is listed twice, also on NIC ${other.nic}: list it once`);
      }
      seen.set(claim.text, attachment);
    }
  }
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
