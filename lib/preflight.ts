/**
 * What must be true of the host before the first effect: the bridge exists and filters, the link is where the XML says,
 * the host forwards, and nobody else holds what the guest claims. Pure; each refusal names guest, NIC, cause and cure.
 */
import { type Attachment, claimsOf, type Placed, type RoutedLink, type VlanPort } from './attachment.js';
import { nicLabel } from './domain/guest.js';
import { ConflictError, HostError } from './errors.js';
import { assertForwarding, lacksForwarding6 } from './forwarding.js';
import { trackedBy } from './intent/policy.js';
import type { LinkFacts, Observation, RouteFacts, Scope } from './kernel/observation.js';
import { assertMade, type GuestName } from './madecheck.js';
import { probesOf } from './scope.js';
import { bare, contains, hostPrefix, overlaps, parseAddress, type Prefix } from './values/address.js';
import { quote } from './values/quote.js';

/** A live guest that guestwire wired, for conflicts with it. */
export interface Holder {
  readonly name: string;
  readonly attachments: readonly (Attachment | Placed)[];
}

/**
 * Throws HostError when the host cannot give what an attachment needs, ConflictError when somebody else holds it.
 * Checks what is known: an attachment without a link yet is checked as far as its bridge and addresses go.
 */
export function preflight(
  guest: string,
  attachments: readonly Attachment[],
  { observation, holders, recorded, guestName = () => undefined }: Surroundings & { readonly recorded: readonly (Attachment | Placed)[]; readonly guestName?: GuestName },
): void {
  const own = [...attachments, ...recorded].filter((attachment) => attachment.kind === 'routed-link');
  for (const attachment of attachments) {
    const where = nicLabel(guest, { index: attachment.nic, mac: attachment.mac });
    if (attachment.kind === 'vlan-port') {
      assertPort(where, attachment, observation);
      assertUplinksCarry(where, attachment, observation);
    } else {
      assertMade(where, attachment, { observation, guestName });
      assertRoutedLink(where, attachment, { observation, holders, own });
    }
  }
}

/**
 * Returns what is to be asked when `observation` is known, and costs more to know: next hops for claims in a network the
 * host itself is on (one that holds the whole of it holds the host's own address), or that hold the next hop on their own
 * way; and the routes of claims that lead to nowhere, which a lookup does not show.
 */
export function furtherScope(attachments: readonly Attachment[], observation: Observation): Pick<Scope, 'nextHops' | 'exact' | 'routers'> {
  const { links, lookups, nowhere } = observation;
  const claims = attachments.flatMap((attachment) => (attachment.kind === 'routed-link' ? claimsOf(attachment).map((claim) => ({ claim, protocol: String(attachment.protocol) })) : []));
  const isNear = ({ claim, protocol }: (typeof claims)[number]): boolean => probesOf(claim).some((probe) => {
    const route = lookups.get(probe);
    if (route === undefined || route.protocol === protocol) return false;
    return route.hops.length === 0 || route.hops.some((hop) => contains(claim, hostPrefix(parseAddress(hop))));
  });
  return {
    nextHops: claims.filter(isNear).map(({ claim }) => claim.text),
    routers: attachments.some((link) => link.kind === 'routed-link' && lacksForwarding6(link, observation)),
    exact: [...inVrfs(attachments, links), ...claims.filter(({ claim }) => probesOf(claim).some((probe) => nowhere.has(probe))).map(({ claim }) => ({ to: claim.text, table: 'all' }))],
  };
}

function inVrfs(attachments: readonly Attachment[], links: Observation['links']): Scope['exact'] {
  return attachments.flatMap((link) => {
    const table = link.kind === 'routed-link' && link.vrf !== undefined ? links.get(link.vrf)?.vrfTable : undefined;
    return table === undefined || link.kind !== 'routed-link' ? [] : claimsOf(link).map(({ text: to }) => ({ to, table }));
  });
}

