/**
 * A TOML document to `HostConfig`: the tables of the host config, their keys and their values. A key that is misspelt or
 * passed over would leave guests with more than the host meant to give, so every word is checked. Pure.
 */
import * as z from 'zod/mini';
import { type Address, assertUnicast, parseAddress, parsePrefix, type Prefix, prefixOf, widthOf } from './address.js';
import { locate, ValueError } from './errors.js';
import { assertIfname } from './ifname.js';
import { type VethWish, vethWishOf } from './madelink.js';
import { quote } from './quote.js';
import { DEFAULT_PROTOCOL, protocolOf, tableOf } from './rtnames.js';
import { serveConfig, type ServeTable } from './serveconfig.js';
import { header, mapOf, namedTables, read, type Table, table, type TablePath, within } from './toml.js';
import { accessPort, canonicalMembership, parseVids, type VlanMember, vidsOf } from './vlan.js';

/** What this host offers and permits. An absent file is `defaultConfig()`: all the XML asks for, on bridges that exist. */
export interface HostConfig extends ServeTable {
  readonly bridges: ReadonlyMap<string, BridgeConfig>;
  readonly routed: RoutedConfig;
  /** By libvirt network name, then portgroup name. */
  readonly portgroups: ReadonlyMap<string, ReadonlyMap<string, { readonly vlan: readonly VlanMember[] }>>;
  /** By guest name, then MAC in lower case. */
  readonly guests: ReadonlyMap<string, ReadonlyMap<string, NicConfig>>;
}

/** Returns, for a bridge, the VIDs that guestwire never removes from its uplinks. */
export function protectedOn(config: HostConfig): (bridge: string) => ReadonlySet<number> {
  return (bridge) => config.bridges.get(bridge)?.protected ?? new Set();
}

export interface BridgeConfig {
  /** Ports towards the world, on which guests' VIDs are kept. */
  readonly uplinks: readonly string[];
  /** VIDs guestwire never removes from uplinks or from the bridge itself. */
  readonly protected: ReadonlySet<number>;
  /** VIDs a guest may ask for; undefined: all. */
  readonly allowed: ReadonlySet<number> | undefined;
}

export interface RoutedConfig {
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
}

/** Intent for one NIC from the host config, for guests whose XML should stay as it is. */
export interface NicConfig {
  readonly vlan: readonly VlanMember[] | undefined;
  readonly isolated: boolean | undefined;
  readonly routed:
    | {
        readonly veth?: VethWish | undefined;
        readonly addresses: readonly Address[];
        readonly routes: readonly { readonly to: Prefix; readonly gateway: Address | undefined }[];
        readonly table?: string | undefined;
        readonly vrf?: string | undefined;
      }
    | undefined;
  readonly trust: {
    /** The guest may speak spanning tree: a BPDU that reaches an upstream guard shuts the host's port. */
    readonly stp: boolean;
  };
}

const DEFAULT_ROUTED: RoutedConfig = {
  gateways: [{ family: 'inet', text: '169.254.0.1' }, { family: 'inet6', text: 'fe80::1' }],
  prefixes: undefined,
  table: 'main',
  protocol: DEFAULT_PROTOCOL,
  proxy: [],
  announce: true,
  probe: false,
  migration: 'refuse',
  manageSysctls: false,
};

