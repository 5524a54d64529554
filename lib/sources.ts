/**
 * The filter on routed links: a guest sends from its own addresses and no others. The kernel's `rp_filter` knows IPv4
 * only, and a loose one for all links weakens it, so one nftables table of family inet asks the routing table for both
 * families: the way back to a packet's source must be the link it came in on. Links are in a set by ifindex, which the
 * kernel does not reuse as it reuses names: what is left of a dead tap never meets the next one.
 */
import type { Holding, Wired } from './journal.js';
import type { NetObject, NetState } from './netstate.js';
import type { FilterFacts, Observation } from './observation.js';

export const SOURCE_TABLE = 'guestwire';

/**
 * Lines that make the table whole, whatever was there. Priority -300 ('raw') is before connection tracking, so that a
 * forged packet costs the host no entry. Duplicate address detection (source ::), multicast listener reports from :: and
 * DHCP from 0.0.0.0 pass: `fib` answers for them with the link they came in on (net/ipv6/netfilter/nft_fib_ipv6.c,
 * net/ipv4/netfilter/nft_fib_ipv4.c). Redirects are dropped here because `send_redirects` is the or of the link's
 * and that of all links, and IPv6 has no such sysctl.
 */
export const SOURCE_LINES = [
  `add table inet ${SOURCE_TABLE}`,
  `add set inet ${SOURCE_TABLE} routed { type iface_index; }`,
  `add chain inet ${SOURCE_TABLE} from_guests { type filter hook prerouting priority -300; policy accept; }`,
  `add chain inet ${SOURCE_TABLE} to_guests { type filter hook output priority -300; policy accept; }`,
  `flush chain inet ${SOURCE_TABLE} from_guests`,
  `flush chain inet ${SOURCE_TABLE} to_guests`,
  `add rule inet ${SOURCE_TABLE} from_guests iif @routed fib saddr . iif oif 0 counter drop`,
  `add rule inet ${SOURCE_TABLE} to_guests oif @routed icmp type redirect counter drop`,
  `add rule inet ${SOURCE_TABLE} to_guests oif @routed icmpv6 type nd-redirect counter drop`,
];

/** Rules in {@link SOURCE_LINES}: a table with fewer was tampered with. */
export const SOURCE_RULES = 3;

export interface SourceRequest {
  /** The guest's links as they are to be. */
  readonly wanted: readonly Wired[];
  /** The guest's links of its earlier run: their place in the set is given up even when the tap is gone. */
  readonly recorded: readonly Wired[];
  /** What the journal says of other guests. */
  readonly others: () => readonly Holding[];
}

/**
 * Returns the filter's objects, desired and observed. Where the table was not asked for, it is taken to be there when
 * another guest needs it: listing it would be one more program at every start, and a wrong guess fails as a whole. A
 * table that is damaged or gone is made anew with the links of all guests, for `nft flush ruleset` takes all at once.
 */
export function planSources(
  { wanted, recorded, others }: SourceRequest,
  { links, sources }: Pick<Observation, 'links' | 'sources'>,
): { readonly desired: readonly NetObject[]; readonly observed: readonly NetObject[] } {
  const guards = guardsOf(wanted);
  const known = [...guardsOf(recorded), ...guards];
  if (known.length === 0) return { desired: [], observed: [] };
  const theirs = (): Guard[] => others().flatMap((entry) => guardsOf(entry.wired));
  const table = { kind: 'source-filter' as const, dev: SOURCE_TABLE };
  const { intact, present, guarded } = sources ?? { intact: theirs().length > 0, present: false, guarded: new Set<string>() };
  const shownAs = ({ dev, ifindex }: Guard): string => (links.get(dev)?.ifindex === ifindex ? dev : String(ifindex));
  const ours = new Set(known.map(shownAs));
  const lost = intact ? [] : theirs();
  // As long as the journal knows another guest, the table is where a start takes it to be.
  const needed = guards.length > 0 || [...guarded].some((link) => !ours.has(link) && !isDead(link)) || theirs().length > 0;
  return {
    desired: needed ? [table, ...lost, ...guards] : [],
    observed: [...(intact ? [table] : present === true ? [{ ...table, damaged: true as const }] : []), ...known.filter((link) => guarded.has(shownAs(link)))],
  };
}

/** Returns whether a plan from `observed` took the table to be there, unasked, and `seen` shows that it was not. */
export function wasAbsent(observed: NetState, { asked, seen }: { readonly asked: FilterFacts | undefined; readonly seen: FilterFacts | undefined }): boolean {
  return asked === undefined && seen?.intact === false && observed.some(({ kind }) => kind === 'source-filter');
}

type Guard = Extract<NetObject, { kind: 'source-guard' }>;

function guardsOf(wired: readonly Wired[]): Guard[] {
  return wired.flatMap(({ kind, link, ifindex }) => (kind === 'routed-link' ? [{ kind: 'source-guard' as const, dev: link, ifindex }] : []));
}

/** nft prints the number of a link that is gone, and the name of any other. */
function isDead(shown: string): boolean {
  return /^[0-9]+$/.test(shown);
}
