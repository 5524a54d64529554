/** Settings below /proc/sys. guestwire writes them itself: no tool runs. */
import { sysctlName } from '../../values/quote.js';
import type { ObjectKind } from '../object-kind.js';

interface Setting<Kind extends string> {
  readonly kind: Kind;
  readonly dev: string;
  readonly path: string;
  readonly value: string;
}

export type Sysctl = Setting<'sysctl'>;
export type HostSysctl = Setting<'host-sysctl'>;
export type ProxySysctl = Setting<'proxy-sysctl'>;
type AnySysctl = Sysctl | HostSysctl | ProxySysctl;

/** All three kinds have one tool and one wording. */
const COMMON = {
  tool: () => 'sysctl',
  set: ({ path, value }) => `${path}=${value}`,
  name: ({ path, value }) => `sysctl ${sysctlName(path)}=${value}`,
  namesItsLink: true,
  verbs: { add: 'set', remove: 'set' },
  drift: ({ path, value }, { value: wanted }) => `sysctl ${sysctlName(path)} is ${value} and should be ${wanted}`,
  path: ({ path }) => path,
} satisfies Partial<ObjectKind<AnySysctl>>;

/** A sysctl of a guest's link. */
export const sysctl: ObjectKind<Sysctl> = {
  ...COMMON,
  key: ({ path }) => `sysctl ${path}`,
  renamed,
  phase: (one) => (takesAddresses(one) ? 'ipv6-off' : 'link-settings'),
  unwires: takesAddresses,
  owner: 'link',
  guards: true,
};

/** A sysctl that guestwire sets for the whole host. It stays set. */
export const hostSysctl: ObjectKind<HostSysctl> = {
  ...COMMON,
  key: ({ path }) => `host-sysctl ${path}`,
  renamed,
  phase: ({ path }) => (path.endsWith('accept_ra') ? 'router-advertisements' : 'forwarding'),
  owner: 'shared',
  // guestwire looks for links that take router advertisements only while the host does not forward.
  isSeenAgain: ({ dev }) => dev === 'all',
};

/** A sysctl of a link on which guestwire answers for guests. It shares the keys of `sysctl`: a path has one value. */
export const proxySysctl: ObjectKind<ProxySysctl> = {
  ...COMMON,
  key: ({ path }) => `sysctl ${path}`,
  renamed,
  phase: () => 'link-settings',
  owner: 'shared',
};

/** Returns the sysctl that takes IPv6 from a link. */
export function disableIpv6Path(link: string): string {
  return `net/ipv6/conf/${link}/disable_ipv6`;
}

function takesAddresses({ path, value }: Sysctl): boolean {
  return path.endsWith('/disable_ipv6') && value === '1';
}

function renamed<One extends AnySysctl>(one: One, dev: string): One {
  return { ...one, dev, path: one.path.replace(`/${one.dev}/`, `/${dev}/`) };
}
