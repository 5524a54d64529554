/**
 * Uplinks: the ports of a bridge towards the world carry the VLANs of the guests on it, and no others of guestwire's. What
 * a VLAN on an uplink is there for is read from the bridge's other ports, not counted: a count can be wrong, a port
 * cannot. A VLAN that somebody else put on an uplink is never added again, which would clear its flags, and never removed.
 */
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import type { PlacedPort } from '../attachment.js';

/** The VLANs that guestwire put on one uplink, kept in the journal: nothing else tells them from an admin's. */
export interface UplinkRecord {
  readonly dev: string;
  readonly ifindex: number;
  readonly vids: readonly number[];
}

export interface UplinkPlan {
  readonly desired: readonly NetObject[];
  readonly observed: readonly NetObject[];
  /** What guestwire has on the uplinks while and after the plan is carried out. */
  readonly during: readonly UplinkRecord[];
  readonly after: readonly UplinkRecord[];
  /** Uplinks of the host config that are no port of their bridge: to be warned of. */
  readonly missing: readonly string[];
}

/** A port that is wired or was; names are reused, so only with this ifindex it is that port. */
export type WiredPort = PlacedPort & { readonly ifindex: number };

export interface UplinkRequest {
  /** The guest's ports as they are to be; none when it is released. */
  readonly wanted: readonly WiredPort[];
  /** The guest's ports as they were, and as they are to be: their uplinks are looked after. */
  readonly concerned: readonly WiredPort[];
  /** Ports of other guests, as the journal has them: what an uplink that came back has to carry for them, too. */
  readonly others: () => readonly WiredPort[];
  readonly records: readonly UplinkRecord[];
  /** VIDs of a bridge that the host config says never to remove. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
}

/** Returns what is to be done on the uplinks of the bridges concerned. */
export function planUplinks(request: UplinkRequest, observation: Observation): UplinkPlan {
  const uplinks = uplinksOf(request, observation);
  const plans = [...uplinks].map(([dev, bridge]) => planUplink({ dev, bridge }, request, observation));
  const records = (key: 'during' | 'after'): UplinkRecord[] => [
    ...request.records.filter(({ dev }) => !uplinks.has(dev)),
    ...plans.map((plan) => plan[key]).filter(({ vids }) => vids.length > 0),
  ];
  return {
    desired: plans.flatMap(({ after, dev, added }) => objects(dev, [...after.vids, ...added])),
    observed: plans.flatMap(({ before, dev }) => objects(dev, before)),
    during: records('during'),
    after: records('after'),
    missing: plans.flatMap(({ dev, there }) => (there ? [] : [dev])),
  };
}

/** Those of the guest's ports, and those that were its bridges' before the host config was changed. */
function uplinksOf({ concerned, records }: UplinkRequest, { members, links }: Observation): Map<string, string> {
  const bridges = new Set(concerned.filter(({ uplinks }) => uplinks.length > 0).map(({ bridge }) => bridge));
  const earlier = [...bridges].flatMap((bridge) => records
    .filter(({ dev, ifindex }) => members.get(bridge)?.includes(dev) === true && links.get(dev)?.ifindex === ifindex)
    .map(({ dev }) => [dev, bridge] as const));
  return new Map([...earlier, ...concerned.flatMap((port) => port.uplinks.map((dev) => [dev, port.bridge] as const))]);
}

interface OnePlan {
  readonly dev: string;
  readonly there: boolean;
  readonly before: readonly number[];
  /** Protected VIDs that are added: put there once, and from then on nobody's to remove. */
  readonly added: readonly number[];
  readonly during: UplinkRecord;
  readonly after: UplinkRecord;
}

function planUplink({ dev, bridge }: { dev: string; bridge: string }, request: UplinkRequest, observation: Observation): OnePlan {
  const facts = observation.links.get(dev);
  const ifindex = facts?.ifindex ?? 0;
  if (facts?.master !== bridge) {
    const none = { dev, ifindex, vids: [] };
    return { dev, there: false, before: [], added: [], during: none, after: none };
  }
  const there = observation.vlans.get(dev) ?? [];
  const present = new Set(there.map(({ vid }) => vid));
  // guestwire adds them tagged: one that has flags by now was taken over by somebody.
  const flagged = new Set(there.filter(({ pvid, untagged }) => pvid || untagged).map(({ vid }) => vid));
  const isProtected = request.protectedOn(bridge);
  const recorded = request.records.find((record) => record.dev === dev && record.ifindex === ifindex)?.vids ?? [];
  const ours = recorded.filter((vid) => present.has(vid) && !flagged.has(vid));
  const others = request.others().filter((port) => port.bridge === bridge && isThere(port, observation));
  const wanted = new Set([...request.wanted, ...others].filter((port) => port.uplinks.includes(dev)).flatMap(({ vlans }) => vlans.map(({ vid }) => vid)));
  const missing = [...wanted].filter((vid) => !present.has(vid));
  const carried = carriedOn(bridge, request, observation);
  const keep = ours.filter((vid) => wanted.has(vid) || carried.has(vid) || isProtected.has(vid));
  const record = (vids: readonly number[]): UplinkRecord => ({ dev, ifindex, vids: [...new Set(vids)].sort((a, b) => a - b) });
  return {
    dev,
    there: true,
    before: ours,
    added: missing.filter((vid) => isProtected.has(vid)),
    during: record([...ours, ...missing]),
    after: record([...keep, ...missing].filter((vid) => !isProtected.has(vid) || ours.includes(vid))),
  };
}

/** VIDs that the bridge itself or some port of it carries, besides its uplinks, past and present, and the guest's own ports. */
function carriedOn(bridge: string, request: UplinkRequest, observation: Observation): Set<number> {
  const { members, vlans } = observation;
  const own = new Set([
    ...request.concerned.flatMap((port) => [...(isThere(port, observation) ? [port.link] : []), ...port.uplinks]),
    ...uplinksOf(request, observation).keys(),
  ]);
  const others = [bridge, ...(members.get(bridge) ?? [])].filter((port) => !own.has(port));
  return new Set(others.flatMap((port) => vlans.get(port)?.map(({ vid }) => vid) ?? []));
}

function isThere({ link, ifindex }: WiredPort, { links }: Observation): boolean {
  return links.get(link)?.ifindex === ifindex;
}

function objects(dev: string, vids: readonly number[]): NetObject[] {
  return vids.map((vid) => ({ kind: 'uplink-vlan', dev, vid }));
}
