/**
 * Neighbour proxies: on the links of `proxy` in the host config, the kernel answers ARP and NDP for a guest's addresses.
 * An entry is ours when it carries our protocol number and an address of the guest. What makes the entries work are a few
 * settings of the link, shared by all guests on it: who still needs them is read from the entries, not counted, and what
 * they were before the first guest is kept in the journal.
 */
import * as z from 'zod/mini';
import type { LinkFacts, Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import { type Family, familyName, parseAddress } from '../../values/address.js';
import { quote, sysctlName } from '../../values/quote.js';
import { distinct, type Presence, type RecordedKind, type SharedPlan, type SharedRequest } from '../attached.js';
import { word } from '../schema.js';
import { turnsOn } from './forwarding.js';
import { linksIn, type RoutedLink } from './routed-link.js';

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
    const were = Object.entries(originals).map(([path, value]) => `${sysctlName(path)} = ${value}`);
    return `proxy link ${quote(dev)} may still have settings that guestwire changed for guests that are gone: before, they were ${were.join(', ')}`;
  },
};

/** Returns the links on which the host answers for this one's addresses. */
export function proxyLinksOf(link: RoutedLink): readonly string[] {
  return link.proxy ?? [];
}

/** Returns every sysctl that is read to plan the proxies of this link. */
export function proxySysctlPaths(link: RoutedLink): string[] {
  const families = familiesIn(link.addresses);
  return proxyLinksOf(link).flatMap((dev) => families.flatMap((family) => [forwardingOf(dev, family), ...settingsOf(dev, family).keys()]));
}

function plansFor({ wanted, concerned, records }: Request, observation: Observation): OnePlan[] {
  const request: Asked = { wanted: linksIn(wanted), concerned: linksIn(concerned), records };
  return devsOf(request.concerned).map((dev) => planProxyLink(dev, request, observation));
}

/** Returns the links whose guests want to be found on `dev`. */
function onProxy(dev: string, { wanted }: Request): string[] {
  return linksIn(wanted).filter((one) => proxyLinksOf(one).includes(dev)).map(({ link }) => link);
}

function devsOf(links: readonly RoutedLink[]): string[] {
  return distinct(links.flatMap(proxyLinksOf));
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

/** Returns why the kernel would not answer on a link, in words for `proxy link 'X' ...`; undefined when it would. */
export function unusable(facts: LinkFacts | undefined): string | undefined {
  if (facts === undefined) return 'does not exist';
  // The bridge takes a port's frames before ARP and NDP see them (net/bridge/br_input.c).
  if (facts.isolated !== undefined) return `is a port of ${quote(facts.master ?? '')}, which takes its frames: name ${quote(facts.master ?? '')} instead`;
  return undefined;
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
  const here = wanted.filter((link) => proxyLinksOf(link).includes(dev));
  const fault = unusable(facts);
  const entries = observation.proxies.get(dev) ?? [];
  const isOwn = (entry: { address: string; protocol: string }): boolean => concerned.some((link) =>
    proxyLinksOf(link).includes(dev) && entry.protocol === String(link.protocol) && link.addresses.includes(entry.address));
  const own = entries.filter(isOwn);
  // What somebody else has put there stays as it is: adding it again would make it ours, and ours is taken away.
  const foreign = new Set(entries.filter((entry) => !isOwn(entry)).map(({ address }) => address));
  const mine = fault === undefined ? here.flatMap(({ addresses, protocol }) => addresses.map((address) => ({ address, protocol }))) : [];
  const protocols = new Set(concerned.map(({ protocol }) => String(protocol)));
  const others = entries.filter((entry) => !isOwn(entry) && protocols.has(entry.protocol));
  const needed = new Set(familiesIn([...mine, ...others].map(({ address }) => address)));
  const settings = planSettings(dev, { needed, record: records.find((each) => each.dev === dev && each.ifindex === facts?.ifindex) }, observation);
  const record = (originals: ProxyRecord['originals']): ProxyRecord => ({ dev, ifindex: facts?.ifindex ?? 0, originals });
  return {
    dev,
    desired: [
      ...mine.filter(({ address }) => !foreign.has(address)).map((entry): NetObject => ({ kind: 'neighbour-proxy', dev, ...entry })),
      ...settings.desired,
    ],
    observed: [
      ...own.map(({ address, protocol }): NetObject => ({ kind: 'neighbour-proxy', dev, address, protocol: Number(protocol) })),
      ...settings.observed,
    ],
    during: record(settings.during),
    after: record(settings.after),
    presence: presenceOn(facts, mine.map(({ address }) => address)),
    warnings: here.length === 0 ? [] : warningsOf(dev, { fault, families: familiesIn(mine.map(({ address }) => address)).filter((family) => !here.some((link) => turnsOn(link, family, observation))) }, observation),
  };
}

function presenceOn(facts: LinkFacts | undefined, addresses: readonly string[]): Presence[] {
  if (facts?.mac === undefined || addresses.length === 0) return [];
  const linkLocal = facts.addresses.find(({ address }) => /^fe[89ab]/.test(address))?.address;
  return [{ dev: facts.ifname, speaker: { mac: facts.mac, linkLocal }, addresses }];
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
function forwardingOf(dev: string, family: Family): string {
  return `net/${family === 'inet' ? 'ipv4' : 'ipv6'}/conf/${dev}/forwarding`;
}

function warningsOf(dev: string, { fault, families }: { fault: string | undefined; families: readonly Family[] }, { sysctls }: Observation): string[] {
  const where = `proxy link ${quote(dev)} of the host config`;
  if (fault !== undefined) return [`${where} ${fault}: no neighbour on it finds the guest`];
  return families.filter((family) => sysctls.get(forwardingOf(dev, family)) === '0').map((family) =>
    `${where} does not forward ${familyName(family)}, so the kernel does not answer for the guest there: set '${sysctlName(forwardingOf(dev, family))}' to 1`);
}

function familiesIn(addresses: readonly string[]): Family[] {
  return [...new Set(addresses.map((address) => parseAddress(address).family))];
}
