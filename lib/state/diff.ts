/**
 * Desired against observed: the operations that turn one into the other, in an order that is safe at every step. Start,
 * stop, rollback and repair differ in the target only, so one order serves them all: the list of phases in order.ts.
 */
import type { NetState } from './netstate.js';
import { isSetting, keyOf, objectKind, type NetObject } from './objects.js';
import type { Change } from './object-kind.js';
import { phaseRank } from './order.js';

/** One change to one kernel object. Absent `before`: it is made; absent `after`: it is removed. */
export interface Operation extends Change<NetObject> {
  readonly key: string;
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
  const taken = new Set(operations.flatMap((one) => (one.before === undefined ? objectPlace(one.after) ?? [] : [])));
  return operations
    .map((operation) => ({ operation, rank: rankIn(operation, taken) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ operation }) => operation);
}

function isChange({ before, after }: Operation): boolean {
  if (before === undefined) return true;
  if (after === undefined) return !isSetting(before);
  return JSON.stringify(before) !== JSON.stringify(after);
}

/** Returns what the kernel has one place for. */
function objectPlace(object: NetObject | undefined): string | undefined {
  return object && objectKind(object).place?.of(object);
}

/** An object that another one displaces makes room just before, where any other removal waits for the way down. */
function rankIn(operation: Operation, taken: ReadonlySet<string>): number {
  const { before, after } = operation;
  const object = after ?? before;
  if (object === undefined) return 0;
  const kind = objectKind(object);
  const place = after === undefined ? objectPlace(object) : undefined;
  if (kind.place !== undefined && place !== undefined && taken.has(place)) return phaseRank(kind.place.freed, 'wire');
  const isDown = kind.unwires?.(object, operation) ?? after === undefined;
  return phaseRank(kind.phase(object, operation), isDown ? 'unwire' : 'wire');
}
