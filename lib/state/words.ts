/** Operations and their objects in words, for messages and the log. Pure. */
import { formatRange } from '../values/vlan.js';
import type { Operation } from './diff.js';
import { objectKind, type NetObject, numberOf } from './objects.js';
import type { BatchLine } from './render.js';

/** Returns an operation in words, for messages and the log: `add VLAN 42 pvid untagged on 'vnet7'`. */
export function describeOperation({ before, after }: Operation, vids?: string): string {
  const object = after ?? before;
  if (object === undefined) return 'change nothing';
  const verb = after === undefined ? 'remove' : before === undefined ? 'add' : 'set';
  return `${objectKind(object).verbs?.[verb] ?? verb} ${objectName(object, vids)}${shownLink(object)}`;
}

/** Returns where an object is, for behind its name: ` on 'vnet7'`; '' when the name says it. */
export function shownLink(object: NetObject): string {
  return objectKind(object).namesItsLink === true ? '' : ` on '${object.dev}'`;
}

/** Returns a line's operations in words: `add VLAN 20-29 on 'eno1'`. A line without operations gives undefined. */
export function describeLine({ operations }: BatchLine): string | undefined {
  const [first] = operations;
  return first && describeOperation(first, vidsIn({ operations }));
}

/** Returns the VIDs of a line's operations: `20-29`; undefined when it is not about VLANs. */
export function vidsIn({ operations }: Pick<BatchLine, 'operations'>): string | undefined {
  const [from, to] = [operations[0], operations.at(-1)].map((operation) => {
    const object = operation?.after ?? operation?.before;
    return object && numberOf(object);
  });
  return from === undefined || to === undefined ? undefined : formatRange({ first: from, last: to });
}

/** Returns an object in words: `VLAN 42 pvid untagged`. */
export function objectName(object: NetObject, vids?: string): string {
  return objectKind(object).name(object, vids);
}
