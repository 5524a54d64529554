/** The kind of a routed link. */
import * as z from 'zod/mini';
import type { Observation, Scope } from '../../kernel/observation.js';
import { type Address, bare, contains, endsOf } from '../../values/address.js';
import {
  type AttachedLink, type AttachmentKind, type Dependence, distinct, type Placing, type Shown,
} from '../attached.js';
import { madeLink, madeSchema } from '../made-link/kind.js';
import type { MadeLink, PlacedMacvtap, PlacedMade } from '../made-link/made-link.js';
import { address, attached, guarded, policy, prefix, recorded, word } from '../schema.js';
import { assertMade } from '../made-link/check.js';
import { assertRoutedLink } from './check.js';
import { deriveRoutedLink } from './derive.js';
import { forwardingPaths, lacksForwarding6, uplinkPaths } from './forwarding.js';
import { assertHostClaims, claimedOfHost, nearGateways } from './host-claims.js';
import { proxyLinks, proxySysctlPaths } from './proxies.js';
import { hasTable } from './route-tables.js';
import { addressFamilies, linkClaims, linkHoldsAny, type PlacedLink, type RoutedLink } from './routed-link.js';
import { desiredLink, observedLink } from './state.js';
import { RETRANS_TIME, sysctlsOf } from './sysctls.js';

export const routedLink: AttachmentKind<RoutedLink, PlacedLink> = {
  isSatellite: false,
  staysUntilRelease: false,
  attracts: { what: 'its routes', of: 'routed links' },
  schema: z.object({
    kind: z.literal('routed-link'), ...attached, addresses: z.array(address),
    routes: z.array(z.object({ to: prefix, via: address })), gateways: z.array(address), table: word,
    asksTable: z.optional(z.literal(true)), protocol: z.number(), vrf: z.optional(word), mtu: z.optional(z.number()),
    made: z.optional(madeSchema),
    proxy: z.optional(z.array(word)), managesSysctls: z.optional(z.literal(true)),
    linkLocal: z.optional(z.array(address)), sources: z.optional(z.array(address)), ...guarded, policy, ...recorded,
  }),
  derive: deriveRoutedLink,
  place,
  makes: (one) => madeLinks(one),
  scope,
  furtherScope,
  check: (one, surroundings) => {
    assertMade(one, surroundings);
    assertRoutedLink(one, surroundings);
    assertHostClaims(one, surroundings);
  },
  desired: desiredLink,
  observed: observedLink,
  // What a VRF's table is, only the host knows.
  resolve: (one, { links }) => {
    const table = one.vrf === undefined ? undefined : links.get(one.vrf)?.vrfTable;
    return table === undefined ? one : { ...one, table };
  },
  waiting: (one) => ({ ...one, proxy: undefined }),
  // No filter is left on it, so nothing passes.
  left: ({ link }) => [{ kind: 'link', dev: link, up: false }],
  claims: linkClaims,
  holdsAny: linkHoldsAny,
  routing: ({ protocol, table }) => ({ protocol, table }),
  proxies: (one) => proxyLinks(one).flatMap((dev) => one.addresses.map((address) => ({ dev, address }))),
  guard: (one) => ({
    how: 'link', filters: true, own: linkClaims(one), gateways: one.gateways, tagged: 'never', policy: one.policy,
    isolated: false, segments: [], bridge: undefined, linkLocal: one.linkLocal,
  }),
  guestEnd: ({ addresses, routes, gateways }) => ({ addresses, routes, gateways, retransTime: RETRANS_TIME }),
  dependsOn,
  shown,
  words: ({ made, addresses, routes, gateways }) => {
    const all = [...addressTexts(addresses), ...routes.map(({ to, via }) => `${to.text} via ${via.text}`)];
    return `routed link${madeWords(made)}: ${all.join(', ')}; gateway ${addressTexts(gateways).join(', ')}`;
  },
  withPlaceholders: (one, name) => {
    const named = { ...one, link: one.link ?? name };
    if (one.made?.kind !== 'veth' || one.made.on !== 'macvtap') return named;
    return { ...named, made: { ...one.made, macvtap: one.made.macvtap ?? name } };
  },
  foreseen: (one) => ({
    sysctls: [...sysctlsOf(one).keys()].map((path) => ({ path, source: path.replace(`/${one.link}/`, '/default/') })),
    vlans: undefined, up: one.made === undefined,
  }),
};

