/**
 * The words of all sources to what a NIC's filters are to do: merged, and held against what the host permits and what a
 * kind of attachment can honour.
 */
import type { HostConfig } from '../config/host-config.js';
import { locate, NotAllowedError, UnsupportedError } from '../errors.js';
import type { FilterWords } from '../intent/filter-words.js';
import {
  type Allow, NO_TRUST, type Policy, type Profile, type Trust, TRUST_WORDS, type TrustWord,
} from '../intent/policy.js';
import type { Own } from '../values/address.js';
import { assertAtMost } from '../values/lists.js';
import { quote } from '../values/quote.js';

/** What each source says; a source that says nothing is undefined. */
export interface FilterSources {
  readonly metadata: FilterWords | undefined;
  readonly filterref: FilterWords | undefined;
  /** The host's table for this guest. */
  readonly guest: FilterWords | undefined;
}

/**
 * Returns whether metadata or host config asks for something that needs a VLAN or a routed link. A `<filterref>` does
 * not count.
 */
export function asksForFilters({ metadata, guest }: FilterSources): boolean {
  return metadata !== undefined || guest !== undefined;
}

/** Where the metadata may ask for trust, in words, and what for. */
export interface TrustPermit {
  readonly place: string;
  readonly table: string;
  readonly words: ReadonlySet<TrustWord>;
}

const DEFAULT_PROFILE: Profile = 'isolated';

/**
 * Returns the part that every attachment has. Throws NotAllowedError. Without `permit` it is not known yet where the
 * NIC goes.
 */
export function guardedBy(
  sources: FilterSources,
  { config, permit }: { readonly config: HostConfig; readonly permit: TrustPermit | undefined },
): { readonly trust?: Trust; readonly logged?: true } {
  const trust = permittedTrust(sources, permit);
  const log = sources.metadata?.log ?? sources.guest?.log ?? config.filter.log;
  return { ...(trust && { trust }), ...(log ? { logged: true } : {}) };
}

/** What the host's own table grants needs no leave: it is the host that grants it. */
function permittedTrust(
  { metadata, guest }: FilterSources, permit: TrustPermit | undefined,
): Trust | undefined {
  const refused = TRUST_WORDS.find((word) =>
    metadata?.trust?.[word] === true && guest?.trust?.[word] !== true && permit?.words.has(word) === false);
  if (refused !== undefined && permit !== undefined) {
    throw new NotAllowedError(`<gw:trust> ${refused}='yes' is not allowed on ${permit.place}: add "${refused}" to 'trust' in [${permit.table}] of the host config, or remove it`);
  }
  const trust = { ...NO_TRUST, ...definedOf(guest?.trust), ...definedOf(metadata?.trust) };
  return TRUST_WORDS.some((word) => trust[word]) ? trust : undefined;
}

function definedOf(words: FilterWords['trust']): Partial<Trust> {
  return Object.fromEntries(Object.entries(words ?? {}).filter(([, on]) => on !== undefined));
}

/** Returns the addresses that a VLAN port declares. */
export function declaredBy({ metadata, filterref, guest }: FilterSources): { readonly declared?: readonly Own[] } {
  const declared = metadata?.ips ?? filterref?.ips ?? guest?.ips;
  locate(UnsupportedError, undefined, () => { assertAtMost(MOST.addresses, 'addresses', declared?.length ?? 0); });
  return declared === undefined ? {} : { declared };
}

interface PolicyContext {
  readonly config: HostConfig;
  /** The guest's. */
  readonly name: string;
}

/**
 * Throws NotAllowedError for a group that only the metadata names and the host config does not offer: its members let
 * one another in.
 */
function assertGroups({ metadata, guest }: FilterSources, { filter: { groups: open } }: HostConfig): void {
  const refused = metadata?.groups?.find((name) => open?.has(name) === false && guest?.groups?.includes(name) !== true);
  if (refused === undefined) return;
  const list = open === undefined || open.size === 0 ? 'is empty' : `has ${quote([...open].join(', '))}`;
  throw new NotAllowedError(`group ${quote(refused)} is not open to metadata: 'groups' in [filter] of the host config ${list}: add it there, or remove <gw:group>`);
}

