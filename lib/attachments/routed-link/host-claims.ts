/**
 * What the host config claims for routed links, held against the host: the host itself has no gateway as an address or
 * as a next hop, and has the source towards guests as an address. IPv6 link-local gateways are not checked: the kernel
 * keeps them apart by link. IPv4 has one table of local addresses for all links: the host answers ARP for a gateway on
 * every link, and a route via that gateway moves to the guest's link.
 */
import { HostError } from '../../errors.js';
import type { Observation, RouteFacts } from '../../kernel/observation.js';
import { type Address, bare, isLinkLocal, type Prefix } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import type { Surroundings } from '../attached.js';
import type { RoutedLink } from './routed-link.js';

type Claims = Pick<RoutedLink, 'gateways' | 'sources'>;

/** Returns the addresses to look up. */
export function claimedOfHost({ gateways, sources = [] }: Claims): string[] {
  return [...gateways.filter(isHostWide), ...sources].map(({ text }) => text);
}

/** Returns the gateways that may be a next hop of the host: those in a network that the host is on, or on a route. */
export function nearGateways(
  { gateways }: Pick<Claims, 'gateways'>, { lookups }: Pick<Observation, 'lookups'>,
): Prefix[] {
  return gateways.filter((gateway) => {
    const route = isHostWide(gateway) ? lookups.get(gateway.text) : undefined;
    return route !== undefined && route.type === 'unicast' &&
      (route.hops.length === 0 || route.hops.some(({ text }) => text === gateway.text));
  }).map(({ prefix }) => prefix);
}

/** Throws HostError for a gateway that the host itself uses, and for a source that the host does not have. */
export function assertHostClaims(
  { gateways, sources = [] }: Claims, { observation: { lookups, nextHops }, own, isGuestLink }: Surroundings,
): void {
  const isGuests = (dev: string): boolean => own.some(({ link }) => link === dev) || isGuestLink(dev);
  for (const gateway of gateways.filter(isHostWide)) {
    const fault = gatewayFault(gateway, { locals: [lookups.get(gateway.text)], nextHops, isGuests });
    if (fault !== undefined) throw new HostError(`${fault}: ${CURE}`);
  }
  for (const { text } of sources) {
    if (lookups.get(text)?.type === 'local') continue;
    throw new HostError(`${sourceFault(text)}: add it to a link, or correct 'source'`);
  }
}

export const CURE = "list another address in 'gateways' of [routed]";

interface GatewayFacts extends Pick<Observation, 'nextHops'> {
  /** Routes of the host among which are those to its own addresses. */
  readonly locals: readonly (RouteFacts | undefined)[];
  readonly isGuests: (dev: string) => boolean;
}

/** Returns what is wrong with a gateway of the host config, in words; undefined: nothing. */
export function gatewayFault(gateway: Address, { locals, nextHops, isGuests }: GatewayFacts): string | undefined {
  const what = `gateway ${quote(gateway.text)} of the host config is`;
  const hop = nextHops.find(({ hops, dev }) => hops.some(({ text }) => text === gateway.text) && !isGuests(dev ?? ''));
  if (hop !== undefined) return `${what} the next hop of this host's route ${quote(bare(hop.to))} on ${quote(hop.dev ?? '')}`;
  if (isLinkLocal(gateway)) return undefined;
  const taken = locals.find((route) => route && bare(route.to) === gateway.text && !isGuests(route.dev ?? ''));
  if (taken === undefined) return undefined;
  const { type, to, dev = '' } = taken;
  return type === 'local'
    ? `${what} an address of this host on ${quote(dev)}`
    : `${what} the destination of this host's route ${quote(`${type === 'unicast' ? '' : `${type} `}${bare(to)}`)} on ${quote(dev)}`;
}

/** Returns what is wrong with a source that no link of the host has. */
export function sourceFault(text: string): string {
  return `${quote(text)}, the 'source' of [routed] in the host config, is not an address of this host`;
}

/** Returns whether an address of one link is known on all links. */
export function isHostWide(address: Address): boolean {
  return address.family === 'inet' || !isLinkLocal(address);
}
