/**
 * Uplinks: the ports of a bridge towards the world carry the VLANs of the guests on it, and no others of guestwire's. What
 * a VLAN on an uplink is there for is read from the bridge's other ports, not counted: a count can be wrong, a port
 * cannot. A VLAN that somebody else put on an uplink is never added again, which would clear its flags, and never removed.
 */
import type { PlacedPort } from './attachment.js';
import type { NetObject } from './netstate.js';
import type { Observation } from './observation.js';

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

export interface UplinkRequest {
  /** The guest's ports as they are to be; none when it is released. */
  readonly wanted: readonly PlacedPort[];
  /** The guest's ports as they were, and as they are to be: their uplinks are looked after. */
  readonly concerned: readonly PlacedPort[];
  readonly records: readonly UplinkRecord[];
  /** VIDs of a bridge that the host config says never to remove. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
}

/** Returns what is to be done on the uplinks of the bridges concerned. */
export function planUplinks(request: UplinkRequest, observation: Observation): UplinkPlan {
  const uplinks = new Map(request.concerned.flatMap((port) => port.uplinks.map((dev) => [dev, port.bridge] as const)));
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
  const present = new Set(observation.vlans.get(dev)?.map(({ vid }) => vid));
  const isProtected = request.protectedOn(bridge);
  const recorded = request.records.find((record) => record.dev === dev && record.ifindex === ifindex)?.vids ?? [];
  const ours = recorded.filter((vid) => present.has(vid));
  const wanted = new Set(request.wanted.filter((port) => port.uplinks.includes(dev)).flatMap(({ vlans }) => vlans.map(({ vid }) => vid)));
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

/** VIDs that some port of the bridge carries, besides its uplinks and the guest's own ports. */
function carriedOn(bridge: string, { concerned }: UplinkRequest, { members, vlans }: Observation): Set<number> {
  const own = new Set(concerned.flatMap(({ link, uplinks }) => [link, ...uplinks]));
  const others = (members.get(bridge) ?? []).filter((port) => !own.has(port));
  return new Set(others.flatMap((port) => vlans.get(port)?.map(({ vid }) => vid) ?? []));
}

function objects(dev: string, vids: readonly number[]): NetObject[] {
  return vids.map((vid) => ({ kind: 'uplink-vlan', dev, vid }));
}
