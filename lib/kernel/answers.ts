/** The answers of `ip` to the questions of queries.ts, put where each belongs in the observation. */
import { parseLastResorts, parseRules } from './ip-rule-output.js';
import { parseLinks, parseNextHops, parseProxies, parseRoutes, parseSubinterfaces } from './iproute-output.js';
import type { LinkFacts, Observation, ProxyFacts, RouteFacts, RuleFacts, Subinterface } from './observation.js';
import type { Query, QueryKind, QueryOf } from './queries.js';

/** What the answers of `ip` say. */
export type Found = Pick<Observation,
  'links' | 'routes' | 'locals' | 'nextHops' | 'exact' | 'lookups' | 'members' | 'subinterfaces' | 'proxies' |
  'lastResorts'
> & { readonly rules: readonly RuleFacts[]; readonly routers: readonly string[] };

interface Collected {
  readonly links: Map<string, LinkFacts>;
  readonly routes: RouteFacts[];
  readonly locals: RouteFacts[];
  readonly nextHops: RouteFacts[];
  readonly exact: RouteFacts[];
  readonly lookups: Map<string, RouteFacts | undefined>;
  readonly members: Map<string, readonly string[]>;
  readonly subinterfaces: Subinterface[];
  readonly proxies: Map<string, readonly ProxyFacts[]>;
  readonly rules: RuleFacts[];
  readonly routers: Set<string>;
  lastResorts: Observation['lastResorts'];
}

type Take<K extends QueryKind> = (into: Collected, answer: readonly unknown[], query: QueryOf<K>) => void;

/** By kind of question, where its answer belongs. */
const TAKE: { readonly [K in QueryKind]: Take<K> } = {
  lookup: ({ lookups }, answer, query) => { lookups.set(query.address, parseRoutes(answer, query)[0]); },
  link: ({ links }, answer, { dev }) => { for (const link of parseLinks(answer)) links.set(dev, link); },
  allLinks: ({ links }, answer, { names }) => {
    for (const link of parseLinks(answer)) if (names.has(link.ifname)) links.set(link.ifname, link);
  },
  routes: ({ routes }, answer, query) => { routes.push(...parseRoutes(answer, query)); },
  allRoutes: ({ routes }, answer, query) => {
    routes.push(...parseRoutes(answer, query).filter(({ dev }) => dev !== undefined && query.names.has(dev)));
  },
  locals: ({ locals }, answer, query) => { locals.push(...parseRoutes(answer, query)); },
  nextHops: ({ nextHops }, answer, { prefixes }) => { nextHops.push(...parseNextHops(answer, prefixes)); },
  exact: ({ exact }, answer, { table: wanted }) => {
    exact.push(...parseRoutes(answer).filter(({ table }) => wanted === 'all' || table === wanted));
  },
  members: ({ links, members }, answer, { bridge }) => {
    const ports = parseLinks(answer);
    members.set(bridge, ports.map(({ ifname }) => ifname));
    // This answer has no addresses, so a link that is asked for by name keeps the answer to that question.
    for (const port of ports) if (!links.has(port.ifname)) links.set(port.ifname, port);
  },
  subinterfaces: ({ subinterfaces }, answer) => { subinterfaces.push(...parseSubinterfaces(answer)); },
  proxies: ({ proxies }, answer, { link }) => { proxies.set(link, parseProxies(answer)); },
  rules: ({ rules }, answer, { family }) => { rules.push(...parseRules(answer, family)); },
  routers: ({ routers }, answer) => {
    for (const { dev } of parseRoutes(answer)) if (dev !== undefined) routers.add(dev);
  },
  lastResorts: (into, answer, { ours }) => { into.lastResorts = parseLastResorts(answer, ours); },
};

/**
 * Returns what `answers` say, one for each of the `queries`. undefined means that the thing asked for does not exist.
 */
export function sortAnswers(queries: readonly Query[], answers: readonly (unknown[] | undefined)[]): Found {
  const found: Collected = {
    links: new Map(), routes: [], locals: [], nextHops: [], exact: [], lookups: new Map(), members: new Map(),
    subinterfaces: [], proxies: new Map(), rules: [], routers: new Set(), lastResorts: undefined,
  };
  queries.forEach((query, index) => {
    const answer = answers[index];
    if (answer !== undefined) take(found, answer, query);
    else if (query.kind === 'lookup') found.lookups.set(query.address, undefined);
  });
  return { ...found, routers: [...found.routers] };
}

function take<K extends QueryKind>(found: Collected, answer: readonly unknown[], query: QueryOf<K>): void {
  const taker: Take<K> = TAKE[query.kind];
  taker(found, answer, query);
}
