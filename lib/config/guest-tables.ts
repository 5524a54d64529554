/**
 * `[guest.NAME."MAC"]` of the host config: intent for one NIC, for guests with XML that stays as it is. The VLAN words
 * are those of a portgroup, too.
 */
import * as z from 'zod/mini';
import { ConflictError, ValueError } from '../errors.js';
import type { FilterWords } from '../intent/filter-words.js';
import { type VethWords, vethWords } from '../intent/veth.js';
import { type Address, parseAddress, type Prefix, prefixOf, width } from '../values/address.js';
import { quote } from '../values/quote.js';
import { tableOf } from '../values/route-names.js';
import { isUuid } from '../values/uuid.js';
import { accessPort, canonicalMembership, parseVids, vidsOf, type VlanMember } from '../values/vlan.js';
import { filterKeys, filterWordsOf } from './filter-tables.js';
import { tableHeader, mapOf, namedTables, read, table, type TablePath, within } from './toml.js';

/** What the host config says about one NIC. */
export interface NicConfig {
  readonly vlan: readonly VlanMember[] | undefined;
  readonly isolated: boolean | undefined;
  readonly routed:
    | {
        readonly veth?: VethWords | undefined;
        readonly addresses: readonly Address[];
        readonly routes: readonly { readonly to: Prefix; readonly gateway: Address | undefined }[];
        readonly table?: string | undefined;
        readonly vrf?: string | undefined;
      }
    | undefined;
  /** Absent: none of its keys is there. What it trusts needs no other leave. */
  readonly filter?: FilterWords | undefined;
}

/** Each message is what the schema wants, in words. */
function makeSchemas() {
  const text = z.string('text in quotes');
  const number = z.number('a number');
  const yesOrNo = z.boolean('true or false');
  const vlan = table({
    trunk: z.optional(yesOrNo),
    tags: vidsKey(),
    native: z.optional(z.union([number, text], 'a VLAN ID such as 10')),
    native_mode: z.optional(z.literal(['tagged', 'untagged'], '"tagged" or "untagged"')),
  });
  const route = table({ address: text, prefix: z.optional(number), gateway: z.optional(text) });
  const routes = z.array(route, 'a list of tables such as [{ address = "2001:db8:0:20::", prefix = 64 }]');
  return {
    vlan,
    route,
    nic: table({
      vlan: z.optional(vlan),
      isolated: z.optional(yesOrNo),
      routed: z.optional(table({
        veth: z.optional(text), mtu: z.optional(number), ip: z.array(text, 'a list of addresses'),
        route: z.optional(routes),
        table: routeTableKey(), vrf: z.optional(text),
      })),
      ...filterKeys(),
    }),
  };
}

type Schemas = ReturnType<typeof makeSchemas>;
type Read<Name extends keyof Schemas> = z.infer<Schemas[Name]>;

let made: Schemas | undefined;

/** Made when first read with, as those of host-config.ts. */
function schemas(): Schemas {
  made ??= makeSchemas();
  return made;
}

/** Returns the schema of a list of VLAN IDs. */
export function vidsKey() {
  const vid = z.union([z.number('a number'), z.string('text in quotes')], 'a VLAN ID such as 10 or a range such as "10-19"');
  return z.array(vid, 'a list of VLAN IDs such as [10, "20-29"]');
}

/** Returns the schema of a route table. */
export function routeTableKey() {
  return z.optional(z.union([z.number(), z.string()], '"main" or a number'));
}

/** Returns the schema of the VLANs of a NIC or portgroup, and what membershipOf() reads. */
export function vlanKey() {
  return schemas().vlan;
}

/**
 * Returns the VIDs of a list such as `[10, '20-29']`, as written: neither sorted nor freed of doubles. Throws
 * ValueError.
 */
export function parseVidList(list: readonly (number | string)[]): number[] {
  return list.flatMap((item) => vidsOf(parseVids(String(item))));
}

/** Returns the NICs of one `[guest.NAME]`, by MAC in lower case. Throws ValueError. */
export function guestConfig(value: unknown, at: TablePath): ReadonlyMap<string, NicConfig> {
  const written = mapOf(read(namedTables, value, at), at, nicConfig);
  const nics = new Map<string, NicConfig>();
  for (const [key, nic] of written) {
    const mac = key.toLowerCase();
    if (nics.has(mac)) throw new ValueError(`${tableHeader(at)}: MAC ${quote(mac)} appears twice: keep one of the two tables`);
    nics.set(mac, nic);
  }
  return nics;
}

/** Which guests of the host config a guest may be: a text that is a UUID is only ever a UUID. */
export type GuestTables = ReadonlyMap<string, ReadonlyMap<string, NicConfig>>;

