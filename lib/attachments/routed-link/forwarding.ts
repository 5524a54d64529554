/**
 * Forwarding, which routed links need and which is the whole host's to decide: a host that begins to forward IPv6 drops
 * the default routes it learned from router advertisements, unless `accept_ra` is 2 on their links before. guestwire
 * says so, and does it only where the host config lets it.
 */
import { HostError } from '../../errors.js';
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { sysctlPath } from '../../state/objects.js';
import { type Family, familyName } from '../../values/address.js';
import { quote, sysctlName } from '../../values/quote.js';
import { distinct, type SharedKind, type SharedWarning } from '../attached.js';
import type { Finding } from '../health-facts.js';
import { addressFamilies, linksIn, type RoutedLink, type WiredRoutedLink } from './routed-link.js';

const FORWARDING = {
  inet: 'net/ipv4/conf/all/forwarding',
  inet6: 'net/ipv6/conf/all/forwarding',
  /** Newer kernels forward with this although `forwarding` is 0. */
  forced6: 'net/ipv6/conf/all/force_forwarding',
};

/** Returns the sysctls that say whether the host forwards for this link's families. */
export function forwardingPaths(link: RoutedLink): string[] {
  const families = addressFamilies(link);
  return [
    ...(families.has('inet') ? [FORWARDING.inet] : []),
    ...(families.has('inet6') ? [FORWARDING.inet6, FORWARDING.forced6] : []),
  ];
}

/** Returns whether the host lacks IPv6 forwarding for this link. */
export function lacksForwarding6(link: RoutedLink, { sysctls }: Pick<Observation, 'sysctls'>): boolean {
  return addressFamilies(link).has('inet6') &&
    sysctls.get(FORWARDING.inet6) !== '1' &&
    sysctls.get(FORWARDING.forced6) !== '1';
}

/** Returns whether guestwire turns on forwarding of this family for the link. */
export function turnsOn(link: RoutedLink, family: Family, observation: Pick<Observation, 'sysctls'>): boolean {
  if (link.managesSysctls !== true || !addressFamilies(link).has(family)) return false;
  return family === 'inet' ? observation.sysctls.get(FORWARDING.inet) !== '1' : lacksForwarding6(link, observation);
}

/** Throws HostError when the host does not forward what the link needs and guestwire may not change that. */
export function assertForwarding(routed: RoutedLink, observation: Observation): void {
  if (routed.managesSysctls === true) return;
  const cure = ", or set 'manage_sysctls = true' in [routed]";
  if (addressFamilies(routed).has('inet') && observation.sysctls.get(FORWARDING.inet) !== '1') {
    const lack = unforwarded('inet', []);
    throw new HostError(`${lack.what}: run '${lack.cure}'${cure}`);
  }
  if (!lacksForwarding6(routed, observation)) return;
  const { routers = [] } = observation;
  const lack = unforwarded('inet6', routers);
  const first = routers.length === 0 ? ' (first accept_ra=2 on links that use router advertisements)' : '';
  throw new HostError(`${lack.what}: run '${lack.cure}'${first}${cure}`);
}

/**
 * Returns what is wrong with a host that does not forward the family, and the command that cures it; `routers` are the
 * links with a default route from router advertisements.
 */
export function unforwarded(family: Family, routers: readonly string[]): Pick<Finding, 'what' | 'cure'> {
  const what = `this host does not forward ${familyName(family)}`;
  if (family === 'inet') return { what, cure: 'sysctl -w net.ipv4.ip_forward=1' };
  const kept = routers.map((dev) => `${sysctlName(`net/ipv6/conf/${dev}/accept_ra`)}=2`);
  return { what, cure: `sysctl -w ${[...kept, 'net.ipv6.conf.all.forwarding=1'].join(' ')}` };
}

/** Returns what is wrong with an uplink that does not forward IPv4, and the command that cures it. */
export function unforwardedOn(
  dev: string, sysctls: ReadonlyMap<string, string>,
): Pick<Finding, 'what' | 'cure'> | undefined {
  const path = uplinkPath(dev);
  return sysctls.get(path) === '0'
    ? { what: `uplink ${quote(dev)} does not forward IPv4`, cure: `sysctl -w ${sysctlName(path)}=1` }
    : undefined;
}

