/**
 * The questions: the kernel's state read through `ip`, `bridge`, `nft` and /proc/sys for the links at hand only. It
 * judges nothing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ToolOutputError } from '../errors.js';
import { assertSuccess, type Exec, type ExecRequest, type ExecResult, lineOf } from '../system/exec.js';
import type { Prefix } from '../values/address.js';
import { oneLine } from '../values/quote.js';
import type { VlanMember } from '../values/vlan.js';
import { askRules6, parseLastResorts, parseRules, RULE_QUESTION } from './ip-rule-output.js';
import {
  parseLinks, parseNextHops, parseProxies, parseRoutes, parseSubinterfaces, parseVlans,
} from './iproute-output.js';
import { observeFilters, tracksBridges } from './nft-output.js';
import type { LinkFacts, Observation, ProxyFacts, RouteFacts, RuleFacts, Scope, Subinterface } from './observation.js';

/**
 * Flags for answers that can be read; they change nothing for lines that change the host. -Numeric (iproute2 4.20),
 * because names of route protocols and tables are whatever /etc/iproute2 makes of them.
 */
export const ANSWER_FLAGS = { ip: ['-json', '-details', '-Numeric'], bridge: ['-json', '-compressvlans'] };

/** What `ip` and `bridge` printed when they were asked at the end of a batch; absent: not asked, or no answer. */
export interface Answers {
  readonly ip?: string | undefined;
  readonly 'ip -6'?: string | undefined;
  readonly bridge?: string | undefined;
}

/** Returns the lines that ask `ip` and `bridge` for `scope`, to be put at the end of a batch that changes its links. */
export function questionsOf(scope: Scope, procSys: string): { readonly ip: readonly string[]; readonly 'ip -6': readonly string[]; readonly bridge: readonly string[] } {
  const bridge = scope.bridges.length > 0 || scope.ports.length > 0 ? [`vlan show${deviceOf(scope)}`] : [];
  return { ip: queriesOf(scope, procSys).map(({ text }) => text), 'ip -6': scope.tables === undefined ? [] : [RULE_QUESTION], bridge };
}

/**
 * Returns the facts of `scope`, and runs no tool for an answer that is given. Throws CommandError or ToolOutputError.
 */
export async function observe(exec: Exec, scope: Scope, { procSys, answers }: { procSys: string; answers: Answers }): Promise<Observation> {
  const queries = queriesOf(scope, procSys);
  const texts = queries.map(({ text }) => text);
  const { documents, reasons } = answers.ip === undefined ? await ask(exec, texts) : { documents: documentsOf(answers.ip, texts), reasons: new Map<number, string>() };
  const { rules, routers, ...found } = sort(queries, documents);
  const ofBridges = [...found.members].filter(([bridge]) => scope.bridges.includes(bridge));
  const ports = [...scope.ports.filter((port) => bridgeCapable(found.links, port)), ...ofBridges.flat(2)];
  return {
    ...found,
    nowhere: new Set(queries.flatMap((query, index) => (query.kind === 'lookup' && NOWHERE.test(reasons.get(index) ?? '') ? [query.address] : []))),
    vlans: await observeVlans(exec, { ports: [...new Set(ports)], dev: deviceOf(scope), answer: answers.bridge }),
    filters: await observeFilters(exec, scope.filters),
    tracking: scope.tracking === true ? await tracksBridges(exec) : undefined,
    hasLink: (dev) => existsSync(join(procSys, 'net/ipv4/conf', dev)),
    rules: scope.tables && [...rules, ...parseRules(parseJson('ip', answers['ip -6'] ?? await askRules6(exec, ANSWER_FLAGS.ip)), 'inet6')],
    routers: scope.routers === true ? routers.filter((dev) => acceptsRouters(dev, procSys)) : undefined,
    sysctls: readSysctls(scope.sysctls, procSys),
  };
}

type Found = Pick<Observation, 'links' | 'routes' | 'locals' | 'nextHops' | 'exact' | 'lookups' | 'members' | 'subinterfaces' | 'proxies' | 'lastResorts'> & { readonly rules: readonly RuleFacts[]; readonly routers: readonly string[] };

