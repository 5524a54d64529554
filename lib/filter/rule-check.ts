/**
 * A rule-by-rule comparison of guestwire's nftables tables, too slow for the hook: every rule, element and definition,
 * not their comments alone. What is there is compared with what this nft prints of the same tables elsewhere.
 */
import { isNic } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { filterFamilies } from '../attachments/wired.js';
import type { Kernel } from '../kernel/kernel.js';
import { isThere, linkNames } from '../kernel/link-files.js';
import { type Blocks, listBlocks } from '../kernel/nft-blocks.js';
import { replayTables } from '../kernel/nft-replay.js';
import type { FilterFacts } from '../kernel/observation.js';
import { chainNames, type FilterFamily, nicLines, tableName } from '../state/nft.js';
import type { Exec } from '../system/exec.js';
import { quote } from '../values/quote.js';
import { tableLines } from './nft-tables.js';
import { nicFilter } from './nic-filter.js';

/** Something in a table that differs from what guestwire writes. */
export interface Alteration {
  readonly family: FilterFamily;
  /** Of the NIC's link; undefined: it belongs to no NIC, or to all. */
  readonly ifindex: number | undefined;
  readonly text: string;
  /** It is the whole table, so it concerns every guest that needs the table. */
  readonly isWhole?: true;
  /** It belongs to a link of this host that no guest of `wired` has: a guest without a record may run on it. */
  readonly isStrangers?: true;
}

/**
 * Returns what differs in the tables that `wired` needs, and in guestwire's tables that no guest needs. undefined: it
 * cannot be told, because this kernel or this user cannot make a network namespace.
 */
export async function closeLook(exec: Exec, wired: readonly Wired[]): Promise<Alteration[] | undefined> {
  const living = wired.filter((one) => isThere(one));
  const families = filterFamilies(living);
  const expected = await expectedOf(exec, living, families);
  if (expected === undefined) return undefined;
  const found: Alteration[] = [];
  for (const [index, family] of families.entries()) {
    const actual = await listBlocks(exec, family);
    if (actual === undefined) found.push({
      family, ifindex: undefined, text: `${tableName(family)} is missing`, isWhole: true,
    });
    else found.push(...alterations({ family, living }, actual, expected[index] ?? new Map()));
  }
  return found;
}

/**
 * Returns a kernel that sees altered rules as missing, so that reconciling makes them again. It leaves out the filters
 * of links without a record: a table that is made again would have no filter for them, and their guests may run.
 */
export function closeKernel(kernel: Kernel, exec: Exec, wired: () => readonly Wired[]): Kernel {
  return {
    ...kernel,
    observe: async (scope) => {
      const observation = await kernel.observe(scope);
      if (scope.filters.length === 0 || observation.filters === undefined) return observation;
      const altered = ((await closeLook(exec, wired())) ?? []).filter(({ isStrangers }) => isStrangers !== true);
      const filters = new Map([...observation.filters].map(([family, facts]) =>
        [family, withAltered(facts, altered.filter((one) => one.family === family))] as const));
      return { ...observation, filters };
    },
  };
}

function withAltered(facts: FilterFacts, altered: readonly Alteration[]): FilterFacts {
  if (!facts.there || altered.length === 0) return facts;
  const chains = new Map(facts.chains);
  for (const { ifindex } of altered) {
    const name = chainNames(String(ifindex)).find((each) => chains.has(each));
    // An alteration that belongs to no NIC, or cannot be marked, is repaired with the whole table.
    if (ifindex === undefined || name === undefined) return { ...facts, sets: new Map() };
    chains.set(name, [...(chains.get(name) ?? []), 'altered']);
  }
  return { ...facts, chains };
}

async function expectedOf(
  exec: Exec, living: readonly Wired[], families: readonly FilterFamily[],
): Promise<Blocks[] | undefined> {
  const links = living.filter(isNic);
  const rules = families.flatMap((family) => [
    ...tableLines(family),
    ...living.flatMap((one) => {
      const filter = nicFilter(one, family);
      return filter === undefined ? [] : nicLines(family, filter, one);
    }),
  ]);
  return replayTables(exec, { links, rules, families });
}

interface Place {
  readonly family: FilterFamily;
  readonly living: readonly Wired[];
}

