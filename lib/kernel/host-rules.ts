/** The routing rules of other programs, with all that they match. guestwire's own are read by ip-rule-output.ts. */
import * as z from 'zod/mini';
import { ToolOutputError } from '../errors.js';
import type { Exec } from '../system/exec.js';
import { type Family, parseDestination, type Prefix } from '../values/address.js';
import { listIn } from './whole-host.js';

export interface HostRule {
  readonly family: Family;
  readonly priority: number;
  /** undefined: all. */
  readonly from: Prefix | undefined;
  readonly to: Prefix | undefined;
  readonly iif: string | undefined;
  /** It matches some packets only, by their mark or another property of theirs. */
  readonly isPartial: boolean;
  /** What it does, in words: 'lookup 100' or 'prohibit'. */
  readonly action: string;
  readonly protocol: number;
}

const ruleSchema = z.object({
  priority: z.number(), src: z.optional(z.string()), srclen: z.optional(z.number()), dst: z.optional(z.string()),
  dstlen: z.optional(z.number()), iif: z.optional(z.string()), oif: z.optional(z.string()),
  fwmark: z.optional(z.string()), ipproto: z.optional(z.unknown()), sport: z.optional(z.unknown()),
  dport: z.optional(z.unknown()), suppress_prefixlen: z.optional(z.number()),
  table: z.optional(z.string()), action: z.optional(z.string()), protocol: z._default(z.string(), '0'),
});

/** Actions by number (linux/fib_rules.h). */
const ACTIONS: Readonly<Record<string, string>> = { 6: 'blackhole', 7: 'unreachable', 8: 'prohibit' };

/** Returns the rules of both families, in their order. Throws ToolOutputError. */
export async function hostRules(exec: Exec): Promise<HostRule[]> {
  const found: HostRule[] = [];
  for (const [family, flag] of [['inet', '-4'], ['inet6', '-6']] as const) {
    const args = [flag, '-json', '-details', '-Numeric', 'rule', 'show'];
    const { exitCode, stdout } = await exec({ tool: 'ip', args });
    if (exitCode === 0 && stdout.trim() !== '') found.push(...parseHostRules(listIn(stdout), family));
  }
  return found;
}

/** Returns the rules of `ip -json -details -Numeric rule show`. Throws ToolOutputError. */
export function parseHostRules(answer: readonly unknown[], family: Family): HostRule[] {
  return answer.map((entry) => {
    const result = z.safeParse(ruleSchema, entry, { jitless: true });
    if (!result.success) throw new ToolOutputError(`ip rule: unexpected JSON '${JSON.stringify(entry).slice(0, 200)}'`);
    const { data } = result;
    return {
      family, priority: data.priority, from: prefixOf(data.src, data.srclen, family),
      to: prefixOf(data.dst, data.dstlen, family), iif: data.iif,
      isPartial: [data.fwmark, data.oif, data.ipproto, data.sport, data.dport].some((one) => one !== undefined) ||
        data.suppress_prefixlen !== undefined,
      action: ACTIONS[data.action ?? ''] ?? `lookup ${data.table ?? 'main'}`, protocol: Number(data.protocol),
    };
  });
}

function prefixOf(address: string | undefined, length: number | undefined, family: Family): Prefix | undefined {
  if (address === undefined || address === 'all') return undefined;
  return parseDestination(length === undefined ? address : `${address}/${length}`, family);
}