function sort(queries: readonly Query[], answers: readonly (unknown[] | undefined)[]): Found {
  const links = new Map<string, LinkFacts>();
  const routes = { routes: [] as RouteFacts[], locals: [] as RouteFacts[], nextHops: [] as RouteFacts[], exact: [] as RouteFacts[] };
  const lookups = new Map<string, RouteFacts | undefined>();
  const members = new Map<string, readonly string[]>();
  const subinterfaces: Subinterface[] = [];
  const proxies = new Map<string, readonly ProxyFacts[]>();
  const rules: RuleFacts[] = [];
  const routers = new Set<string>();
  let lastResorts: Observation['lastResorts'];
  queries.forEach((query, index) => {
    const answer = answers[index];
    if (query.kind === 'lookup') lookups.set(query.address, answer === undefined ? undefined : parseRoutes(answer, query)[0]);
    else if (answer === undefined) return;
    else if (query.kind === 'link') parseLinks(answer).forEach((link) => links.set(query.dev, link));
    else if (query.kind === 'allLinks') parseLinks(answer).filter(({ ifname }) => query.names.has(ifname)).forEach((link) => links.set(link.ifname, link));
    else if (query.kind === 'allRoutes') routes.routes.push(...parseRoutes(answer, query).filter(({ dev }) => dev !== undefined && query.names.has(dev)));
    else if (query.kind === 'rules') rules.push(...parseRules(answer, query.family));
    else if (query.kind === 'routers') parseRoutes(answer).forEach(({ dev }) => { if (dev !== undefined) routers.add(dev); });
    else if (query.kind === 'lastResorts') lastResorts = parseLastResorts(answer, query.ours);
    else if (query.kind === 'members') {
      const ports = parseLinks(answer);
      members.set(query.bridge, ports.map(({ ifname }) => ifname));
      // Without addresses, so a link that is asked for by name keeps what was answered then.
      for (const port of ports) if (!links.has(port.ifname)) links.set(port.ifname, port);
    } else if (query.kind === 'proxies') proxies.set(query.link, parseProxies(answer));
    else if (query.kind === 'subinterfaces') subinterfaces.push(...parseSubinterfaces(answer));
    else if (query.kind === 'nextHops') routes.nextHops.push(...parseNextHops(answer, query.prefixes));
    else if (query.kind === 'exact') routes.exact.push(...parseRoutes(answer).filter(({ table }) => query.table === 'all' || table === query.table));
    else routes[query.kind].push(...parseRoutes(answer, query));
  });
  return { ...routes, links, lookups, members, subinterfaces, proxies, rules, lastResorts, routers: [...routers] };
}

type Query = { readonly text: string; readonly dev?: string; readonly protocol?: string } & (
  | { readonly kind: 'exact'; readonly table: string }
  // A link answers by its altnames, too.
  | { readonly kind: 'link'; readonly dev: string }
  | { readonly kind: 'allLinks' | 'allRoutes'; readonly names: ReadonlySet<string> }
  | { readonly kind: 'routes' | 'locals' | 'subinterfaces' | 'routers' }
  | { readonly kind: 'rules'; readonly family: 'inet' }
  | { readonly kind: 'lastResorts'; readonly ours: number }
  | { readonly kind: 'members'; readonly bridge: string }
  | { readonly kind: 'nextHops'; readonly prefixes: readonly Prefix[] }
  | { readonly kind: 'lookup'; readonly address: string }
  | { readonly kind: 'proxies'; readonly link: string }
);

function queriesOf(scope: Scope, procSys: string): Query[] {
  return [
    ...linkQueries(scope.links),
    ...routeQueries(scope.routes),
    ...scope.lookups.map((address): Query => ({ kind: 'lookup', text: `route get fibmatch ${address}`, address })),
    ...scope.locals.map((prefix): Query => ({ kind: 'locals', text: `route show table all type local root ${prefix}` })),
    // For a bridge that is gone iproute2 reports an error and ends, and the whole batch with it (6.1, 6.15).
    ...[...new Set([...scope.bridges, ...scope.joined ?? []])].filter((bridge) => isThere(bridge, procSys)).map((bridge): Query => ({ kind: 'members', text: `link show master ${bridge}`, bridge })),
    ...(scope.subinterfaces ? [{ kind: 'subinterfaces' as const, text: 'link show type vlan' }] : []),
    ...scope.proxies.map((link): Query => ({ kind: 'proxies', text: `neigh show proxy dev ${link}`, link })),
    // iproute2's own filter `via` passes over multipath routes (6.1).
    ...(scope.nextHops.length === 0 ? [] : [{ kind: 'nextHops' as const, text: 'route show table all', prefixes: scope.nextHops }]),
    ...(scope.routers === true ? [{ kind: 'routers' as const, text: 'route show table all proto ra exact ::/0' }] : []),
    ...(scope.tables === undefined ? [] : tableQueries(scope.tables.protocol)),
    ...scope.exact.map(({ to, table }): Query => ({ kind: 'exact', text: `route show table all exact ${to}`, table })),
  ];
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
  if (routes.length <= FEW) return routes.map(({ dev, protocol }) => ({ kind: 'routes', text: `route show table all dev ${dev} proto ${protocol}`, dev, protocol: String(protocol) }));
  return [...new Set(routes.map(({ protocol }) => protocol))].map((protocol) => (
    { kind: 'allRoutes', text: `route show table all proto ${protocol}`, protocol: String(protocol), names: new Set(routes.filter((route) => route.protocol === protocol).map(({ dev }) => dev)) }));
}

