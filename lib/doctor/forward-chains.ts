/** Forward chains that drop by default: by their policy (Docker, ufw) or by their last rule (firewalld). Pure. */
import { TABLE } from '../state/nft.js';
import type { DroppingChain } from './diagnosis.js';

interface NftChain { readonly family: string; readonly table: string; readonly name: string; readonly hook?: string; readonly policy?: string }
interface NftRule { readonly family: string; readonly table: string; readonly chain: string; readonly expr?: readonly Record<string, unknown>[] }
interface Listing { readonly nftables: readonly { readonly chain?: NftChain; readonly rule?: NftRule }[] }

/** Returns those of `nft --json list ruleset`; those of iptables-nft are among them. */
export function droppingIn(json: string): DroppingChain[] {
  const { nftables } = JSON.parse(json) as Listing;
  return nftables.flatMap(({ chain }): DroppingChain[] => {
    if (chain?.hook !== 'forward' || chain.family === 'bridge' || chain.table === TABLE) return [];
    const rules = nftables.flatMap(({ rule }) => (rule?.family === chain.family && rule.table === chain.table && rule.chain === chain.name ? [rule.expr ?? []] : []));
    if (chain.policy !== 'drop' && !isRefusal(rules.at(-1) ?? [])) return [];
    const linksBy = (key: string): string[] => rules.filter(isAcceptance).flatMap((expr) => linkOf(expr, key) ?? []);
    return [{ kind: 'nft', name: `${chain.family} ${chain.table} ${chain.name}`, from: linksBy('iifname'), to: linksBy('oifname') }];
  });
}

/** Returns the chain of `iptables-legacy -S FORWARD`; undefined: it lets pass what it does not name. */
export function droppingLegacy(name: string, text: string): DroppingChain | undefined {
  const lines = text.trim().split('\n');
  const isDropping = lines.includes('-P FORWARD DROP') || /^-A FORWARD -j (DROP|REJECT\b.*)$/.test(lines.at(-1) ?? '');
  const links = (option: string): string[] => lines.flatMap((line) => new RegExp(`^-A FORWARD ${option} (\\S+) -j ACCEPT$`).exec(line)?.[1]?.replace(/\+$/, '*') ?? []);
  return isDropping ? { kind: 'legacy', name, from: links('-i'), to: links('-o') } : undefined;
}

const PASSIVE = ['counter', 'log', 'xt'];

function isRefusal(expr: readonly Record<string, unknown>[]): boolean {
  const [last] = expr.slice(-1);
  return last !== undefined && ('drop' in last || 'reject' in last) && expr.slice(0, -1).every((one) => PASSIVE.some((key) => key in one));
}

/** A rule about all traffic of its links: one match and the verdict. */
function isAcceptance(expr: readonly Record<string, unknown>[]): boolean {
  return expr.some((one) => 'accept' in one) && expr.filter((one) => !('accept' in one) && !('counter' in one)).length === 1;
}

function linkOf(expr: readonly Record<string, unknown>[], key: string): string | undefined {
  const match = expr.map((one) => one['match'] as { readonly op: string; readonly left: { readonly meta?: { readonly key: string } }; readonly right: unknown } | undefined).find((one) => one !== undefined);
  return match?.op === '==' && match.left.meta?.key === key && typeof match.right === 'string' ? match.right : undefined;
}
