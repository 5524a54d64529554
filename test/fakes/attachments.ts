/** Attachments that tests write by hand, with addresses as text. */
import * as z from 'zod/mini';
import { type Attachment, type Wired, wiredSchema } from '../../lib/attachments/kinds.js';
import type { Stored } from '../../lib/attachments/schema.js';

type OfKind<T, K> = Extract<T, { readonly kind: K }>;

/** Returns the link of which the journal has this text. */
export function wiredOf<S extends Stored<Wired>>(stored: S): OfKind<Wired, S['kind']> {
  return z.parse(wiredSchema, stored) as OfKind<Wired, S['kind']>;
}

/** Returns the attachment of which `derive --json` prints this text. */
export function attachmentOf<S extends Stored<Attachment>>(stored: S): OfKind<Attachment, S['kind']> {
  const one = Object.entries(wiredOf({ ...stored, link: 'unnamed', ifindex: 0 } as Stored<Wired>));
  return Object.fromEntries(one.flatMap(([key, value]) => (
    key === 'ifindex' ? [] : [[key, key === 'link' ? stored.link : value]]))) as OfKind<Attachment, S['kind']>;
}
