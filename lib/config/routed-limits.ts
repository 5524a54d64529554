/**
 * The words of `[routed]` that keep one guest's author from harm to others: which tables and VRFs metadata may name,
 * which link-local destinations the host opens, and which of its own addresses the host shows to guests.
 */
import * as z from 'zod/mini';
import { ValueError } from '../errors.js';
import { type Address, assertUnicast, familyName, isLinkLocal, parseAddress } from '../values/address.js';
import { assertIfname } from '../values/ifname.js';
import { quote } from '../values/quote.js';
import { tableRange, type TableRange } from '../values/route-names.js';
import { ifnames } from './bridge-tables.js';
import { assertDistinct } from './toml.js';

/** What `[routed]` lets the author of a guest's metadata ask for, and what of the host guests meet. */
export interface RoutedLimits {
  /** Tables that metadata may name beside `table`. */
  readonly tables: readonly TableRange[];
  /** VRFs that metadata may name. */
  readonly vrfs: ReadonlySet<string>;
  /** Link-local destinations beyond this host that guests may reach. */
  readonly linkLocal: readonly Address[];
  /** The host's own addresses towards guests, at most one of each family. */
  readonly sources: readonly Address[];
}

export const NO_LIMITS: RoutedLimits = { tables: [], vrfs: new Set(), linkLocal: [], sources: [] };

/** Returns the keys of `[routed]` that this file reads. */
export function limitKeys() {
  const text = z.string('text in quotes');
  const texts = z.optional(z.array(text, 'a list'));
  const tables = z.array(
    z.union([z.number(), z.string()], 'a table such as 100 or tables such as "200-209"'), 'a list of tables such as [100, "200-209"]',
  );
  return {
    tables: z.optional(tables), vrfs: texts, link_local: texts,
    source: z.optional(z.union([text, z.array(text)], 'an address in quotes, or a list of one of each family')),
  };
}

/** Returns the tables that `tables` lists. Throws ValueError. */
export function tablesOf(list: readonly (number | string)[] = []): TableRange[] {
  const texts = list.map(String);
  assertDistinct(texts);
  return texts.map(tableRange);
}

/** Returns the VRFs that `vrfs` lists. Throws ValueError. */
export function vrfsOf(list: readonly string[] = []): ReadonlySet<string> {
  list.forEach(assertIfname);
  assertDistinct(list);
  return new Set(list);
}

/** Returns the destinations that `link_local` lists. Throws ValueError. */
export function linkLocalOf(list: readonly string[] = []): Address[] {
  const addresses = list.map(parseAddress);
  for (const address of addresses) {
    if (!isLinkLocal(address)) throw new ValueError(`${quote(address.text)} is not link-local: guests reach it without this list, so remove it`);
    if (address.family === 'inet6') throw new ValueError(`${quote(address.text)} is an IPv6 link-local address, which Linux never forwards: remove it`);
  }
  assertDistinct(addresses.map(({ text }) => text));
  return addresses;
}

/** Returns the addresses that `source` names. Throws ValueError. */
export function sourcesOf(written: string | readonly string[] = []): Address[] {
  const addresses = (typeof written === 'string' ? [written] : written).map(parseAddress);
  for (const address of addresses) {
    assertUnicast(address);
    if (isLinkLocal(address)) throw new ValueError(`${quote(address.text)} is link-local and means nothing beyond one link: name an address of this host that others know`);
  }
  const [one, other] = addresses;
  if (addresses.length > 2 || (one !== undefined && one.family === other?.family)) {
    throw new ValueError(`two addresses of ${familyName(one?.family ?? 'inet')} are given: name at most one of each family`);
  }
  return addresses;
}

interface Proxying {
  readonly proxy?: readonly string[] | undefined;
  readonly prefixes?: readonly string[] | undefined;
}

/**
 * Returns the links of `proxy`. Throws ValueError when nothing limits the addresses for which the host answers there.
 */
export function proxyOf({ proxy, prefixes }: Proxying): readonly string[] {
  const links = ifnames(proxy);
  if (links.length > 0 && prefixes === undefined) {
    throw new ValueError("'proxy' needs 'prefixes', or a guest can take the address of a neighbour on that link: list the prefixes of your guests in 'prefixes', or remove 'proxy'");
  }
  return links;
}
