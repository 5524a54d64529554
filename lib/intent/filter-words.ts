/**
 * What a source of intent says about a NIC's filters, and how the sources are merged: per element the metadata wins
 * over the host's table for this guest. The words are judged here; whether they fit the kind of attachment, in
 * attachments/filter-intent.ts.
 */
import { ValueError } from '../errors.js';
import { asPrefix, assertOwnable, type Own } from '../values/address.js';
import { repeated } from '../values/lists.js';
import { quote } from '../values/quote.js';
import { groupName } from './permission.js';
import type { Allow, Profile, TrustWord } from './policy.js';

export type TrustWords = Readonly<Partial<Record<TrustWord, boolean | undefined>>>;

/** An element that is absent leaves the matter to the next source. */
export interface FilterWords {
  readonly trust?: TrustWords | undefined;
  /** Never empty. */
  readonly allows?: readonly Allow[] | undefined;
  readonly profile?: Profile | undefined;
  readonly log?: boolean | undefined;
  /** Never empty. */
  readonly groups?: readonly string[] | undefined;
  /** Never empty. */
  readonly ips?: readonly Own[] | undefined;
}

/** Returns what a guest declares as its own; undefined for nothing. Throws ValueError. */
export function declaredOf(declared: readonly Own[]): Own[] | undefined {
  for (const own of declared) assertOwnable(asPrefix(own));
  assertOnce(declared.map(({ text }) => text));
  return someOf(declared);
}

/** Returns the names of groups; undefined for none. Throws ValueError. */
export function groupNames(names: readonly string[]): string[] | undefined {
  const groups = names.map(groupName);
  assertOnce(groups);
  return someOf(groups);
}

function assertOnce(list: readonly string[]): void {
  const twice = repeated(list);
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice: list it once`);
}

export function someOf<T>(list: readonly T[]): T[] | undefined {
  return list.length === 0 ? undefined : [...list];
}