/**
 * Returns the policy of a VLAN port: unless its own words say otherwise, its VLANs decide. Throws NotAllowedError,
 * and UnsupportedError for the word that no bridge can honour.
 */
export function portPolicyBy(sources: FilterSources, { config, name }: PolicyContext): Policy {
  assertGroups(sources, config);
  const policy = { ...profileOf(sources, 'open'), ...permissions(sources, name), offers: { dhcp: false, dns: [] } };
  const toHost = policy.allows.find(({ peers }) => peers.some(({ kind }) => kind === 'host'));
  if (toHost === undefined) return policy;
  throw new UnsupportedError(`${toHost.origin ?? '<gw:allow>'}: 'host' does not work on a VLAN port: name this host's addresses, and protect the host with its own firewall`);
}

/**
 * Returns the policy of a routed link. Throws NotAllowedError, and UnsupportedError for addresses that are said in the
 * wrong place.
 */
export function policyBy(sources: FilterSources, { config, name }: PolicyContext): Policy {
  assertGroups(sources, config);
  const { metadata, guest } = sources;
  if (metadata?.ips !== undefined) throw new UnsupportedError('<gw:ip> is outside <gw:routed>: move it into <gw:routed>');
  if (guest?.ips !== undefined) throw new UnsupportedError("'ip' of [guest] in the host config is outside 'routed': move it into 'routed'");
  const { serve, filter } = config;
  return {
    ...profileOf(sources, DEFAULT_PROFILE, filter.profile), ...permissions(sources, name),
    offers: { dhcp: serve?.on === true, dns: serve?.dns ?? [] },
  };
}

const NO_ALLOWS: readonly Allow[] = [];

/** What one NIC may have at most: every other start waits while these reach the kernel. */
export const MOST = { addresses: 256, routes: 1024, permissions: 256, peers: 1024, ports: 1024, groups: 64 };

function permissions({ metadata, guest }: FilterSources, name: string): Pick<Policy, 'allows' | 'guest' | 'groups'> {
  const allows = metadata?.allows ?? guest?.allows ?? NO_ALLOWS;
  const groups = metadata?.groups ?? guest?.groups ?? [];
  locate(UnsupportedError, undefined, () => {
    assertAtMost(MOST.permissions, 'permissions', allows.length);
    assertAtMost(MOST.peers, 'peers in its permissions', allows.reduce((sum, { peers }) => sum + peers.length, 0));
    const ports = allows.reduce((sum, allow) => sum + allow.ports.length, 0);
    assertAtMost(MOST.ports, 'port ranges in its permissions', ports);
    assertAtMost(MOST.groups, 'groups', groups.length);
  });
  return { allows, guest: name, groups };
}

function profileOf(
  { metadata, guest }: FilterSources, fallback: Profile, ofHost?: Profile,
): Pick<Policy, 'profile' | 'profileOrigin'> {
  const stated = [[metadata?.profile, 'its metadata'], [guest?.profile, '[guest] in the host config'], [
    ofHost, '[filter] in the host config',
  ]] as const;
  for (const [profile, profileOrigin] of stated) if (profile !== undefined) return { profile, profileOrigin };
  return { profile: fallback };
}

/** Returns the error for words on a NIC that is neither. */
export function nowhereError({ metadata }: FilterSources): UnsupportedError {
  const source = metadata === undefined ? "'trust', 'allow', 'profile', 'log', 'groups' or 'ip' in [guest] of the host config" : '<gw:trust>, <gw:allow>, <gw:policy>, <gw:group> or <gw:ip>';
  return new UnsupportedError(`${source} needs a VLAN or a routed link: add the <vlan> or <routed> of this NIC, or remove it`);
}
