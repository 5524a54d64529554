/**
 * The one list of the kinds of kernel objects, and the questions that code elsewhere asks about an object: the answer
 * is in the record of its kind. A new kind is a record in `objects/`, its type in the union and its line in the table.
 */
import type { Change, ObjectKind } from './object-kind.js';
import {
  bridge, type Bridge, bridgeSettings, type BridgeSettings, isolated, type Isolated, port, type Port, uplinkVlan,
  type UplinkVlan, vlan, type Vlan,
} from './objects/bridge.js';
import {
  alias, type Alias, allmulticast, type Allmulticast, ipv6, type Ipv6, link, type Link, mac, type Mac, master,
  type Master, mtu, type Mtu, tap, type Tap, txqlen, type Txqlen, veth, type Veth, vlanLink, type VlanLink,
} from './objects/link.js';
import {
  filterOfNic, type FilterOfNic, filterSet, type FilterSet, filterTable, type FilterTable,
} from './objects/nft.js';
import {
  lastResort, type LastResort, linkAddress, type LinkAddress, neighbourProxy, type NeighbourProxy, route, type Route,
  type RoutingRule, rule,
} from './objects/routing.js';
import {
  hostSysctl, type HostSysctl, proxySysctl, type ProxySysctl, sysctl, type Sysctl,
} from './objects/sysctl.js';

/** Objects of a link that guestwire makes. */
export type MadeObject = Veth | Tap | Alias | Mtu | Allmulticast | Link | Ipv6;

/** One kernel object, or one setting of the kernel that always has some value. */
export type NetObject =
  | MadeObject
  | Vlan | UplinkVlan | Isolated
  | Bridge | BridgeSettings | VlanLink | Mac | Port
  | Txqlen | Master
  | LinkAddress | Route | RoutingRule | LastResort | NeighbourProxy
  | Sysctl | HostSysctl | ProxySysctl
  | FilterTable | FilterOfNic | FilterSet;

export const OBJECTS = {
  veth,
  tap,
  alias,
  mtu,
  allmulticast,
  link,
  ipv6,
  txqlen,
  master,
  vlan,
  'uplink-vlan': uplinkVlan,
  isolated,
  bridge,
  'bridge-settings': bridgeSettings,
  'vlan-link': vlanLink,
  mac,
  port,
  address: linkAddress,
  route,
  rule,
  'last-resort': lastResort,
  'neighbour-proxy': neighbourProxy,
  sysctl,
  'host-sysctl': hostSysctl,
  'proxy-sysctl': proxySysctl,
  'filter-table': filterTable,
  'nic-filter': filterOfNic,
  'filter-set': filterSet,
} satisfies { readonly [Kind in NetObject['kind']]: ObjectKind<Extract<NetObject, { readonly kind: Kind }>> };

/** Returns the record of an object's kind. */
export function objectKind(object: NetObject): ObjectKind<NetObject> {
  return OBJECTS[object.kind];
}

/** Returns the identity of the object. */
export function keyOf(object: NetObject): string {
  return objectKind(object).key(object);
}

/** Returns whether the object is a setting: guestwire can set it back to its old value, and cannot remove it. */
export function isSetting(object: NetObject): boolean {
  return objectKind(object).remove === undefined;
}

/** Returns whether the object is a link that guestwire made. */
export function isMade(object: NetObject): boolean {
  return objectKind(object).made === true;
}

/** Returns whether such an object from before the guest is a leftover of an earlier run. */
export function isLeftover(object: NetObject): boolean {
  return objectKind(object).leftover === true;
}

/** Returns whether guests share the object, or it outlives the guest's link. */
export function isShared(object: NetObject): boolean {
  return objectKind(object).owner !== 'link' || 'shared' in object;
}

/** Returns whether the object lets the guest into a network. */
export function isGrant(object: NetObject): boolean {
  return objectKind(object).grant === true;
}

/** Returns whether the setting protects the host or other guests from the guest. */
export function isGuard(object: NetObject): boolean {
  return objectKind(object).guards === true;
}

/** Returns whether the change alone keeps all frames from passing the link. */
export function isCut(change: Change<NetObject>): boolean {
  const object = change.after ?? change.before;
  return object !== undefined && objectKind(object).cuts?.(change) === true;
}

/** Returns whether the object routes traffic to the guest. */
export function reaches(object: NetObject): boolean {
  return objectKind(object).reaches?.(object) ?? false;
}

/** Returns whether guestwire sees the object when it looks again after a change. */
export function isSeenAgain(object: NetObject): boolean {
  return objectKind(object).isSeenAgain?.(object) ?? true;
}

/** Returns whether the object exists and cannot do its work. */
export function isBroken(object: NetObject): boolean {
  return objectKind(object).isBroken?.(object) ?? false;
}

/** Returns whether the object is in nftables. */
export function isFilter(object: NetObject): boolean {
  return objectKind(object).owner === 'filter';
}

/** Returns the key of the object that contains this one. */
export function withinOf(object: NetObject): string | undefined {
  return objectKind(object).within?.(object);
}

/** Returns the need of a guest for which the object exists: an address, or `UPLINK VID`. */
export function needOf(object: NetObject): string | undefined {
  return objectKind(object).need?.(object);
}

/** Returns the number of the object in a series: the VID. */
export function numberOf(object: NetObject): number | undefined {
  return objectKind(object).series?.number(object);
}

/** Returns the path of a sysctl below /proc/sys. */
export function sysctlPath(object: NetObject): string | undefined {
  return objectKind(object).path?.(object);
}

/** Returns the bridge or VRF that the link joins with this object. */
export function masterOf(object: NetObject): string | undefined {
  return objectKind(object).master?.(object);
}

/** Returns the length of the transmit queue that the object sets. */
export function queueLength(object: NetObject): number | undefined {
  return objectKind(object).queue?.(object);
}

/** Returns the object for the time when its link has the name `dev`. */
export function renamed(object: NetObject, dev: string): NetObject {
  return objectKind(object).renamed?.(object, dev) ?? { ...object, dev };
}
