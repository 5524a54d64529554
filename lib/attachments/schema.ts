/**
 * The journal's schema of what every attachment has. Strict, since each value may become part of a line for `ip`,
 * `bridge` or `nft`: each is one word there. Names of guests are free, and never part of a line as they are.
 */
import * as z from 'zod/mini';
import { GROUP_NAME } from '../intent/permission.js';
import { PROFILES, PROTOS } from '../intent/policy.js';

export const word = z.string().check(z.regex(/^[^\s]+$/));

/** An address, with or without a length. */
export const prefix = z.string().check(z.regex(/^[0-9a-f.:]{2,45}(\/[0-9]{1,3})?$/));

const yesOrNo = z.boolean();
const trust = z.object({ mac: yesOrNo, ip: yesOrNo, ra: yesOrNo, dhcp: yesOrNo, stp: yesOrNo, vid0: yesOrNo });

const port = z.int().check(z.minimum(1), z.maximum(65_535));

/** For messages alone. */
const origin = z.optional(z.string().check(z.regex(/^[\w<>:[\] ]{1,80}$/)));

export const policy = z.object({
  profile: z.literal(PROFILES),
  profileOrigin: origin,
  guest: z.string(),
  groups: z.array(z.string().check(z.regex(GROUP_NAME))),
  offers: z.object({ dhcp: yesOrNo, dns: z.array(prefix) }),
  allows: z.array(z.object({
    direction: z.literal(['in', 'out']),
    proto: z.optional(z.literal(PROTOS)),
    ports: z.array(z.object({ first: port, last: port })),
    origin,
    peers: z.array(z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('prefix'), prefix }),
      z.object({ kind: z.literal('guest'), name: z.string() }),
      z.object({ kind: z.literal('group'), name: z.string().check(z.regex(GROUP_NAME)) }),
      z.object({ kind: z.literal('host') }),
    ])),
  })),
});

/** Of every attachment in the journal. */
export const attached = {
  nic: z.number(), mac: z.optional(word), link: word, was: z.optional(word), ifindex: z.number(),
  trust: z.optional(trust),
  logged: z.optional(z.literal(true)), quarantined: z.optional(z.literal(true)),
};
