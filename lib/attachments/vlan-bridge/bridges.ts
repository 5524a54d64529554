/**
 * Bridges of one VLAN and their sub-interfaces, which guests share. The alias of a link tells that guestwire made it. A
 * killed run may leave a link without an alias: the journal's record of links in the making has it. guestwire uses an
 * existing bridge, and an existing sub-interface that is its port, and never changes or removes them.
 */
import * as z from 'zod/mini';
import type { LinkFacts, Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { disableIpv6Path } from '../../state/objects/sysctl.js';
import { quote } from '../../values/quote.js';
import type { RecordedKind, SharedPlan, SharedRequest } from '../attached.js';
import { IPV6_PROBE } from '../made-link/state.js';
import { word } from '../schema.js';
import { isOf } from './check.js';
import { type BridgeUse, bridgePortsIn, SHARED_ALIAS, usesIn } from './vlan-bridge.js';

/** A link that a run was about to make: until its alias is set, nothing else tells that it is guestwire's. */
export interface BridgeRecord {
  readonly dev: string;
}

type Request = SharedRequest<BridgeRecord>;

export const bridges: RecordedKind<BridgeRecord> = {
  schema: z.array(z.object({ dev: word })),
  observed: (request, observation) => usesOf(request).flatMap((use) => observedUse(use, request, observation)),
  plan: planBridges,
  isMaking,
  leftWords: ({ dev }) => `link ${quote(dev)} may be left, because a run was killed while it made the link: 'ip link del ${dev}' removes it`,
};

function isMaking(records: readonly BridgeRecord[], dev: string): boolean {
  return records.some((record) => record.dev === dev);
}

/** Returns one use for each bridge and VLAN that the request concerns. */
function usesOf({ concerned }: Pick<Request, 'concerned'>): BridgeUse[] {
  return distinctUses(usesIn(concerned));
}

function distinctUses(uses: readonly BridgeUse[]): BridgeUse[] {
  return [...new Map(uses.map((use) => [`${use.link} ${use.sub}`, use])).values()];
}

function planBridges(request: Request, observation: Observation): SharedPlan<BridgeRecord> {
  const wanted = distinctUses(usesIn(request.wanted));
  const kept = [...wanted, ...usesIn(request.others())];
  const desired = usesOf(request).flatMap((use) => {
    const isWanted = (key: 'link' | 'sub'): boolean => wanted.some((one) => one[key] === use[key]);
    const isKept = (key: 'link' | 'sub'): boolean =>
      kept.some((one) => one[key] === use[key]) || hasStrangers(use, request, observation);
    return [
      ...(isWanted('link')
        ? desiredBridge(use, request, observation)
        : isKept('link') ? observedBridge(use, request, observation) : []),
      ...(isWanted('sub')
        ? desiredSub(use, request, observation)
        : isKept('sub') ? observedSub(use, request, observation) : []),
    ];
  });
  const names = new Set(usesOf(request).flatMap(({ link, sub }) => [link, sub]));
  const making = desired
    .filter(({ kind, dev }) => MAKES.has(kind) && !observation.links.has(dev))
    .map(({ dev }) => dev);
  const after = request.records.filter(({ dev }) => !names.has(dev));
  const unnamed = request.records.filter(({ dev }) => names.has(dev) && !making.includes(dev));
  return { desired, during: [...after, ...unnamed, ...making.map((dev) => ({ dev }))], after };
}

const MAKES: ReadonlySet<string> = new Set<NetObject['kind']>(['bridge', 'vlan-link']);

/**
 * A port that is neither the sub-interface nor a NIC of these guests belongs to something that guestwire does not know.
 */
function hasStrangers({ link: bridge }: BridgeUse, { concerned }: Request, { members }: Observation): boolean {
  const known = new Set([
    ...usesIn(concerned).map(({ sub }) => sub),
    ...bridgePortsIn(concerned).filter((port) => port.bridge === bridge).map(({ link }) => link),
  ]);
  return (members.get(bridge) ?? []).some((port) => !known.has(port));
}

function observedUse(use: BridgeUse, request: Request, observation: Observation): NetObject[] {
  return [...observedBridge(use, request, observation), ...observedSub(use, request, observation)];
}

/** A link of this name that is not there is guestwire's to make. */
function isOurs(dev: string, facts: LinkFacts | undefined, { records }: Pick<Request, 'records'>): boolean {
  return facts === undefined ||
    facts.alias === SHARED_ALIAS ||
    (facts.alias === undefined && isMaking(records, dev));
}

/** The bridge takes no part in the network: no address, no spanning tree, and a MAC that no port changes. */
function desiredBridge(
  { link: dev, parent }: BridgeUse, request: Request, { links, sysctls }: Observation,
): NetObject[] {
  const facts = links.get(dev);
  if (!isOurs(dev, facts, request) || (facts !== undefined && facts.bridge === undefined)) return [];
  const { mtu, mac } = links.get(parent) ?? {};
  return [
    { kind: 'bridge', dev },
    { kind: 'bridge-settings', dev, filtering: false, stp: false, forwardDelay: 0 },
    ...(mac === undefined ? [] : [{ kind: 'mac' as const, dev, address: mac }]),
    ...common(dev, { mtu, sysctls }),
  ];
}

function observedBridge({ link: dev }: BridgeUse, request: Request, { links, sysctls }: Observation): NetObject[] {
  const facts = links.get(dev);
  if (facts?.bridge === undefined || !isOurs(dev, facts, request)) return [];
  const { filtering, stp = false, forwardDelay = 0 } = facts.bridge;
  return [
    { kind: 'bridge', dev },
    { kind: 'bridge-settings', dev, filtering, stp, forwardDelay },
    ...(facts.mac === undefined ? [] : [{ kind: 'mac' as const, dev, address: facts.mac }]),
    ...observedCommon(dev, facts, sysctls),
  ];
}

/**
 * A sub-interface of another name that the host made itself does as well: checked is that it is a port of the bridge.
 */
function desiredSub(use: BridgeUse, request: Request, { links, sysctls, subinterfaces }: Observation): NetObject[] {
  const { link: bridge, sub: dev, parent, vid } = use;
  if (subinterfaces.some((one) => isOf(use, one) && one.ifname !== dev)) return [];
  if (!isOurs(dev, links.get(dev), request)) return [];
  return [
    { kind: 'vlan-link', dev, parent, vid },
    { kind: 'port', dev, bridge, shared: true },
    ...common(dev, { mtu: links.get(parent)?.mtu, sysctls }),
  ];
}

function observedSub(
  { sub: dev, parent, vid }: BridgeUse, request: Request, { links, sysctls }: Observation,
): NetObject[] {
  const facts = links.get(dev);
  if (facts?.vlan?.parent !== parent || facts.vlan.vid !== vid || !isOurs(dev, facts, request)) return [];
  return [
    { kind: 'vlan-link', dev, parent, vid },
    ...(facts.master === undefined
      ? []
      : [{ kind: 'port' as const, dev, bridge: facts.master, shared: true as const }]),
    ...observedCommon(dev, facts, sysctls),
  ];
}

/** No IPv6: the host is not in the VLAN, and nothing that a guest sends may give it an address or a route there. */
function common(
  dev: string, { mtu, sysctls }: { readonly mtu: number | undefined; readonly sysctls: Observation['sysctls'] },
): NetObject[] {
  return [
    { kind: 'alias', dev, end: dev, alias: SHARED_ALIAS, shared: true },
    ...(mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end: dev, bytes: mtu, shared: true as const }]),
    ...(sysctls.has(IPV6_PROBE) ? [{ kind: 'ipv6' as const, dev, end: dev, on: false, shared: true as const }] : []),
    { kind: 'link', dev, up: true, shared: true },
  ];
}

function observedCommon(dev: string, { alias = '', mtu, up }: LinkFacts, sysctls: Observation['sysctls']): NetObject[] {
  const disabled = sysctls.get(disableIpv6Path(dev));
  return [
    { kind: 'alias', dev, end: dev, alias, shared: true },
    ...(mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end: dev, bytes: mtu, shared: true as const }]),
    ...(disabled === undefined
      ? []
      : [{ kind: 'ipv6' as const, dev, end: dev, on: disabled !== '1', shared: true as const }]),
    { kind: 'link', dev, up, shared: true },
  ];
}
