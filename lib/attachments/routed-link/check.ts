/**
 * What a routed link needs of the host, checked before the first change: its addresses are free, and its VRF exists.
 */
import { ConflictError, HostError } from '../../errors.js';
import type { Observation, RouteFacts } from '../../kernel/observation.js';
import { bare, contains, endsOf, overlaps, type Prefix } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import type { Surroundings } from '../attached.js';
import { assertUnclaimed } from '../claims.js';
import { existing } from '../vlan-port/check.js';
import { assertForwarding } from './forwarding.js';
import { hasOwnPriority } from './route-tables.js';
import { linkClaims, type RoutedLink } from './routed-link.js';

export function assertRoutedLink(routed: RoutedLink, { observation, holders, own }: Surroundings): void {
  if (routed.link !== undefined) {
    const { master } = existing(routed.link, observation.links);
    if (master !== undefined && master !== routed.vrf) {
      throw new HostError(`link ${quote(routed.link)} is a port of ${quote(master)}, so it cannot be a routed link: take it out with 'ip link set dev ${routed.link} nomaster'`);
    }
  }
  assertVrf(routed, observation);
  assertTable(routed, observation);
  assertForwarding(routed, observation);
  for (const claim of linkClaims(routed)) {
    assertUnclaimed(claim, holders);
    assertNotHosts(claim, observation);
    const found = [
      ...endsOf(claim).map((probe) => observation.lookups.get(probe)),
      ...observation.exact.filter(({ to }) => to.text === claim.text),
    ];
    for (const route of found) {
      if (route !== undefined && !isOwn(route, own)) assertNotRouted(claim, { route, routed });
    }
    assertNoNextHop(claim, observation.nextHops.filter((route) => !isOwn(route, own)));
  }
}

/** guestwire makes no VRF: another program could use any table number that guestwire chooses. */
function assertVrf({ vrf }: RoutedLink, { links }: Observation): void {
  if (vrf === undefined) return;
  const facts = links.get(vrf);
  if (facts === undefined) {
    throw new HostError(`VRF ${quote(vrf)} does not exist: make it with 'ip link add ${vrf} type vrf table NUMBER' and 'ip link set dev ${vrf} up', or name an existing one`);
  }
  if (facts.vrfTable === undefined) throw new HostError(`${quote(vrf)} is not a VRF: name a VRF, or use table="NUMBER"`);
  if (!facts.up) throw new HostError(`VRF ${quote(vrf)} is down, so nothing is routed in it: set it up with 'ip link set dev ${vrf} up'`);
}

/** The last resort of a guest's table would end what rules of the host lead there and on to the next rule. */
function assertTable({ table, protocol, asksTable, link }: RoutedLink, { rules = [] }: Observation): void {
  // A rule for packets from the guest itself harms no other traffic; before its start the guest may have no link yet.
  const concernsHost = (iif: string | undefined): boolean => iif === undefined || (link !== undefined && iif !== link);
  const rule = asksTable !== true ? undefined : rules.find((one) =>
    one.table === table &&
    ![protocol, BY_KERNEL].includes(one.protocol) &&
    !hasOwnPriority(one) &&
    concernsHost(one.iif));
  if (rule === undefined) return;
  throw new ConflictError(`route table ${quote(table)} is in use by a routing rule of this host (priority ${rule.priority}), and guestwire would end its traffic there: name another table, or give the guest this one in [guest] of the host config`);
}

/** RTPROT_KERNEL (linux/rtnetlink.h): the rules that each host has. */
const BY_KERNEL = 2;

function assertNotHosts(claim: Prefix, { locals, lookups }: Observation): void {
  const routes = [...locals, ...endsOf(claim).map((probe) => lookups.get(probe))];
  const own = routes.find((route) => route?.type === 'local' && contains(claim, route.to));
  if (own === undefined) return;
  throw new ConflictError(`${quote(bare(claim))} contains ${quote(bare(own.to))}, an address of this host on ${quote(own.dev ?? '')}: give the guest another address`);
}

/** Types of routes that are not a way to somewhere else but the host's own addresses (ip-route(8)). */
const HOSTS_OWN = new Set(['local', 'broadcast', 'anycast', 'multicast']);

function assertNotRouted(
  claim: Prefix, { route, routed }: { route: RouteFacts; routed: RoutedLink },
): void {
  const ours = route.protocol === String(routed.protocol);
  const target = `${route.via === undefined ? '' : ` via ${quote(route.via.text)}`}${route.dev === undefined ? '' : ` on ${quote(route.dev)}`}`;
  if (HOSTS_OWN.has(route.type) && overlaps(route.to, claim)) {
    throw new ConflictError(`${quote(bare(claim))} belongs to this host itself: route '${route.type} ${bare(route.to)}'${target}: give the guest another address`);
  }
  // A covering shorter prefix is how the rest of the network reaches this host; only ours is another guest's.
  const same = route.to.text === claim.text || contains(claim, route.to);
  if (!same && !ours) return;
  const shown = quote(`${route.type === 'unicast' ? '' : `${route.type} `}${bare(route.to)}`);
  throw new ConflictError(`${quote(bare(claim))} is already routed: ${shown}${target}, protocol ${quote(route.protocol)}: remove that route or give the guest another address`);
}

function assertNoNextHop(claim: Prefix, routes: readonly RouteFacts[]): void {
  for (const { hops, to } of routes) {
    const hop = hops.find(({ prefix }) => contains(claim, prefix));
    if (hop === undefined) continue;
    throw new ConflictError(`${quote(bare(claim))} contains ${quote(hop.text)}, the next hop of this host's route ${quote(bare(to))}: give the guest another address`);
  }
}

function isOwn(route: RouteFacts, own: Surroundings['own']): boolean {
  return own.some(({ link, protocol }) =>
    link !== undefined && route.dev === link && route.protocol === String(protocol));
}
