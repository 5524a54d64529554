/**
 * The one list of what the kinds leave on a host for guests that are gone. No entry of the journal has it any more: an
 * alias or guestwire's protocol number marks it.
 */
import type { WholeHost } from '../kernel/whole-host.js';
import type { NetObject } from '../state/netstate.js';
import type { Kept } from './kept.js';
import { deadRouting } from './routed-link/dead.js';
import { leftLinks, linksOfGuest } from './made-link/leftovers.js';
import { leftProxies, leftRoutes, leftRules } from './routed-link/leftovers.js';
import { leftBridges } from './vlan-bridge/leftovers.js';

const LEFT: readonly ((facts: WholeHost, kept: Kept) => readonly NetObject[])[] = [
  leftLinks, leftBridges, leftRoutes, leftRules, leftProxies,
];

/** Returns what is to be removed. */
export function leftObjects(facts: WholeHost, kept: Kept): NetObject[] {
  return LEFT.flatMap((left) => left(facts, kept));
}

/** Returns the objects without a link, and with `made` those that were made for this guest, to be removed. */
export function deadObjects(facts: WholeHost, kept: Kept, { uuid, made }: {
  readonly uuid: string; readonly made: boolean;
}): NetObject[] {
  return [
    ...deadRouting(facts, kept), ...(made ? [...linksOfGuest(facts, uuid), ...leftBridges(facts, kept)] : []),
  ];
}
