/** Operations and what they are about in words, as whoever runs the host would say them: for messages and the log. Pure. */
import { familyName } from '../values/address.js';
import { sysctlName } from '../values/quote.js';
import { formatRange } from '../values/vlan.js';
import type { Operation } from './diff.js';
import type { NetObject } from './netstate.js';
import { tableName } from './nft.js';
import { type BatchLine, flagsOf, isOfMade, type OfMade, onOff, selectorOf } from './render.js';

/** Returns an operation in words, for messages and the log: `add VLAN 42 pvid untagged on 'vnet7'`. */
export function describe({ before, after }: Operation, vids?: string): string {
  const object = after ?? before;
  if (object === undefined) return 'change nothing';
  const verb = after === undefined ? 'remove' : before === undefined ? 'add' : 'set';
  if (isFilter(object)) return `${verb === 'set' ? 'renew' : verb} ${nameOf(object)}`;
  return `${isSysctl(object) ? 'set' : verb} ${nameOf(object, vids)}${placeOf(object)}`;
}

/** Returns where an object is, for behind its name: ` on 'vnet7'`; '' when the name says it. */
export function placeOf(object: NetObject): string {
  return NAMES_ITS_PLACE.has(object.kind) ? '' : ` on '${object.dev}'`;
}

const FILTERS = new Set(['filter-table', 'nic-filter', 'filter-set'] as const);
const SYSCTLS = new Set(['sysctl', 'host-sysctl', 'proxy-sysctl'] as const);
const NAMES_ITS_PLACE: ReadonlySet<NetObject['kind']> = new Set([...FILTERS, ...SYSCTLS, 'link', 'isolated', 'rule', 'last-resort'] as const);

/** Returns whether an object is nftables'. */
export function isFilter(object: NetObject): boolean {
  return (FILTERS as ReadonlySet<string>).has(object.kind);
}

/** Returns whether an object is a sysctl. */
export function isSysctl(object: NetObject): object is Extract<NetObject, { readonly kind: 'sysctl' | 'host-sysctl' | 'proxy-sysctl' }> {
  return (SYSCTLS as ReadonlySet<string>).has(object.kind);
}

/** Returns a line's operations in words: `add VLAN 20-29 on 'eno1'`. Of a line that is no operation, undefined. */
export function describeLine({ operations }: BatchLine): string | undefined {
  const [first] = operations;
  return first && describe(first, vidsIn({ operations }));
}

/** Returns the VIDs of a line's operations: `20-29`; undefined when it is not about VLANs. */
export function vidsIn({ operations }: Pick<BatchLine, 'operations'>): string | undefined {
  const [from, to] = [operations[0], operations.at(-1)].map((operation) => vidOf(operation?.after ?? operation?.before));
  return from === undefined || to === undefined ? undefined : formatRange({ first: from, last: to });
}

function vidOf(object: NetObject | undefined): number | undefined {
  return object?.kind === 'vlan' || object?.kind === 'uplink-vlan' ? object.vid : undefined;
}

/** Returns an object in words: `VLAN 42 pvid untagged`. */
export function nameOf(object: NetObject, vids?: string): string {
  if (isOfMade(object)) return nameOfMade(object);
  switch (object.kind) {
    case 'vlan':
      return `VLAN ${vids ?? object.vid}${flagsOf(object)}`;
    case 'uplink-vlan':
      return `VLAN ${vids ?? object.vid}`;
    case 'filter-table':
      return tableName(object.family);
    case 'nic-filter':
      return `${object.family === 'inet' ? 'policy' : 'filter'} of '${object.dev}' (${tableName(object.family)})`;
    case 'filter-set':
      return `set '${object.dev}' (${tableName(object.family)})`;
    case 'master':
      return `master ${object.master}`;
    case 'last-resort':
      return `unreachable ${familyName(object.family)} default of table ${object.table}`;
    case 'rule':
      return `${familyName(object.family)} rule ${selectorOf(object)} lookup ${object.table}`;
    case 'isolated':
      return `port '${object.dev}' ${object.on ? '' : 'not '}isolated`;
    case 'link':
      return `link '${object.dev}' ${object.up ? 'up' : 'down'}`;
    case 'txqlen':
      return `txqueuelen ${object.length}`;
    case 'sysctl':
    case 'host-sysctl':
    case 'proxy-sysctl':
      return `sysctl ${sysctlName(object.path)}=${object.value}`;
    case 'neighbour-proxy':
      return `neighbour proxy ${object.address}`;
    case 'address':
      return `address ${object.address}/${object.length}`;
    case 'route':
      return `route ${object.to}${object.via === undefined ? '' : ` via ${object.via}`}`;
  }
}

function nameOfMade(object: OfMade): string {
  switch (object.kind) {
    case 'veth':
      return `veth pair with '${object.peer}'`;
    case 'tap':
      return `tap${object.multiQueue ? ' multi_queue' : ''}`;
    case 'alias':
      return `alias '${object.alias}' of '${object.end}'`;
    case 'mtu':
      return `mtu ${object.bytes} of '${object.end}'`;
    case 'ipv6':
      return `IPv6 ${onOff(object.on)} of '${object.end}'`;
    case 'allmulticast':
      return `allmulticast ${onOff(object.on)}`;
  }
}
