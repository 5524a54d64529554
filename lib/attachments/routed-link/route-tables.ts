/**
 * Route tables of routed links: the table of a guest, and no other, routes its packets, and packets for the guest find
 * its routes there from everywhere. A rule outlives the link that it names, and the guests of a table share its last
 * resort. So both are maintained even when a tap is gone.
 */
import type { Observation, RuleFacts } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { type Family, width } from '../../values/address.js';
import type { SharedKind, SharedRequest } from '../attached.js';
import { linkClaims, linksIn, type RoutedLink, type WiredRoutedLink } from './routed-link.js';

/**
 * Priority of `iif LINK lookup TABLE`: behind the kernel's `local` (0), so that the host itself can be reached, and its
 * VRFs (1000); before `main` (32766). The rules towards guests come after it: a guest's packet meets its own table
 * only.
 */
const FROM_GUEST = 11700;
/**
 * Priority of `to PREFIX lookup TABLE` for one address; each bit that a prefix is shorter adds one, so that longer win.
 */
const TO_GUEST = 11701;

/** Returns whether a rule has a priority that guestwire gives; it may have the protocol of an earlier config. */
export function hasOwnPriority({ priority }: Pick<RuleFacts, 'priority'>): boolean {
  return priority >= FROM_GUEST && priority <= TO_GUEST + width('inet6');
}

type Request = SharedRequest;

/** Rules and last resorts. A guest with all its routes in table main has neither. */
export const tables: SharedKind = {
  observed: (request, observation) => planTables(request, observation).observed,
  plan: (request, observation) => ({ desired: planTables(request, observation).desired, during: [], after: [] }),
};

/** Returns whether a link needs rules or a last resort. */
export function hasTable({ table }: RoutedLink): boolean {
  return table !== 'main';
}

function planTables(
  { wanted: links, concerned, others }: Request,
  observation: Pick<Observation, 'links' | 'rules' | 'lastResorts'>,
): { readonly desired: readonly NetObject[]; readonly observed: readonly NetObject[] } {
  const wanted = linksIn(links).filter(hasTable);
  const known = linksIn(concerned).filter(hasTable);
  if (known.length === 0) return { desired: [], observed: [] };
  const theirs = linksIn(others()).filter(hasTable);
  const isOurs = ({ link, ifindex }: Tabled): boolean =>
    observation.links.get(link)?.ifindex === ifindex || !theirs.some((other) => other.link === link);
  const facts = observation.rules ?? [];
  const own = known.filter(isOurs);
  const names = new Set([
    ...own.map(({ link }) => link),
    ...own.flatMap(({ was }) => was ?? []).filter((was) => !theirs.some((other) => other.link === was)),
  ]);
  const rules = [...known.flatMap(towards), ...own.flatMap(from), ...strays({ names, known }, facts)];
  const needed = (table: string): boolean =>
    [...wanted, ...theirs].some((link) => link.table === table) ||
    facts.some((rule) => rule.iif !== undefined &&
      rule.table === table &&
      known.some(({ protocol }) => protocol === rule.protocol) &&
      !names.has(rule.iif));
  const resorts = known.flatMap(lastResorts);
  return {
    desired: [
      ...resorts.filter(({ table }) => needed(table)), ...wanted.flatMap((link) => [...from(link), ...towards(link)]),
    ],
    observed: [
      ...resorts.filter((one) => (observation.lastResorts ?? []).some((fact) =>
        fact.family === one.family && fact.table === one.table && fact.protocol === one.protocol)),
      ...rules.filter((rule) => facts.some((fact) => isSame(rule, fact))),
    ],
  };
}

type Tabled = WiredRoutedLink;
type Rule = Extract<NetObject, { kind: 'rule' }>;
type LastResort = Extract<NetObject, { kind: 'last-resort' }>;

const FAMILIES: readonly Family[] = ['inet', 'inet6'];

/**
 * Both families, whatever the guest's addresses are: nothing of it leaves by another table. A VRF has the kernel's
 * rule.
 */
function from({ link: dev, vrf, table, protocol }: Tabled): Rule[] {
  if (vrf !== undefined) return [];
  return FAMILIES.map((family) => ({
    kind: 'rule', dev, family, priority: FROM_GUEST, to: undefined, table, protocol,
  }));
}

/** Without them the host and its uplinks, and with them every check of a source address, would not find the guest. */
function towards(link: Tabled): Rule[] {
  if (link.vrf !== undefined) return [];
  return linkClaims(link).map(({ text: to, family, length }) => (
    {
      kind: 'rule', dev: link.link, family, priority: TO_GUEST + width(family) - length, to, table: link.table,
      protocol: link.protocol,
    }));
}

/**
 * guestwire's rules for these links, by present or earlier name, that lead into another table. An earlier link of that
 * name left them.
 */
function strays(
  { names, known }: { names: ReadonlySet<string>; known: readonly Tabled[] }, facts: readonly RuleFacts[],
): Rule[] {
  return facts.flatMap(({ iif: dev, protocol, priority, family, table }): Rule[] => (
    dev !== undefined && names.has(dev) && priority === FROM_GUEST && known.some((link) => link.protocol === protocol)
      ? [{ kind: 'rule', dev, family, priority, to: undefined, table, protocol }]
      : []));
}

function lastResorts({ table, protocol }: Tabled): LastResort[] {
  return FAMILIES.map((family) => ({ kind: 'last-resort', dev: 'lo', family, table, protocol }));
}

function isSame(rule: Rule, fact: RuleFacts): boolean {
  return rule.family === fact.family &&
    rule.priority === fact.priority &&
    rule.table === fact.table &&
    rule.protocol === fact.protocol &&
    (rule.to === undefined
      ? fact.iif === rule.dev && fact.to === undefined
      : fact.iif === undefined && rule.to === fact.to?.text);
}
