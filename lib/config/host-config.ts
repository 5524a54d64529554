/**
 * A TOML document to `HostConfig`: the tables of the host config, their keys and their values. A key that is misspelt
 * or passed over would leave guests with more than the host meant to give, so every word is checked. Pure.
 */
import * as z from 'zod/mini';
import { ValueError } from '../errors.js';
import type { TrustWord } from '../intent/policy.js';
import { type Address, assertUnicast, parseAddress, parsePrefix, type Prefix } from '../values/address.js';
import { assertIfname } from '../values/ifname.js';
import { DEFAULT_PROTOCOL, protocolOf, tableOf } from '../values/route-names.js';
import type { VlanMember } from '../values/vlan.js';
import { bridgeKeys, type BridgeTables, bridgeTables } from './bridge-tables.js';
import { DEFAULT_FILTER, filterConfig, type FilterConfig, trustList, trustPermitOf } from './filter-tables.js';
import {
  guestConfig, type GuestTables, guestTables, routeTableKey, tableMembership, vlanKey,
} from './guest-tables.js';
import {
  limitKeys, linkLocalOf, NO_LIMITS, proxyOf, type RoutedLimits, sourcesOf, tablesOf, vrfsOf,
} from './routed-limits.js';
import { serveConfig, type ServeTable } from './serve-table.js';
import { assertDistinct, mapOf, namedTables, read, table, type Table, type TablePath, within } from './toml.js';

/**
 * What this host offers and permits. An absent file is `defaultConfig()`: all the XML asks for, on bridges that exist.
 */
export interface HostConfig extends BridgeTables, ServeTable, FilterConfig {
  readonly routed: RoutedConfig;
  /** By libvirt network name, the bridge it leads to: for the moment at which the XML has the network's name alone. */
  readonly networks: ReadonlyMap<string, string>;
  /** By libvirt network name, then portgroup name. */
  readonly portgroups: ReadonlyMap<string, ReadonlyMap<string, { readonly vlan: readonly VlanMember[] }>>;
  /** By guest name or UUID, then MAC in lower case; configuredNics() finds a guest in them. */
  readonly guests: GuestTables;
}

/** Returns, for a bridge, the VIDs that guestwire never removes from its uplinks. */
export function protectedOn(config: HostConfig): (bridge: string) => ReadonlySet<number> {
  return (bridge) => config.bridges.get(bridge)?.protected ?? new Set();
}

export interface RoutedConfig extends RoutedLimits {
  readonly gateways: readonly Address[];
  /** A guest may claim only what lies in one of these; undefined: anything. */
  readonly prefixes: readonly Prefix[] | undefined;
  /** Route table, as `ip route` takes it: 'main' or a number. */
  readonly table: string;
  /** Route protocol number that marks a route as guestwire's. */
  readonly protocol: number;
  /** Links on which ARP and NDP are answered for guests. */
  readonly proxy: readonly string[];
  /** Whether a guest that starts is announced on those links. */
  readonly announce: boolean;
  /** Whether neighbours on those links are asked for a guest's addresses before it starts. */
  readonly probe: boolean;
  /** 'manual': an incoming guest with routed links is let in; its routes wait for `guestwire reconcile`. */
  readonly migration: 'refuse' | 'manual';
  /** guestwire turns forwarding on where a guest needs it; it stays on. */
  readonly manageSysctls: boolean;
  /** What metadata may ask to be trusted with. */
  readonly trust: ReadonlySet<TrustWord>;
}

const DEFAULT_ROUTED: RoutedConfig = {
  gateways: [parseAddress('169.254.0.1'), parseAddress('fe80::1')],
  prefixes: undefined,
  table: 'main',
  protocol: DEFAULT_PROTOCOL,
  proxy: [],
  announce: true,
  probe: false,
  migration: 'refuse',
  manageSysctls: false,
  trust: new Set(),
  ...NO_LIMITS,
};

/** Each message is what the schema wants, in words. */
function makeSchemas() {
  const text = z.string('text in quotes');
  const texts = z.optional(z.array(text, 'a list'));
  const yesOrNo = z.optional(z.boolean('true or false'));
  const anything = z.optional(z.unknown());
  const tables = z.optional(namedTables);
  return {
    document: table({
      bridge: tables, routed: anything, network: tables, guest: tables, serve: anything, filter: anything,
    }),
    bridge: bridgeKeys(),
    routed: table({
      gateways: texts, prefixes: texts, proxy: texts, table: routeTableKey(),
      protocol: z.optional(z.number('a number')),
      announce: yesOrNo, probe: yesOrNo, manage_sysctls: yesOrNo, trust: trustList(),
      migration: z.optional(z.literal(['refuse', 'manual'], '"refuse" or "manual"')),
      ...limitKeys(),
    }),
    network: table({ portgroup: tables, bridge: z.optional(text) }),
    portgroup: table({ vlan: vlanKey() }),
  };
}

