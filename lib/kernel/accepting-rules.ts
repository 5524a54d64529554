/**
 * From which links the rules of a chain accept what guests on routed links need of the host. A match that is not known
 * here counts as met: a chain is called dropping only when it surely is. Pure.
 */
import * as z from 'zod/mini';
import type { RulesetRule } from './host-settings.js';

/** What a guest sends to the host itself. */
export type HostService = 'nd-neighbor-solicit' | 'nd-neighbor-advert' | 'nd-router-solicit' | 'dhcp' | 'dhcpv6';

export const HOST_SERVICES: readonly HostService[] = [
  'nd-neighbor-solicit', 'nd-neighbor-advert', 'nd-router-solicit', 'dhcp', 'dhcpv6',
];

type Statements = RulesetRule['expr'];
/** Rules of a table by the name of their chain. */
export type RulesByChain = ReadonlyMap<string, readonly Statements[]>;

interface Question {
  readonly rules: RulesByChain;
  readonly service: HostService;
}

/**
 * Returns the links from which the chain accepts the service; '*' is every link. `above` are the chains that lead to
 * it.
 */
export function acceptedLinks(chain: string, question: Question, above: readonly string[] = []): string[] {
  const { rules, service } = question;
  if (above.includes(chain)) return [];
  return (rules.get(chain) ?? []).flatMap((expr): readonly string[] => {
    const links = linksOf(expr, service);
    if (links === undefined) return [];
    if (expr.some((one) => 'accept' in one || 'vmap' in one)) return links;
    const [target] = expr.flatMap((one) =>
      z.safeParse(targetSchema, one['jump'] ?? one['goto'], { jitless: true }).data?.target ?? []);
    if (target === undefined) return [];
    const inner = acceptedLinks(target, question, [...above, chain]);
    return links.includes('*') ? inner : inner.includes('*') ? links : inner;
  });
}

const targetSchema = z.object({ target: z.string() });

const matchSchema = z.object({
  op: z.string(),
  left: z.object({
    meta: z.optional(z.object({ key: z.string() })), ct: z.optional(z.object({ key: z.string() })),
    payload: z.optional(z.object({ protocol: z._default(z.string(), ''), field: z._default(z.string(), '') })),
  }),
  right: z.unknown(),
});

type Match = z.output<typeof matchSchema>;

/** Returns the links of a rule that may be about the service; undefined: it is about something else. */
function linksOf(expr: Statements, service: HostService): string[] | undefined {
  const matches = expr.flatMap((one) => z.safeParse(matchSchema, one['match'], { jitless: true }).data ?? []);
  if (!matches.every((match) => isAbout(match, service))) return undefined;
  const named = matches
    .filter(({ op, left }) => op !== '!=' && (left.meta?.key === 'iifname' || left.meta?.key === 'iif'))
    .map(({ right }) => valuesIn(right)?.map(String));
  return named.find((links) => links !== undefined) ?? ['*'];
}

/** By service: its protocol, and what else a rule may name of it. */
const WORDS: Readonly<Record<'nd' | 'dhcp' | 'dhcpv6', Readonly<Record<string, readonly unknown[]>>>> = {
  nd: { l4proto: ['ipv6-icmp', 'icmpv6', 58], nfproto: ['ipv6'], state: ['untracked'] },
  dhcp: { l4proto: ['udp', 17], nfproto: ['ipv4'], state: ['new'], port: [67, 'bootps'] },
  dhcpv6: { l4proto: ['udp', 17], nfproto: ['ipv6'], state: ['new'], port: [547, 'dhcpv6-server'] },
};

function isAbout({ op, left: { meta, ct, payload }, right }: Match, service: HostService): boolean {
  if (op === '!=') return true;
  const words = service === 'dhcp' || service === 'dhcpv6' ? WORDS[service] : WORDS.nd;
  const isAmong = (wanted: readonly unknown[] = []): boolean =>
    valuesIn(right)?.some((value) => wanted.some((one) => isWithin(value, one))) ?? true;
  if (meta?.key === 'l4proto' || payload?.field === 'nexthdr' || payload?.field === 'protocol') {
    return isAmong(words['l4proto']);
  }
  if (meta?.key === 'nfproto') return isAmong(words['nfproto']);
  if (ct !== undefined) return ct.key === 'state' ? isAmong(words['state']) : true;
  if (payload === undefined) return true;
  const isDiscovery = words === WORDS.nd;
  const { protocol, field } = payload;
  if (protocol === 'icmpv6') return isDiscovery && (field !== 'type' || isAmong([service]));
  if (protocol === 'udp' || protocol === 'th') return !isDiscovery && (field !== 'dport' || isAmong(words['port']));
  if (protocol === 'ip') return service === 'dhcp';
  return protocol === 'ip6' ? service !== 'dhcp' : protocol === 'ether';
}

const valuesSchema = z.union([z.array(z.unknown()), z.object({ set: z.array(z.unknown()) })]);

/** Returns the values of the right side of a match; undefined: they cannot be read here. */
function valuesIn(right: unknown): readonly unknown[] | undefined {
  const { data } = z.safeParse(valuesSchema, right, { jitless: true });
  if (data !== undefined) return Array.isArray(data) ? data : data.set;
  return typeof right === 'string' && right.startsWith('@') ? undefined : [right];
}

function isWithin(value: unknown, wanted: unknown): boolean {
  const range = z.safeParse(rangeSchema, value, { jitless: true }).data?.range;
  return range === undefined
    ? value === wanted
    : typeof wanted === 'number' && range[0] <= wanted && wanted <= range[1];
}

const rangeSchema = z.object({ range: z.tuple([z.number(), z.number()]) });
