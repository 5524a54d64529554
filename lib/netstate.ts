import type { Placed, PlacedLink, PlacedPort, RoutedLink } from './attachment.js';
import type { Observation } from './kernel/observation.js';
import { desiredMacvtap, desiredMade, observedMacvtap, observedMade } from './madestate.js';
import { type NetObject, type NetState, netState } from './state/netstate.js';
import { type Family, hostPrefix, parseAddress } from './values/address.js';

/**
 * Returns what the kernel should hold for these attachments. `observation` decides what cannot be wished: a sysctl that
 * this kernel does not have is not asked for.
 */
export function desiredState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(
    attachments.flatMap((attachment): readonly NetObject[] => {
      switch (attachment.kind) {
        case 'vlan-port': return desiredPort(attachment, observation);
        case 'routed-link': return desiredLink(attachment, observation);
        case 'made-link': return desiredMade(attachment, observation);
        case 'macvtap': return desiredMacvtap(attachment, observation);
      }
    }),
  );
}

/**
 * Returns what of the observed kernel is guestwire's, for links that these attachments wire or once wired: of a VLAN port
 * its whole VID table, of a routed link the gateways and the routes that carry our protocol number.
 */
export function observedState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(
    attachments.flatMap((attachment): readonly NetObject[] => {
      switch (attachment.kind) {
        case 'vlan-port': return observedPort(attachment, observation);
        case 'routed-link': return observedLink(attachment, observation);
        case 'made-link': return observedMade(attachment, observation);
        case 'macvtap': return observedMacvtap(attachment, observation);
      }
    }),
  );
}

/** Returns `state` with the routed links among `wired` down. */
export function downOf(wired: readonly Placed[], state: NetState): NetState {
  const links = new Set(wired.flatMap(({ kind, link }) => (kind === 'routed-link' ? [link] : [])));
  return netState([...state.filter(({ kind, dev }) => kind !== 'link' || !links.has(dev)), ...[...links].map((dev) => ({ kind: 'link' as const, dev, up: false }))]);
}

/**
 * Milliseconds between two questions for a guest's MAC (kernel: 1000). Who calls a guest that still boots has made the host ask
 * before there was anybody to answer, and waits for the host's next question. Whole ticks of any kernel (HZ 100, 250, 300,
 * 1000), because the kernel shows what it rounded to. Advertised, it holds for the guest, too.
 */
export const RETRANS_TIME = 200;

/** How often the host asks before it gives a guest up: for 3 s in all as the kernel does, because a busy guest may be slow. */
const SOLICITATIONS = '15';

/** Returns the sysctls that a routed link sets, by path below /proc/sys, with the value each gets. */
export function sysctlsOf(routed: PlacedLink): ReadonlyMap<string, string> {
  const families = familiesOf(routed);
  const { link } = routed;
  const sysctls = new Map([
    // A guest's router advertisement must never give the host a default route or an address.
    [`net/ipv6/conf/${link}/accept_ra`, '0'],
    // Nor may it tell the host a next hop: it speaks IPv6 with link-local addresses even where it has none of its own.
    [`net/ipv6/conf/${link}/accept_redirects`, '0'],
  ]);
  if (families.has('inet6')) {
    // An admin's default of 1 would refuse every IPv6 address on the link.
    sysctls.set(`net/ipv6/conf/${link}/disable_ipv6`, '0');
    // Without it the gateway's neighbour advertisements lack the router flag (RFC 4861 section 4.4).
    sysctls.set(`net/ipv6/conf/${link}/forwarding`, '1');
    sysctls.set(`net/ipv6/neigh/${link}/mcast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv6/neigh/${link}/ucast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv6/neigh/${link}/retrans_time_ms`, String(RETRANS_TIME));
  }
  // IPv4 decides by the link a packet came in on, and a link made before ip_forward was set keeps 0.
  if (families.has('inet')) {
    sysctls.set(`net/ipv4/conf/${link}/forwarding`, '1');
    sysctls.set(`net/ipv4/conf/${link}/accept_redirects`, '0');
    sysctls.set(`net/ipv4/conf/${link}/send_redirects`, '0');
    // What nft does not see: it also keeps the host from answering ARP requests of a forged sender.
    sysctls.set(`net/ipv4/conf/${link}/rp_filter`, '1');
    sysctls.set(`net/ipv4/neigh/${link}/mcast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv4/neigh/${link}/ucast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv4/neigh/${link}/retrans_time_ms`, String(RETRANS_TIME));
  }
  return sysctls;
}