function tableQueries(ours: number): Query[] {
  return [
    { kind: 'rules', text: RULE_QUESTION, family: 'inet' },
    { kind: 'lastResorts', text: `route show table all type unreachable proto ${ours}`, ours },
  ];
}

interface Asked {
  readonly documents: (unknown[] | undefined)[];
  /** By index of the line, why it has no document. */
  readonly reasons: ReadonlyMap<number, string>;
}

/** A link that does not exist and a destination without a route are answers, not errors. Anything else is one. */
async function ask(exec: Exec, lines: readonly string[]): Promise<Asked> {
  if (lines.length === 0) return { documents: [], reasons: new Map() };
  const request: ExecRequest = { tool: 'ip', args: [...ANSWER_FLAGS.ip, '-force', '-batch', '-'], input: `${lines.join('\n')}\n` };
  const result = await exec(request);
  const reasons = reasonsIn(result);
  if (reasons === undefined || (result.exitCode !== 0 && reasons.size === 0)) assertSuccess(request, result, 'reading the host');
  return { documents: documentsOf(result.stdout, lines, reasons), reasons: reasons ?? new Map() };
}

/**
 * Returns, by index, why lines failed that did so because there is no such thing; undefined when any failed otherwise.
 */
function reasonsIn({ stderr }: ExecResult): Map<number, string> | undefined {
  const reasons = new Map<number, string>();
  let reason = '';
  for (const text of stderr.split('\n')) {
    const line = lineOf(text);
    if (line !== undefined) {
      reasons.set(line - 1, reason);
      reason = '';
    } else if (text !== '') {
      if (!NO_SUCH_THING.test(text)) return undefined;
      reason = text;
    }
  }
  return reasons;
}

/** Returns the JSON document each line printed, undefined for those in `absent`. */
function documentsOf(stdout: string, lines: readonly string[], absent: ReadonlyMap<number, string> = new Map()): (unknown[] | undefined)[] {
  const documents = stdout.split('\n').filter((text) => text.trim() !== '');
  if (documents.length !== lines.length - absent.size) {
    throw new ToolOutputError(`ip -json printed ${documents.length} answers to ${lines.length} commands, of which ${absent.size} failed`);
  }
  let next = 0;
  return lines.map((_, index) => (absent.has(index) ? undefined : parseJson('ip', documents[next++] ?? '')));
}

/**
 * EINVAL, EACCES and EHOSTUNREACH; without any route it is ENETUNREACH (net/ipv4/fib_semantics.c, net/ipv6/route.c).
 */
const NOWHERE = /Invalid argument|Permission denied|No route to host/;

const NO_SUCH_THING = /^(Device ".*" does not exist\.|Cannot find device ".*"|RTNETLINK answers: (Network is unreachable|No route to host|Invalid argument|Permission denied)|Error: .*[Nn]o route.*)$/;

function parseJson(tool: string, text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ToolOutputError(`${tool} -json printed text that is not a JSON list: '${oneLine(text).slice(0, 100)}'`);
}

function bridgeCapable(links: ReadonlyMap<string, LinkFacts>, port: string): boolean {
  const master = links.get(port)?.master;
  return master !== undefined && links.get(master)?.bridge?.capable === true;
}

interface VlanQuestion {
  readonly ports: readonly string[];
  readonly dev: string;
  readonly answer: string | undefined;
}

async function observeVlans(exec: Exec, { ports, dev, answer }: VlanQuestion): Promise<Map<string, readonly VlanMember[]>> {
  if (ports.length === 0) return new Map();
  const found = parseVlans(parseJson('bridge', answer ?? await askBridge(exec, dev)));
  return new Map(ports.map((port) => [port, found.get(port) ?? []]));
}

async function askBridge(exec: Exec, dev: string): Promise<string> {
  const request: ExecRequest = { tool: 'bridge', args: [...ANSWER_FLAGS.bridge, ...`vlan show${dev}`.split(' ')] };
  const result = await exec(request);
  assertSuccess(request, result, 'reading the VLANs of bridge ports');
  return result.stdout;
}

/** `dev` filters what is printed, not what the kernel dumps, so several ports are cheaper in one dump. */
function deviceOf({ bridges, ports }: Scope): string {
  return bridges.length === 0 && ports.length === 1 ? ` dev ${ports[0] ?? ''}` : '';
}

/** With 0 no default route is the kernel's own doing, and with 2 it stays when the host forwards. */
function acceptsRouters(dev: string, procSys: string): boolean {
  const path = `net/ipv6/conf/${dev}/accept_ra`;
  return readSysctls([path], procSys).get(path) === '1';
}

function readSysctls(paths: readonly string[], procSys: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const path of paths) {
    try {
      values.set(path, readFileSync(join(procSys, path), 'utf8').trim());
    } catch (error) {
      // The link is gone, or this kernel does not have the setting.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return values;
}
