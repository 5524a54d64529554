/**
 * `[bridge.NAME]` of the host config, and the bridge of `[network.NAME]`. A table with `vid` and `parent` is a bridge
 * of one VLAN, which guestwire makes; a table with `{vid}` in its name stands for one such bridge for each VID in its
 * `allowed`.
 */
import * as z from 'zod/mini';
import { locate, ValueError } from '../errors.js';
import type { TrustWord } from '../intent/policy.js';
import { assertIfname } from '../values/ifname.js';
import { quote } from '../values/quote.js';
import { parseVids, type VlanMember } from '../values/vlan.js';
import { trustList, trustPermitOf } from './filter-tables.js';
import { parseVidList, tableMembership, vidsKey, vlanKey } from './guest-tables.js';
import { assertDistinct, tableHeader, mapOf, read, table, type Table, type TablePath, within } from './toml.js';

/** The part of the host config that this file is about. */
export interface BridgeTables {
  readonly bridges: ReadonlyMap<string, BridgeConfig>;
  /** Tables with `{vid}` in their names; bridgeNamed() finds a bridge in them. */
  readonly patterns: readonly BridgePattern[];
}

export interface BridgeConfig {
  /** Ports towards the world, on which guests' VIDs are kept. */
  readonly uplinks: readonly string[];
  /** VIDs guestwire never removes from uplinks or from the bridge itself. */
  readonly protected: ReadonlySet<number>;
  /** VIDs a guest may ask for; undefined: all. */
  readonly allowed: ReadonlySet<number> | undefined;
  /** What metadata may ask to be trusted with. */
  readonly trust: ReadonlySet<TrustWord>;
  /** For NICs that name no VLAN; undefined: they are in none. */
  readonly vlan: readonly VlanMember[] | undefined;
  /** What becomes of NICs that no source gives a VLAN: they are left alone, or their guests do not start. */
  readonly undeclared: 'leave' | 'refuse';
  /** Which NICs are filtered: those that metadata, [guest] or [network] mention, or all that guestwire wires. */
  readonly filter: 'declared' | 'all';
  /** Present: guestwire makes the bridge, and all of it is one VLAN. */
  readonly made?: OneVlan | undefined;
}

/** What a bridge of one VLAN is a bridge of. */
export interface OneVlan {
  readonly vid: number;
  /** The link that carries the VLAN: its sub-interface joins the bridge. */
  readonly parent: string;
}

/** Many bridges of one VLAN each: one for each VID of `allowed`. */
export interface BridgePattern {
  /** The name as written: 'br{vid}'. */
  readonly name: string;
  readonly parent: string;
  readonly allowed: ReadonlySet<number>;
  readonly trust: ReadonlySet<TrustWord>;
}

const MARK = '{vid}';

/** IFNAMSIZ less its terminating zero (linux/if.h). */
const LONGEST_NAME = 15;

/** Returns the schema of one `[bridge.NAME]`. */
export function bridgeKeys() {
  const vids = z.optional(vidsKey());
  const text = z.string('text in quotes');
  return table({
    uplinks: z.optional(z.array(text, 'a list')), protected: vids, allowed: vids, trust: trustList(),
    vid: z.optional(z.union([z.number(), z.string()], 'a VLAN ID such as 30')),
    parent: z.optional(z.string('the name of a link in quotes')),
    vlan: z.optional(vlanKey()),
    undeclared: z.optional(z.literal(['leave', 'refuse'], '"leave" or "refuse"')),
    filter: z.optional(z.literal(['declared', 'all'], '"declared" or "all"')),
  });
}

type Schema = ReturnType<typeof bridgeKeys>;
type Written = z.infer<Schema>;

/** Returns what the `[bridge]` tables say. Throws ValueError. */
export function bridgeTables(tables: Table | undefined, schema: Schema): BridgeTables {
  const written = Object.entries(tables ?? {});
  const named = (isPattern: boolean): Table =>
    Object.fromEntries(written.filter(([name]) => /[{}]/.test(name) === isPattern));
  const found = {
    bridges: mapOf(named(false), ['bridge'], (value, at) => bridgeConfig(read(schema, value, at), at)),
    patterns: [...mapOf(named(true), ['bridge'], (value, at) => patternOf(read(schema, value, at), at)).values()],
  };
  assertApart(found);
  return found;
}

/** Returns the config of the bridge `name`: its own table, or the table with a `{vid}` that fits. */
export function bridgeNamed({ bridges, patterns }: BridgeTables, name: string): BridgeConfig | undefined {
  const own = bridges.get(name);
  if (own !== undefined) return own;
  for (const pattern of patterns) {
    const vid = vidIn(pattern.name, name);
    if (vid !== undefined && pattern.allowed.has(vid)) return ofPattern(pattern, vid);
  }
  return undefined;
}

