/**
 * NetState: kernel objects as values, one type for what is desired and what is observed, and the ownership rules that
 * say which observed objects are guestwire's. What is not in the desired state is removed, so an object that cannot be
 * proved ours never becomes part of an observed one.
 */
import type { Family } from '../values/address.js';
import type { FilterFamily, NicFilter } from './nft.js';

/** `dev` is the host end, whose life the object shares; `end` the link that is meant, the guest end or `dev` itself. */
export type MadeObject =
  | { readonly kind: 'veth'; readonly dev: string; readonly peer: string }
  | { readonly kind: 'tap'; readonly dev: string; readonly multiQueue: boolean }
  | { readonly kind: 'alias'; readonly dev: string; readonly end: string; readonly alias: string }
  | { readonly kind: 'mtu'; readonly dev: string; readonly end: string; readonly bytes: number }
  | { readonly kind: 'allmulticast'; readonly dev: string; readonly on: boolean }
  | { readonly kind: 'link'; readonly dev: string; readonly up: boolean }
  | { readonly kind: 'ipv6'; readonly dev: string; readonly end: string; readonly on: boolean };

/** Returns the sysctl that takes IPv6 from a link. */
export function disableIpv6Path(link: string): string {
  return `net/ipv6/conf/${link}/disable_ipv6`;
}

/** One kernel object, or one setting of a link that always has some value (`link`, `txqlen`, `isolated`, `sysctl`, `mtu` and such). */
export type NetObject =
  | MadeObject
  | { readonly kind: 'vlan'; readonly dev: string; readonly vid: number; readonly pvid: boolean; readonly untagged: boolean }
  | { readonly kind: 'uplink-vlan'; readonly dev: string; readonly vid: number }
  /** `lines` make the table without guests. */
  | {
    readonly kind: 'filter-table'; readonly dev: string; readonly family: FilterFamily;
    readonly lines?: readonly string[]; readonly broken?: true;
  }
  | { readonly kind: 'nic-filter'; readonly dev: string; readonly family: FilterFamily; readonly ifindex: number; readonly filter: NicFilter }
  | { readonly kind: 'filter-set'; readonly dev: string; readonly family: FilterFamily }
  | { readonly kind: 'master'; readonly dev: string; readonly master: string }
  | { readonly kind: 'host-sysctl'; readonly dev: string; readonly path: string; readonly value: string }
  | { readonly kind: 'last-resort'; readonly dev: string; readonly family: Family; readonly table: string; readonly protocol: number }
  | {
      /** `to` undefined: what comes in on `dev`. */
      readonly kind: 'rule';
      readonly dev: string;
      readonly family: Family;
      readonly priority: number;
      readonly to: string | undefined;
      readonly table: string;
      readonly protocol: number;
    }
  | { readonly kind: 'isolated'; readonly dev: string; readonly on: boolean }
  | { readonly kind: 'link'; readonly dev: string; readonly up: boolean }
  | { readonly kind: 'txqlen'; readonly dev: string; readonly length: number }
  | { readonly kind: 'sysctl'; readonly dev: string; readonly path: string; readonly value: string }
  | { readonly kind: 'address'; readonly dev: string; readonly address: string; readonly length: number }
  | {
      readonly kind: 'route';
      readonly dev: string;
      readonly to: string;
      readonly via: string | undefined;
      readonly table: string;
      readonly protocol: number;
    }
  | { readonly kind: 'neighbour-proxy'; readonly dev: string; readonly address: string; readonly protocol: number }
  | { readonly kind: 'proxy-sysctl'; readonly dev: string; readonly path: string; readonly value: string };

/** Objects sorted by key, each key once: equal states are deeply equal. */
export type NetState = readonly NetObject[];

/** Returns what makes two objects the same object, so that a difference between them is a change, not a replacement. */
export function keyOf(object: NetObject): string {
  switch (object.kind) {
    case 'vlan':
    case 'uplink-vlan':
      return `${object.kind} ${object.dev} ${String(object.vid).padStart(4, '0')}`;
    case 'nic-filter':
      return `${object.kind} ${object.family} ${object.ifindex}`;
    case 'filter-table':
    case 'filter-set':
      return `${object.kind} ${object.family} ${object.dev}`;
    case 'master':
    case 'isolated':
    case 'link':
    case 'txqlen':
    case 'veth':
    case 'tap':
    case 'allmulticast':
      return `${object.kind} ${object.dev}`;
    case 'alias':
    case 'mtu':
    case 'ipv6':
      return `${object.kind} ${object.end}`;
    case 'sysctl':
    case 'proxy-sysctl':
      return `sysctl ${object.path}`;
    case 'neighbour-proxy':
      return `neighbour-proxy ${object.dev} ${object.address}`;
    case 'host-sysctl':
      return `host-sysctl ${object.path}`;
    case 'last-resort':
      return `last-resort ${object.table} ${object.family} ${object.protocol}`;
    case 'rule':
      return `rule ${object.family} ${object.priority} ${object.to ?? `iif ${object.dev}`} ${object.table} ${object.protocol}`;
    case 'address':
      return `address ${object.dev} ${object.address}/${object.length}`;
    case 'route':
      // dev and via are in the key: a route that moves is deleted and added, because `ip route replace` would also
      // take over a route of another protocol that came in between.
      return `route ${object.to} ${object.table} ${object.dev} ${object.via ?? '-'} ${object.protocol}`;
  }
}

/** Returns whether the object is a setting: it can be set back to what it was, but not removed. */
export function isSetting(object: NetObject): boolean {
  return SETTINGS.has(object.kind);
}

const SETTINGS: ReadonlySet<string> = new Set(['isolated', 'link', 'txqlen', 'sysctl', 'host-sysctl', 'proxy-sysctl', 'alias', 'mtu', 'allmulticast', 'ipv6']);

/** Returns whether the object is a link that guestwire made: it goes at `release` and nowhere else. */
export function isMade({ kind }: NetObject): boolean {
  return kind === 'veth' || kind === 'tap';
}

/** Returns the objects as a NetState. Of two with one key the later one stays. */
export function netState(objects: readonly NetObject[]): NetState {
  const byKey = new Map(objects.map((object) => [keyOf(object), object]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
}

/** Returns `state` without the host routes and what attracts traffic: how an incoming guest waits until it runs here. */
export function withoutRoutes(state: NetState): NetState {
  return state.filter((object) => object.kind !== 'route' && !(object.kind === 'rule' && object.to !== undefined));
}

/** Returns `state` without VLANs of ports. */
export function withoutVlans(state: NetState): NetState {
  return state.filter((object) => object.kind !== 'vlan');
}