/** Returns the tables by name, or by UUID in lower case. Throws ValueError. */
export function guestTables(tables: GuestTables): GuestTables {
  const found = new Map<string, ReadonlyMap<string, NicConfig>>();
  for (const [key, nics] of tables) {
    const name = isUuid(key.toLowerCase()) ? key.toLowerCase() : key;
    if (found.has(name)) throw new ValueError(`${tableHeader(['guest', name])} appears twice: keep one of the two tables`);
    found.set(name, nics);
  }
  return found;
}

/**
 * Returns what the tables of a guest say about its NICs, by MAC in lower case. Throws ConflictError for a NIC in the
 * table of the guest's name and in that of its UUID.
 */
export function configuredNics(
  guests: GuestTables, { name, uuid }: { readonly name: string; readonly uuid: string | undefined },
): ReadonlyMap<string, NicConfig> {
  const named = isUuid(name.toLowerCase()) ? undefined : guests.get(name);
  const numbered = uuid === undefined ? undefined : guests.get(uuid);
  const twice = [...named?.keys() ?? []].find((mac) => numbered?.has(mac) === true);
  if (twice !== undefined) {
    throw new ConflictError(`MAC ${quote(twice)} is in ${tableHeader(['guest', name])} and in ${tableHeader(['guest', uuid ?? ''])} of the host config: keep one of the two tables`);
  }
  return new Map([...named ?? [], ...numbered ?? []]);
}

/**
 * Returns the tables that have a MAC of this guest and are not its own: the guest was renamed, or its MAC was copied.
 * Each comes with the MAC.
 */
export function tablesOfOthers(
  guests: GuestTables, { name, uuid, nics }: {
    readonly name: string;
    readonly uuid: string | undefined;
    readonly nics: readonly { readonly mac: string | undefined }[];
  },
): { readonly table: string; readonly mac: string }[] {
  return [...guests].flatMap(([key, tables]) => (key === (isUuid(key) ? uuid : name)
    ? []
    : nics.flatMap(({ mac }) =>
      (mac !== undefined && tables.has(mac) ? [{ table: tableHeader(['guest', key]), mac }] : []))));
}

function nicConfig(value: unknown, at: TablePath): NicConfig {
  const mac = at.at(-1) ?? '';
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new ValueError(`${tableHeader(at.slice(0, -1))}: ${quote(mac)} is not a MAC address such as '52:54:00:aa:bb:01'`);
  }
  const { vlan, isolated, routed, ...words } = read(schemas().nic, value, at);
  const filter = filterWordsOf(words, at);
  if ([vlan, isolated, routed, filter].every((key) => key === undefined)) {
    throw new ValueError(`${tableHeader(at)}: the table is empty: give it 'vlan', 'routed' or another of its keys, or remove it`);
  }
  return {
    vlan: within(at, 'vlan', () => vlan && tableMembership(vlan)),
    isolated,
    routed: routed && {
      veth: within(at, 'routed', () => vethWords(routed)),
      addresses: within(at, 'routed.ip', () => routed.ip.map(parseAddress)),
      routes: (routed.route ?? []).map((route, index) => within(at, `routed.route[${index}]`, () => guestRoute(route))),
      table: within(at, 'routed.table', () => (routed.table === undefined ? undefined : tableOf(String(routed.table)))),
      vrf: routed.vrf,
    },
    ...(filter && { filter }),
  };
}

function guestRoute(route: Read<'route'>): { readonly to: Prefix; readonly gateway: Address | undefined } {
  const address = parseAddress(route.address);
  return {
    to: prefixOf(address, String(route.prefix ?? width(address.family))),
    gateway: route.gateway === undefined ? undefined : parseAddress(route.gateway),
  };
}

/**
 * The rules of `<vlan>`, with `native` in place of nativeMode: a native VLAN makes a trunk and need not be in `tags`.
 */
export function tableMembership(vlan: Read<'vlan'>): VlanMember[] {
  const tags = canonicalMembership(parseVidList(vlan.tags).map((vid) => ({ vid, pvid: false, untagged: false })));
  const [only] = tags;
  if (only === undefined) throw new ValueError('tags is empty: list at least one VLAN');
  const trunk = tags.length > 1 || vlan.native !== undefined;
  if (vlan.trunk === false && trunk) {
    throw new ValueError('trunk is false, but more than one VLAN or a native VLAN is given: remove one or the other');
  }
  if (vlan.native === undefined) {
    if (vlan.native_mode !== undefined) throw new ValueError('native_mode needs native: add the native VLAN');
    return trunk || vlan.trunk === true ? tags : accessPort(only.vid);
  }
  const native = nativeOf(String(vlan.native));
  const others = tags.filter((member) => member.vid !== native);
  return canonicalMembership([...others, { vid: native, pvid: true, untagged: vlan.native_mode !== 'tagged' }]);
}

function nativeOf(text: string): number {
  const { first, last } = parseVids(text);
  if (first !== last) throw new ValueError(`native ${quote(text)} is a range: a native VLAN is one VLAN ID`);
  return first;
}