/** Returns the families of a routed link's addresses. */
export function familiesOf(routed: RoutedLink): ReadonlySet<Family> {
  return new Set(routed.addresses.map((address) => parseAddress(address).family));
}

function desiredPort(port: PlacedPort, { links }: Observation): NetObject[] {
  const facts = links.get(port.link);
  return [
    ...port.vlans.map((member): NetObject => ({ kind: 'vlan', dev: port.link, ...member })),
    ...(port.isolated === undefined ? [] : [{ kind: 'isolated' as const, dev: port.link, on: port.isolated }]),
    // Wanted as it is: here for the journal, because a flush sets it to 0 for a moment.
    ...(facts === undefined ? [] : [{ kind: 'txqlen' as const, dev: port.link, length: facts.txqlen }]),
  ];
}

function observedPort(port: PlacedPort, { links, vlans }: Observation): NetObject[] {
  const facts = links.get(port.link);
  if (facts === undefined) return [];
  const members = vlans.get(port.link) ?? [];
  return [
    ...members.map((member): NetObject => ({ kind: 'vlan', dev: port.link, ...member })),
    ...(port.isolated === undefined || facts.isolated === undefined
      ? []
      : [{ kind: 'isolated' as const, dev: port.link, on: facts.isolated }]),
    { kind: 'txqlen', dev: port.link, length: facts.txqlen },
  ];
}

function desiredLink(routed: PlacedLink, observation: Observation): NetObject[] {
  const { link: dev, table, protocol } = routed;
  const sysctls = [...sysctlsOf(routed)].filter(([path]) => observation.sysctls.has(path));
  const hosts = routed.addresses.map((address) => ({ to: hostPrefix(parseAddress(address)).text, via: undefined }));
  return [
    { kind: 'link', dev, up: true },
    ...(routed.mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end: dev, bytes: routed.mtu }]),
    ...(routed.vrf === undefined ? [] : [{ kind: 'master' as const, dev, master: routed.vrf }]),
    ...sysctls.map(([path, value]): NetObject => ({ kind: 'sysctl', dev, path, value })),
    ...routed.gateways.map((gateway): NetObject => ({ kind: 'address', dev, ...gatewayAddress(gateway) })),
    ...[...hosts, ...routed.routes].map((route): NetObject => ({ kind: 'route', dev, ...route, table, protocol })),
  ];
}

function observedLink(routed: PlacedLink, observation: Observation): NetObject[] {
  const { link: dev, protocol } = routed;
  const facts = observation.links.get(dev);
  if (facts === undefined) return [];
  const sysctls = [...sysctlsOf(routed).keys()].flatMap((path): NetObject[] => {
    const value = observation.sysctls.get(path);
    return value === undefined ? [] : [{ kind: 'sysctl', dev, path, value }];
  });
  // Putting it into the VRF takes its IPv6 addresses and its routes away: they are to be made again.
  const moves = routed.vrf !== undefined && facts.master !== routed.vrf;
  const gateways = facts.addresses.filter((found) => routed.gateways.map(gatewayAddress).some((gateway) => isIn(found, gateway)) && !(moves && found.address.includes(':')));
  const routes = observation.routes.filter((route) => route.dev === dev && route.protocol === String(protocol) && !moves);
  return [
    { kind: 'link', dev, up: facts.up },
    ...(routed.mtu === undefined || facts.mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end: dev, bytes: facts.mtu }]),
    ...(routed.vrf === undefined || facts.master === undefined ? [] : [{ kind: 'master' as const, dev, master: facts.master }]),
    ...sysctls,
    ...gateways.map(({ address, length }): NetObject => ({ kind: 'address', dev, address, length })),
    ...routes.map(({ to, via, table }): NetObject => ({ kind: 'route', dev, to: to.text, via, table, protocol })),
  ];
}

/** The kernel holds an IPv6 address once on a link, so one of another length is in the gateway's way; IPv4 has room for both. */
function isIn(found: { readonly address: string; readonly length: number }, gateway: { readonly address: string; readonly length: number }): boolean {
  return found.address === gateway.address && (found.length === gateway.length || gateway.address.includes(':'));
}

/** A link-local IPv6 gateway needs its /64 on-link, to reach the guest's own link-local; any other is one address. */
function gatewayAddress(gateway: string): { address: string; length: number } {
  const { family } = parseAddress(gateway);
  if (family === 'inet') return { address: gateway, length: 32 };
  return { address: gateway, length: /^fe[89ab]/.test(gateway) ? 64 : 128 };
}