/** Returns the table that says what {@link bridgeNamed} found, as its header has it. */
export function bridgeHeader({ bridges, patterns }: BridgeTables, name: string): string {
  const pattern = bridges.has(name) ? undefined : patterns.find((one) => one.allowed.has(vidIn(one.name, name) ?? 0));
  return tableHeader(['bridge', pattern?.name ?? name]);
}

/**
 * Returns the name of the sub-interface of a parent: `PARENT.VID`, as every tool calls it, or `vlanVID` where that is
 * too long for the kernel.
 */
export function subinterfaceName({ parent, vid }: OneVlan): string {
  const name = `${parent}.${vid}`;
  return name.length > LONGEST_NAME ? `vlan${vid}` : name;
}

/** Returns the VID that `{vid}` stands for in `name`; undefined: the name is none of the pattern's. */
function vidIn(pattern: string, name: string): number | undefined {
  const [start = '', end = ''] = pattern.split(MARK);
  if (name.length <= start.length + end.length || !name.startsWith(start) || !name.endsWith(end)) return undefined;
  const digits = name.slice(start.length, name.length - end.length);
  return /^[1-9][0-9]{0,3}$/.test(digits) ? Number(digits) : undefined;
}

const NO_WORDS: BridgeConfig = {
  uplinks: [], protected: new Set(), allowed: undefined, trust: new Set(), vlan: undefined, undeclared: 'leave',
  filter: 'declared',
};

function ofPattern({ parent, trust }: BridgePattern, vid: number): BridgeConfig {
  return { ...NO_WORDS, trust, made: { vid, parent } };
}

function bridgeConfig(bridge: Written, at: TablePath): BridgeConfig {
  const name = at.at(-1) ?? '';
  locate(ValueError, tableHeader(at), () => { assertIfname(name); });
  const made = oneVlanOf(bridge, at);
  const { vlan, undeclared = NO_WORDS.undeclared, filter = NO_WORDS.filter } = bridge;
  if (vlan !== undefined && bridge.undeclared !== undefined) {
    throw new ValueError(`${tableHeader(at)}: 'undeclared' has no meaning beside 'vlan', which gives every NIC a VLAN: remove one of the two`);
  }
  return {
    undeclared, filter,
    vlan: within(at, 'vlan', () => vlan && tableMembership(vlan)),
    uplinks: within(at, 'uplinks', () => ifnames(bridge.uplinks)),
    protected: within(at, 'protected', () => new Set(parseVidList(bridge.protected ?? []))),
    allowed: within(at, 'allowed', () => bridge.allowed && new Set(parseVidList(bridge.allowed))),
    trust: within(at, 'trust', () => trustPermitOf(bridge.trust)),
    ...(made && { made }),
  };
}

function oneVlanOf(bridge: Written, at: TablePath): OneVlan | undefined {
  const { vid, parent } = bridge;
  if (vid === undefined && parent === undefined) return undefined;
  if (vid === undefined) throw new ValueError(`${tableHeader(at)}: 'parent' needs 'vid': add the VLAN ID of the bridge, or remove 'parent'`);
  if (parent === undefined) throw new ValueError(`${tableHeader(at)}: 'vid' needs 'parent': add the link that carries VLAN '${vid}', or remove 'vid'`);
  assertNone(bridge, at, ['uplinks', 'protected', 'allowed', 'vlan', 'undeclared', 'filter']);
  return {
    vid: within(at, 'vid', () => oneVid(String(vid))),
    parent: within(at, 'parent', () => parentOf(parent, at)),
  };
}

function patternOf(bridge: Written, at: TablePath): BridgePattern {
  const name = at.at(-1) ?? '';
  if (name.split(MARK).length !== 2 || /[{}]/.test(name.replace(MARK, ''))) {
    throw new ValueError(`${tableHeader(at)}: a bridge name holds '{vid}' once, and no other brace: write a name such as 'br{vid}'`);
  }
  const { parent, allowed } = bridge;
  if (bridge.vid !== undefined) throw new ValueError(`${tableHeader(at)}: '{vid}' in the name already says which VLAN: remove 'vid'`);
  if (parent === undefined) throw new ValueError(`${tableHeader(at)}: 'parent' is missing: name the link that carries the VLANs`);
  if (allowed === undefined) throw new ValueError(`${tableHeader(at)}: 'allowed' is missing: list the VLANs that may have a bridge, such as ["10-199"]`);
  assertNone(bridge, at, ['uplinks', 'protected', 'vlan', 'undeclared', 'filter']);
  const vids = within(at, 'allowed', () => new Set(parseVidList(allowed)));
  if (vids.size === 0) throw new ValueError(`${tableHeader(at)} allowed: the list is empty: list at least one VLAN`);
  // The longest name tells for all of them.
  locate(ValueError, tableHeader(at), () => { assertIfname(name.replace(MARK, String(Math.max(...vids)))); });
  return {
    name, parent: within(at, 'parent', () => parentOf(parent, at)), allowed: vids,
    trust: within(at, 'trust', () => trustPermitOf(bridge.trust)),
  };
}

