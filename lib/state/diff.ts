/**
 * Desired against observed: the operations that turn one into the other, in an order that is safe at every step. Start,
 * stop, rollback and repair differ in the target only, so one order serves them all.
 */
import { isSetting, keyOf, type NetObject, type NetState } from './netstate.js';

/** One change to one kernel object. Absent `before`: it is made; absent `after`: it is removed. */
export interface Operation {
  readonly key: string;
  readonly before: NetObject | undefined;
  readonly after: NetObject | undefined;
}

/**
 * Returns the operations that turn `observed` into `desired`, in order. A setting that is not desired stays as it is:
 * there is nothing to remove. Equal states give none.
 */
export function diff(desired: NetState, observed: NetState): Operation[] {
  const before = new Map(observed.map((object) => [keyOf(object), object]));
  const after = new Map(desired.map((object) => [keyOf(object), object]));
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort();
  const operations = keys
    .map((key): Operation => ({ key, before: before.get(key), after: after.get(key) }))
    .filter((operation) => isChange(operation));
  const added = new Set(operations.map(({ before: old, after: wanted }) => (old === undefined ? placeOf(wanted) : undefined)));
  const rank = (operation: Operation): number => (operation.after === undefined && added.has(placeOf(operation.before) ?? '') ? roomRankOf(operation.before) : rankOf(operation));
  return operations.sort((a, b) => rank(a) - rank(b));
}

/** Returns what the kernel has one place for: what is to take it waits until what is there has made room. */
function placeOf(object: NetObject | undefined): string | undefined {
  if (object?.kind === 'route') return `${object.to} ${object.table}`;
  return object?.kind === 'address' && object.address.includes(':') ? `${object.dev} ${object.address}` : undefined;
}

/** Just before what then takes the place is made. */
function roomRankOf(object: NetObject | undefined): number {
  return object?.kind === 'address' ? 29.5 : 30.5;
}

function isChange({ before, after }: Operation): boolean {
  if (before === undefined) return true;
  if (after === undefined) return !isSetting(before);
  return JSON.stringify(before) !== JSON.stringify(after);
}

/**
 * Isolation revokes before it grants, so that a port is never in more VLANs than it may be. Reachability grants before
 * it revokes, so that a change of routes loses no packet. A route comes after the route to its next hop, and goes
 * before it. A neighbour proxy attracts traffic: it is last to come and first to go. Filters are the first to come and the
 * last to go. Links are set up last before addresses, because accept_ra must be 0 before a link hears anything.
 */
function rankOf({ before, after }: Operation): number {
  const object = after ?? before;
  if (object === undefined) return 0;
  if (hasRank(object)) return RANKS[object.kind][after === undefined ? 1 : 0];
  switch (object.kind) {
    case 'isolated':
      return object.on ? 10 : 13;
    case 'vlan':
      return revokes(before, after) ? 11 : 12;
    case 'host-sysctl':
      // The router advertisements of an uplink must be accepted from a host that forwards before it does.
      return object.path.endsWith('accept_ra') ? 17 : 18;
    case 'rule':
      // Those of IPv6 are one run of `ip -6`, so that a start needs no more of them.
      if (object.family === 'inet6') return after === undefined ? 48 : 19;
      return after === undefined ? 46 : 20.5;
    case 'sysctl':
      return takesAddresses(object) ? 45 : 20;
    case 'link':
      return object.up ? 21 : 45;
    case 'route':
      if (after === undefined) return object.via === undefined ? 42 : 41;
      return object.via === undefined ? 31 : 32;
  }
}

type Ranked = Exclude<NetObject, { readonly kind: 'isolated' | 'vlan' | 'host-sysctl' | 'rule' | 'sysctl' | 'link' | 'route' }>;

function hasRank(object: NetObject): object is Ranked {
  return Object.hasOwn(RANKS, object.kind);
}

/** When the object is made or changed, and when it is removed; a setting never is. */
const RANKS: Readonly<Record<Ranked['kind'], readonly [number, number]>> = {
  'filter-table': [1, 52],
  'nic-filter': [2, 50],
  'filter-set': [3, 51],
  // With a made link goes all that is on it: after all of that, or there would be nothing left to take away.
  veth: [5, 49],
  tap: [5, 49],
  alias: [6, 6],
  mtu: [7, 7],
  'uplink-vlan': [14, 44],
  txqlen: [20, 20],
  ipv6: [20, 20],
  'proxy-sysctl': [20, 20],
  'last-resort': [20.4, 47],
  // Putting a link into a VRF takes its addresses and routes away, and so does taking it out.
  master: [20.6, 45],
  allmulticast: [21, 21],
  address: [30, 43],
  'neighbour-proxy': [33, 40],
};

/** The kernel then removes every IPv6 address and route of the link, which are to be removed by name before. */
function takesAddresses({ path, value }: Extract<NetObject, { kind: 'sysctl' }>): boolean {
  return path.endsWith('/disable_ipv6') && value === '1';
}

function revokes(before: NetObject | undefined, after: NetObject | undefined): boolean {
  if (before?.kind !== 'vlan') return false;
  if (after?.kind !== 'vlan') return true;
  return (before.pvid && !after.pvid) || (before.untagged && !after.untagged);
}
