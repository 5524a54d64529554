/**
 * Uplinks: the ports of a bridge towards the world carry the VLANs of the guests on it, and no other VLANs from
 * guestwire. The bridge's other ports tell which VLANs an uplink needs. guestwire does not count: a count can be wrong,
 * a port cannot. guestwire does not add a VLAN again that another program put on an uplink, because that clears its
 * flags, and never removes it.
 */
import * as z from 'zod/mini';
import type { Observation } from '../../kernel/observation.js';
import type { NetObject, NetState } from '../../state/netstate.js';
import { keyOf } from '../../state/objects.js';
import { quote } from '../../values/quote.js';
import { distinct, type RecordedKind, type SharedPlan, type SharedRequest, type WiredLink } from '../attached.js';
import { word } from '../schema.js';
import { portsIn, type WiredPort } from './vlan-port.js';

/** The VLANs that guestwire put on one uplink, kept in the journal: nothing else tells them from an admin's. */
export interface UplinkRecord {
  readonly dev: string;
  readonly ifindex: number;
  readonly vids: readonly number[];
}

type Request = SharedRequest<UplinkRecord>;

export const uplinks: RecordedKind<UplinkRecord> = {
  schema: z.array(z.object({ dev: word, ifindex: z.number(), vids: z.array(z.number()) })),
  // What guestwire put there does not depend on other guests, and reading them costs something.
  observed: (request, observation) =>
    observedOn(uplinksOf(request, observation), request, observation),
  plan: (request, observation) => planUplinks(uplinksOf(request, observation), request, observation),
  leftWords: ({ dev, vids }) => `uplink ${quote(dev)} may still have VLANs ${vids.join(', ')}, which guestwire put there for guests that are gone: 'bridge vlan show dev ${dev}' shows them`,
  surplus: {
    scope: (records, wired) => {
      const idle = idleOf(records, wired);
      return idle.length === 0 ? undefined : { links: idle.map(({ dev }) => dev) };
    },
    furtherScope: (records, wired, { links }) => {
      const idle = idleOf(records, wired).map(({ dev }) => dev);
      const bridges = distinct(idle.map((dev) => links.get(dev)?.master));
      return { links: [...idle, ...bridges, ...portsIn(wired).map(({ link }) => link)], ports: idle, bridges };
    },
    of: surplusVlans,
  },
};

/** Bridges by their uplinks. */
type Uplinks = ReadonlyMap<string, string>;

function observedOn(devs: Uplinks, request: Request, observation: Observation): NetObject[] {
  return plansFor(devs, { ...request, others: () => [] }, observation)
    .flatMap(({ before, dev }) => objects(dev, before));
}

function plansFor(devs: Uplinks, request: Request, observation: Observation): OnePlan[] {
  return [...devs.keys()].map((dev) => planUplink(dev, { ...request, devs }, observation));
}

/** Returns what is to be done on these uplinks. */
function planUplinks(devs: Uplinks, request: Request, observation: Observation): SharedPlan<UplinkRecord> {
  const plans = plansFor(devs, request, observation);
  const records = (key: 'during' | 'after'): UplinkRecord[] => [
    ...request.records.filter(({ dev }) => !devs.has(dev)),
    ...plans.map((plan) => plan[key]).filter(({ vids }) => vids.length > 0),
  ];
  return {
    desired: plans.flatMap(({ after, dev, added }) => objects(dev, [...after.vids, ...added])),
    during: records('during'),
    after: records('after'),
    warnings: plans.filter(({ there }) => !there).map(({ dev }) => ({
      links: portsIn(request.concerned).filter((port) => port.uplinks.includes(dev)).map(({ link }) => link),
      text: `uplink ${quote(dev)} of the host config is not a port of bridge ${quote(devs.get(dev) ?? '')}: the guest's VLANs do not leave this host through it`,
    })),
  };
}

function idleOf(records: readonly UplinkRecord[], wired: readonly WiredLink[]): UplinkRecord[] {
  return records.filter(({ dev }) => !portsIn(wired).some((port) => port.uplinks.includes(dev)));
}