const REASONS = {
  uplinks: "'parent' is its way to the world",
  protected: 'all of the bridge is one VLAN',
  allowed: "'vid' says its one VLAN",
  vlan: "'vid' says its one VLAN",
  undeclared: 'every NIC on it is in its VLAN',
  filter: 'every NIC on it is filtered',
} satisfies Partial<Record<keyof Written, string>>;

function assertNone(bridge: Written, at: TablePath, keys: readonly (keyof typeof REASONS)[]): void {
  const key = keys.find((one) => bridge[one] !== undefined);
  if (key !== undefined) throw new ValueError(`${tableHeader(at)}: ${quote(key)} has no meaning on a bridge of one VLAN, because ${REASONS[key]}: remove it`);
}

function parentOf(parent: string, at: TablePath): string {
  assertIfname(parent);
  if (parent === at.at(-1)) throw new ValueError(`${quote(parent)} is the bridge itself: name the link that carries the VLAN`);
  return parent;
}

function oneVid(text: string): number {
  const { first, last } = parseVids(text);
  if (first !== last) throw new ValueError(`${quote(text)} is a range: a bridge of one VLAN has one VLAN ID`);
  return first;
}

/** A bridge has one table, and a sub-interface is a port of one bridge. */
function assertApart(tables: BridgeTables): void {
  const names = new Map<string, string>();
  const bridges = new Map<string, string>();
  const uplinkOf = new Map([...tables.bridges].flatMap(([name, { uplinks }]) =>
    uplinks.map((dev) => [dev, name] as const)));
  const all = madeBridges(tables);
  for (const { name, at } of all) {
    const other = names.get(name);
    if (other !== undefined) throw new ValueError(`${tableHeader(['bridge', other])} and ${tableHeader(['bridge', at])} both stand for bridge ${quote(name)}: take its VLAN out of 'allowed' of one`);
    names.set(name, at);
  }
  for (const { name, at, made } of all) {
    const sub = subinterfaceName(made);
    const where = tableHeader(['bridge', at]);
    const other = bridges.get(sub);
    if (other !== undefined) throw new ValueError(`${where}: ${vlanWords(made, sub)} already belongs to bridge ${quote(other)}: a sub-interface is a port of one bridge, so keep one of the two`);
    if (names.has(sub)) throw new ValueError(`${where}: bridge ${quote(sub)} has the name of a sub-interface of ${quote(made.parent)}: give it another name`);
    const rival = uplinkOf.get(sub);
    if (rival !== undefined) throw new ValueError(`${where}: sub-interface ${quote(sub)} is an uplink of bridge ${quote(rival)}, too: it can be a port of one bridge only`);
    if (names.has(made.parent)) throw new ValueError(`${where} parent: ${quote(made.parent)} is itself a bridge of one VLAN: name the link that carries VLAN '${made.vid}'`);
    bridges.set(sub, name);
  }
}

function vlanWords({ parent, vid }: OneVlan, sub: string): string {
  return sub.startsWith(`${parent}.`) ? `VLAN '${vid}' of ${quote(parent)}` : `sub-interface ${quote(sub)} of ${quote(parent)}`;
}

/** Every bridge of one VLAN, with the name of its table. An exact name wins over a pattern that fits. */
function madeBridges({ bridges, patterns }: BridgeTables): {
  readonly name: string;
  readonly at: string;
  readonly made: OneVlan;
}[] {
  return [
    ...[...bridges].flatMap(([name, { made }]) => (made === undefined ? [] : [{ name, at: name, made }])),
    ...patterns.flatMap(({ name: at, parent, allowed }) => [...allowed]
      .map((vid) => ({ name: at.replace(MARK, String(vid)), at, made: { vid, parent } })).filter(({ name }) =>
        !bridges.has(name))),
  ];
}

/** Returns a list of links. Throws ValueError. */
export function ifnames(list: readonly string[] = []): readonly string[] {
  list.forEach(assertIfname);
  assertDistinct(list);
  return list;
}
