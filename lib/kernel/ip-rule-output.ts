/**
 * The JSON of `ip rule` and of last resorts to facts. One `ip` lists the rules of one family, so IPv6 is asked apart.
 * Tables and protocols are numbers, because `ip` runs with -Numeric.
 */
import * as z from 'zod/mini';
import { ToolOutputError } from '../errors.js';
import { assertSuccess, type Exec, type ExecRequest } from '../system/exec.js';
import { type Family, parseDestination } from '../values/address.js';
import { routeTable } from '../values/route-names.js';
import type { Observation, RuleFacts } from './observation.js';

export const RULE_QUESTION = 'rule show';

const ruleSchema = z.array(z.object({
  priority: z.number(),
  dst: z.optional(z.string()),
  dstlen: z.optional(z.number()),
  iif: z.optional(z.string()),
  table: z.optional(z.string()),
  protocol: z.optional(z.string()),
}));

/** Returns the rules of `ip -json -details -Numeric rule show`. */
export function parseRules(answer: readonly unknown[], family: Family): RuleFacts[] {
  return read(
    ruleSchema, answer.filter((entry) => Object.keys(entry as object).length > 0), 'ip rule',
  ).map(({ priority, dst, dstlen, iif, table = '', protocol }) => ({
    family,
    priority,
    iif,
    to: dst === undefined || dst === 'all'
      ? undefined
      : parseDestination(dstlen === undefined ? dst : `${dst}/${dstlen}`, family),
    table: routeTable(table),
    protocol: Number(protocol),
  }));
}

const resortSchema = z.array(z.object({
  dst: z.string(), dev: z.optional(z.string()), table: z._default(z.string(), 'main'),
}));

/**
 * Returns the default routes of `ip -json -details -Numeric route show table all type unreachable proto N`; those of
 * IPv6 are on lo.
 */
export function parseLastResorts(
  answer: readonly unknown[], protocol: number,
): NonNullable<Observation['lastResorts']> {
  return read(resortSchema, answer.filter((entry) => Object.keys(entry as object).length > 0), 'ip route').filter(({
    dst,
  }) =>
    dst === 'default')
    .map(({ dev, table }) => ({ family: dev === undefined ? 'inet' : 'inet6', table: routeTable(table), protocol }));
}

/** Returns what `ip -6` prints of its rules with these flags. Throws CommandError. */
export async function askRules6(exec: Exec, flags: readonly string[]): Promise<string> {
  const request: ExecRequest = { tool: 'ip', args: ['-6', ...flags, ...RULE_QUESTION.split(' ')] };
  const result = await exec(request);
  assertSuccess(request, result, 'reading the routing rules');
  return result.stdout;
}

function read<T extends z.ZodMiniType>(schema: T, answer: unknown, what: string): z.output<T> {
  const result = z.safeParse(schema, answer, { jitless: true });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ToolOutputError(`${what}: unexpected JSON at '${issue?.path.join('.') ?? ''}' in '${JSON.stringify(answer).slice(0, 200)}'`);
}
