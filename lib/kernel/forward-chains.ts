/** Forward chains that drop by default: by their policy (Docker, ufw) or by their last rule (firewalld). Pure. */
import * as z from 'zod/mini';
import { TABLE } from '../state/nft.js';
import type { Exec } from '../system/exec.js';
import { legacyForwardChains, observeRuleset, type Ruleset, type RulesetRule } from './host-settings.js';

export interface DroppingChain {
  /** As `inet filter forward`, or, of iptables-legacy, the program. */
  readonly name: string;
  readonly kind: 'nft' | 'legacy';
  /** Links, as the chain writes them, from which and to which it accepts everything. */
  readonly from: readonly string[];
  readonly to: readonly string[];
}

/** Returns the forward chains that drop packets that no rule accepts. Throws ToolOutputError. */
export async function droppingChains(exec: Exec): Promise<DroppingChain[]> {
  const legacy = (await legacyForwardChains(exec)).flatMap(({ tool, text }) => droppingLegacy(tool, text) ?? []);
  return [...droppingIn(await observeRuleset(exec)), ...legacy];
}

type Statements = RulesetRule['expr'];

/** Returns those of nftables; those of iptables-nft are among them. */
function droppingIn({ chains, rules: all }: Ruleset): DroppingChain[] {
  return chains.flatMap((chain): DroppingChain[] => {
    if (chain.hook !== 'forward' || chain.family === 'bridge' || chain.table === TABLE) return [];
    const rules = all.filter((
      rule,
    ) => rule.family === chain.family && rule.table === chain.table && rule.chain === chain.name).map(({ expr }) =>
      expr);
    if (chain.policy !== 'drop' && !isRefusal(rules.at(-1) ?? [])) return [];
    const accepted = rules.filter(isAcceptance);
    const linksBy = (key: string): string[] => accepted.flatMap((expr) => matchedLink(expr, key) ?? []);
    return [{ kind: 'nft', name: `${chain.family} ${chain.table} ${chain.name}`, from: linksBy('iifname'), to: linksBy('oifname') }];
  });
}

/** Returns the chain of `iptables-legacy -S FORWARD`; undefined: it lets pass what it does not name. */
export function droppingLegacy(name: string, text: string): DroppingChain | undefined {
  const lines = text.trim().split('\n');
  const isDropping = lines.includes('-P FORWARD DROP') || /^-A FORWARD -j (DROP|REJECT\b.*)$/.test(lines.at(-1) ?? '');
  const links = (option: string): string[] =>
    lines.flatMap((line) => new RegExp(`^-A FORWARD ${option} (\\S+) -j ACCEPT$`).exec(line)?.[1]?.replace(/\+$/, '*') ?? []);
  return isDropping ? { kind: 'legacy', name, from: links('-i'), to: links('-o') } : undefined;
}

const PASSIVE = ['counter', 'log', 'xt'];

function isRefusal(expr: Statements): boolean {
  const [last] = expr.slice(-1);
  return last !== undefined &&
    ('drop' in last || 'reject' in last) &&
    expr.slice(0, -1).every((one) => PASSIVE.some((key) => key in one));
}

/** Of everything that its links send or get: one match and the verdict. */
function isAcceptance(expr: Statements): boolean {
  return expr.some((one) => 'accept' in one) &&
    expr.filter((one) => !('accept' in one) && !('counter' in one)).length === 1;
}

const matchSchema = z.object({
  op: z.literal('=='), left: z.object({ meta: z.object({ key: z.string() }) }), right: z.string(),
});

/** Returns the link that a rule matches by `key` alone. A match of any other kind is none. */
function matchedLink(expr: Statements, key: string): string | undefined {
  const match = expr.find((one) => one['match'] !== undefined)?.['match'];
  const { data } = z.safeParse(matchSchema, match, { jitless: true });
  return data?.left.meta.key === key ? data.right : undefined;
}
