/**
 * What doctor asks of the host: the kernel, the tools, systemd and libvirt.
 */
import { release } from 'node:os';
import { distinct } from '../attachments/attached.js';
import { guestEnd, nicsAmong, shownOf } from '../attachments/attachment.js';
import { deriveAttachments } from '../attachments/derive.js';
import type { BridgeHealth, DefinedNic, HostFacts, NamedBridges } from '../attachments/health-facts.js';
import { HEALTH } from '../attachments/health.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { joined, withFurther } from '../attachments/scope.js';
import type { HostConfig } from '../config/host-config.js';
import { parseDomain } from '../domain/domain.js';
import { GuestwireError } from '../errors.js';
import { isLibvirts } from '../guests/ask-libvirt.js';
import { askLibvirt } from '../guests/inquiry.js';
import type { Io } from '../guests/io.js';
import { droppingChains } from '../kernel/host-chains.js';
import { hostRules } from '../kernel/host-rules.js';
import { defaultRouteLinks, linksWithSettings, observedBridges, sysctlsAt } from '../kernel/host-settings.js';
import { createKernel, type Kernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type Observation } from '../kernel/observation.js';
import type { Holding } from '../journal/journal.js';
import { hostFrom, listHoldings } from '../reconcile/host.js';
import { isRunning } from '../system/process.js';
import { isLinkLocal } from '../values/address.js';
import type { DoctorFacts } from './diagnosis.js';
import type { DefinedGuest } from './naming.js';

/**
 * What another room knows: whether the hook is installed, and which network daemons may take guestwire's routes away.
 */
export interface InstallFacts {
  readonly install: DoctorFacts['install'];
  /** Names of daemons, running or not. */
  readonly untold: readonly string[];
}

/** Returns what `doctor` judges. Throws ToolOutputError, CommandError, ConfigError. */
export async function doctorFacts(io: Io, { install, untold }: InstallFacts): Promise<DoctorFacts> {
  const config = io.config.read();
  const { defined, asked, nics, libvirt } = await definedGuests(io, config);
  return {
    ...await hostFacts(io, config, nics), allBridges: [...(await observedBridges(io.exec)).keys()],
    defined, asked, untold: untold.filter(isRunning), install, libvirt, kernel: parseVersion(release()),
  };
}

/** Returns the host as the kinds judge it for these NICs. Throws ToolOutputError, CommandError. */
export async function hostFacts(io: Io, config: HostConfig, nics: readonly DefinedNic[]): Promise<HostFacts> {
  const kernel = createKernel(io.exec);
  const named = { config, names: distinct([...config.bridges.keys(), ...nics.map(({ bridge }) => bridge)]) };
  const names = named.names.filter((name) => !HEALTH.some(({ makes }) => makes?.(config, name) === true));
  const { subinterfaces, routers = [] } = await kernel.observe({ ...EMPTY_SCOPE, subinterfaces: true, routers: true });
  const [inet, inet6] = [await defaultRouteLinks(io.exec, 'inet'), await defaultRouteLinks(io.exec, 'inet6')];
  const lost = inet6.length > 0 ? [] : await routerless(kernel);
  const uplinks = distinct([...routers, ...config.routed.proxy, ...inet, ...inet6, ...lost]);
  return {
    ...named, bridges: await observedHealth(io, config, names), observation: await observe(kernel, named),
    subinterfaces, nics, uplinks,
    sysctls: sysctlsAt(pathsFor(uplinks)), dropping: await droppingChains(io.exec), rules: await hostRules(io.exec),
  };
}

/**
 * Returns the links that may have had the default route of a host without one: a host that begins to forward removes
 * those from router advertisements, and the addresses from them stay until they expire.
 */
async function routerless(kernel: Kernel): Promise<string[]> {
  const links = linksWithSettings().filter((dev) =>
    dev !== 'lo' && sysctlsAt([acceptRa(dev)]).get(acceptRa(dev)) === '1');
  const observation = await kernel.observe({ ...EMPTY_SCOPE, links });
  return links.filter((dev) => observation.links.get(dev)?.addresses.some(({ address }) =>
    address.family === 'inet6' && !isLinkLocal(address)));
}

function acceptRa(dev: string): string {
  return `net/ipv6/conf/${dev}/accept_ra`;
}

/** Returns the answers to what the kinds ask. */
async function observe(kernel: Kernel, named: NamedBridges): Promise<Observation> {
  const first = await kernel.observe(joined(HEALTH.map(({ scope }) => scope?.(named) ?? {})));
  const further = await kernel.observe(joined(HEALTH.map(({ furtherScope }) => furtherScope?.(named, first) ?? {})));
  return withFurther(first, further);
}

type Defined = Pick<DoctorFacts, 'defined' | 'asked' | 'nics' | 'libvirt'>;