function place(one: RoutedLink): Placing<AttachedLink> {
  const { nic, mac, link, made } = one;
  if (link === undefined) return { lacks: 'created no link for this NIC' };
  const links: AttachedLink[] = [...madeLinks(one), { ...one, link } satisfies PlacedLink];
  if (made?.kind !== 'veth' || made.on !== 'macvtap') return { links };
  if (made.macvtap === undefined) return { lacks: 'created no macvtap for this NIC' };
  return { links: [...links, { kind: 'macvtap', nic, mac, link: made.macvtap } satisfies PlacedMacvtap] };
}

function madeLinks({ nic, mac, made }: RoutedLink): PlacedMade[] {
  return made === undefined ? [] : [{ kind: 'made-link', nic, mac, link: made.dev, made }];
}

function scope(one: RoutedLink, use: 'wanted' | 'recorded'): Partial<Scope> {
  const { link, vrf, table, protocol } = one;
  const claims = use === 'wanted' ? linkClaims(one) : [];
  const made = madeLinks(one).map((each) => madeLink.scope(each, use));
  return {
    links: distinct([link, vrf, ...proxyLinks(one), ...made.flatMap(({ links = [] }) => links)]),
    tables: hasTable(one) ? { protocol } : undefined,
    routes: link === undefined ? [] : [{ dev: link, protocol }],
    lookups: distinct([...claims.flatMap(endsOf), ...(use === 'wanted' ? claimedOfHost(one) : [])]),
    locals: claims.filter((claim) => endsOf(claim).length > 1).map(({ text }) => text),
    proxies: proxyLinks(one),
    // Lookups follow the rules, which need not lead to this table.
    exact: vrf === undefined && table !== 'main' ? claims.map(({ text: to }) => ({ to, table })) : [],
    sysctls: [
      ...(link === undefined ? [] : sysctlsOf({ ...one, link }).keys()), ...forwardingPaths(one),
      ...(addressFamilies(one).has('inet') ? ['net/ipv4/conf/all/arp_ignore'] : []),
      ...proxySysctlPaths(one),
      ...made.flatMap(({ sysctls = [] }) => sysctls),
    ],
  };
}

/**
 * Costs more to know: next hops for claims in a network the host itself is on (one that holds the whole of it holds the
 * host's own address), or that hold the next hop on their own way; and the routes of claims that lead to nowhere, which
 * a lookup does not show.
 */
function furtherScope(one: RoutedLink, observation: Observation): Partial<Scope> {
  const { links, lookups, nowhere } = observation;
  const claims = linkClaims(one);
  const isNear = (claim: (typeof claims)[number]): boolean => endsOf(claim).some((probe) => {
    const route = lookups.get(probe);
    if (route === undefined || route.protocol === String(one.protocol)) return false;
    return route.hops.length === 0 || route.hops.some(({ prefix }) => contains(claim, prefix));
  });
  const table = one.vrf === undefined ? undefined : links.get(one.vrf)?.vrfTable;
  const unreached = claims.filter((claim) => endsOf(claim).some((probe) => nowhere.has(probe)));
  return {
    nextHops: [...claims.filter(isNear), ...nearGateways(one, observation)],
    routers: lacksForwarding6(one, observation),
    sysctls: uplinkPaths(one, observation),
    exact: [
      ...(table === undefined ? [] : claims.map(({ text: to }) => ({ to, table }))),
      ...unreached.map(({ text: to }) => ({ to, table: 'all' })),
    ],
  };
}

function dependsOn({ vrf, proxy = [], made }: RoutedLink): Dependence {
  const macvtap = made?.kind === 'veth' && made.on === 'macvtap' ? made.macvtap : undefined;
  return { links: distinct([made?.dev, macvtap]), shared: distinct([vrf, ...proxy]), carried: new Map() };
}

function shown(one: RoutedLink): Shown {
  const addresses = addressTexts(one.addresses);
  const routes = linkClaims(one).map(bare).filter((claim) => !addresses.includes(claim));
  return {
    bridge: undefined, vlans: undefined, addresses, routes, network: `routed: ${[...addresses, ...routes].join(', ')}`,
  };
}

function addressTexts(addresses: readonly Address[]): string[] {
  return addresses.map(({ text }) => text);
}

function madeWords(made: MadeLink | undefined): string {
  if (made === undefined) return '';
  return made.kind === 'veth' ? ` on the veth pair ${made.dev} and ${made.peer}` : ` on the tap ${made.dev} that guestwire makes`;
}
