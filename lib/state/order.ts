/**
 * The order of all changes to the kernel: one list of phases, each with its reason. Wiring reads it top down, unwiring
 * reads it bottom up. This file knows no kind of object: the record of a kind names the phase of each change.
 */

/** All phases follow one principle: isolation revokes before it grants, reachability grants before it revokes. */
export const PHASES = {
  'filter-tables': 'Filters come first and go last: a guest never sends or receives past them.',
  'filter-sets': 'Rules of NICs name sets: a set comes before those rules and goes after them.',
  'nic-filters': 'The rules of a NIC exist before its first packet and until its last.',
  'links-cut': 'A link that is given up passes nothing before anything else of it changes.',
  'made-links': 'A made link takes along everything that is on it: it goes after all that guestwire removes by name.',
  'aliases': 'The alias proves that guestwire made the link, also when the hook is killed right after this line.',
  'mtus': 'A link with an MTU below 1280 has no IPv6: it gets its MTU before its addresses.',
  'ports': 'A link is a port of its bridge before it is isolated there, and until nothing else is left of the guest.',
  'isolation-on': 'A port is isolated before it joins a VLAN.',
  'vlans-revoked': 'A port leaves VLANs before it joins others: it is never in more VLANs than the guest may use.',
  'vlans-granted': 'A port joins its VLANs after it has left all others.',
  'isolation-off': 'A port loses its isolation when its VLANs are exact.',
  'uplink-vlans': 'A VLAN reaches an uplink when the port of the guest is exact.',
  'router-advertisements': 'A host that forwards drops routes learned with accept_ra 1: uplinks get 2 before.',
  'forwarding': 'The host forwards before a route leads to a guest.',
  'ipv6-rules': 'All rules for IPv6 share one run of `ip -6`: a start needs no second run.',
  'link-settings': 'A link has accept_ra 0 before it is up: it never hears a router advertisement of the guest.',
  'last-resorts': 'A table has its last route before a rule leads into it, and until no rule does.',
  'ipv4-rules': 'All rules for IPv4 share the run of `ip` that sets the link up.',
  'ipv6-off': 'This removes all IPv6 addresses and routes of the link: guestwire removes them by name before.',
  'masters': 'A link that enters or leaves a VRF loses its addresses and routes: it enters before it has any.',
  'links-up': 'A link goes up last before its addresses: all its settings hold by the first packet.',
  'uplink-vlans-back': 'An uplink leaves a VLAN after the routes to the guest are gone, and before its link is down.',
  'address-places': 'A link has one place for an IPv6 address: the old one goes just before the new one comes.',
  'addresses': 'A gateway is on the link before a route needs it, and until no route does.',
  'route-places': 'A table has one place for a destination: the old route goes just before the new one comes.',
  'host-routes': 'A next hop has its route before another route leads over it, and until none does.',
  'routes-behind': 'A changed route comes before the old one goes: no packet is lost.',
  'neighbour-proxies': 'A proxy attracts traffic: it comes when the guest is reachable, and goes first.',
} as const;

export type Phase = keyof typeof PHASES;

/** 'wire' makes and sets, 'unwire' takes away. All of 'wire' comes before all of 'unwire'. */
export type Way = 'wire' | 'unwire';

const NAMES = Object.keys(PHASES);
const PLACES: ReadonlyMap<string, number> = new Map(NAMES.map((name, place) => [name, place]));

/** Returns the number by which operations are sorted. */
export function phaseRank(phase: Phase, way: Way): number {
  const place = PLACES.get(phase) ?? 0;
  return way === 'wire' ? place : 2 * NAMES.length - place;
}
