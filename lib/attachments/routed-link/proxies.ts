/**
 * Neighbour proxies: on the links of `proxy` in the host config, the kernel answers ARP and NDP for the addresses of
 * guests. An entry is guestwire's when it carries guestwire's protocol number and an address of the guest. The entries
 * work only with a few settings of the link, which all guests on it share. The entries, and no count, tell whether a
 * guest still needs the settings. The journal keeps the values from before the first guest.
 */
import * as z from 'zod/mini';
import type { LinkFacts, Observation, ProxyFacts } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { type Address, type Family, familyName, isLinkLocal } from '../../values/address.js';
import { quote, sysctlName } from '../../values/quote.js';
import { distinct, type RecordedKind, type SharedPlan, type SharedRequest } from '../attached.js';
import { type Presence, unusable } from '../presence.js';
import { word } from '../schema.js';
import { turnsOn } from './forwarding.js';
import { addressFamilies, linksIn, type RoutedLink } from './routed-link.js';

/** What the settings of one proxy link were before guestwire changed them, by path below /proc/sys. */
export interface ProxyRecord {
  readonly dev: string;
  readonly ifindex: number;
  readonly originals: Readonly<Record<string, string>>;
}

type Request = SharedRequest<ProxyRecord>;

export const proxies: RecordedKind<ProxyRecord> = {
  schema: z.array(z.object({ dev: word, ifindex: z.number(), originals: z.record(word, word) })),
  observed: (request, observation) => plansFor(request, observation).flatMap(({ observed }) => observed),
  plan: planProxies,
  leftWords: ({ dev, originals }) => {
    const were = Object.entries(originals).map(([path, value]) => `${sysctlName(path)}=${value}`);
    return `proxy link ${quote(dev)} may keep guestwire's settings: restore them with 'sysctl -w ${were.join(' ')}'`;
  },
};

/** Returns the links on which the host answers for this one's addresses. */
export function proxyLinks(link: RoutedLink): readonly string[] {
  return link.proxy ?? [];
}

/** Returns every sysctl that is read to plan the proxies of this link. */
export function proxySysctlPaths(link: RoutedLink): string[] {
  const families = [...addressFamilies(link)];
  return proxyLinks(link).flatMap((dev) =>
    families.flatMap((family) => [forwardingPath(dev, family), ...settingsOf(dev, family).keys()]));
}

function plansFor({ wanted, concerned, records }: Request, observation: Observation): OnePlan[] {
  const request: Asked = { wanted: linksIn(wanted), concerned: linksIn(concerned), records };
  return devsOf(request.concerned).map((dev) => planProxyLink(dev, request, observation));
}

/** Returns the links of the guests that ask for a proxy on `dev`. */
function onProxy(dev: string, { wanted }: Request): string[] {
  return linksIn(wanted).filter((one) => proxyLinks(one).includes(dev)).map(({ link }) => link);
}

function devsOf(links: readonly RoutedLink[]): string[] {
  return distinct(links.flatMap(proxyLinks));
}

/** Returns what is to be done on the proxy links of the guest. */
function planProxies(request: Request, observation: Observation): SharedPlan<ProxyRecord> {
  const devs = devsOf(linksIn(request.concerned));
  const plans = plansFor(request, observation);
  const records = (key: 'during' | 'after'): ProxyRecord[] => [
    ...request.records.filter(({ dev }) => !devs.includes(dev)),
    ...plans.map((plan) => plan[key]).filter(({ originals }) => Object.keys(originals).length > 0),
  ];
  return {
    desired: plans.flatMap(({ desired }) => desired),
    during: records('during'),
    after: records('after'),
    presence: plans.flatMap(({ presence }) => presence),
    warnings: plans.flatMap(({ dev, warnings }) => warnings.map((text) => ({ links: onProxy(dev, request), text }))),
  };
}

interface Asked {
  readonly wanted: readonly RoutedLink[];
  readonly concerned: readonly RoutedLink[];
  readonly records: readonly ProxyRecord[];
}

interface OnePlan {
  readonly dev: string;
  readonly desired: readonly NetObject[];
  readonly observed: readonly NetObject[];
  readonly during: ProxyRecord;
  readonly after: ProxyRecord;
  readonly presence: readonly Presence[];
  readonly warnings: readonly string[];
}

function planProxyLink(dev: string, { wanted, concerned, records }: Asked, observation: Observation): OnePlan {
  const facts = observation.links.get(dev);
  const here = wanted.filter((link) => proxyLinks(link).includes(dev));
  const fault = unusable(facts);
  const { own, foreign, others } = entriesOn(dev, concerned, observation);
  const mine = fault === undefined ? here.flatMap(entriesOf) : [];
  const recorded = records.find((each) => each.dev === dev && each.ifindex === facts?.ifindex);
  const settings = planSettings(
    dev, { needed: new Set(familiesIn([...mine, ...others])), record: recorded }, observation,
  );
  const record = (originals: ProxyRecord['originals']): ProxyRecord => ({
    dev, ifindex: facts?.ifindex ?? 0, originals,
  });
  const families = familiesIn(mine).filter((family) => !here.some((link) => turnsOn(link, family, observation)));
  return {
    dev,
    desired: [
      ...mine.filter(({ address }) => !foreign.has(address.text)).map((entry) => objectOf(dev, entry)),
      ...settings.desired,
    ],
    observed: [...own.map((entry) => objectOf(dev, entry)), ...settings.observed],
    during: record(settings.during),
    after: record(settings.after),
    presence: presenceOn(facts, mine.map(({ address }) => address)),
    warnings: here.length === 0 ? [] : proxyWarnings(dev, { fault, families }, observation),
  };
}

