/**
 * The numbers of linux/rtnetlink.h and the names iproute2 has for them. `ip` is asked for numbers, because the names in
 * /etc/iproute2 are an admin's own: a route of protocol 117 may be printed as 'guestwire', table 100 as anything.
 */
import { ValueError } from '../errors.js';
import { quote } from './quote.js';

/** The route protocol that marks a route as guestwire's, unless the host config names another. */
export const DEFAULT_PROTOCOL = 117;

/** Names of linux/rtnetlink.h, iproute2's rt_protos and FRR's: their routes would be taken for guestwire's. */
const PROTOCOL_OWNERS: ReadonlyMap<number, string> = new Map([
  [1, 'redirect'], [2, 'kernel'], [3, 'boot'], [4, 'static'], [8, 'gated'], [9, 'ra'], [10, 'mrt'], [11, 'zebra'],
  [12, 'bird'], [13, 'dnrouted'], [14, 'xorp'], [15, 'ntk'], [16, 'dhcp'], [17, 'mrouted'], [18, 'keepalived'],
  [42, 'babel'], [84, 'ovn'], [99, 'openr'], [186, 'bgp'], [187, 'isis'], [188, 'ospf'], [189, 'rip'], [190, 'ripng'],
  [191, 'nhrp'], [192, 'eigrp'], [193, 'ldp'], [194, 'sharp'], [195, 'pbr'], [196, 'zstatic'], [197, 'openfabric'],
  [198, 'srte'],
]);

const ROUTE_TYPES = [
  'none', 'unicast', 'local', 'broadcast', 'anycast', 'multicast', 'blackhole', 'unreachable', 'prohibit', 'throw',
  'nat', 'xresolve',
];
const TABLES: ReadonlyMap<string, string> = new Map([['253', 'default'], ['254', 'main'], ['255', 'local']]);

/** rtnetlink's table numbers (rtnetlink(7)): `local` is the kernel's own, 0 stands for no table. */
const MAIN_TABLE = 254;
const LOCAL_TABLE = 255;
const LAST_TABLE = 0xffff_ffff;

/** Returns the name of a route type that `ip -Numeric` prints; a name stays as it is. */
export function routeType(text: string): string {
  return ROUTE_TYPES[Number(text)] ?? text;
}

/** Returns 'main', 'local' or 'default' for the number of that table; any other table stays as it is. */
export function routeTable(text: string): string {
  return TABLES.get(text) ?? text;
}

/**
 * Returns the usual name of a routing protocol for its number, whatever rt_protos says; one without a name stays a
 * number.
 */
export function routeProtocol(text: string): string {
  return PROTOCOL_OWNERS.get(Number(text)) ?? text;
}

/** Returns `protocol` when it can mark routes as guestwire's. Throws ValueError. */
export function protocolOf(protocol: number): number {
  if (!Number.isInteger(protocol) || protocol < 1 || protocol > 255) {
    throw new ValueError(`route protocol '${protocol}' is not a number from 1 to 255`);
  }
  const owner = PROTOCOL_OWNERS.get(protocol);
  if (owner !== undefined) {
    throw new ValueError(`route protocol '${protocol}' belongs to '${owner}', and guestwire would take its routes for its own: use a free number such as ${DEFAULT_PROTOCOL}`);
  }
  return protocol;
}

/**
 * Returns the table as `ip route` takes it. Throws ValueError for any other text, and for a table of the kernel's own.
 */
export function tableOf(text: string): string {
  if (text === 'main') return text;
  if (text === 'local' || text === String(LOCAL_TABLE)) {
    throw new ValueError(`route table ${quote(text)} is the kernel's own: use 'main' or another number`);
  }
  if (!/^[1-9][0-9]{0,9}$/.test(text) || Number(text) > LAST_TABLE) {
    throw new ValueError(`route table ${quote(text)} is neither 'main' nor a number from 1 to ${LAST_TABLE}`);
  }
  return Number(text) === MAIN_TABLE ? 'main' : text;
}

/** Numbers of route tables, from the first to the last. */
export interface TableRange {
  readonly first: number;
  readonly last: number;
}

/** Returns the tables that `text` writes: 'main', a number, or numbers such as '200-209'. Throws ValueError. */
export function tableRange(text: string): TableRange {
  const [first = '', last, ...rest] = text.split('-');
  if (last === undefined || rest.length > 0) return { first: tableNumber(text), last: tableNumber(text) };
  const range = { first: tableNumber(first), last: tableNumber(last) };
  if (range.first > range.last) throw new ValueError(`route tables ${quote(text)} run backwards: write the lower number first`);
  if (range.first < LOCAL_TABLE && range.last > LOCAL_TABLE) {
    throw new ValueError(`route tables ${quote(text)} contain '${LOCAL_TABLE}', which is the kernel's own: write two ranges`);
  }
  return range;
}

/** Returns the number of a table as `ip route` takes it. Throws ValueError. */
export function tableNumber(text: string): number {
  const table = tableOf(text);
  return table === 'main' ? MAIN_TABLE : Number(table);
}

/** Returns tables as the host config writes them: '100', '200-209'. */
export function rangeText({ first, last }: TableRange): string {
  const shown = (number: number): string => (number === MAIN_TABLE ? 'main' : String(number));
  return first === last ? shown(first) : `${first}-${last}`;
}
