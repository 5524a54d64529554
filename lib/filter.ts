/**
 * The filter on VLAN ports: bridge protocol data units of guests are dropped, because a BPDU guard upstream would shut
 * the host's port for one (host-wide harm from one guest). One nftables table of family bridge; ports are in a set by
 * ifindex, which the kernel does not reuse as it reuses names: what is left of a dead tap never meets the next one.
 */
import type { Wired } from './journal.js';
import type { NetObject } from './netstate.js';
import type { Observation } from './observation.js';

export const FILTER_TABLE = 'guestwire';

/** By its comment a rule is known to be guestwire's own: nft prints the same rule differently from version to version. */
export const FILTER_COMMENTS = ['guestwire: BPDUs', 'guestwire: PVST+'];

/** What a table of guestwire's is, as nft prints it in JSON. */
export interface FilterShape {
  readonly family: string;
  /** Type of its only set. */
  readonly set: string;
  readonly chains: readonly FilterChain[];
}

export interface FilterChain {
  readonly name: string;
  readonly type: string;
  readonly hook: string;
  readonly prio: number;
  readonly policy: string;
  readonly comments: readonly string[];
}

/**
 * Priority -300 is before bridge netfilter's own hooks and ebtables' filter (-200), so that no accept there comes first.
 * IEEE 802.1D's reserved group addresses, and Cisco's PVST+.
 */
export const FILTER_CHAIN: FilterChain = { name: 'from_guests', type: 'filter', hook: 'prerouting', prio: -300, policy: 'accept', comments: FILTER_COMMENTS };

export const FILTER_SHAPE: FilterShape = { family: 'bridge', set: 'iface_index', chains: [FILTER_CHAIN] };

/** Returns the end of the line that adds this chain. */
export function chainLine({ name, type, hook, prio, policy }: FilterChain): string {
  return `${name} { type ${type} hook ${hook} priority ${prio}; policy ${policy}; }`;
}

/**
 * Returns the lines that make a table with what `content` adds to it. `create` fails where there is one, so that nobody
 * adds to a stranger's; one that may be there goes in the same transaction, which costs a grace period of the kernel
 * (4 ms : 17 ms, Linux 6.18).
 */
export function tableLines(family: string, content: readonly string[], mayBeThere: boolean): string[] {
  const table = `${family} ${FILTER_TABLE}`;
  return [...(mayBeThere ? [`add table ${table}`, `delete table ${table}`] : []), `create table ${table}`, ...content];
}

/** What the table holds, without ports. */
export const FILTER_LINES = [
  `add set bridge ${FILTER_TABLE} no_stp { type ${FILTER_SHAPE.set}; }`,
  `add chain bridge ${FILTER_TABLE} ${chainLine(FILTER_CHAIN)}`,
  `add rule bridge ${FILTER_TABLE} from_guests iif @no_stp ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop comment "${FILTER_COMMENTS[0] ?? ''}"`,
  `add rule bridge ${FILTER_TABLE} from_guests iif @no_stp ether daddr 01:00:0c:cc:cc:cd counter drop comment "${FILTER_COMMENTS[1] ?? ''}"`,
];

/** Whose BPDUs are dropped. */
export interface FilterRequest {
  /** The guest's ports as they are to be. */
  readonly wanted: readonly Wired[];
  /** Those of its earlier run: their place in the set is given up even when the tap is gone. */
  readonly recorded: readonly Wired[];
  /** Ports of other guests, as the journal has them: a table that has to be made anew holds them, too. */
  readonly others: () => readonly Wired[];
}

/** Returns the filter's objects, desired and observed. */
export function planFilter({ wanted, recorded, others: rest }: FilterRequest, { links, filter }: Pick<Observation, 'links' | 'filter'>): { readonly desired: readonly NetObject[]; readonly observed: readonly NetObject[] } {
  const guards = guardsOf(wanted);
  if (!filter.intact) {
    const all = [...guards, ...guardsOf(rest())];
    return { desired: all.length === 0 ? [] : [TABLE, ...all], observed: filter.there ? [{ ...TABLE, broken: true }] : [] };
  }
  const known = [...recorded, ...wanted].flatMap((port) => (port.kind === 'vlan-port' ? [guard(port)] : []));
  const shownAs = ({ dev, ifindex }: Guard): string => (links.get(dev)?.ifindex === ifindex ? dev : String(ifindex));
  const observed = known.filter((port) => filter.guarded.has(shownAs(port)));
  const ours = new Set(known.map(shownAs));
  const others = [...filter.guarded].some((port) => !ours.has(port));
  return { desired: guards.length > 0 || others ? [TABLE, ...guards] : [], observed: [TABLE, ...observed] };
}

const TABLE = { kind: 'filter' as const, dev: FILTER_TABLE };

function guardsOf(ports: readonly Wired[]): Guard[] {
  return ports.flatMap((port) => (port.kind === 'vlan-port' && port.trust?.stp !== true ? [guard(port)] : []));
}

type Guard = Extract<NetObject, { kind: 'bpdu-guard' }>;

function guard({ link, ifindex }: Wired): Guard {
  return { kind: 'bpdu-guard', dev: link, ifindex };
}