/** Returns the VLANs that guestwire put on uplinks of bridges on which no guest has a port any more. */
function surplusVlans(
  { records, protectedOn, wired }: Pick<Request, 'records' | 'protectedOn'> & { readonly wired: readonly WiredLink[] },
  observation: Observation,
): { readonly surplus: NetState; readonly records: readonly UplinkRecord[] } {
  const devs = new Map(idleOf(records, wired).map(({ dev }) => [dev, observation.links.get(dev)?.master ?? '']));
  // No guest is concerned: what the uplinks need is what all others need.
  const request: Request = { wanted: [], concerned: [], others: () => wired, records, protectedOn };
  const { after } = planUplinks(devs, request, observation);
  const kept = new Set(after.flatMap(({ dev, vids }) => objects(dev, vids).map(keyOf)));
  return {
    surplus: observedOn(devs, request, observation).filter((object) => !kept.has(keyOf(object))), records: after,
  };
}

/** Those of the guest's ports, and those that were its bridges' before the host config was changed. */
function uplinksOf(
  { concerned: links, records }: Request, { members, links: facts }: Observation,
): Uplinks {
  const concerned = portsIn(links);
  const bridges = new Set(concerned.filter(({ uplinks }) => uplinks.length > 0).map(({ bridge }) => bridge));
  const earlier = [...bridges].flatMap((bridge) => records
    .filter(({ dev, ifindex }) => members.get(bridge)?.includes(dev) === true && facts.get(dev)?.ifindex === ifindex)
    .map(({ dev }) => [dev, bridge] as const));
  return new Map([...earlier, ...concerned.flatMap((port) => port.uplinks.map((dev) => [dev, port.bridge] as const))]);
}

interface OnePlan {
  readonly dev: string;
  readonly there: boolean;
  readonly before: readonly number[];
  /** Protected VIDs that guestwire adds once and never removes. */
  readonly added: readonly number[];
  readonly during: UplinkRecord;
  readonly after: UplinkRecord;
}

function planUplink(
  dev: string, request: Request & { readonly devs: Uplinks }, observation: Observation,
): OnePlan {
  const bridge = request.devs.get(dev) ?? '';
  const facts = observation.links.get(dev);
  const ifindex = facts?.ifindex ?? 0;
  if (facts?.master !== bridge) {
    const none = { dev, ifindex, vids: [] };
    return { dev, there: false, before: [], added: [], during: none, after: none };
  }
  const there = observation.vlans.get(dev) ?? [];
  const present = new Set(there.map(({ vid }) => vid));
  // guestwire adds VLANs tagged. If a VLAN has flags, another program has taken it over.
  const flagged = new Set(there.filter(({ pvid, untagged }) => pvid || untagged).map(({ vid }) => vid));
  const isProtected = request.protectedOn(bridge);
  const recorded = request.records.find((record) => record.dev === dev && record.ifindex === ifindex)?.vids ?? [];
  const ours = recorded.filter((vid) => present.has(vid) && !flagged.has(vid));
  const others = portsIn(request.others()).filter((port) => port.bridge === bridge && isThere(port, observation));
  const wanted = new Set([...portsIn(request.wanted), ...others]
    .filter((port) => port.uplinks.includes(dev))
    .flatMap(({ vlans }) => vlans.map(({ vid }) => vid)));
  const missing = [...wanted].filter((vid) => !present.has(vid));
  const carried = carriedOn(bridge, request, observation);
  const keep = ours.filter((vid) => wanted.has(vid) || carried.has(vid) || isProtected.has(vid));
  const record = (vids: readonly number[]): UplinkRecord => ({
    dev, ifindex, vids: [...new Set(vids)].sort((a, b) => a - b),
  });
  return {
    dev,
    there: true,
    before: ours,
    added: missing.filter((vid) => isProtected.has(vid)),
    during: record([...ours, ...missing]),
    after: record([...keep, ...missing].filter((vid) => !isProtected.has(vid) || ours.includes(vid))),
  };
}

/**
 * VIDs that the bridge itself or some port of it carries, besides its uplinks, past and present, and the guest's own
 * ports.
 */
function carriedOn(
  bridge: string, { concerned, devs }: Pick<Request, 'concerned'> & { readonly devs: Uplinks },
  observation: Observation,
): Set<number> {
  const { members, vlans } = observation;
  const ports = portsIn(concerned).filter((port) => isThere(port, observation)).map(({ link }) => link);
  const own = new Set([...ports, ...devs.keys()]);
  const others = [bridge, ...(members.get(bridge) ?? [])].filter((port) => !own.has(port));
  return new Set(others.flatMap((port) => vlans.get(port)?.map(({ vid }) => vid) ?? []));
}

function isThere({ link, ifindex }: WiredPort, { links }: Observation): boolean {
  return links.get(link)?.ifindex === ifindex;
}

function objects(dev: string, vids: readonly number[]): NetObject[] {
  return vids.map((vid) => ({ kind: 'uplink-vlan', dev, vid }));
}