function assertPort(where: string, { bridge, link, policy }: VlanPort, { links, tracking }: Observation): void {
  const word = trackedBy(policy);
  if (tracking === false && word !== undefined) {
    throw new HostError(`${where}: ${word}: on a VLAN port this needs connections tracked in bridges, which this kernel cannot do: see what 'modprobe nf_conntrack_bridge' says (CONFIG_NF_CONNTRACK_BRIDGE), use a routed link, or keep guests apart with <gw:port isolated='yes'/>`);
  }
  if (bridge === undefined) return;
  const facts = links.get(bridge);
  if (facts === undefined) {
    throw new HostError(`${where}: bridge ${quote(bridge)} does not exist: create it, or name an existing one in <source bridge>`);
  }
  if (facts.bridge === undefined) {
    throw new HostError(`${where}: ${quote(bridge)} is not a bridge: name a bridge in <source bridge>`);
  }
  if (!facts.bridge.capable) {
    throw new HostError(`${where}: this kernel cannot filter VLANs on bridge ${quote(bridge)}: it needs CONFIG_BRIDGE_VLAN_FILTERING`);
  }
  if (!facts.bridge.filtering) {
    throw new HostError(`${where}: bridge ${quote(bridge)} does not filter VLANs: turn it on with 'ip link set dev ${bridge} type bridge vlan_filtering 1'`);
  }
  if (link !== undefined) assertMaster(where, existing(where, link, links), bridge);
}

/** The kernel gives a sub-interface its VLAN's frames before the bridge sees them (net/core/dev.c, vlan_do_receive). */
function assertUplinksCarry(where: string, port: VlanPort, { subinterfaces, links }: Observation): void {
  const renamed = port.uplinks.find((dev) => links.has(dev) && links.get(dev)?.ifname !== dev);
  if (renamed !== undefined) {
    throw new HostError(`${where}: uplink ${quote(renamed)} of bridge ${quote(port.bridge ?? '')} is another name of link ${quote(links.get(renamed)?.ifname ?? '')}: write that in 'uplinks' of the host config`);
  }
  const vids = new Set(port.vlans.map(({ vid }) => vid));
  const thief = subinterfaces.find(({ parent, vid, protocol }) => port.uplinks.includes(parent) && vids.has(vid) && protocol === links.get(port.bridge ?? '')?.bridge?.protocol);
  if (thief === undefined) return;
  throw new HostError(`${where}: VLAN '${thief.vid}' does not reach bridge ${quote(port.bridge ?? '')} from its uplink ${quote(thief.parent)}: the sub-interface ${quote(thief.ifname)} takes it: remove that ('ip link del ${thief.ifname}'), and give the host its address on the bridge instead`);
}

function assertMaster(where: string, link: LinkFacts, bridge: string): void {
  if (link.master === bridge) return;
  const actual = link.master === undefined ? 'it has no master' : `its master is ${quote(link.master)}`;
  throw new HostError(`${where}: link ${quote(link.ifname)} is no port of bridge ${quote(bridge)}: ${actual}`);
}

function existing(where: string, link: string, links: Observation['links']): LinkFacts {
  const facts = links.get(link);
  if (facts === undefined) throw new HostError(`${where}: link ${quote(link)} does not exist`);
  return facts;
}

interface Surroundings {
  readonly observation: Observation;
  readonly holders: readonly Holder[];
}

/** `own` are the guest's links, as wanted and as wired before: what is routed to them already is no conflict. */
function assertRoutedLink(where: string, routed: RoutedLink, { observation, holders, own }: Surroundings & { readonly own: readonly RoutedLink[] }): void {
  if (routed.link !== undefined) {
    const { master } = existing(where, routed.link, observation.links);
    if (master !== undefined && master !== routed.vrf) {
      throw new HostError(`${where}: link ${quote(routed.link)} is a port of ${quote(master)}, so it cannot be a routed link: take it out with 'ip link set dev ${routed.link} nomaster'`);
    }
  }
  assertVrf(where, routed, observation);
  assertForwarding(where, routed, observation);
  for (const claim of claimsOf(routed)) {
    assertUnclaimed(where, claim, holders);
    assertNotHosts(where, claim, observation);
    const found = [...probesOf(claim).map((probe) => observation.lookups.get(probe)), ...observation.exact.filter(({ to }) => to.text === claim.text)];
    for (const route of found) {
      if (route !== undefined && !isOwn(route, own)) assertNotRouted(where, claim, { route, routed });
    }
    assertNoNextHop(where, claim, observation.nextHops.filter((route) => !isOwn(route, own)));
  }
}

