/**
 * All of this host that may be guestwire's, read at once: what is left over carries its mark, an alias, its route
 * protocol or its table's name. It judges nothing.
 */
import * as z from 'zod/mini';
import { ToolOutputError } from '../errors.js';
import type { FilterFamily } from '../state/nft.js';
import { assertSuccess, type Exec, type ExecRequest } from '../system/exec.js';
import { askRules6, parseRules } from './ip-rule-output.js';
import { parseHostProxies, parseLinks, parseRoutes } from './iproute-output.js';
import { observeFilters } from './nft-output.js';
import type { FilterFacts, LinkFacts, ProxyFacts, RouteFacts, RuleFacts } from './observation.js';
import { ANSWER_FLAGS } from './queries.js';

export interface WholeHost {
  readonly links: readonly LinkFacts[];
  /** Routes of the protocols asked for, in all tables. */
  readonly routes: readonly (RouteFacts & { readonly number: number })[];
  readonly rules: readonly RuleFacts[];
  readonly proxies: readonly (ProxyFacts & { readonly dev: string })[];
  readonly filters: ReadonlyMap<FilterFamily, FilterFacts>;
}

interface Asked {
  /** Numbers of route protocols. */
  readonly protocols: readonly number[];
  /** Families with a table to read. */
  readonly filters: readonly FilterFamily[];
}

/** Returns the host's facts. Throws CommandError or ToolOutputError. */
export async function observeHost(exec: Exec, { protocols, filters }: Asked): Promise<WholeHost> {
  const questions = ['link show', 'neigh show proxy', 'rule show', ...protocols.map((protocol) => `route show table all proto ${protocol}`)];
  const request: ExecRequest = {
    tool: 'ip', args: [...ANSWER_FLAGS.ip, '-batch', '-'], input: `${questions.join('\n')}\n`,
  };
  const result = await exec(request);
  assertSuccess(request, result, 'reading the host');
  const [links = [], proxies = [], rules = [], ...routes] = result.stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map(listIn);
  return {
    links: parseLinks(links),
    proxies: parseHostProxies(proxies),
    rules: [...parseRules(rules, 'inet'), ...parseRules(listIn(await askRules6(exec, ANSWER_FLAGS.ip)), 'inet6')],
    routes: protocols.flatMap((number, index) =>
      parseRoutes(routes[index] ?? [], { protocol: String(number) }).map((route) => ({ ...route, number }))),
    filters: await observeFilters(exec, filters),
  };
}

const listSchema = z.array(z.unknown());

/** Returns the list that a tool printed as JSON. Throws ToolOutputError. */
export function listIn(text: string): unknown[] {
  try {
    const result = z.safeParse(listSchema, JSON.parse(text), { jitless: true });
    if (result.success) return result.data;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ToolOutputError(`ip: unexpected output '${text.slice(0, 100)}'`);
}
