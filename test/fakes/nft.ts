/**
 * nftables as far as guestwire's lines reach: tables with sets of ifindexes and chains, of whose rules the comments are
 * kept.
 */
import { isIntact } from '../../lib/filter/state.js';
import { NO_TABLE } from '../../lib/kernel/nft-output.js';
import type { FilterFacts, HookFacts, SetFacts } from '../../lib/kernel/observation.js';
import type { FilterFamily } from '../../lib/state/nft.js';

/** By set name, what it holds; by chain name, the comments of its rules. */
export interface FakeTable {
  sets: Record<string, number[]>;
  chains: Record<string, string[]>;
  /** Sets of addresses. */
  learns: string[];
  constants: string[];
  /** By base chain. */
  hooks: Record<string, HookFacts>;
  maps: string[];
}

export type FakeNft = Partial<Record<FilterFamily, FakeTable>>;

type Refuse = (reason: string) => never;

/** Carries out the lines of one file for nft. Whoever calls puts the old state back when it refuses. */
export function applyNft(nft: FakeNft, text: string, refuse: Refuse): void {
  for (const line of text.split('\n')) {
    const [verb = '', what = '', family = '', , name = '', ...rest] = line.split(' ');
    if (what === 'table') changeTable(nft, { verb, family: family as FilterFamily }, refuse);
    else changeTableContent(
      nft[family as FilterFamily] ?? refuse('No such file or directory'), { verb, what, name, rest: rest.join(' ') },
      refuse,
    );
  }
}

function changeTable(nft: FakeNft, { verb, family }: { verb: string; family: FilterFamily }, refuse: Refuse): void {
  if (verb === 'delete') {
    if (nft[family] === undefined) refuse('No such file or directory');
    Reflect.deleteProperty(nft, family);
    return;
  }
  if (verb === 'create' && nft[family] !== undefined) refuse('File exists');
  nft[family] ??= { sets: {}, chains: {}, learns: [], constants: [], hooks: {}, maps: [] };
}

interface Change {
  readonly verb: string;
  readonly what: string;
  readonly name: string;
  readonly rest: string;
}

function changeTableContent(table: FakeTable, { verb, what, name, rest }: Change, refuse: Refuse): void {
  const { sets, chains, learns, constants } = table;
  const absent = (): never => refuse('No such file or directory');
  const ifindex = Number(/\d+/.exec(rest)?.[0]);
  switch (`${verb} ${what}`) {
    case 'add set':
    case 'add map':
      if (what === 'map') table.maps.push(name);
      if (rest.startsWith('{ type iface_index')) sets[name] ??= [];
      else if (rest.includes('ipv6_addr')) learns.push(name);
      else constants.push(name);
      return;
    case 'delete set':
      if (learns.includes(name)) { learns.splice(learns.indexOf(name), 1); return; }
      if (sets[name] === undefined) absent();
      Reflect.deleteProperty(sets, name);
      return;
    case 'add chain': chains[name] ??= []; addHook(table, name, rest); return;
    case 'create chain':
      if (chains[name] !== undefined) refuse('File exists');
      chains[name] = [];
      addHook(table, name, rest);
      return;
    case 'flush chain': if (chains[name] === undefined) absent(); chains[name] = []; return;
    case 'delete chain': if (chains[name] === undefined) absent(); Reflect.deleteProperty(chains, name); return;
    case 'add rule': (chains[name] ?? absent()).push(/comment "([^"]*)"$/.exec(rest)?.[1] ?? ''); return;
    case 'add element': sets[name] = [...(sets[name] ?? absent()).filter((one) => one !== ifindex), ifindex]; return;
    case 'delete element':
      if (!(sets[name] ?? absent()).includes(ifindex)) absent();
      sets[name] = (sets[name] ?? []).filter((one) => one !== ifindex);
      return;
    default: throw new Error(`the fake kernel does not know 'nft ${verb} ${what} ${name} ${rest}'`);
  }
}

function addHook({ hooks }: FakeTable, chain: string, rest: string): void {
  const [, type, hook, prio, policy] = /type (\S+) hook (\S+).* priority (-?\d+); policy (\w+);/.exec(rest) ?? [];
  if (hook !== undefined) hooks[chain] = { type, hook, prio: Number(prio), policy };
}

/** Returns what would be read of one family's table; `nameOf` says how nft prints an ifindex. */
export function filterFacts(nft: FakeNft, family: FilterFamily, nameOf: (ifindex: number) => string): FilterFacts {
  const table = nft[family];
  if (table === undefined) return NO_TABLE;
  const sets = Object.entries(table.sets).map(([name, held]): [string, SetFacts] =>
    [name, { kind: table.maps.includes(name) ? 'map' : 'set', type: 'iface_index', isEmpty: held.length === 0 }]);
  return {
    there: true,
    chains: new Map(Object.entries(table.chains)),
    hooks: new Map(Object.entries(table.hooks)),
    sets: new Map([
      ...sets,
      ...table.constants.map((name): [string, SetFacts] => [name, { kind: 'set', type: undefined, isEmpty: false }]),
    ]),
    elements: new Map(Object.entries(table.sets).map(([name, held]) => [name, new Set(held.map(nameOf))])),
    learns: new Set(table.learns),
  };
}

/** Returns the ifindexes whose frames a table filters, sorted; undefined when there is no table, or it is not whole. */
export function filtered(nft: FakeNft, family: FilterFamily): number[] | undefined {
  if (!isIntact(filterFacts(nft, family, String), family)) return undefined;
  const held = nft[family]?.sets[{ bridge: 'ports', netdev: 'nics', inet: 'guests' }[family]] ?? [];
  return held
    .filter((ifindex) => family === 'inet' || nft[family]?.chains[`nic_${ifindex}`] !== undefined)
    .sort((a, b) => a - b);
}

/** Lines an operator could read. */
export function printNft(nft: FakeNft): string[] {
  return Object.entries(nft).flatMap(([family, { sets, chains, learns }]) => [
    `nft table ${family}`, ...learns.map((name) => `nft ${family} set ${name}`),
    ...Object.entries(sets).map(([name, held]) => `nft ${family} set ${name} { ${held.sort((a, b) => a - b).join(', ')} }`),
    ...Object.entries(chains).map(([name, comments]) => `nft ${family} chain ${name}: ${comments.length} rules${comments[0]?.startsWith('guestwire ') === true ? `, ${comments[0]}` : ''}`),
  ]);
}