/** Returns what is wrong with a host that leaves guests' ARP requests unanswered, and the command that cures it. */
export function ignoredArp(sysctls: ReadonlyMap<string, string>): Pick<Finding, 'what' | 'cure'> | undefined {
  const path = 'net/ipv4/conf/all/arp_ignore';
  const value = sysctls.get(path);
  return value !== undefined && DEAF.has(value)
    ? { what: `arp_ignore of all links is ${value}`, cure: `sysctl -w ${sysctlName(path)}=1` }
    : undefined;
}

/** The gateway has no subnet, in which the sender would have to be (2); 8 is silence (Linux, ip-sysctl.rst). */
const DEAF: ReadonlySet<string> = new Set(['2', '8']);

function uplinkPath(dev: string): string {
  return `net/ipv4/conf/${dev}/forwarding`;
}

/**
 * Returns the sysctl that says whether the link forwards by which the world reaches these addresses: the lookups for
 * them show it while no guest has them.
 */
export function uplinkPaths(link: RoutedLink, { lookups }: Pick<Observation, 'lookups'>): string[] {
  return uplinksOf(link, lookups).map(uplinkPath);
}

function uplinksOf({ addresses, link }: RoutedLink, lookups: Observation['lookups']): string[] {
  return distinct(addresses
    .filter(({ family }) => family === 'inet')
    .map(({ text }) => lookups.get(text))
    .filter((route) => route?.type === 'unicast' && route.dev !== link)
    .map((route) => route?.dev));
}

/** Settings of the host that cut the guest off, although its own link has all that it needs. */
function warningsFor(links: readonly WiredRoutedLink[], { lookups, sysctls }: Observation): SharedWarning[] {
  return links.filter((one) => addressFamilies(one).has('inet')).flatMap((one) => [
    ...uplinksOf(one, lookups).map((dev) => unforwardedOn(dev, sysctls)), ignoredArp(sysctls),
  ].flatMap((fault) => (fault === undefined
    ? []
    : [{ links: [one.link], text: `${fault.what}, so the guest has no IPv4: run '${fault.cure}'` }])));
}

/** The sysctls that guestwire sets for the whole host. They stay set. */
export const forwarding: SharedKind = {
  observed: ({ wanted }, observation) => settingsFor(linksIn(wanted), observation)
    .map(({ dev, path, value }) => ({ kind: 'host-sysctl', dev, path, value })),
  plan: ({ wanted }, observation) => ({
    desired: settingsFor(linksIn(wanted), observation).map(({ dev, path, wanted: value }) => ({
      kind: 'host-sysctl', dev, path, value,
    })),
    during: [], after: [], warnings: warningsFor(linksIn(wanted), observation),
  }),
};

/** A host that forwards no more forwards on no link: one refusal has the command that repairs both. */
export function isRefused(difference: NetObject, { sysctls }: Pick<Observation, 'sysctls'>): boolean {
  const path = sysctlPath(difference);
  if (path === `net/ipv4/conf/${difference.dev}/forwarding`) return sysctls.get(FORWARDING.inet) === '0';
  return path === `net/ipv6/conf/${difference.dev}/forwarding` &&
    sysctls.get(FORWARDING.inet6) === '0' && sysctls.get(FORWARDING.forced6) !== '1';
}

interface Setting {
  readonly dev: string;
  readonly path: string;
  readonly value: string;
  readonly wanted: string;
}

function settingsFor(links: readonly RoutedLink[], observation: Pick<Observation, 'sysctls' | 'routers'>): Setting[] {
  const managed = links.filter(({ managesSysctls }) => managesSysctls === true);
  const paths = new Set(managed.flatMap(forwardingPaths));
  paths.delete(FORWARDING.forced6);
  if (observation.sysctls.get(FORWARDING.forced6) === '1') paths.delete(FORWARDING.inet6);
  const routers = managed.some((link) => lacksForwarding6(link, observation)) ? (observation.routers ?? []) : [];
  return [
    ...routers.map((dev) => ({ dev, path: `net/ipv6/conf/${dev}/accept_ra`, value: '1', wanted: '2' })),
    ...[...paths].map((path) => ({ dev: 'all', path, value: observation.sysctls.get(path) ?? '0', wanted: '1' })),
  ];
}
