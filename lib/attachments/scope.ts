/** Attachments to scope: exactly what must be asked of the kernel to wire, check and verify them. */
import { EMPTY_SCOPE, type Observation, type Scope } from '../kernel/observation.js';
import { distinct } from './attached.js';
import { type Attachment, kindOf, type Placed } from './kinds.js';
import { filterFamilies } from './wired.js';

/** Returns what to ask for `wanted`, checks of the host included, and for `recorded`, which may only be given up. */
export function scopeOf(wanted: readonly Attachment[], recorded: readonly (Attachment | Placed)[] = []): Scope {
  const parts = [
    ...wanted.map((one) => kindOf(one).scope(one, 'wanted')),
    ...recorded.map((one) => kindOf(one).scope(one, 'recorded')),
  ];
  return { ...joined(parts), filters: filterFamilies(recorded) };
}

/** Returns what to ask once `observation` is known: it costs more, and most attachments do not need it. */
export function furtherScope(attachments: readonly Attachment[], observation: Observation): Scope {
  return joined(attachments.map((one) => kindOf(one).furtherScope?.(one, observation) ?? {}));
}

/** Returns `first` with the answers to what {@link furtherScope} asks. */
export function withFurther(
  first: Observation, { links, vlans, members, subinterfaces, nextHops, exact, routers, sysctls }: Observation,
): Observation {
  return {
    ...first, nextHops, routers, exact: [...first.exact, ...exact], links: new Map([...links, ...first.links]),
    sysctls: new Map([...sysctls, ...first.sysctls]),
    subinterfaces: subinterfaces.length > 0 ? subinterfaces : first.subinterfaces,
    vlans: new Map([...vlans, ...first.vlans]), members: new Map([...members, ...first.members]),
  };
}

/** Returns one scope that asks for all of these, each thing once. */
export function joined(parts: readonly Partial<Scope>[]): Scope {
  const all = (
    key: 'links' | 'ports' | 'lookups' | 'locals' | 'proxies' | 'sysctls' | 'bridges' | 'joined',
  ): string[] =>
    distinct(parts.flatMap((part) => part[key] ?? []));
  return {
    ...EMPTY_SCOPE,
    links: all('links'), ports: all('ports'), lookups: all('lookups'), locals: all('locals'),
    proxies: all('proxies'), sysctls: all('sysctls'), bridges: all('bridges'), joined: all('joined'),
    nextHops: parts.flatMap(({ nextHops = [] }) => nextHops),
    routes: parts.flatMap(({ routes = [] }) => routes),
    exact: parts.flatMap(({ exact = [] }) => exact),
    subinterfaces: parts.some(({ subinterfaces }) => subinterfaces === true),
    tracking: parts.some(({ tracking }) => tracking === true),
    routers: parts.some(({ routers }) => routers === true),
    tables: parts.find(({ tables }) => tables !== undefined)?.tables,
  };
}
