/**
 * Made links as kernel objects: what a veth pair, an unmanaged tap and a macvtap on a veth end must be like, what of
 * them is there, and what proves that guestwire made a link.
 */
import type { LinkFacts, Observation } from '../../kernel/observation.js';
import type { MadeObject } from '../../state/objects.js';
import { disableIpv6Path } from '../../state/objects/sysctl.js';
import type { PlacedMacvtap, PlacedMade } from './made-link.js';

/** A kernel without IPv6 does not have it. */
export const IPV6_PROBE = 'net/ipv6/conf/default/disable_ipv6';

/** Returns what a made link is to be like, from `prepare` on. */
export function desiredMade({ made, link: dev }: PlacedMade, { sysctls }: Observation): MadeObject[] {
  const ends = made.kind === 'veth' ? [dev, made.peer] : [dev];
  const { mtu } = made;
  return [
    made.kind === 'veth' ? { kind: 'veth', dev, peer: made.peer } : { kind: 'tap', dev, multiQueue: made.multiQueue },
    ...ends.map((end): MadeObject => ({ kind: 'alias', dev, end, alias: made.alias })),
    ...(mtu === undefined ? [] : ends.map((end): MadeObject => ({ kind: 'mtu', dev, end, bytes: mtu }))),
    // libvirt gives the guest end the guest's MAC, and with IPv6 on it the host would answer for the guest's
    // link-local.
    ...(made.kind === 'veth' && sysctls.has(IPV6_PROBE) ? [ipv6Of(dev, made.peer, '1')] : []),
    // libvirt sets the end below a macvtap up when QEMU runs, the end below a macvlan never (qemu and lxc drivers of
    // 9.0).
    ...(made.kind === 'veth' && made.on === 'macvlan' ? [{ kind: 'link' as const, dev: made.peer, up: true }] : []),
  ];
}

/** Returns what of a made link is there. */
export function observedMade(placed: PlacedMade, { links, sysctls }: Observation): MadeObject[] {
  const { made, link: dev } = placed;
  const facts = links.get(dev);
  if (facts === undefined || !hasShape(placed, facts)) return [];
  const peer = made.kind === 'veth' ? links.get(made.peer) : undefined;
  const value = made.kind === 'veth' ? sysctls.get(disableIpv6Path(made.peer)) : undefined;
  return [
    made.kind === 'veth' ? { kind: 'veth', dev, peer: made.peer } : { kind: 'tap', dev, multiQueue: made.multiQueue },
    ...[facts, ...(peer === undefined ? [] : [peer])].flatMap(({ ifname: end, alias, mtu }): MadeObject[] => [
      { kind: 'alias', dev, end, alias: alias ?? '' },
      ...(made.mtu === undefined || mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end, bytes: mtu }]),
    ]),
    ...(made.kind === 'veth' && value !== undefined ? [ipv6Of(dev, made.peer, value)] : []),
    ...(made.kind === 'veth' && made.on === 'macvlan' && peer !== undefined
      ? [{ kind: 'link' as const, dev: made.peer, up: peer.up }]
      : []),
  ];
}

/** Returns what a macvtap on a veth end is to be like, from `start` on. */
export function desiredMacvtap({ link: dev }: PlacedMacvtap, { sysctls }: Observation): MadeObject[] {
  return [
    // QEMU joins no multicast group on it, and it drops what it did not join: neighbour solicitations (Linux 6.18).
    { kind: 'allmulticast', dev, on: true },
    ...(sysctls.has(IPV6_PROBE) ? [ipv6Of(dev, dev, '1')] : []),
  ];
}

/** Returns what of a macvtap is there. */
export function observedMacvtap({ link: dev }: PlacedMacvtap, { links, sysctls }: Observation): MadeObject[] {
  const facts = links.get(dev);
  if (facts === undefined) return [];
  const value = sysctls.get(disableIpv6Path(dev));
  return [
    { kind: 'allmulticast', dev, on: facts.allmulticast }, ...(value === undefined ? [] : [ipv6Of(dev, dev, value)]),
  ];
}

/**
 * No plain sysctl object: IPv6 goes from these links before they are up, and from any other after its addresses are
 * gone.
 */
function ipv6Of(dev: string, end: string, disabled: string): MadeObject {
  return { kind: 'ipv6', dev, end, on: disabled !== '1' };
}

/** Returns whether the link is of the kind that guestwire makes, even if another program made it. */
export function hasShape({ made }: Pick<PlacedMade, 'made'>, { peer, tap }: LinkFacts): boolean {
  return made.kind === 'veth' ? peer === made.peer : tap?.multiQueue === made.multiQueue;
}

/**
 * Returns whether guestwire made the link for this guest: its alias says so, which the kernel keeps as long as the
 * link.
 */
export function isMadeHere(placed: Pick<PlacedMade, 'made'>, facts: LinkFacts): boolean {
  return facts.alias === placed.made.alias && hasShape(placed, facts);
}

/**
 * Returns whether a link can be the one that a run recorded and was killed before it knew the ifindex. No tool makes a
 * link and its alias at once (iproute2 6.1, Linux 6.18), so a link without an alias is it, too: before, there was none
 * of that name.
 */
export function isHalfMade(placed: Pick<PlacedMade, 'made'>, facts: LinkFacts): boolean {
  return isMadeHere(placed, facts) || (facts.alias === undefined && hasShape(placed, facts));
}
