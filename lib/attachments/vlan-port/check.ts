/**
 * What a VLAN port needs of the host, checked before the first change: a bridge that filters, and uplinks that can
 * carry its VLANs.
 */
import { HostError } from '../../errors.js';
import { type Policy, trackedBy } from '../../intent/policy.js';
import type { LinkFacts, Observation, Subinterface } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import { FILTERING_CUTS, unfiltered } from './filtering.js';
import type { VlanPort } from './vlan-port.js';

/** Throws HostError when the policy needs connections tracked in bridges and this kernel cannot do that. */
export function assertTracking(policy: Policy | undefined, { tracking }: Observation): void {
  const word = trackedBy(policy);
  if (tracking === false && word !== undefined) {
    throw new HostError(`${word} needs connection tracking in bridges, which this kernel lacks (nf_conntrack_bridge): use a routed link, or <gw:port isolated='yes'/>`);
  }
}

export function assertPort({ bridge, link, policy, uplinks }: VlanPort, observation: Observation): void {
  const { links } = observation;
  assertTracking(policy, observation);
  if (bridge === undefined) return;
  const facts = links.get(bridge);
  if (facts === undefined) {
    throw new HostError(`bridge ${quote(bridge)} does not exist: create it, or name an existing one in <source bridge>`);
  }
  if (facts.bridge === undefined) {
    throw new HostError(`${quote(bridge)} is not a bridge: name a bridge in <source bridge>`);
  }
  if (!facts.bridge.capable) {
    throw new HostError(`this kernel cannot filter VLANs on bridge ${quote(bridge)}: it needs CONFIG_BRIDGE_VLAN_FILTERING`);
  }
  if (!facts.bridge.filtering) {
    const { what, cure, isCommand } = unfiltered(bridge, uplinks, observation);
    throw new HostError(`${what}: ${isCommand ? `turn it on with '${cure}' (${FILTERING_CUTS})` : cure}`);
  }
  if (link !== undefined) assertMaster(existing(link, links), bridge);
}

/** The kernel gives a sub-interface its VLAN's frames before the bridge sees them (net/core/dev.c, vlan_do_receive). */
export function assertUplinksCarry(port: VlanPort, { subinterfaces, links }: Observation): void {
  const renamed = port.uplinks.find((dev) => links.has(dev) && links.get(dev)?.ifname !== dev);
  if (renamed !== undefined) {
    throw new HostError(`uplink ${quote(renamed)} of bridge ${quote(port.bridge ?? '')} is another name of link ${quote(links.get(renamed)?.ifname ?? '')}: write that in 'uplinks' of the host config`);
  }
  const vids = new Set(port.vlans.map(({ vid }) => vid));
  const thief = subinterfaces.find(({ parent, vid, protocol }) =>
    port.uplinks.includes(parent) && vids.has(vid) && protocol === links.get(port.bridge ?? '')?.bridge?.protocol);
  if (thief === undefined) return;
  const { what, cure } = taken(thief, port.bridge ?? '');
  throw new HostError(`${what}: ${cure}`);
}

/** Returns what is wrong with a sub-interface that takes a guest's VLAN from an uplink, and what is to be done. */
export function taken(
  { ifname, parent, vid }: Pick<Subinterface, 'ifname' | 'parent' | 'vid'>, bridge: string,
): { readonly what: string; readonly cure: string } {
  return {
    what: `sub-interface ${quote(ifname)} of uplink ${quote(parent)} takes VLAN '${vid}' before bridge ${quote(bridge)} receives it`,
    cure: `move its addresses and routes to VLAN '${vid}' of the bridge (docs/vlan.md), and then remove it`,
  };
}

/** A port that comes back alone has the default VLAN of its bridge, and none of the guest's: guestwire knows these. */
function assertMaster(link: LinkFacts, bridge: string): void {
  if (link.master === bridge) return;
  const [actual, first] = link.master === undefined
    ? ['it has no master', '']
    : [`its master is ${quote(link.master)}`, `ip link set dev ${link.ifname} master ${bridge} && `];
  throw new HostError(`link ${quote(link.ifname)} is not a port of bridge ${quote(bridge)}: ${actual}: run '${first}guestwire reconcile --all'`);
}

export function existing(link: string, links: Observation['links']): LinkFacts {
  const facts = links.get(link);
  if (facts === undefined) throw new HostError(`link ${quote(link)} does not exist: stop the guest and start it again`);
  return facts;
}
