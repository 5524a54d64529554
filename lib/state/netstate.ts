/**
 * NetState: a set of kernel objects as values, one type for the desired and the observed state. guestwire removes an
 * observed object that the desired state lacks, so an observed state contains only objects that are proved guestwire's.
 */
import { isGrant, keyOf, type NetObject, reaches } from './objects.js';

export type { NetObject } from './objects.js';

/** Objects sorted by key, each key once: equal states are deeply equal. */
export type NetState = readonly NetObject[];

/** Returns the objects as a NetState. The later one of two with one key stays. */
export function netState(objects: readonly NetObject[]): NetState {
  const byKey = new Map(objects.map((object) => [keyOf(object), object]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
}

/** Returns `state` without what routes traffic to the guest: an incoming guest waits like this until it runs here. */
export function withoutRoutes(state: NetState): NetState {
  return state.filter((object) => !reaches(object));
}

/** Returns `state` without VLANs of ports. */
export function withoutVlans(state: NetState): NetState {
  return state.filter((object) => !isGrant(object));
}
