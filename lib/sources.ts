/**
 * The filter on routed links: a guest sends from its own addresses and no others. The kernel's `rp_filter` knows IPv4
 * only, and a loose one for all links weakens it, so one nftables table of family inet asks the routing table for both
 * families: the way back to a packet's source must be the link it came in on. Links are in a set by ifindex, which the
 * kernel does not reuse as it reuses names: what is left of a dead tap never meets the next one.
 */
import { chainLine, type FilterChain, type FilterShape } from './filter.js';
import type { Wired } from './journal.js';
import type { NetObject } from './netstate.js';
import type { Observation } from './observation.js';

export const SOURCE_TABLE = 'guestwire';

/** By its comment a rule is known to be guestwire's own. */
const SOURCES = 'guestwire: sources';
const REDIRECTS = ['guestwire: redirects', 'guestwire: IPv6 redirects'] as const;

/** Priority -300 ('raw') is before connection tracking, so that a forged packet costs the host no entry. */
const HOOKED = { type: 'filter', prio: -300, policy: 'accept' };
const FROM_GUESTS: FilterChain = { name: 'from_guests', hook: 'prerouting', ...HOOKED, comments: [SOURCES] };
const TO_GUESTS: FilterChain = { name: 'to_guests', hook: 'output', ...HOOKED, comments: REDIRECTS };

export const SOURCE_SHAPE: FilterShape = { family: 'inet', set: 'iface_index', chains: [FROM_GUESTS, TO_GUESTS] };

/**
 * What the table holds, without links. Duplicate address detection (source ::), multicast listener
 * reports from :: and DHCP from 0.0.0.0 pass: `fib` answers for them with the link they came in on
 * (net/ipv6/netfilter/nft_fib_ipv6.c, net/ipv4/netfilter/nft_fib_ipv4.c). Redirects are dropped here because
 * `send_redirects` is the or of the link's and that of all links, and IPv6 has no such sysctl.
 */
export const SOURCE_LINES = [
  `add set inet ${SOURCE_TABLE} routed { type ${SOURCE_SHAPE.set}; }`,
  `add chain inet ${SOURCE_TABLE} ${chainLine(FROM_GUESTS)}`,
  `add chain inet ${SOURCE_TABLE} ${chainLine(TO_GUESTS)}`,
  `add rule inet ${SOURCE_TABLE} from_guests iif @routed fib saddr . iif oif 0 counter drop comment "${SOURCES}"`,
  `add rule inet ${SOURCE_TABLE} to_guests oif @routed icmp type redirect counter drop comment "${REDIRECTS[0]}"`,
  `add rule inet ${SOURCE_TABLE} to_guests oif @routed icmpv6 type nd-redirect counter drop comment "${REDIRECTS[1]}"`,
];

export interface SourceRequest {
  /** The guest's links as they are to be. */
  readonly wanted: readonly Wired[];
  /** The guest's links of its earlier run: their place in the set is given up even when the tap is gone. */
  readonly recorded: readonly Wired[];
  /** Links of other guests, as the journal has them. */
  readonly others: () => readonly Wired[];
}

/**
 * Returns the filter's objects, desired and observed. Where the table was not asked for, it is taken to be there when
 * another guest needs it, and only then: listing it would be one more program at every start, and a wrong guess fails as a
 * whole. A
 * table that is broken or gone is made anew with the links of all guests, for `nft flush ruleset` takes all at once.
 */
export function planSources(
  { wanted, recorded, others }: SourceRequest,
  { links, sources }: Pick<Observation, 'links' | 'sources'>,
): { readonly desired: readonly NetObject[]; readonly observed: readonly NetObject[] } {
  const guards = guardsOf(wanted);
  const known = [...guardsOf(recorded), ...guards];
  if (known.length === 0) return { desired: [], observed: [] };
  const theirs = guardsOf(others());
  const { intact, there, guarded } = sources ?? { intact: theirs.length > 0, there: false, guarded: new Set<string>() };
  if (!intact) {
    const all = [...theirs, ...guards];
    return { desired: all.length === 0 ? [] : [TABLE, ...all], observed: there ? [{ ...TABLE, broken: true }] : [] };
  }
  const shownAs = ({ dev, ifindex }: Guard): string => (links.get(dev)?.ifindex === ifindex ? dev : String(ifindex));
  const ours = new Set(known.map(shownAs));
  // As long as the journal knows another guest, the table is where a start takes it to be.
  const needed = guards.length > 0 || [...guarded].some((link) => !ours.has(link) && !isDead(link)) || theirs.length > 0;
  return { desired: needed ? [TABLE, ...guards] : [], observed: [TABLE, ...known.filter((link) => guarded.has(shownAs(link)))] };
}

const TABLE = { kind: 'source-filter' as const, dev: SOURCE_TABLE };

type Guard = Extract<NetObject, { kind: 'source-guard' }>;

function guardsOf(wired: readonly Wired[]): Guard[] {
  return wired.flatMap(({ kind, link, ifindex }) => (kind === 'routed-link' ? [{ kind: 'source-guard' as const, dev: link, ifindex }] : []));
}

/** nft prints the number of a link that is gone, and the name of any other. */
function isDead(shown: string): boolean {
  return /^[0-9]+$/.test(shown);
}