interface ProxyEntry {
  readonly address: Address;
  readonly protocol: number | string;
}

function entriesOf({ addresses, protocol }: RoutedLink): ProxyEntry[] {
  return addresses.map((address) => ({ address, protocol }));
}

function objectOf(dev: string, { address, protocol }: ProxyEntry): NetObject {
  return { kind: 'neighbour-proxy', dev, address: address.text, protocol: Number(protocol) };
}

interface EntriesOn {
  /** Those of the guest. */
  readonly own: readonly ProxyFacts[];
  /**
   * The addresses of all other entries. They stay: an entry that guestwire adds again would be removed with its own.
   */
  readonly foreign: ReadonlySet<string>;
  /** Those of other guests. */
  readonly others: readonly ProxyFacts[];
}

function entriesOn(dev: string, concerned: readonly RoutedLink[], { proxies: all }: Observation): EntriesOn {
  const entries = all.get(dev) ?? [];
  const ours = new Set(concerned.filter((link) => proxyLinks(link).includes(dev)).flatMap(entriesOf).map(entryKey));
  const own = entries.filter((entry) => ours.has(entryKey(entry)));
  const rest = entries.filter((entry) => !ours.has(entryKey(entry)));
  const protocols = new Set(concerned.map(({ protocol }) => String(protocol)));
  return {
    own, foreign: new Set(rest.map(({ address }) => address.text)),
    others: rest.filter(({ protocol }) => protocols.has(protocol)),
  };
}

function entryKey({ address, protocol }: ProxyEntry): string {
  return `${address.text} ${protocol}`;
}

function presenceOn(facts: LinkFacts | undefined, addresses: readonly Address[]): Presence[] {
  if (facts?.mac === undefined || addresses.length === 0) return [];
  const linkLocal = facts.addresses.find(({ address }) => address.family === 'inet6' && isLinkLocal(address));
  const speaker = { mac: facts.mac, linkLocal: linkLocal?.address };
  return [{ dev: facts.ifname, speaker, addresses }];
}

interface Need {
  readonly needed: ReadonlySet<Family>;
  readonly record: ProxyRecord | undefined;
}

function planSettings(dev: string, { needed, record }: Need, { sysctls }: Observation) {
  const desired: NetObject[] = [];
  const observed: NetObject[] = [];
  const during: Record<string, string> = {};
  const after: Record<string, string> = {};
  for (const family of ['inet', 'inet6'] as const) {
    for (const [path, want] of settingsOf(dev, family)) {
      const value = sysctls.get(path);
      const recorded = record?.originals[path];
      if (value === undefined || (!needed.has(family) && recorded === undefined)) continue;
      const original = recorded ?? value;
      if (original !== want) during[path] = original;
      if (original !== want && needed.has(family)) after[path] = original;
      // If the value is no longer what guestwire set, another program changed it on purpose: it stays.
      const back = value === want ? original : value;
      observed.push({ kind: 'proxy-sysctl', dev, path, value });
      desired.push({ kind: 'proxy-sysctl', dev, path, value: needed.has(family) ? want : back });
    }
  }
  return { desired, observed, during, after };
}

/**
 * Without a delay of 0 the kernel lets a neighbour wait up to 0.8 s for an answer (Linux 6.18). IPv4 needs no more:
 * proxy_arp would answer for everything that is routed elsewhere, an entry answers for itself.
 */
function settingsOf(dev: string, family: Family): ReadonlyMap<string, string> {
  if (family === 'inet') return new Map([[`net/ipv4/neigh/${dev}/proxy_delay`, '0']]);
  return new Map([[`net/ipv6/conf/${dev}/proxy_ndp`, '1'], [`net/ipv6/neigh/${dev}/proxy_delay`, '0']]);
}

/** Both arp_process() and ndisc_recv_ns() answer for others only where the link itself forwards. */
function forwardingPath(dev: string, family: Family): string {
  return `net/${family === 'inet' ? 'ipv4' : 'ipv6'}/conf/${dev}/forwarding`;
}

function proxyWarnings(
  dev: string, { fault, families }: { fault: string | undefined; families: readonly Family[] },
  { sysctls }: Observation,
): string[] {
  const where = `proxy link ${quote(dev)} of the host config`;
  if (fault !== undefined) return [`${where} ${fault}: no neighbour on it finds the guest`];
  return families.filter((family) => sysctls.get(forwardingPath(dev, family)) === '0').map((family) =>
    `${where} does not forward ${familyName(family)}, so the kernel does not answer for the guest there: set '${sysctlName(forwardingPath(dev, family))}' to 1`);
}

function familiesIn(entries: readonly { readonly address: Address }[]): Family[] {
  return [...new Set(entries.map(({ address }) => address.family))];
}
