/**
 * A routed link as kernel objects, desired and observed: link, addresses, routes, sysctls.
 */
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { hostPrefix, parseAddress } from '../../values/address.js';
import type { PlacedLink } from './routed-link.js';
import { sysctlsOf } from './sysctls.js';

export function desiredLink(routed: PlacedLink, observation: Observation): NetObject[] {
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

export function observedLink(routed: PlacedLink, observation: Observation): NetObject[] {
  const { link: dev, protocol } = routed;
  const facts = observation.links.get(dev);
  if (facts === undefined) return [];
  const sysctls = [...sysctlsOf(routed).keys()].flatMap((path): NetObject[] => {
    const value = observation.sysctls.get(path);
    return value === undefined ? [] : [{ kind: 'sysctl', dev, path, value }];
  });
  // Putting it into the VRF takes its IPv6 addresses and its routes away: they are to be made again.
  const moves = routed.vrf !== undefined && facts.master !== routed.vrf;
  const gateways = facts.addresses.filter((found) =>
    routed.gateways.map(gatewayAddress).some((gateway) => isIn(found, gateway)) &&
      !(moves && found.address.includes(':')));
  const routes = observation.routes.filter((route) =>
    route.dev === dev && route.protocol === String(protocol) && !moves);
  return [
    { kind: 'link', dev, up: facts.up },
    ...(routed.mtu === undefined || facts.mtu === undefined
      ? []
      : [{ kind: 'mtu' as const, dev, end: dev, bytes: facts.mtu }]),
    ...(routed.vrf === undefined || facts.master === undefined
      ? []
      : [{ kind: 'master' as const, dev, master: facts.master }]),
    ...sysctls,
    ...gateways.map(({ address, length }): NetObject => ({ kind: 'address', dev, address, length })),
    ...routes.map(({ to, via, table }): NetObject => ({ kind: 'route', dev, to: to.text, via, table, protocol })),
  ];
}

/**
 * The kernel holds an IPv6 address once on a link, so one of another length is in the gateway's way; IPv4 has room for
 * both.
 */
function isIn(
  found: { readonly address: string; readonly length: number },
  gateway: { readonly address: string; readonly length: number },
): boolean {
  return found.address === gateway.address && (found.length === gateway.length || gateway.address.includes(':'));
}

/** A link-local IPv6 gateway needs its /64 on-link, to reach the guest's own link-local; any other is one address. */
function gatewayAddress(gateway: string): { address: string; length: number } {
  const { family } = parseAddress(gateway);
  if (family === 'inet') return { address: gateway, length: 32 };
  return { address: gateway, length: /^fe[89ab]/.test(gateway) ? 64 : 128 };
}