type Schemas = ReturnType<typeof makeSchemas>;
type Read<Name extends keyof Schemas> = z.infer<Schemas[Name]>;

let made: Schemas | undefined;

/** Made when first read with: a host without a config file would pay 2 ms for them at every guest start. */
function schemas(): Schemas {
  made ??= makeSchemas();
  return made;
}

/** Returns the config of a host without the file: all that the XML asks for, on bridges that exist. */
export function defaultConfig(): HostConfig {
  return {
    bridges: new Map(), patterns: [], networks: new Map(), routed: DEFAULT_ROUTED, portgroups: new Map(),
    guests: new Map(),
    serve: undefined, filter: DEFAULT_FILTER,
  };
}

/**
 * Returns the host config that a document says; absent keys have their defaults. Throws ValueError for the first fault.
 */
export function hostConfig(document: Table): HostConfig {
  const top = read(schemas().document, document, []);
  return {
    ...bridgeTables(top.bridge, schemas().bridge),
    networks: networkBridges(top.network),
    routed: routedConfig(read(schemas().routed, top.routed ?? {}, ['routed']), ['routed']),
    portgroups: mapOf(top.network, ['network'], (network, at) =>
      mapOf(read(schemas().network, network, at).portgroup, [...at, 'portgroup'], portgroupConfig)),
    guests: guestTables(mapOf(top.guest, ['guest'], guestConfig)),
    serve: serveConfig(top.serve), filter: filterConfig(top.filter),
  };
}

function networkBridges(tables: Table | undefined): ReadonlyMap<string, string> {
  const found = mapOf(tables, ['network'], (value, at) => {
    const { bridge } = read(schemas().network, value, at);
    return within(at, 'bridge', () => {
      if (bridge !== undefined) assertIfname(bridge);
      return bridge;
    });
  });
  return new Map([...found].flatMap(([name, bridge]) => (bridge === undefined ? [] : [[name, bridge] as const])));
}

function routedConfig(routed: Read<'routed'>, at: TablePath): RoutedConfig {
  return {
    gateways: within(at, 'gateways', () => (routed.gateways ? gatewaysOf(routed.gateways) : DEFAULT_ROUTED.gateways)),
    prefixes: within(at, 'prefixes', () => routed.prefixes && prefixesOf(routed.prefixes)),
    table: within(at, 'table', () => tableOf(String(routed.table ?? DEFAULT_ROUTED.table))),
    protocol: within(at, 'protocol', () => protocolOf(routed.protocol ?? DEFAULT_ROUTED.protocol)),
    proxy: within(at, 'proxy', () => proxyOf(routed)),
    announce: routed.announce ?? DEFAULT_ROUTED.announce,
    probe: within(at, 'probe', () => probeOf(routed)),
    migration: routed.migration ?? DEFAULT_ROUTED.migration,
    manageSysctls: routed.manage_sysctls ?? DEFAULT_ROUTED.manageSysctls,
    trust: within(at, 'trust', () => trustPermitOf(routed.trust)),
    tables: within(at, 'tables', () => tablesOf(routed.tables)),
    vrfs: within(at, 'vrfs', () => vrfsOf(routed.vrfs)),
    linkLocal: within(at, 'link_local', () => linkLocalOf(routed.link_local)),
    sources: within(at, 'source', () => sourcesOf(routed.source)),
  };
}

function probeOf({ probe, proxy }: Read<'routed'>): boolean {
  if (probe === true && (proxy ?? []).length === 0) {
    throw new ValueError("'probe' needs a link: name the links towards the neighbours in 'proxy', or remove 'probe'");
  }
  return probe ?? DEFAULT_ROUTED.probe;
}

function portgroupConfig(value: unknown, at: TablePath): { readonly vlan: readonly VlanMember[] } {
  const { vlan } = read(schemas().portgroup, value, at);
  return { vlan: within(at, 'vlan', () => tableMembership(vlan)) };
}

function gatewaysOf(list: readonly string[]): Address[] {
  const gateways = list.map(parseAddress);
  gateways.forEach(assertUnicast);
  assertDistinct(gateways.map((gateway) => gateway.text));
  return gateways;
}

function prefixesOf(list: readonly string[]): Prefix[] {
  const prefixes = list.map(parsePrefix);
  assertDistinct(prefixes.map((prefix) => prefix.text));
  return prefixes;
}