/** Returns the differences of two tables, block by block; for a table that was flushed, one for the whole table. */
function alterations({ family, living }: Place, actual: Blocks, expected: Blocks): Alteration[] {
  if (hasRules(expected) && !hasRules(actual)) return [{ family, ifindex: undefined, text: `${tableName(family)} has lost all its rules`, isWhole: true }];
  const known = new Set(living.map(({ ifindex }) => ifindex));
  const nicOfBlock = (name: string): number | undefined => of(ifindexOf(name), known);
  const nicOfElement = (element: string): number | undefined => {
    const key = keyOf(element);
    return of(living.find((one) => one.link === key && isNic(one))?.ifindex ?? Number(key), known);
  };
  const strangers = strangersIn(actual, known);
  const found: Alteration[] = [];
  for (const name of new Set([...expected.keys(), ...actual.keys()])) {
    const [there, wanted] = [actual.get(name), expected.get(name)];
    const tell = (text: string, ifindex = nicOfBlock(name), isStrangers = false): void => {
      found.push({ family, ifindex, text: `${text} (${tableName(family)})`, ...(isStrangers && { isStrangers }) });
    };
    if (there === undefined) tell(`${named(name)} is missing`);
    else if (wanted === undefined) tell(`${named(name)} should not be there`, undefined, strangers.hasBlock(name));
    else {
      for (const words of linesApart(name, there.lines, wanted.lines)) tell(words);
      // What guests' packets put there.
      if (name.startsWith('set learnt_')) continue;
      for (const element of without(wanted.elements, there.elements)) tell(`element ${quote(element)} is missing in ${named(name)}`, nicOfElement(element));
      for (const element of without(there.elements, wanted.elements)) {
        const isStrangers = strangers.hasElement(element);
        tell(`element ${quote(element)} should not be in ${named(name)}`, nicOfElement(element), isStrangers);
      }
    }
  }
  return found;
}

interface Strangers {
  readonly hasBlock: (name: string) => boolean;
  readonly hasElement: (element: string) => boolean;
}

/** Returns what a table has of links that are there and not among `known`. */
function strangersIn(actual: Blocks, known: ReadonlySet<number>): Strangers {
  const links = linkNames();
  const names = new Map([...actual.keys()].map(ifindexOf).filter((ifindex) => !known.has(ifindex))
    .map((ifindex) => [ifindex, links.of(ifindex)] as const)
    .filter(([, name]) => name !== undefined));
  const shown = new Set(names.values());
  return {
    // Nothing tells which sets the rules of such a link name.
    hasBlock: (name) => names.has(ifindexOf(name)) || (names.size > 0 && /^set (?!learnt_)/.test(name)),
    hasElement: (element) => shown.has(keyOf(element)),
  };
}

/** Returns the ifindex in the name of a block; NaN: the name does not have one. */
function ifindexOf(block: string): number {
  return Number(/_([0-9]+)$/.exec(block)?.[1]);
}

function keyOf(element: string): string | undefined {
  return /^"?([^" ]+)"?/.exec(element)?.[1];
}

function linesApart(name: string, there: readonly string[], wanted: readonly string[]): string[] {
  if (there.join('\n') === wanted.join('\n')) return [];
  const isEmptied = rulesIn(name, wanted).length > 0 && rulesIn(name, there).length === 0;
  const expected = isEmptied ? without(wanted, rulesIn(name, wanted)) : wanted;
  const [missing, surplus] = [without(expected, there), without(there, expected)];
  const what = name.startsWith('chain ') ? 'rule' : 'line';
  const words = [
    ...(isEmptied ? [`${named(name)} has lost all its rules`] : []),
    ...missing.map((line) => `${what} ${quote(line)} is missing in ${named(name)}`),
    ...surplus.map((line) => `${what} ${quote(line)} should not be in ${named(name)}`),
  ];
  return words.length > 0 ? words : [`the rules of ${named(name)} are in another order, or one appears more than once`];
}

function hasRules(blocks: Blocks): boolean {
  return [...blocks].some(([name, { lines }]) => rulesIn(name, lines).length > 0);
}

/** What hangs a chain into the kernel is no rule. */
function rulesIn(block: string, lines: readonly string[]): string[] {
  return block.startsWith('chain ') ? lines.filter((line) => !line.startsWith('type ')) : [];
}

function of(ifindex: number, known: ReadonlySet<number>): number | undefined {
  return known.has(ifindex) ? ifindex : undefined;
}

function named(block: string): string {
  const [kind = '', name = ''] = block.split(' ');
  return `${kind} ${quote(name)}`;
}

function without(lines: readonly string[], others: readonly string[]): string[] {
  const known = new Set(others);
  return lines.filter((line) => !known.has(line));
}
