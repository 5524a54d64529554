/**
 * What doctor and install ask of the kernel besides the links of guests: settings of bridges, default routes, sysctls,
 * security modules, and the chains of other programs. A host without IPv6, or one that never used nft, has nothing to
 * show. It judges nothing.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { ToolOutputError } from '../errors.js';
import type { Exec } from '../system/exec.js';
import type { Family } from '../values/address.js';
import { listIn } from './whole-host.js';

export interface ObservedBridge {
  /** undefined: this iproute2 does not tell. */
  readonly learnsLinkLocal: boolean | undefined;
  readonly snoops: boolean;
  readonly queries: boolean;
}

const bridgeSchema = z.object({
  ifname: z.string(),
  linkinfo: z.object({
    // iproute2 prints the last in its own list or among the rest, as its version has it (6.1, 6.15).
    info_data: z.optional(z.object({
      mcast_snooping: z.optional(z.number()), mcast_querier: z.optional(z.number()),
      no_linklocal_learn: z.optional(z.union([z.number(), z.boolean()])),
    })),
  }),
});

/** Returns the settings of all bridges, by name. Throws ToolOutputError. */
export async function observedBridges(exec: Exec): Promise<ReadonlyMap<string, ObservedBridge>> {
  const answer = await listed(exec, ['-json', '-details', 'link', 'show', 'type', 'bridge']);
  return new Map(answer.filter(isFilled).map((entry): [string, ObservedBridge] => {
    const { ifname, linkinfo: { info_data: data = {} } } = read(bridgeSchema, entry, 'ip link');
    const unlearnt = data.no_linklocal_learn;
    return [ifname, {
      learnsLinkLocal: unlearnt === undefined ? undefined : unlearnt === 0 || unlearnt === false,
      snoops: data.mcast_snooping === 1, queries: data.mcast_querier === 1,
    }];
  }));
}

const routeSchema = z.object({
  dev: z.optional(z.string()), nexthops: z._default(z.array(z.object({ dev: z.optional(z.string()) })), []),
});

/** Returns the links of this host's default routes. Throws ToolOutputError. */
export async function defaultRouteLinks(exec: Exec, family: Family): Promise<string[]> {
  const answer = await listed(exec, [family === 'inet' ? '-4' : '-6', '-json', 'route', 'show', 'default']);
  return answer.flatMap((entry) => {
    const route = read(routeSchema, entry, 'ip route');
    return [route, ...route.nexthops].flatMap(({ dev }) => dev ?? []);
  });
}

/** Returns the values of those of these sysctls that this kernel has. */
export function sysctlsAt(paths: readonly string[], procSys = '/proc/sys'): Map<string, string> {
  return new Map(paths
    .filter((path) => existsSync(join(procSys, path)))
    .map((path) => [path, readFileSync(join(procSys, path), 'utf8').trim()]));
}

/** Returns the names of all links that have IPv4 settings. */
export function linksWithSettings(procSys = '/proc/sys'): string[] {
  return readdirSync(join(procSys, 'net/ipv4/conf')).filter((name) => name !== 'all' && name !== 'default');
}

/** Returns whether SELinux refuses what its policy does not allow. */
export function isSelinuxEnforcing(): boolean {
  return textAt('/sys/fs/selinux/enforce').trim() === '1';
}

/** Returns whether AppArmor confines programs. */
export function isAppArmorOn(): boolean {
  return textAt('/sys/module/apparmor/parameters/enabled').startsWith('Y');
}

function textAt(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

export interface RulesetChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string | undefined;
  readonly policy?: string | undefined;
}

export interface RulesetRule extends Omit<RulesetChain, 'name' | 'hook' | 'policy'> {
  readonly chain: string;
  /** Statements as nft has them, by their names. */
  readonly expr: readonly Readonly<Record<string, unknown>>[];
}

export interface Ruleset {
  readonly chains: readonly RulesetChain[];
  readonly rules: readonly RulesetRule[];
}

const exprSchema = z.catch(z.record(z.string(), z.unknown()), {});

const rulesetSchema = z.object({
  nftables: z.array(z.object({
    chain: z.optional(z.object({
      family: z.string(), table: z.string(), name: z.string(), hook: z.optional(z.string()),
      policy: z.optional(z.string()),
    })),
    rule: z.optional(z.object({
      family: z.string(), table: z.string(), chain: z.string(), expr: z._default(z.array(exprSchema), []),
    })),
  })),
});

/** Returns the chains and rules of all programs, those of iptables-nft among them. Throws ToolOutputError. */
export async function observeRuleset(exec: Exec): Promise<Ruleset> {
  const { exitCode, stdout } = await exec({ tool: 'nft', args: ['--json', 'list', 'ruleset'] });
  return exitCode === 0 && stdout.trim() !== '' ? parseRuleset(stdout) : { chains: [], rules: [] };
}

/** Returns what `nft --json list ruleset` says. Throws ToolOutputError. */
function parseRuleset(text: string): Ruleset {
  try {
    const { nftables } = read(rulesetSchema, JSON.parse(text), 'nft');
    return { chains: nftables.flatMap(({ chain }) => chain ?? []), rules: nftables.flatMap(({ rule }) => rule ?? []) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ToolOutputError(`nft: unexpected output '${text.slice(0, 100)}'`, { cause: error });
  }
}

/**
 * Returns what each iptables-legacy prints of these chains. One without such tables is not asked: that would load them.
 */
export async function legacyChains(
  exec: Exec, chains: readonly string[],
): Promise<{ readonly tool: string; readonly chain: string; readonly text: string }[]> {
  const found = [];
  for (const name of ['iptables', 'ip6tables']) {
    const tables = `/proc/net/${name.replace('tables', '_tables')}_names`;
    if (!textAt(tables).split('\n').includes('filter')) continue;
    const tool = `${name}-legacy`;
    for (const chain of chains) {
      const { exitCode, stdout: text } = await exec({ tool, args: ['-S', chain] });
      if (exitCode === 0) found.push({ tool, chain, text });
    }
  }
  return found;
}

async function listed(exec: Exec, args: readonly string[]): Promise<unknown[]> {
  const { exitCode, stdout } = await exec({ tool: 'ip', args });
  return exitCode === 0 && stdout.trim() !== '' ? listIn(stdout) : [];
}

/** iproute2 prints {} for a link that its filter left out. */
function isFilled(entry: unknown): boolean {
  return typeof entry !== 'object' || entry === null || Object.keys(entry).length > 0;
}

function read<T extends z.ZodMiniType>(schema: T, answer: unknown, what: string): z.output<T> {
  const result = z.safeParse(schema, answer, { jitless: true });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ToolOutputError(`${what}: unexpected JSON at '${issue?.path.join('.') ?? ''}'`);
}