async function definedGuests(io: Io, config: HostConfig): Promise<Defined> {
  try {
    return await askLibvirt(io, async (libvirt) => {
      const { major, minor } = await libvirt.version();
      const domains = await libvirt.listDomains();
      const guests = await Promise.all(domains.map(async (ref) => {
        const guest = definedGuest(io, config, await libvirt.domainXml(ref));
        return { guest, nics: nicsIn(guest, ref.id !== undefined) };
      }));
      return {
        defined: guests.map(({ guest }) => guest),
        asked: guests.map(({ guest: { domain, attachments = [] } }) => ({ guest: domain.name, attachments })),
        nics: guests.flatMap(({ nics }) => nics),
        libvirt: [major, minor] as const,
      };
    });
  } catch (error) {
    if (!isLibvirts(error)) throw error;
    io.warn(`only guests that are wired are checked, because libvirt does not answer: ${error.message}`);
    const holdings = listHoldings(hostFrom(io));
    return {
      defined: [], asked: holdings.map(({ guest, wired }) => ({ guest: guest.name, attachments: wired })),
      nics: wiredNics(holdings), libvirt: undefined,
    };
  }
}

function wiredNics(holdings: readonly Holding[]): DefinedNic[] {
  return holdings.flatMap(({ guest, wired }) =>
    nicsAmong(wired).map((one) => definedNic({ guest: guest.name, mac: one.mac, running: true }, one)));
}

function definedGuest(io: Io, config: HostConfig, xml: string): DefinedGuest {
  const domain = parseDomain(xml);
  try {
    return { domain, attachments: deriveAttachments(domain, config, () => undefined) };
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    io.warn(error.message);
    return { domain, attachments: undefined };
  }
}

function nicsIn({ domain, attachments }: DefinedGuest, running: boolean): DefinedNic[] {
  return attachments === undefined ? [] : domain.nics.map(({ index, mac }) =>
    definedNic({ guest: domain.name, mac, running }, attachments.find(({ nic }) => nic === index)));
}

/** Returns the NIC as it is judged; without what it asks for, it counts for its MAC alone. */
export function definedNic(
  named: Pick<DefinedNic, 'guest' | 'mac' | 'running'>, asked: Attachment | Wired | undefined,
): DefinedNic {
  const shown = asked && shownOf(asked);
  const link = asked?.link === undefined || asked.link.startsWith('vnet') ? 'vnet*' : asked.link;
  return {
    ...named, bridge: shown?.bridge, routed: (asked && guestEnd(asked))?.addresses,
    vids: shown?.vlans?.map(({ vid }) => vid) ?? [], link,
  };
}

async function observedHealth(io: Io, config: HostConfig, names: readonly string[]): Promise<BridgeHealth[]> {
  const uplinksOf = (name: string): readonly string[] => config.bridges.get(name)?.uplinks ?? [];
  const ports = names.flatMap(uplinksOf);
  const { links, vlans } = await createKernel(io.exec).observe({ ...EMPTY_SCOPE, links: [...names, ...ports], ports });
  const settings = await observedBridges(io.exec);
  return names.flatMap((name): BridgeHealth[] => {
    const bridge = links.get(name)?.bridge;
    if (bridge === undefined) return [];
    const { learnsLinkLocal, snoops = false, queries = false } = settings.get(name) ?? {};
    return [{
      name, filtering: bridge.filtering, defaultPvid: bridge.defaultPvid, learnsLinkLocal, snoops, queries,
      uplinks: new Map(uplinksOf(name).map((dev) =>
        [dev, links.get(dev)?.master === name ? new Set((vlans.get(dev) ?? []).map(({ vid }) => vid)) : undefined])),
    }];
  });
}

/** The sysctls that decide whether this host forwards for its guests. */
function pathsFor(uplinks: readonly string[]): string[] {
  return [
    'net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding', 'net/ipv4/conf/all/rp_filter',
    'net/ipv4/neigh/default/gc_thresh3', 'net/ipv6/neigh/default/gc_thresh3',
    ...['iptables', 'ip6tables', 'arptables'].map((name) => `net/bridge/bridge-nf-call-${name}`),
    'net/ipv4/conf/all/arp_ignore',
    ...['max', 'count'].map((name) => `net/netfilter/nf_conntrack_${name}`),
    ...linksWithSettings().map((dev) => `net/ipv4/conf/${dev}/rp_filter`),
    ...uplinks.flatMap((dev) => [
      `net/ipv4/conf/${dev}/forwarding`, acceptRa(dev), `net/ipv6/conf/${dev}/disable_ipv6`,
    ]),
  ];
}

function parseVersion(text: string): readonly [number, number] {
  const [major = 0, minor = 0] = text.split('.').map(Number);
  return [major, minor];
}
