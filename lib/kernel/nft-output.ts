/** What nft prints about guestwire's tables. nft prints an ifindex as the link's name if it has one. */
import * as z from 'zod/mini';
import { CommandError, ToolOutputError } from '../errors.js';
import { type FilterFamily, TABLE } from '../state/nft.js';
import { assertSuccess, type Exec, type ExecRequest } from '../system/exec.js';
import type { FilterFacts, HookFacts, SetFacts } from './observation.js';

/** The observed state of a table that does not exist. */
export const NO_TABLE: FilterFacts = {
  there: false, chains: new Map(), hooks: new Map(), sets: new Map(), elements: new Map(), learns: new Set(),
};

/** Returns the facts of each family's table. Throws CommandError or ToolOutputError. */
export async function observeFilters(
  exec: Exec, families: readonly FilterFamily[],
): Promise<Map<FilterFamily, FilterFacts>> {
  return new Map(
    await Promise.all(families.map(async (family) => [family, await observeFilter(exec, family)] as const)),
  );
}

async function observeFilter(exec: Exec, family: FilterFamily): Promise<FilterFacts> {
  const stdout = await listTable(exec, family, '--json');
  if (stdout === undefined) return NO_TABLE;
  return parseFilter(stdout);
}

/**
 * Returns how nft shows a table. One that is not there, and a host that has never used nft, are both an answer:
 * undefined. Throws CommandError.
 */
export async function listTable(
  exec: Exec, family: FilterFamily, as: '--json' | '--stateless',
): Promise<string | undefined> {
  const request: ExecRequest = { tool: 'nft', args: [as, 'list', 'table', family, TABLE] };
  const result = await exec(request);
  if (/No such file or directory/.test(result.stderr)) return undefined;
  assertSuccess(request, result, `reading the filter of family ${family}`);
  return result.stdout;
}

/** Returns whether nft failed. */
export function isOfNft(error: unknown): error is CommandError {
  return error instanceof CommandError && error.failure.tool === 'nft';
}

/** Returns whether nft failed because something is there, or is not there, other than its lines assume. */
export function foundOtherwise(error: unknown): boolean {
  return isOfNft(error) && /File exists|No such file or directory/.test(error.failure.stderr);
}

/**
 * Returns whether this kernel can do what policies of VLAN ports need: track connections in bridges, and mark them. nft
 * tries it and takes it back; the kernel loads the modules for it if it has them. Throws CommandError.
 */
export async function tracksBridges(exec: Exec): Promise<boolean> {
  const lines = [`add table bridge ${TABLE}_try`, `add chain bridge ${TABLE}_try try`, `add rule bridge ${TABLE}_try try ct state established,related ct direction reply ct mark 1`, `add rule bridge ${TABLE}_try try ct mark set 1`];
  const request: ExecRequest = { tool: 'nft', args: ['--check', '-f', '-'], input: `${lines.join('\n')}\n` };
  const result = await exec(request);
  if (/Protocol error|No such file or directory|not supported/.test(result.stderr)) return false;
  assertSuccess(request, result, 'testing whether connections in bridges can be tracked');
  return true;
}

/** What one rule met. */
export interface RuleCount {
  readonly family: FilterFamily;
  readonly chain: string;
  /** Its comment. */
  readonly rule: string;
  readonly verdict: 'drop' | 'pass';
  readonly packets: number;
  readonly bytes: number;
}

/**
 * Returns the counters of all rules, in their order; an empty list if the table is missing. Throws CommandError or
 * ToolOutputError.
 */
export async function counters(exec: Exec, families: readonly FilterFamily[]): Promise<RuleCount[]> {
  const counts: RuleCount[] = [];
  for (const family of families) {
    const stdout = await listTable(exec, family, '--json');
    for (const { rule } of stdout === undefined ? [] : rulesetOf(countedSchema, stdout)) {
      const counter = rule?.expr.find((expr) => expr.counter !== undefined)?.counter;
      if (rule === undefined || counter === undefined) continue;
      counts.push({
        family, chain: rule.chain, rule: rule.comment ?? '',
        verdict: rule.expr.some((expr) => 'drop' in expr) ? 'drop' : 'pass', ...counter,
      });
    }
  }
  return counts;
}

const exprSchema = z.looseObject({ counter: z.optional(z.object({ packets: z.number(), bytes: z.number() })) });

const setSchema = z.object({ name: z.string(), type: z.unknown(), elem: z._default(z.array(z.unknown()), []) });

const ruleKeys = { chain: z.string(), comment: z.optional(z.string()) };

const countedSchema = z.object({ nftables: z.array(z.object({
  rule: z.optional(z.object({ ...ruleKeys, expr: z._default(z.array(exprSchema), []) })),
})) });

/** Without the expressions, which are most of what nft prints and take most of the time. */
const rulesetSchema = z.object({
  nftables: z.array(z.object({
    chain: z.optional(z.object({
      name: z.string(), type: z.optional(z.string()), hook: z.optional(z.string()), prio: z.optional(z.number()),
      policy: z.optional(z.string()),
    })),
    rule: z.optional(z.object(ruleKeys)),
    set: z.optional(setSchema),
    map: z.optional(setSchema),
  })),
});

/** Returns the facts of `nft --json list table FAMILY guestwire`. */
export function parseFilter(stdout: string): FilterFacts {
  const ruleset = rulesetOf(rulesetSchema, stdout);
  const found = ruleset.flatMap(({ chain }) => chain ?? []);
  const comments = new Map<string, string[]>(found.map(({ name }) => [name, []]));
  for (const { rule } of ruleset) if (rule !== undefined) comments.get(rule.chain)?.push(rule.comment ?? '');
  const sets = ruleset.flatMap(({ set, map }) => [
    ...(set === undefined ? [] : [{ kind: 'set' as const, ...set }]),
    ...(map === undefined ? [] : [{ kind: 'map' as const, ...map }]),
  ]);
  return {
    there: true,
    chains: comments,
    hooks: new Map(found.map(({ name, type, hook, prio, policy }): [string, HookFacts] =>
      [name, { type, hook, prio, policy }])
      .filter(([, { hook }]) => hook !== undefined)),
    sets: new Map(sets.map(({ kind, name, type, elem }): [string, SetFacts] =>
      [name, { kind, type: typeof type === 'string' ? type : undefined, isEmpty: elem.length === 0 }])),
    elements: new Map(sets
      .filter(({ type }) => type === 'iface_index')
      .map(({ name, elem }) => [name, new Set(elem.map(elementKey))])),
    learns: new Set(sets.filter(({ type }) => type === 'ipv6_addr').map(({ name }) => name)),
  };
}

/** An element of a map is a pair. */
function elementKey(element: unknown): string {
  return String(Array.isArray(element) ? (element as unknown[])[0] : element);
}

function rulesetOf<T extends { readonly nftables: unknown }>(schema: z.ZodMiniType<T>, stdout: string): T['nftables'] {
  try {
    const result = z.safeParse(schema, JSON.parse(stdout), { jitless: true });
    if (result.success) return result.data.nftables;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ToolOutputError(`nft: unexpected output '${stdout.slice(0, 100)}'`);
}
