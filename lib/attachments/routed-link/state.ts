/**
 * A routed link as kernel objects, desired and observed: link, addresses, routes, sysctls.
 */
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { type Address, isLinkLocal, type Prefix } from '../../values/address.js';
import type { PlacedLink } from './routed-link.js';
import { sysctlsOf } from './sysctls.js';

export function desiredLink(routed: PlacedLink, observation: Observation): NetObject[] {
  const { link: dev, table, protocol } = routed;
  const sysctls = [...sysctlsOf(routed)].filter(([path]) => observation.sysctls.has(path));
  const routes = [
    ...routed.addresses.map(({ prefix: to }) => ({ to, via: undefined })),
    ...routed.routes.map(({ to, via }) => ({ to, via: via.text })),
  ];
  return [
    { kind: 'link', dev, up: true },
    ...(routed.mtu === undefined ? [] : [{ kind: 'mtu' as const, dev, end: dev, bytes: routed.mtu }]),
    ...(routed.vrf === undefined ? [] : [{ kind: 'master' as const, dev, master: routed.vrf }]),
    ...sysctls.map(([path, value]): NetObject => ({ kind: 'sysctl', dev, path, value })),
    ...routed.gateways.map(endAddress).map((gateway): NetObject => addressObject(dev, gateway)),
    ...routes.map(({ to, via }): NetObject => (
      { kind: 'route', dev, to: to.text, via, table, protocol, ...sourceOf(routed, to) })),
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
    routed.gateways.map(endAddress).some((gateway) => isIn(found, gateway)) &&
      !(moves && found.address.family === 'inet6'));
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
    ...gateways.map((gateway): NetObject => addressObject(dev, gateway)),
    ...routes.map(({ to, via, table, src }): NetObject => ({
      kind: 'route', dev, to: to.text, via: via?.text, table, protocol, ...(src !== undefined && { src }),
    })),
  ];
}

function sourceOf({ sources }: PlacedLink, { family }: Prefix): { readonly src?: string } {
  const source = sources?.find((one) => one.family === family);
  return source === undefined ? {} : { src: source.text };
}

/** An address of the host's end, with the length that it has on the link. */
interface Place {
  readonly address: Address;
  readonly length: number;
}

function addressObject(dev: string, { address, length }: Place): NetObject {
  return { kind: 'address', dev, address: address.text, length };
}

/**
 * The kernel holds an IPv6 address once on a link, so one of another length is in the gateway's way; IPv4 has room for
 * both.
 */
function isIn(found: Place, { address, length }: Place): boolean {
  return found.address.text === address.text && (found.length === length || address.family === 'inet6');
}

/** A link-local IPv6 gateway needs its /64 on-link, to reach the guest's own link-local; any other is one address. */
function endAddress(address: Address): Place {
  return { address, length: address.family === 'inet6' && isLinkLocal(address) ? 64 : address.prefix.length };
}
