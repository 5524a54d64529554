/**
 * Plans for the filters: which tables, chains, elements and sets the guests of this host need, and which of them are
 * there. A table that is broken or gone is made again with the NICs of all guests, for `nft flush ruleset` takes all at
 * once.
 */
import type { Attachment, Wired } from '../attachments/kinds.js';
import { filterFamilies } from '../attachments/wired.js';
import type { FilterFacts, HookFacts, LinkFacts, Observation } from '../kernel/observation.js';
import type { NetObject, NetState } from '../state/netstate.js';
import {
  type Chain, chainNames, nicComments, FILTER_FAMILIES, type FilterFamily, markOf, type NicFilter, TABLE,
} from '../state/nft.js';
import { shapeName, tableLines, TABLES } from './nft-tables.js';
import { nicFilter } from './nic-filter.js';

/** Whose filters are planned. */
export interface FilterRequest {
  /** The guest's links as they are to be. */
  readonly wanted: readonly Wired[];
  /** Those of its earlier run: their filters are given up even when the tap is gone. */
  readonly recorded: readonly Wired[];
  /** Links of other guests, as the journal has them. */
  readonly others: () => readonly Wired[];
}

export interface FilterPlan {
  readonly desired: NetState;
  readonly observed: NetState;
}

type Seen = Pick<Observation, 'links' | 'filters' | 'hasLink'>;

/** Returns the filters' objects, desired and observed. */
export function planFilters(request: FilterRequest, observation: Seen): FilterPlan {
  const plans = FILTER_FAMILIES.map((family) => planTable(family, request, observation));
  return { desired: plans.flatMap(({ desired }) => desired), observed: plans.flatMap(({ observed }) => observed) };
}

/** Returns the families of which no NIC among these needs a table. */
export function unneededFamilies(held: readonly (Attachment | Wired)[]): FilterFamily[] {
  const needed = filterFamilies(held);
  return FILTER_FAMILIES.filter((family) => !needed.includes(family));
}

/** Returns the tables that are there and that none of these needs; one that is needed is repaired with its guests. */
export function leftTables({ filters }: Pick<Seen, 'filters'>, held: readonly (Attachment | Wired)[]): NetObject[] {
  return unneededFamilies(held).filter((family) => filters?.get(family)?.there === true)
    .map((family): NetObject => ({ kind: 'filter-table', dev: TABLE, family }));
}

function planTable(family: FilterFamily, { wanted, recorded, others }: FilterRequest, observation: Seen): FilterPlan {
  const mine = filterNics(wanted, family);
  const known = [
    ...mine, ...filterNics(recorded, family).filter(({ ifindex }) => !mine.some((one) => one.ifindex === ifindex)),
  ];
  if (known.length === 0) return { desired: [], observed: [] };
  const table: NetObject = { kind: 'filter-table', dev: TABLE, family, lines: tableLines(family) };
  const facts = observation.filters?.get(family);
  // What all the NICs of 50 guests look like takes longer than all the rest of a start.
  const shared = others().some((one) => filterFamilies([one]).includes(family));
  // Listing a table would be one more program at every start. It is taken to be there when another guest needs it, and
  // only then: a wrong guess fails as a whole, and then it is listed.
  if (facts === undefined && shared) return { desired: [table, ...mine], observed: [table] };
  const theirs = filterNics(others(), family);
  if (facts === undefined || !isIntact(facts, family)) {
    // nft hooks no chain to a link that is gone (before Linux 6.16), and then no guest would start.
    const all = [...theirs.filter(({ dev }) => observation.hasLink?.(dev) !== false), ...mine];
    return { desired: all.length === 0 ? [] : [table, ...all], observed: facts?.there === true
      ? [{ ...table, broken: true }]
      : [] };
  }
  const found = { family, facts, links: observation.links };
  const garbage = garbageOf([...known, ...theirs], found);
  const seen = known.flatMap((nic) => seenOf(nic, found));
  const needed = mine.length > 0 || theirs.length > 0 || strangers([...known, ...theirs], found).length > 0;
  return { desired: needed ? [table, ...mine] : [], observed: [
    table, ...seen, ...garbage, ...(needed ? unusedSets({ mine, theirs, known }, found) : []),
  ] };
}

type Nic = Extract<NetObject, { readonly kind: 'nic-filter' }>;

function filterNics(wired: readonly Wired[], family: FilterFamily): Nic[] {
  return wired.flatMap((one) => {
    const filter = nicFilter(one, family);
    return filter === undefined
      ? []
      : [{ kind: 'nic-filter' as const, dev: one.link, family, ifindex: one.ifindex, filter }];
  });
}

interface Found {
  readonly family: FilterFamily;
  readonly facts: FilterFacts;
  readonly links: Observation['links'];
}

/** nft prints an ifindex as the name of the link that has it, and as a number when no link has. */
function shownAs({ dev, ifindex }: Pick<Nic, 'dev' | 'ifindex'>, { links }: Found): string {
  return links.get(dev)?.ifindex === ifindex ? dev : String(ifindex);
}

/** Returns what the table has of a NIC: as it should be, or whatever of it is there. */
function seenOf(nic: Nic, found: Found): Nic[] {
  const { facts, family } = found;
  const held = heldOf(nic.ifindex, shownAs(nic, found), found);
  if (held === undefined) return [];
  const mark = markOf(nic.filter);
  const isWhole = held.learns === nic.filter.learns && names(held.chains) === names(nic.filter.chains) &&
    held.elements.map(({ set }) => set).sort().join() === nic.filter.elements.map(({ set }) => set).sort().join() &&
    nic.filter.chains.every((chain) =>
      facts.chains.get(chain.name)?.join('\n') === nicComments(chain, mark).join('\n'));
  return [isWhole ? nic : { kind: 'nic-filter', dev: nic.dev, family, ifindex: nic.ifindex, filter: held }];
}

