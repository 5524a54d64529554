/**
 * The host config's words for filters: the table `[filter]`, `trust` of `[bridge]` and `[routed]`, and what a guest's
 * own table says in place of its metadata.
 */
import * as z from 'zod/mini';
import { ValueError } from '../errors.js';
import { declaredOf, type FilterWords, groupNames } from '../intent/filter-words.js';
import { allowOf, itemsOf } from '../intent/permission.js';
import { type Profile, PROFILES, PROTOS, TRUST_WORDS, type TrustWord } from '../intent/policy.js';
import { parseOwn } from '../values/address.js';
import { quote } from '../values/quote.js';
import { read, table, type TablePath, within } from './toml.js';

/** The part of the host config that this file is about. */
export interface FilterConfig {
  readonly filter: {
    /** The profile of routed links that name no profile; undefined: not written. */
    readonly profile: Profile | undefined;
    /** Drops are logged where no other source says otherwise. */
    readonly log: boolean;
    /** Groups that metadata may join; undefined: any. */
    readonly groups: ReadonlySet<string> | undefined;
  };
}

export const DEFAULT_FILTER: FilterConfig['filter'] = { profile: undefined, log: false, groups: undefined };

const oneOf = (words: readonly string[]): string => `one of ${words.map((word) => `"${word}"`).join(', ')}`;

/** Returns the schema of a list of trust words. */
export function trustList() {
  const words = oneOf(TRUST_WORDS);
  return z.optional(z.array(z.literal(TRUST_WORDS, words), 'a list such as ["ra", "dhcp"]'));
}

/** Returns what `trust` of a bridge, or of all routed links, lets metadata ask for. Throws ValueError. */
export function trustPermitOf(list: readonly TrustWord[] | undefined): ReadonlySet<TrustWord> {
  const words = new Set(list);
  const twice = list?.find((word, index) => list.indexOf(word) !== index);
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice: list it once`);
  return words;
}

/** Returns the keys of a guest's NIC that are about its filters. */
export function filterKeys() {
  const text = z.string('text in quotes');
  const yesOrNo = z.boolean('true or false');
  const peers = z.optional(z.array(text, 'a list such as ["guest:web1", "2001:db8::/32"]'));
  const maybe = z.optional(yesOrNo);
  return {
    trust: z.optional(table({ mac: maybe, ip: maybe, ra: maybe, dhcp: maybe, stp: maybe, vid0: maybe })),
    allow: z.optional(z.array(table({
      direction: z.literal(['in', 'out'], '"in" or "out"'), proto: z.optional(z.literal(PROTOS, oneOf(PROTOS))),
      port: z.optional(z.union([z.number(), text], 'a port such as 443 or ports such as "443,8443-8450"')), from: peers, to: peers,
    }), 'a list of tables such as [{ direction = "in", proto = "tcp", port = "443" }]')),
    profile: profileKey(),
    log: maybe,
    groups: groupsKey(),
    ip: z.optional(z.array(text, 'a list of addresses and prefixes')),
  };
}

function profileKey() {
  return z.optional(z.literal(PROFILES, oneOf(PROFILES)));
}

function groupsKey() {
  return z.optional(z.array(z.string('text in quotes'), 'a list of names such as ["frontends"]'));
}

type Keys = ReturnType<typeof filterKeys>;
type Written = { readonly [K in keyof Keys]?: z.infer<Keys[K]> };

/** Returns what `[filter]` says; absent keys have their defaults. Throws ValueError. */
export function filterConfig(value: unknown): FilterConfig['filter'] {
  if (value === undefined) return DEFAULT_FILTER;
  const at = ['filter'];
  const { profile, log, groups } = read(
    table({ profile: profileKey(), log: z.optional(z.boolean('true or false')), groups: groupsKey() }), value, at,
  );
  return {
    profile: profile ?? DEFAULT_FILTER.profile, log: log ?? DEFAULT_FILTER.log,
    groups: within(at, 'groups', () => (groups === undefined ? undefined : new Set(groupNames(groups)))),
  };
}

/** Returns the words for one NIC's filters; undefined when none of the keys is there. Throws ValueError. */
export function filterWordsOf(
  { trust, allow, profile, log, groups, ip }: Written, at: TablePath,
): FilterWords | undefined {
  if ([trust, allow, profile, log, groups, ip].every((key) => key === undefined)) return undefined;
  const allows = (allow ?? []).map((words, index) => within(at, `allow[${index}]`, () => allowOf(
    { ...words, port: words.port === undefined ? undefined : itemsOf(String(words.port)) }, `allow[${index}] of [guest] in the host config`)));
  return {
    trust,
    allows: allows.length === 0 ? undefined : allows,
    profile,
    log,
    groups: within(at, 'groups', () => groupNames(groups ?? [])),
    ips: within(at, 'ip', () => declaredOf((ip ?? []).map(parseOwn))),
  };
}
