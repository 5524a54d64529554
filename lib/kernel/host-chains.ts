/**
 * Chains of other programs that drop by default: by their policy (Docker, ufw) or by their last rule (firewalld). Pure
 * but for the first function.
 */
import * as z from 'zod/mini';
import { TABLE } from '../state/nft.js';
import type { Exec } from '../system/exec.js';
import { acceptedLinks, type RulesByChain, type HostService, HOST_SERVICES } from './accepting-rules.js';
import {
  legacyChains, observeRuleset, type Ruleset, type RulesetChain, type RulesetRule,
} from './host-settings.js';

export interface DroppingChain {
  /** As `inet filter forward`, or, of iptables-legacy, the program. */
  readonly name: string;
  readonly kind: 'nft' | 'legacy';
  /** 'prerouting', 'input', 'forward' or 'ingress'. */
  readonly hook: string;
  /** 'ip', 'ip6', 'inet', 'bridge' or 'netdev'. */
  readonly family: string;
  /** Links, as the chain writes them, from which and to which it accepts everything. */
  readonly from: readonly string[];
  readonly to: readonly string[];
  /** Links from which it accepts what guests need of the host; '*' is every link. */
  readonly accepts: Readonly<Record<HostService, readonly string[]>>;
}

/** Returns the chains that drop packets to, from or between guests which no rule accepts. Throws ToolOutputError. */
export async function droppingChains(exec: Exec): Promise<DroppingChain[]> {
  const legacy = (await legacyChains(exec, ['FORWARD', 'INPUT'])).flatMap((chain) => droppingLegacy(chain) ?? []);
  return [...droppingIn(await observeRuleset(exec)), ...legacy];
}

type Statements = RulesetRule['expr'];

const HOOKS: ReadonlySet<string | undefined> = new Set(['prerouting', 'input', 'forward', 'ingress']);

/** Returns those of nftables; those of iptables-nft are among them. */
export function droppingIn({ chains, rules }: Ruleset): DroppingChain[] {
  return chains.flatMap((chain): DroppingChain[] => {
    const { hook = '', family, table, name } = chain;
    if (!HOOKS.has(hook) || table === TABLE) return [];
    const byChain = rulesOf(chain, rules);
    const own = byChain.get(name) ?? [];
    if (chain.policy !== 'drop' && !isRefusal(own.at(-1) ?? [])) return [];
    const accepted = own.filter(isAcceptance);
    const linksBy = (key: string): string[] => accepted.flatMap((expr) => matchedLink(expr, key) ?? []);
    return [{
      kind: 'nft', name: `${family} ${table} ${name}`, hook, family, from: linksBy('iifname'), to: linksBy('oifname'),
      accepts: byService((service) => acceptedLinks(name, { rules: byChain, service })),
    }];
  });
}

/** Returns the rules of the chain's table. */
function rulesOf({ family, table }: RulesetChain, rules: readonly RulesetRule[]): RulesByChain {
  const found = new Map<string, Statements[]>();
  for (const rule of rules) {
    if (rule.family !== family || rule.table !== table) continue;
    found.set(rule.chain, [...(found.get(rule.chain) ?? []), rule.expr]);
  }
  return found;
}

function byService(links: (service: HostService) => string[]): DroppingChain['accepts'] {
  const pairs = HOST_SERVICES.map((service) => [service, links(service)]);
  return Object.fromEntries(pairs) as DroppingChain['accepts'];
}

/**
 * Returns the chain of `iptables-legacy -S CHAIN`; undefined: it lets pass what it does not name. What its own chains
 * accept is not looked at: they may accept everything.
 */
export function droppingLegacy(
  { tool: name, chain, text }: { readonly tool: string; readonly chain: string; readonly text: string },
): DroppingChain | undefined {
  const lines = text.trim().split('\n');
  const last = new RegExp(`^-A ${chain} -j (DROP|REJECT\\b.*)$`);
  if (!lines.includes(`-P ${chain} DROP`) && !last.test(lines.at(-1) ?? '')) return undefined;
  const links = (option: string): string[] => lines.flatMap((line) =>
    new RegExp(`^-A ${chain} ${option} (\\S+) -j ACCEPT$`).exec(line)?.[1]?.replace(/\+$/, '*') ?? []);
  const accepts = (service: HostService): string[] => {
    const open = new RegExp(`^-A ${chain}(?<matches>.*) -j (?!DROP|REJECT|LOG|RETURN)`);
    const ofLink = new RegExp(`^-A ${chain} -i (?<link>\\S+)(?<matches>.*) -j ACCEPT$`);
    const accepted = (rule: RegExp): string[] => lines.flatMap((line) => {
      const { link = '', matches } = rule.exec(line)?.groups ?? {};
      return matches !== undefined && legacyMeets(matches, service) ? [link.replace(/\+$/, '*')] : [];
    });
    return accepted(open).length > 0 ? ['*'] : accepted(ofLink);
  };
  return {
    kind: 'legacy', name, hook: chain.toLowerCase(), family: name.startsWith('ip6') ? 'ip6' : 'ip', from: links('-i'),
    to: links('-o'), accepts: byService(accepts),
  };
}

/** Protocol and ICMPv6 type or port of each service, as `iptables -S` prints them (RFC 4861, RFC 2131, RFC 8415). */
const LEGACY: Readonly<Record<HostService, readonly [protocol: string, number: number]>> = {
  'nd-router-solicit': ['ipv6-icmp', 133], 'nd-neighbor-solicit': ['ipv6-icmp', 135],
  'nd-neighbor-advert': ['ipv6-icmp', 136], dhcp: ['udp', 67], dhcpv6: ['udp', 547],
};

/** Whether a rule with these matches meets the service. A match that is not known here counts as met. */
function legacyMeets(matches: string, service: HostService): boolean {
  const [protocol, number] = LEGACY[service];
  if (matches === '') return true;
  if (!matches.startsWith(` -p ${protocol}`)) return false;
  const asked = / --(?:icmpv6-type|dports?) (\S+)/.exec(matches)?.[1];
  return asked === undefined || asked.split(',').some((each) => {
    const [first = 0, last = first] = each.split(/[:/]/).map(Number);
    return each.includes('/') ? first === number : first <= number && number <= last;
  });
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
