/**
 * Attachments to scope: exactly what must be asked of the kernel to wire, check and verify them.
 */
import { trackedBy } from '../intent/policy.js';
import type { Scope } from '../kernel/observation.js';
import { disableIpv6Path } from '../state/objects/sysctl.js';
import { type Attachment, claimsOf, distinct, madeOf, type Placed, probesOf, type RoutedLink } from './attachment.js';
import { namesOf } from './made-link/made-link.js';
import { IPV6_PROBE } from './made-link/state.js';
import { forwardingPathsOf } from './routed-link/forwarding.js';
import { proxyLinksOf, proxySysctlPaths } from './routed-link/proxies.js';
import { hasTable } from './routed-link/route-tables.js';
import { sysctlsOf } from './routed-link/sysctls.js';
import { familiesOf } from './wired.js';

/** Returns what to ask for `wanted`, checks of the host included, and for `recorded`, which may only be given up. */
export function scopeOf(wanted: readonly Attachment[], recorded: readonly (Attachment | Placed)[] = []): Scope {
  const all = [...wanted, ...recorded];
  const made = all.flatMap((attachment) => (attachment.kind === 'made-link' ? [attachment] : attachment.kind === 'routed-link' ? madeOf([attachment]) : []));
  const macvtaps = [...all.flatMap((one) => (one.kind === 'macvtap' ? [one.link] : [])), ...made.flatMap((one) => (one.made.kind === 'veth' ? (one.made.macvtap ?? []) : []))];
  const routed = all.filter((attachment) => attachment.kind === 'routed-link');
  const claims = wanted.flatMap((attachment) => (attachment.kind === 'routed-link' ? claimsOf(attachment) : []));
  const vlanPorts = all.filter((attachment) => attachment.kind === 'vlan-port');
  const bridges = vlanPorts.map(({ bridge }) => bridge);
  const proxies = distinct(routed.flatMap(proxyLinksOf));
  const uplinks = distinct(vlanPorts.flatMap((port) => port.uplinks));
  return {
    links: distinct([...all.map((attachment) => attachment.link), ...made.flatMap((one) => namesOf(one.made)), ...macvtaps, ...bridges, ...uplinks, ...proxies, ...routed.map(({ vrf }) => vrf)]),
    ports: distinct([...vlanPorts.map(({ link }) => link), ...uplinks]),
    bridges: distinct(vlanPorts.filter((port) => port.uplinks.length > 0).map(({ bridge }) => bridge)),
    subinterfaces: wanted.some((attachment) => attachment.kind === 'vlan-port' && attachment.uplinks.length > 0),
    tables: all.some(hasTable) ? { protocol: routed[0]?.protocol ?? 0 } : undefined,
    filters: familiesOf(recorded),
    tracking: wanted.some((attachment) => attachment.kind === 'vlan-port' && trackedBy(attachment.policy) !== undefined),
    routes: routed.flatMap(({ link: dev, protocol }) => (dev === undefined ? [] : [{ dev, protocol }])),
    lookups: distinct(claims.flatMap(probesOf)),
    locals: distinct(claims.filter((claim) => probesOf(claim).length > 1).map(({ text }) => text)),
    nextHops: [],
    proxies,
    // Lookups follow the rules, which need not lead to this table.
    exact: wanted.flatMap((link) => (link.kind === 'routed-link' && link.vrf === undefined && link.table !== 'main' ? claimsOf(link).map(({ text: to }) => ({ to, table: link.table })) : [])),
    sysctls: distinct(routed.flatMap((link) => [...sysctlPathsOf(link), ...forwardingPathsOf(link), ...proxySysctlPaths(link)]).concat(
      made.flatMap((one) => (one.made.kind === 'veth' ? [IPV6_PROBE, disableIpv6Path(one.made.peer)] : [])), macvtaps.map(disableIpv6Path))),
  };
}

function sysctlPathsOf(link: RoutedLink): string[] {
  return link.link === undefined ? [] : [...sysctlsOf({ ...link, link: link.link }).keys()];
}
