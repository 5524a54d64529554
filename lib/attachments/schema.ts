/**
 * The journal's schema of what every attachment has: it reads text, and gives values. It is strict: each value may
 * become part of a line for `ip`, `bridge` or `nft`, and is one word there. Names of guests are free; no line holds
 * them as they are. The keys of a schema stand in the order in which an attachment has them, so an entry is written
 * again as it was read.
 */
import * as z from 'zod/mini';
import { ValueError } from '../errors.js';
import { GROUP_NAME } from '../intent/permission.js';
import { PROFILES, PROTOS } from '../intent/policy.js';
import { type Address, parseAddress, parseOwn, parsePrefix, type Prefix } from '../values/address.js';
import { quote } from '../values/quote.js';

/** What JSON can give back of `T`: keys without a value are absent. */
export type Recovered<T> = T extends Address | Prefix
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Recovered<Item>[]
    : T extends object ? WithoutUndefined<{ readonly [K in keyof T]: Recovered<T[K]> }> : T;

type WithoutUndefined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } &
  { [K in keyof T as undefined extends T[K] ? K : never]?: T[K] };

/** `T` as the journal and `--json` have it: addresses and prefixes are text. */
export type Stored<T> = T extends Address | Prefix
  ? string
  : T extends readonly (infer Item)[]
    ? readonly Stored<Item>[]
    : T extends object ? { readonly [K in keyof T]: Stored<T[K]> } : T;

/** Schema that reads what is stored of `T`, every key of it. `toJSON` of the values writes it. */
export type SchemaOf<T> = z.ZodMiniType<Recovered<T>, Stored<Recovered<T>>> & {
  readonly shape: { readonly [K in keyof T]-?: z.ZodMiniType };
};

export const word = valueOf((text) => {
  if (/^[^\s]+$/.test(text)) return text;
  throw new ValueError(`${quote(text)} is not one word`);
});
export const address = valueOf(parseAddress);
export const prefix = valueOf(parsePrefix);
export const own = valueOf(parseOwn);

/**
 * Returns the schema of text that `parse` reads; an entry with other text is damaged. It is one step: a string with a
 * check, or piped into a transform, takes twice as long, and a start reads the entries of all guests.
 */
function valueOf<T>(parse: (text: string) => T): z.ZodMiniType<T, string> {
  return z.transform((text, { issues }) => {
    try {
      if (typeof text === 'string') return parse(text);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
    }
    issues.push({ code: 'custom', input: text });
    return z.NEVER;
  });
}

const yesOrNo = z.boolean();
const trust = z.object({ mac: yesOrNo, ip: yesOrNo, ra: yesOrNo, dhcp: yesOrNo, stp: yesOrNo, vid0: yesOrNo });

const port = z.int().check(z.minimum(1), z.maximum(65_535));

/** For messages alone. */
const origin = z.optional(z.string().check(z.regex(/^[\w<>:[\] ]{1,80}$/)));

const peer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('prefix'), prefix }),
  z.object({ kind: z.literal('guest'), name: z.string() }),
  z.object({ kind: z.literal('group'), name: z.string().check(z.regex(GROUP_NAME)) }),
  z.object({ kind: z.literal('host') }),
]);

export const policy = z.object({
  profile: z.literal(PROFILES),
  profileOrigin: origin,
  allows: z.array(z.object({
    direction: z.literal(['in', 'out']),
    proto: z.optional(z.literal(PROTOS)),
    ports: z.array(z.object({ first: port, last: port })),
    peers: z.array(peer),
    origin,
  })),
  guest: z.string(),
  groups: z.array(z.string().check(z.regex(GROUP_NAME))),
  offers: z.object({ dhcp: yesOrNo, dns: z.array(address) }),
});

/** The keys with which every attachment in the journal begins, after its kind. */
export const attached = { nic: z.number(), mac: z.optional(word), link: word };

/** The keys of an attachment that is guarded. */
export const guarded = {
  trust: z.optional(trust), logged: z.optional(z.literal(true)), lenient: z.optional(z.literal(true)),
};

/** The keys with which every attachment in the journal ends. */
export const recorded = {
  was: z.optional(word), ifindex: z.number(), quarantined: z.optional(z.literal(true)),
};
