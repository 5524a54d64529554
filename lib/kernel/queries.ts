/**
 * The questions to `ip` and `bridge` for a scope, one line each.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BatchTool } from '../state/tools.js';
import type { Prefix } from '../values/address.js';
import { RULE_QUESTION } from './ip-rule-output.js';
import type { Scope } from './observation.js';

/**
 * Flags for answers that can be read; they change nothing for lines that change the host. -Numeric (iproute2 4.20),
 * because names of route protocols and tables are whatever /etc/iproute2 makes of them.
 */
const IP_FLAGS = ['-json', '-details', '-Numeric'];
export const ANSWER_FLAGS = { ip: IP_FLAGS, 'ip -6': IP_FLAGS, bridge: ['-json', '-compressvlans'] };

/** Lines for the ends of batches, by the tool that answers them. */
export type Questions = Partial<Readonly<Record<BatchTool, readonly string[]>>>;

/** Returns the lines that ask `ip` and `bridge` for `scope`, to be put at the end of a batch that changes its links. */
export function questionsOf(scope: Scope, procSys: string): Questions {
  return {
    ip: queriesOf(scope, procSys).map(({ text }) => text),
    'ip -6': scope.tables === undefined ? [] : [RULE_QUESTION],
    bridge: scope.bridges.length > 0 || scope.ports.length > 0 ? [vlanQuestion(scope)] : [],
  };
}

/**
 * Returns the line that asks `bridge` for VLANs. `dev` filters what is printed, not what the kernel dumps, so several
 * ports are cheaper in one dump.
 */
export function vlanQuestion({ bridges, ports }: Scope): string {
  return `vlan show${bridges.length === 0 && ports.length === 1 ? ` dev ${ports[0] ?? ''}` : ''}`;
}

/** By kind of question, what it asks for. */
interface Details {
  exact: { readonly table: string };
  // A link answers by its altnames, too.
  link: { readonly dev: string };
  allLinks: { readonly names: ReadonlySet<string> };
  allRoutes: { readonly names: ReadonlySet<string> };
  routes: object;
  locals: object;
  subinterfaces: object;
  routers: object;
  rules: { readonly family: 'inet' };
  lastResorts: { readonly ours: number };
  members: { readonly bridge: string };
  nextHops: { readonly prefixes: readonly Prefix[] };
  lookup: { readonly address: string };
  proxies: { readonly link: string };
}

export type QueryKind = keyof Details;

export type QueryOf<K extends QueryKind> = {
  readonly kind: K;
  readonly text: string;
  readonly dev?: string;
  readonly protocol?: string;
} & Details[K];

/** One line for `ip`. */
export type Query = { [K in QueryKind]: QueryOf<K> }[QueryKind];

/** Returns what `ip` is asked for `scope`. */
export function queriesOf(scope: Scope, procSys: string): Query[] {
  return [
    ...linkQueries(scope.links),
    ...routeQueries(scope.routes),
    ...scope.lookups.map((address): Query => ({ kind: 'lookup', text: `route get fibmatch ${address}`, address })),
    ...scope.locals.map((prefix): Query => ({ kind: 'locals', text: `route show table all type local root ${prefix}` })),
    // For a bridge that is gone iproute2 reports an error and ends, and the whole batch with it (6.1, 6.15).
    ...[...new Set([...scope.bridges, ...scope.joined ?? []])]
      .filter((bridge) => isThere(bridge, procSys))
      .map((bridge): Query => ({ kind: 'members', text: `link show master ${bridge}`, bridge })),
    ...(scope.subinterfaces ? [{ kind: 'subinterfaces' as const, text: 'link show type vlan' }] : []),
    ...scope.proxies.map((link): Query => ({ kind: 'proxies', text: `neigh show proxy dev ${link}`, link })),
    ...nextHopQueries(scope.nextHops),
    ...(scope.routers === true ? [{ kind: 'routers' as const, text: 'route show table all proto ra exact ::/0' }] : []),
    ...(scope.tables === undefined ? [] : tableQueries(scope.tables.protocol)),
    ...scope.exact.map(({ to, table }): Query => ({ kind: 'exact', text: `route show table all exact ${to}`, table })),
  ];
}

/** Asks for the whole table: iproute2's own filter `via` passes over multipath routes (6.1). */
function nextHopQueries(prefixes: Scope['nextHops']): Query[] {
  if (prefixes.length === 0) return [];
  return [{ kind: 'nextHops', text: 'route show table all', prefixes }];
}

function isThere(link: string, procSys: string): boolean {
  return ['ipv6', 'ipv4'].some((family) => existsSync(join(procSys, `net/${family}/conf/${link}`)));
}

/**
 * Links of which more are asked for than this are listed all at once: a dump for each costs the square of their number.
 */
const FEW = 16;

function linkQueries(links: Scope['links']): Query[] {
  if (links.length > FEW) return [{ kind: 'allLinks', text: 'address show', names: new Set(links) }];
  return links.map((dev) => ({ kind: 'link', text: `address show dev ${dev}`, dev }));
}

/** `table all` is also what makes one `ip` without -4 or -6 list both families. */
function routeQueries(routes: Scope['routes']): Query[] {
  if (routes.length <= FEW) {
    return routes.map(({ dev, protocol }) => (
      { kind: 'routes', text: `route show table all dev ${dev} proto ${protocol}`, dev, protocol: String(protocol) }));
  }
  return [...new Set(routes.map(({ protocol }) => protocol))].map((protocol) => {
    const names = new Set(routes.filter((route) => route.protocol === protocol).map(({ dev }) => dev));
    return { kind: 'allRoutes', text: `route show table all proto ${protocol}`, protocol: String(protocol), names };
  });
}

function tableQueries(ours: number): Query[] {
  return [
    { kind: 'rules', text: RULE_QUESTION, family: 'inet' },
    { kind: 'lastResorts', text: `route show table all type unreachable proto ${ours}`, ours },
  ];
}