function names(chains: NicFilter['chains']): string {
  return chains.map(({ name }) => name).sort().join();
}

function heldOf(ifindex: number, shown: string, { facts }: Found): NicFilter | undefined {
  const chains = chainNames(ifindex).filter((name) => facts.chains.has(name));
  const sets = [...facts.elements].filter(([, elements]) => elements.has(shown)).map(([set]) => set);
  const learns = facts.learns.has(`learnt_${ifindex}`) ? `learnt_${ifindex}` : undefined;
  if (chains.length === 0 && sets.length === 0 && learns === undefined) return undefined;
  return {
    learns, chains: chains.map((name) => ({ name, rules: [] })), elements: sets.map((set) => ({ set })), named: [],
  };
}

/** What the table holds of links that neither this guest nor one of the journal has. */
function strangers(known: readonly Nic[], found: Found): string[] {
  const ours = new Set(known.map((nic) => shownAs(nic, found)));
  // Of other guests' links only the name was not asked for.
  const theirs = new Set(known.flatMap(({ dev, ifindex }) => [dev, String(ifindex)]));
  return [...new Set([...found.facts.elements.values()].flatMap((elements) => [...elements]))].filter((shown) =>
    !ours.has(shown) && !theirs.has(shown));
}

/** Returns what dead links left behind that no entry of the journal speaks of. */
function garbageOf(known: readonly Nic[], found: Found): Nic[] {
  return strangers(known, found).filter((shown) => /^[0-9]+$/.test(shown)).flatMap((shown) => {
    const filter = heldOf(Number(shown), shown, found);
    return filter === undefined
      ? []
      : [{ kind: 'nic-filter' as const, dev: shown, family: found.family, ifindex: Number(shown), filter }];
  });
}

/** Returns the ifindexes of links that the tables filter, living or gone. */
export function filteredLinks({ filters }: Pick<Seen, 'filters'>): Set<number> {
  return new Set([...filters?.values() ?? []].flatMap(({ chains }) => [...chains.keys()].flatMap(ifindexOf)));
}

function ifindexOf(chain: string): number[] {
  const [, ifindex] = /_(\d+)$/.exec(chain) ?? [];
  return ifindex !== undefined && chainNames(ifindex).includes(chain) ? [Number(ifindex)] : [];
}

/** Returns the filters of links that are gone, and each table that filters no link and that no NIC needs. */
export function deadFilters(
  { filters = new Map<FilterFamily, FilterFacts>(), links }: Pick<Seen, 'filters'> & {
    readonly links: readonly Pick<LinkFacts, 'ifindex'>[];
  },
  held: readonly (Attachment | Wired)[],
): NetObject[] {
  const living = new Set(links.map(({ ifindex }) => ifindex));
  return [...filters].filter(([, { there }]) => there).flatMap(([family, facts]): NetObject[] => {
    const all = [...filteredLinks({ filters: new Map([[family, facts]]) })];
    if (!all.some((ifindex) => living.has(ifindex)) && !filterFamilies(held).includes(family)) {
      return [{ kind: 'filter-table', dev: TABLE, family }];
    }
    return all.filter((ifindex) => !living.has(ifindex)).flatMap((ifindex): NetObject[] => {
      const filter = heldOf(ifindex, String(ifindex), { family, facts, links: new Map() });
      return filter === undefined ? [] : [{ kind: 'nic-filter', dev: String(ifindex), family, ifindex, filter }];
    });
  });
}

/** Returns the sets of guests and groups that no rule names any more and no link of another is in. */
function unusedSets(
  { mine, theirs, known }: Readonly<Record<'mine' | 'theirs' | 'known', readonly Nic[]>>, found: Found,
): NetObject[] {
  // For a link without a journal entry, nothing tells which sets its rules name.
  if (strangers([...known, ...theirs], found).length > 0) return [];
  const used = new Set([...mine, ...theirs].flatMap(({ filter }) => filter.named));
  return [...found.facts.elements.keys()]
    .filter((name) => !TABLES[found.family].sets.has(name) && !used.has(name))
    .map((name) => ({ kind: 'filter-set' as const, dev: name, family: found.family }));
}

/** Returns whether a table holds, as guestwire writes it, all that does not depend on guests. */
export function isIntact({ there, chains, hooks, sets }: FilterFacts, family: FilterFamily): boolean {
  const shape = TABLES[family];
  const hasChain = (wanted: Chain): boolean =>
    HOOK_KEYS.every((key) => hooks.get(wanted.name)?.[key] === wanted.hook?.[key]) &&
    chains.get(wanted.name)?.join('\n') === nicComments(wanted).join('\n');
  return there && chains.has(shapeName(family)) && shape.chains.every(hasChain) &&
    [...shape.sets].every(([name, kind]) => sets.get(name)?.kind === kind && sets.get(name)?.type === 'iface_index') &&
    [...shape.constants.keys()].every((name) => sets.get(name)?.isEmpty === false);
}

const HOOK_KEYS: readonly (keyof HookFacts)[] = ['type', 'hook', 'prio', 'policy'];