/** Each message is what the schema wants, in words. */
function makeSchemas() {
  const text = z.string('text in quotes');
  const texts = z.optional(z.array(text, 'a list'));
  const number = z.number('a number');
  const vid = z.union([number, text], 'a VLAN ID such as 10 or a range such as "10-19"');
  const vids = z.array(vid, 'a list of VLAN IDs such as [10, "20-29"]');
  const yesOrNo = z.boolean('true or false');
  const vlan = table({
    trunk: z.optional(yesOrNo),
    tags: vids,
    native: z.optional(z.union([number, text], 'a VLAN ID such as 10')),
    native_mode: z.optional(z.literal(['tagged', 'untagged'], '"tagged" or "untagged"')),
  });
  const routeTable = z.optional(z.union([number, text], '"main" or a number'));
  const route = table({ address: text, prefix: z.optional(number), gateway: z.optional(text) });
  const routes = z.array(route, 'a list of tables such as [{ address = "2001:db8:0:20::", prefix = 64 }]');
  return {
    vlan,
    route,
    document: table({ bridge: z.optional(namedTables), routed: z.optional(z.unknown()), network: z.optional(namedTables), guest: z.optional(namedTables), serve: z.optional(z.unknown()) }),
    bridge: table({ uplinks: texts, protected: z.optional(vids), allowed: z.optional(vids) }),
    routed: table({
      gateways: texts, prefixes: texts, proxy: texts, table: routeTable, protocol: z.optional(number),
      announce: z.optional(yesOrNo), probe: z.optional(yesOrNo), manage_sysctls: z.optional(yesOrNo),
      migration: z.optional(z.literal(['refuse', 'manual'], '"refuse" or "manual"')),
    }),
    network: table({ portgroup: z.optional(namedTables) }),
    portgroup: table({ vlan }),
    nic: table({
      vlan: z.optional(vlan),
      isolated: z.optional(yesOrNo),
      routed: z.optional(table({
        veth: z.optional(text), mtu: z.optional(number), ip: z.array(text, 'a list of addresses'), route: z.optional(routes),
        table: routeTable, vrf: z.optional(text),
      })),
      trust: z.optional(table({ stp: z.optional(yesOrNo) })),
    }),
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
  return { bridges: new Map(), routed: DEFAULT_ROUTED, portgroups: new Map(), guests: new Map(), serve: undefined };
}

/** Returns the host config that a document says; absent keys have their defaults. Throws ValueError for the first fault. */
export function hostConfig(document: Table): HostConfig {
  const top = read(schemas().document, document, []);
  return {
    bridges: mapOf(top.bridge, ['bridge'], bridgeConfig),
    routed: routedConfig(read(schemas().routed, top.routed ?? {}, ['routed']), ['routed']),
    portgroups: mapOf(top.network, ['network'], (network, at) =>
      mapOf(read(schemas().network, network, at).portgroup, [...at, 'portgroup'], portgroupConfig)),
    guests: mapOf(top.guest, ['guest'], guestConfig), serve: serveConfig(top.serve),
  };
}

/** Returns the VIDs of a list such as `[10, '20-29']`, as written: neither sorted nor freed of doubles. Throws ValueError. */
export function parseVidList(list: readonly (number | string)[]): number[] {
  return list.flatMap((item) => vidsOf(parseVids(String(item))));
}

function bridgeConfig(value: unknown, at: TablePath): BridgeConfig {
  const bridge = read(schemas().bridge, value, at);
  locate(ValueError, header(at), () => { assertIfname(at.at(-1) ?? ''); });
  return {
    uplinks: within(at, 'uplinks', () => ifnames(bridge.uplinks)),
    protected: within(at, 'protected', () => new Set(parseVidList(bridge.protected ?? []))),
    allowed: within(at, 'allowed', () => bridge.allowed && new Set(parseVidList(bridge.allowed))),
  };
}

function routedConfig(routed: Read<'routed'>, at: TablePath): RoutedConfig {
  return {
    gateways: within(at, 'gateways', () => (routed.gateways ? gatewaysOf(routed.gateways) : DEFAULT_ROUTED.gateways)),
    prefixes: within(at, 'prefixes', () => routed.prefixes && prefixesOf(routed.prefixes)),
    table: within(at, 'table', () => tableOf(String(routed.table ?? DEFAULT_ROUTED.table))),
    protocol: within(at, 'protocol', () => protocolOf(routed.protocol ?? DEFAULT_ROUTED.protocol)),
    proxy: within(at, 'proxy', () => ifnames(routed.proxy)),
    announce: routed.announce ?? DEFAULT_ROUTED.announce,
    probe: within(at, 'probe', () => probeOf(routed)),
    migration: routed.migration ?? DEFAULT_ROUTED.migration,
    manageSysctls: routed.manage_sysctls ?? DEFAULT_ROUTED.manageSysctls,
  };
}

function probeOf({ probe, proxy }: Read<'routed'>): boolean {
  if (probe === true && (proxy ?? []).length === 0) {
    throw new ValueError("there is no link to ask on: name the links towards the neighbours in 'proxy', or remove 'probe'");
  }
  return probe ?? DEFAULT_ROUTED.probe;
}

function portgroupConfig(value: unknown, at: TablePath): { readonly vlan: readonly VlanMember[] } {
  const { vlan } = read(schemas().portgroup, value, at);
  return { vlan: within(at, 'vlan', () => membershipOf(vlan)) };
}

function guestConfig(value: unknown, at: TablePath): ReadonlyMap<string, NicConfig> {
  const written = mapOf(read(namedTables, value, at), at, nicConfig);
  const nics = new Map<string, NicConfig>();
  for (const [key, nic] of written) {
    const mac = key.toLowerCase();
    if (nics.has(mac)) throw new ValueError(`${header(at)}: MAC ${quote(mac)} is there twice: keep one of the two tables`);
    nics.set(mac, nic);
  }
  return nics;
}

function nicConfig(value: unknown, at: TablePath): NicConfig {
  const mac = at.at(-1) ?? '';
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new ValueError(`${header(at.slice(0, -1))}: ${quote(mac)} is not a MAC address such as '52:54:00:aa:bb:01'`);
  }
  const { vlan, isolated, routed, trust } = read(schemas().nic, value, at);
  if ([vlan, isolated, routed, trust].every((key) => key === undefined)) {
    throw new ValueError(`${header(at)}: the table is empty: give it 'vlan', 'isolated', 'routed' or 'trust', or remove it`);
  }
  return {
    vlan: within(at, 'vlan', () => vlan && membershipOf(vlan)),
    isolated,
    routed: routed && {
      veth: within(at, 'routed', () => vethWishOf(routed)),
      addresses: within(at, 'routed.ip', () => routed.ip.map(parseAddress)),
      routes: (routed.route ?? []).map((route, index) => within(at, `routed.route[${index}]`, () => routeOf(route))),
      table: within(at, 'routed.table', () => (routed.table === undefined ? undefined : tableOf(String(routed.table)))),
      vrf: routed.vrf,
    },
    trust: { stp: trust?.stp ?? false },
  };
}

