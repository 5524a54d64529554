/**
 * Intent to routed link: addresses, routes, gateways and table, and whether the host permits them.
 */
import type { HostConfig } from '../../config/host-config.js';
import type { Nic } from '../../domain/domain.js';
import { ConflictError, NotAllowedError, UnsupportedError } from '../../errors.js';
import {
  type Address, asPrefix, bare, contains, type Family, familyName, type Prefix,
} from '../../values/address.js';
import { quote } from '../../values/quote.js';
import type { DeriveContext } from '../attached.js';
import { guardedBy, policyBy, type TrustPermit } from '../filter-intent.js';
import type { Intent, RoutedIntent } from '../sources.js';
import { assertMtuCarries, hostEnd } from './link.js';
import { assertNotGiven, assertRoutingPermitted } from './permits.js';
import type { RoutedLink } from './routed-link.js';

/** Returns the link; undefined: the intent asks for none. */
export function deriveRoutedLink(
  intent: Intent, { config, domain }: DeriveContext,
): RoutedLink | undefined {
  const { nic, routed, vlan, isolated, filter } = intent;
  if (routed === undefined) return undefined;
  if (vlan !== undefined || isolated !== undefined) {
    throw new UnsupportedError('a VLAN or port setting and a routed link exclude each other: keep one of them');
  }
  const link = routedLinkOf(nic, { routed, config, domain });
  const permit: TrustPermit = { place: 'routed links', table: 'routed', words: config.routed.trust };
  return {
    ...link, ...guardedBy(filter, { config, permit }),
    policy: policyBy(filter, { config, name: domain.name }),
  };
}

interface RoutedRequest extends DeriveContext {
  readonly routed: RoutedIntent;
}

function routedLinkOf(nic: Nic, { routed, config, domain }: RoutedRequest): Omit<RoutedLink, 'policy'> {
  const { link, mtu, made } = hostEnd({ domain, nic, veth: routed.veth });
  const claims = [...routed.addresses, ...routed.routes.map((route) => route.to)].map(asPrefix);
  for (const claim of claims) assertPermitted(claim, config);
  if (routed.byMetadata === true) assertNotGiven(claims, { config, domain });
  assertRoutingPermitted(routed, config);
  const families = new Set(routed.addresses.map((address) => address.family));
  const gateways = config.routed.gateways.filter((gateway) => families.has(gateway.family));
  for (const family of families) {
    if (gateways.some((gateway) => gateway.family === family)) continue;
    const shown = familyName(family);
    throw new NotAllowedError(`no ${shown} gateway on this host: add one to 'gateways' in [routed] of the host config, or remove the guest's ${shown} addresses`);
  }
  assertMtuCarries(mtu, families.has('inet6'));
  const { table, protocol, proxy, manageSysctls } = config.routed;
  return {
    kind: 'routed-link', nic: nic.index, mac: nic.mac, link,
    addresses: routed.addresses, routes: routed.routes, gateways: [...gateways, ...servingAddress(config, families)],
    table: routed.vrf === undefined ? (routed.table ?? table) : `vrf ${routed.vrf}`,
    protocol,
    ...(asksTable(routed, table) ? { asksTable: true } : {}),
    ...(routed.vrf === undefined ? {} : { vrf: routed.vrf }),
    ...(mtu !== undefined && { mtu }),
    ...(made && { made }),
    ...(proxy.length > 0 ? { proxy } : {}),
    ...(manageSysctls ? { managesSysctls: true } : {}),
    ...towardsHost(config, { families, vrf: routed.vrf }),
  };
}

function asksTable({ byMetadata, table }: RoutedIntent, usual: string): boolean {
  return byMetadata === true && table !== undefined && table !== usual && table !== 'main';
}

/** In a VRF the host has other addresses, if any. */
function towardsHost(
  { routed: { linkLocal, sources } }: HostConfig,
  { families, vrf }: { readonly families: ReadonlySet<Family>; readonly vrf: string | undefined },
): Pick<RoutedLink, 'linkLocal' | 'sources'> {
  const own = vrf === undefined ? sources.filter(({ family }) => families.has(family)) : [];
  return {
    ...(linkLocal.length > 0 && families.has('inet') ? { linkLocal } : {}), ...(own.length > 0 ? { sources: own } : {}),
  };
}

function servingAddress({ serve }: HostConfig, families: ReadonlySet<Family>): Address[] {
  return serve?.on === true && families.has('inet6') ? [serve.address] : [];
}

function assertPermitted(claim: Prefix, config: HostConfig): void {
  const { prefixes, gateways } = config.routed;
  if (prefixes !== undefined && !prefixes.some((prefix) => contains(prefix, claim))) {
    const offered = prefixes.map((prefix) => prefix.text).join(', ');
    throw new NotAllowedError(`${quote(bare(claim))} is outside the prefixes of this host: 'prefixes' in [routed] of the host config has ${quote(offered)}`);
  }
  const gateway = [...gateways, ...servingAddress(config, new Set(['inet6']))].find(({ prefix }) =>
    contains(claim, prefix));
  if (gateway !== undefined) {
    throw new ConflictError(`${quote(bare(claim))} contains this host's gateway ${quote(gateway.text)}: give the guest another address`);
  }
}