/** A table number of guestwire's own choice could be anybody's, so a VRF is made by whoever knows the host. */
function assertVrf(where: string, { vrf }: RoutedLink, { links }: Observation): void {
  if (vrf === undefined) return;
  const facts = links.get(vrf);
  if (facts === undefined) {
    throw new HostError(`${where}: VRF ${quote(vrf)} does not exist: make it with 'ip link add ${vrf} type vrf table NUMBER' and 'ip link set dev ${vrf} up', or name an existing one`);
  }
  if (facts.vrfTable === undefined) throw new HostError(`${where}: ${quote(vrf)} is not a VRF: name a VRF, or use table="NUMBER"`);
  if (!facts.up) throw new HostError(`${where}: VRF ${quote(vrf)} is down, so nothing is routed in it: set it up with 'ip link set dev ${vrf} up'`);
}

/** Throws ConflictError when one of `holders` has something of what `claim` covers. */
export function assertUnclaimed(where: string, claim: Prefix, holders: readonly Holder[]): void {
  for (const holder of holders) {
    for (const attachment of holder.attachments) {
      if (attachment.kind !== 'routed-link') continue;
      const held = claimsOf(attachment).find((other) => overlaps(other, claim));
      if (held === undefined) continue;
      const other = nicLabel(holder.name, { index: attachment.nic, mac: attachment.mac });
      throw new ConflictError(`${where}: ${quote(bare(claim))} is held by ${other} as ${quote(bare(held))}: give one of the two another address`);
    }
  }
}

function assertNotHosts(where: string, claim: Prefix, { locals, lookups }: Observation): void {
  const routes = [...locals, ...probesOf(claim).map((probe) => lookups.get(probe))];
  const own = routes.find((route) => route?.type === 'local' && contains(claim, route.to));
  if (own === undefined) return;
  throw new ConflictError(`${where}: ${quote(bare(claim))} holds ${quote(bare(own.to))}, an address of this host on ${quote(own.dev ?? '')}: give the guest another`);
}

/** Types of routes that are not a way to somewhere else but the host's own addresses (ip-route(8)). */
const HOSTS_OWN = new Set(['local', 'broadcast', 'anycast', 'multicast']);

function assertNotRouted(where: string, claim: Prefix, { route, routed }: { route: RouteFacts; routed: RoutedLink }): void {
  const ours = route.protocol === String(routed.protocol);
  const target = `${route.via === undefined ? '' : ` via ${quote(route.via)}`}${route.dev === undefined ? '' : ` on ${quote(route.dev)}`}`;
  if (HOSTS_OWN.has(route.type) && overlaps(route.to, claim)) {
    throw new ConflictError(`${where}: ${quote(bare(claim))} belongs to this host itself: route '${route.type} ${bare(route.to)}'${target}: give the guest another address`);
  }
  // A covering shorter prefix is how the rest of the network reaches this host; only ours is another guest's.
  const same = route.to.text === claim.text || contains(claim, route.to);
  if (!same && !ours) return;
  const shown = quote(`${route.type === 'unicast' ? '' : `${route.type} `}${bare(route.to)}`);
  throw new ConflictError(`${where}: ${quote(bare(claim))} is already routed: ${shown}${target}, protocol ${quote(route.protocol)}: remove that route or give the guest another address`);
}

function assertNoNextHop(where: string, claim: Prefix, routes: readonly RouteFacts[]): void {
  for (const { hops, to } of routes) {
    const hop = hops.find((address) => contains(claim, hostPrefix(parseAddress(address))));
    if (hop === undefined) continue;
    throw new ConflictError(`${where}: ${quote(bare(claim))} holds ${quote(hop)}, the next hop of this host's route ${quote(bare(to))}: give the guest another address`);
  }
}

function isOwn(route: RouteFacts, own: readonly RoutedLink[]): boolean {
  return own.some(({ link, protocol }) => link !== undefined && route.dev === link && route.protocol === String(protocol));
}
