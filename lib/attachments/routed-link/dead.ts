/** Rules, last resorts and neighbour proxies of guestwire's that outlived their link, recorded or not. */
import type { WholeHost } from '../../kernel/whole-host.js';
import type { NetObject } from '../../state/netstate.js';
import { bare } from '../../values/address.js';
import type { Kept } from '../kept.js';
import { leftProxies, leftRoutes, leftRules } from './leftovers.js';

/**
 * Returns those that lead to no link of this host. A link takes its routes along, and each address of a guest has a
 * route: a rule or a proxy for an address without a route is dead. The guests of `kept` keep theirs.
 */
export function deadRouting(facts: WholeHost, kept: Kept): NetObject[] {
  const names = new Set(facts.links.map(({ ifname }) => ifname));
  const live = facts.routes.filter(({ type, dev }) => type === 'unicast' && dev !== undefined);
  const reached = new Set(live.map(({ to }) => bare(to)));
  const rules = facts.rules.filter(({ iif, to }) =>
    (iif === undefined ? to !== undefined && !reached.has(bare(to)) : !names.has(iif)));
  const used = new Set([
    ...live, ...facts.rules.filter((rule) => kept.protocols.includes(rule.protocol) && !rules.includes(rule)),
  ].map(({ table }) => table));
  return [
    ...leftRules({ ...facts, rules }, kept),
    ...leftRoutes({
      ...facts, routes: facts.routes.filter(({ type, table }) => type === 'unreachable' && !used.has(table)),
    }, kept),
    ...leftProxies({ ...facts, proxies: facts.proxies.filter(({ address }) => !reached.has(address.text)) }, kept),
  ];
}
