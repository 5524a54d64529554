/**
 * The filter on VLAN ports: bridge protocol data units of guests are dropped, because a BPDU guard upstream would shut
 * the host's port for one (host-wide harm from one guest). One nftables table of family bridge; ports are in a set by
 * ifindex, which the kernel does not reuse as it reuses names: what is left of a dead tap never meets the next one.
 */
import type { Wired } from './journal.js';
import type { NetObject } from './netstate.js';
import type { Observation } from './observation.js';

export const FILTER_TABLE = 'guestwire';

/**
 * Lines that make the table whole, whatever was there. Priority -300 is before bridge netfilter's own hooks and ebtables'
 * filter (-200), so that no accept there comes first. IEEE 802.1D's reserved group addresses, and Cisco's PVST+.
 */
export const FILTER_LINES = [
  `add table bridge ${FILTER_TABLE}`,
  `add set bridge ${FILTER_TABLE} no_stp { type iface_index; }`,
  `add chain bridge ${FILTER_TABLE} from_guests { type filter hook prerouting priority -300; policy accept; }`,
  `flush chain bridge ${FILTER_TABLE} from_guests`,
  `add rule bridge ${FILTER_TABLE} from_guests iif @no_stp ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop`,
  `add rule bridge ${FILTER_TABLE} from_guests iif @no_stp ether daddr 01:00:0c:cc:cc:cd counter drop`,
];

/** Rules in {@link FILTER_LINES}: a chain with fewer was tampered with. */
export const FILTER_RULES = 2;

/**
 * Returns the filter's objects, desired and observed. `wanted` are the guest's ports as they are to be, `recorded` those
 * of its earlier run: their place in the set is given up even when the tap is gone.
 */
export function planFilter(
  wanted: readonly Wired[],
  recorded: readonly Wired[],
  { links, filter }: Pick<Observation, 'links' | 'filter'>,
): { readonly desired: readonly NetObject[]; readonly observed: readonly NetObject[] } {
  const guards = wanted.flatMap((port) => (port.kind === 'vlan-port' && !port.trustsStp ? [guard(port)] : []));
  const known = [...recorded, ...wanted].flatMap((port) => (port.kind === 'vlan-port' ? [guard(port)] : []));
  const shownAs = ({ dev, ifindex }: Guard): string => (links.get(dev)?.ifindex === ifindex ? dev : String(ifindex));
  const observed = known.filter((port) => filter.guarded.has(shownAs(port)));
  const ours = new Set(known.map(shownAs));
  const others = [...filter.guarded].some((port) => !ours.has(port));
  const table: NetObject = { kind: 'filter', dev: FILTER_TABLE };
  return {
    desired: guards.length > 0 || others ? [table, ...guards] : [],
    observed: filter.intact ? [table, ...observed] : observed,
  };
}

type Guard = Extract<NetObject, { kind: 'bpdu-guard' }>;

function guard({ link, ifindex }: Wired): Guard {
  return { kind: 'bpdu-guard', dev: link, ifindex };
}
