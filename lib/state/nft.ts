/**
 * nftables objects as values: tables, chains, the filter of one NIC, and the lines that make and remove them.
 */
import { createHash } from 'node:crypto';

export type FilterFamily = 'bridge' | 'netdev' | 'inet';

export const FILTER_FAMILIES: readonly FilterFamily[] = ['bridge', 'netdev', 'inet'];

export const TABLE = 'guestwire';

/** Returns how messages name one of guestwire's tables. */
export function tableName(family: FilterFamily): string {
  return `nftables table ${family} ${TABLE}`;
}

/**
 * A chain with its rules. nft prints the same rule differently from version to version, so rules are known by their
 * comments.
 */
export interface Chain {
  readonly name: string;
  /** What hooks it to packets, as nft prints it; absent: rules jump to it. */
  readonly hook?: { readonly type: string; readonly hook: string; readonly prio: number; readonly policy: string } |
    undefined;
  /** The link of a netdev chain. */
  readonly device?: string | undefined;
  readonly rules: readonly FilterRule[];
}

/** What a table holds whatever guests run. */
export interface TableShape {
  /** Sets and maps of ifindexes, by name. */
  readonly sets: ReadonlyMap<string, 'set' | 'map'>;
  /** Sets that no guest changes: their definitions, by name. */
  readonly constants: ReadonlyMap<string, string>;
  readonly chains: readonly Chain[];
}

/** What one NIC adds to one table. */
export interface NicFilter {
  readonly chains: readonly Chain[];
  /** Sets and maps that hold its ifindex, a map with the chain it leads to. */
  readonly elements: readonly { readonly set: string; readonly verdict?: string }[];
  /** Sets of guests and groups that its rules name; the first NIC that needs one makes it. */
  readonly named: readonly string[];
  /** A set of its own, that its rules fill with addresses. */
  readonly learns?: string | undefined;
}

export const PROTOCOLS = ['arp', 'ip', 'ip6'] as const;

/** Returns the names that a NIC's chains have in any table. */
export function chainNames(ifindex: number | string): string[] {
  return ['nic', ...PROTOCOLS, 'opens', 'in', 'out', 'host', 'near'].map((start) => `${start}_${ifindex}`);
}

/** Returns what all comments of a NIC's chains in one table start with: another text, another mark. */
export function markOf(filter: NicFilter): string {
  return createHash('sha256').update(JSON.stringify(filter)).digest('hex').slice(0, 8);
}

/**
 * Returns the comments of a chain, in the order of its rules; those of a NIC's chain start with a counter of all it
 * saw.
 */
export function nicComments({ rules }: Chain, mark?: string): string[] {
  return [...(mark === undefined ? [] : [`guestwire ${mark}`]), ...rules.map(({ why }) => why)];
}

/** Returns the lines that put a NIC of this ifindex into the table. */
export function nicLines(family: FilterFamily, filter: NicFilter, { ifindex }: { readonly ifindex: number }): string[] {
  const table = `${family} ${TABLE}`;
  const mark = markOf(filter);
  return [
    ...filter.named.map((name) => `add set ${table} ${name} { type iface_index; }`),
    // Each address is a neighbour of the host, which has room for few (gc_thresh3): a guest uses one or two.
    ...(filter.learns === undefined ? [] : [`add set ${table} ${filter.learns} { type ipv6_addr; size 8; flags dynamic,timeout; timeout 10m; }`]),
    // `create` fails where there is one, whose rules would else come first; then the table is read, and that is
    // replaced.
    ...filter.chains.map((chain) => chainLine(family, chain).replace(/^add/, 'create')),
    ...filter.chains.flatMap((chain) => ruleLines(family, chain, mark)),
    ...filter.elements.map(({ set, verdict }) => `add element ${table} ${set} { ${ifindex}${verdict === undefined ? '' : ` : ${verdict}`} }`),
  ];
}

/** Returns the lines that take out of the table what it has of a NIC. */
export function withoutNicLines(
  family: FilterFamily, { chains, elements, learns }: NicFilter, { ifindex }: { readonly ifindex: number },
): string[] {
  const table = `${family} ${TABLE}`;
  return [
    ...elements.map(({ set }) => `delete element ${table} ${set} { ${ifindex} }`),
    // A chain that another leads to cannot be deleted.
    ...['flush', 'delete'].flatMap((verb) => chains.map(({ name }) => `${verb} chain ${table} ${name}`)),
    ...(learns === undefined ? [] : [`delete set ${table} ${learns}`]),
  ];
}

export function chainLine(family: FilterFamily, { name, hook, device }: Chain): string {
  const link = device === undefined ? '' : ` device "${device}"`;
  return `add chain ${family} ${TABLE} ${name}${hook === undefined ? '' : ` { type ${hook.type} hook ${hook.hook}${link} priority ${hook.prio}; policy ${hook.policy}; }`}`;
}

export function ruleLines(family: FilterFamily, chain: Chain, mark?: string): string[] {
  const start = `add rule ${family} ${TABLE} ${chain.name}`;
  return [
    ...(mark === undefined ? [] : [`${start} counter comment "guestwire ${mark}"`]),
    ...chain.rules.map(({ match, why, verdict }) => {
      const counted = verdict?.includes('vmap') === true ? verdict : `counter ${verdict ?? 'drop'}`;
      return [start, match, counted.trim(), `comment "${why}"`].filter((word) => word !== '').join(' ');
    }),
  ];
}

/** A rule of a NIC's chain: what it matches, and in the kernel as its comment why. */
export interface FilterRule {
  readonly match: string;
  readonly why: string;
  /** Absent: it drops. */
  readonly verdict?: string;
}