function routeOf(route: Read<'route'>): { readonly to: Prefix; readonly gateway: Address | undefined } {
  const address = parseAddress(route.address);
  return {
    to: prefixOf(address, String(route.prefix ?? widthOf(address.family))),
    gateway: route.gateway === undefined ? undefined : parseAddress(route.gateway),
  };
}

/** The rules of `<vlan>`, with `native` in place of nativeMode: a native VLAN makes a trunk and need not be in `tags`. */
function membershipOf(vlan: Read<'vlan'>): VlanMember[] {
  const tags = canonicalMembership(parseVidList(vlan.tags).map((vid) => ({ vid, pvid: false, untagged: false })));
  const [only] = tags;
  if (only === undefined) throw new ValueError('tags is empty: list at least one VLAN');
  const trunk = tags.length > 1 || vlan.native !== undefined;
  if (vlan.trunk === false && trunk) {
    throw new ValueError('trunk is false, but more than one VLAN or a native VLAN is given: drop one or the other');
  }
  if (vlan.native === undefined) {
    if (vlan.native_mode !== undefined) throw new ValueError('native_mode without native: name the native VLAN too');
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

function ifnames(list: readonly string[] = []): readonly string[] {
  list.forEach(assertIfname);
  assertDistinct(list);
  return list;
}

function assertDistinct(list: readonly string[]): void {
  const twice = list.find((item, index) => list.indexOf(item) !== index);
  if (twice !== undefined) throw new ValueError(`${quote(twice)} is listed twice: list it once`);
}
