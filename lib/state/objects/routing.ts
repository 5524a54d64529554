/**
 * Objects that make a guest reachable: addresses of the host, routes, policy rules and neighbour proxies. Their
 * addresses are canonical text, as the journal keeps objects and the tools take them.
 */
import { type Family, familyName, familyOf, isLinkLocal } from '../../values/address.js';
import type { ObjectKind } from '../object-kind.js';

export interface LinkAddress {
  readonly kind: 'address';
  readonly dev: string;
  readonly address: string;
  readonly length: number;
}

/** A gateway on a guest's link. Equivalent to: `ip address add fe80::1/64 dev DEV nodad`. */
export const linkAddress: ObjectKind<LinkAddress> = {
  key: ({ dev, address: text, length }) => `address ${dev} ${text}/${length}`,
  phase: () => 'addresses',
  place: {
    // The kernel accepts an IPv4 address several times on a link, each with another length.
    of: ({ dev, address: text }) => (familyOf(text) === 'inet6' ? `${dev} ${text}` : undefined),
    freed: 'address-places',
  },
  tool: () => 'ip',
  set: ({ dev, address: text, length }) => `address add ${text}/${length} dev ${dev}${addressFlags(text)}`,
  remove: ({ dev, address: text, length }) => `address del ${text}/${length} dev ${dev}`,
  name: ({ address: text, length }) => `address ${text}/${length}`,
  owner: 'link',
};

export interface Route {
  readonly kind: 'route';
  readonly dev: string;
  readonly to: string;
  readonly via: string | undefined;
  readonly table: string;
  readonly protocol: number;
  /** The host's own address towards the destination; absent: the kernel chooses. */
  readonly src?: string | undefined;
}

/** A route to a guest, or to a network behind it. Equivalent to: `ip route add TO dev DEV table TABLE proto NUMBER`. */
export const route: ObjectKind<Route> = {
  // dev, via and src are in the key: a route that moves is deleted and added, because `ip route replace` would also
  // take over a route of another protocol that came in between.
  key: ({ to, table, dev, via, protocol, src }) =>
    `route ${to} ${table} ${dev} ${via ?? '-'} ${protocol}${src === undefined ? '' : ` ${src}`}`,
  phase: ({ via }) => (via === undefined ? 'host-routes' : 'routes-behind'),
  place: { of: ({ to, table }) => `${to} ${table}`, freed: 'route-places' },
  tool: () => 'ip',
  set: (one) => `route add ${routeWords(one)}`,
  remove: (one) => `route del ${routeWords(one)}`,
  name: ({ to, via, src }) =>
    `route ${to}${via === undefined ? '' : ` via ${via}`}${src === undefined ? '' : ` from ${src}`}`,
  owner: 'link',
  leftover: true,
  reaches: () => true,
};

export interface RoutingRule {
  readonly kind: 'rule';
  readonly dev: string;
  readonly family: Family;
  readonly priority: number;
  /** undefined: the rule selects packets that come in on `dev`. */
  readonly to: string | undefined;
  readonly table: string;
  readonly protocol: number;
}

/** A rule that leads into a guest's table. Equivalent to: `ip rule add iif DEV lookup TABLE priority PRIORITY`. */
export const rule: ObjectKind<RoutingRule> = {
  key: ({ family, priority, to, dev, table, protocol }) =>
    `rule ${family} ${priority} ${to ?? `iif ${dev}`} ${table} ${protocol}`,
  phase: ({ family }) => (family === 'inet6' ? 'ipv6-rules' : 'ipv4-rules'),
  tool: ({ family }) => (family === 'inet6' ? 'ip -6' : 'ip'),
  set: (one) => `rule add ${ruleWords(one)}`,
  remove: (one) => `rule del ${ruleWords(one)}`,
  name: (one) => `${familyName(one.family)} rule ${ruleSelector(one)} lookup ${one.table}`,
  namesItsLink: true,
  owner: 'shared',
  reaches: ({ to }) => to !== undefined,
};

export interface LastResort {
  readonly kind: 'last-resort';
  readonly dev: string;
  readonly family: Family;
  readonly table: string;
  readonly protocol: number;
}

/** The route that refuses what a table has no other route for: the packet does not leave by the main table. */
export const lastResort: ObjectKind<LastResort> = {
  key: ({ table, family, protocol }) => `last-resort ${table} ${family} ${protocol}`,
  phase: () => 'last-resorts',
  tool: () => 'ip',
  set: (one) => `route add ${lastResortWords(one)}`,
  remove: (one) => `route del ${lastResortWords(one)}`,
  name: ({ family, table }) => `unreachable ${familyName(family)} default of table ${table}`,
  namesItsLink: true,
  owner: 'shared',
};

export interface NeighbourProxy {
  readonly kind: 'neighbour-proxy';
  readonly dev: string;
  readonly address: string;
  readonly protocol: number;
}

/** An answer to ARP or NDP for a guest. Equivalent to: `ip neigh add proxy ADDRESS dev DEV protocol PROTOCOL`. */
export const neighbourProxy: ObjectKind<NeighbourProxy> = {
  key: ({ dev, address: text }) => `neighbour-proxy ${dev} ${text}`,
  phase: () => 'neighbour-proxies',
  tool: () => 'ip',
  set: ({ dev, address: text, protocol }) => `neigh add proxy ${text} dev ${dev} protocol ${protocol}`,
  remove: ({ dev, address: text }) => `neigh del proxy ${text} dev ${dev}`,
  name: ({ address: text }) => `neighbour proxy ${text}`,
  // It leads traffic to the guest too. An incoming guest asks for none: its attachment leaves them out.
  owner: 'shared',
  need: ({ address: text }) => text,
};

/** Many links have the same gateway, so duplicate address detection must not run: a guest could make it fail. */
function addressFlags(text: string): string {
  // The kernel uses a deprecated address as a source only where the host has no other. An address that many links have
  // does not identify the host.
  if (familyOf(text) === 'inet6') return isLinkLocal({ text }) ? ' nodad' : ' nodad preferred_lft 0';
  // Link scope keeps the host from using the address as a source beyond this link (ip-address(8)).
  return isLinkLocal({ text }) ? ' scope link' : '';
}

function routeWords({ to, via, dev, table, protocol, src }: Route): string {
  const source = src === undefined ? '' : ` src ${src}`;
  return `${to}${via === undefined ? '' : ` via ${via}`} dev ${dev} table ${table} proto ${protocol}${source}`;
}

function ruleWords(one: RoutingRule): string {
  return `${ruleSelector(one)} lookup ${one.table} priority ${one.priority} protocol ${one.protocol}`;
}

/** Returns the selector of a rule, as ip-rule(8) has it. */
function ruleSelector({ dev, to }: RoutingRule): string {
  return to === undefined ? `iif ${dev}` : `to ${to}`;
}

function lastResortWords({ family, table, protocol }: LastResort): string {
  const all = family === 'inet' ? '0.0.0.0/0' : '::/0';
  return `unreachable ${all} table ${table} metric ${LAST_METRIC} proto ${protocol}`;
}

/** The highest metric: any default route that the administrator adds to the table wins. */
const LAST_METRIC = 4294967295;
