/** Routes, rules, last resorts and neighbour proxies that are left of routed links. */
import type { WholeHost } from '../../kernel/whole-host.js';
import type { NetObject } from '../../state/netstate.js';
import { claimsOf, proxiesOf, routingOf } from '../attachment.js';
import type { Kept } from '../kept.js';
import { leftLinks } from '../made-link/leftovers.js';

/** The routes of a guest's link go with the guest, and those of a link that goes with the link. */
export function leftRoutes(facts: WholeHost, kept: Kept): NetObject[] {
  const going = leftLinks(facts, kept).map(({ dev }) => dev);
  const links = new Set<string | undefined>([...kept.held.map(({ link }) => link), ...going]);
  const tables = new Set(kept.held.flatMap((one) => routingOf(one)?.table ?? []));
  return facts.routes.flatMap(({ type, to, dev, via, table, number: protocol }): NetObject[] => {
    // Of both families it is 'default'; those of IPv6 are on lo.
    if (type === 'unreachable') return to.length === 0 && !tables.has(table)
      ? [{ kind: 'last-resort', dev: 'lo', family: dev === undefined ? 'inet' : 'inet6', table, protocol }]
      : [];
    return type !== 'unicast' || dev === undefined || links.has(dev)
      ? []
      : [{ kind: 'route', dev, to: to.text, via: via?.text, table, protocol }];
  });
}

export function leftRules({ rules }: WholeHost, { held, protocols }: Kept): NetObject[] {
  // A rule keeps the name that its link had when the rule was made: it goes with the guest of that link.
  const links = new Set<string | undefined>(held.flatMap(({ link, was }) => [link, was]));
  const claims = new Set<string | undefined>(claimsOf(held).map(({ text }) => text));
  return rules.filter(({ protocol, iif, to }) => protocols.includes(protocol) &&
    (iif !== undefined ? !links.has(iif) : to !== undefined && !claims.has(to.text)))
    .map(({ family, priority, iif, to, table, protocol }): NetObject => ({
      kind: 'rule', dev: iif ?? 'lo', family, priority, to: to?.text, table, protocol,
    }));
}

export function leftProxies({ proxies }: WholeHost, { held, protocols }: Kept): NetObject[] {
  const wanted = new Set(proxiesOf(held).map(({ dev, address }) => `${dev} ${address.text}`));
  return proxies.filter(({ protocol, dev, address }) => protocols.includes(Number(protocol)) &&
    !wanted.has(`${dev} ${address.text}`))
    .map(({ dev, address, protocol }): NetObject => ({
      kind: 'neighbour-proxy', dev, address: address.text, protocol: Number(protocol),
    }));
}
