/**
 * The sources of intent, merged per NIC: libvirt's `<vlan>`, the domain's metadata, the host config's tables of guests
 * and networks, and its table of the bridge. Per element the first source that speaks wins; two that give one NIC
 * different VLANs are an error that names both. `vlan` of the bridge is for NICs that name none, and never in conflict.
 */
import { type BridgeConfig, bridgeHeader, bridgeNamed, type OneVlan } from '../config/bridge-tables.js';
import { configuredNics, type NicConfig } from '../config/guest-tables.js';
import type { HostConfig } from '../config/host-config.js';
import { tableHeader } from '../config/toml.js';
import type { Domain, Nic } from '../domain/domain.js';
import { wordsOfFilterref, wordsOfMetadata } from '../domain/filter-metadata.js';
import { aboutNic, nicPlace } from '../domain/guest.js';
import { type NicMetadata, type OnStray, readMetadata, type RoutedMetadata } from '../domain/metadata.js';
import { ConflictError, DomainXmlError, locate, NotAllowedError, ValueError } from '../errors.js';
import type { VethWords } from '../intent/veth.js';
import {
  type Address, asPrefix, assertRoutable, parseAddress, type Prefix, prefixOf, width,
} from '../values/address.js';
import { assertIfname } from '../values/ifname.js';
import { assertAtMost } from '../values/lists.js';
import { quote } from '../values/quote.js';
import { tableOf } from '../values/route-names.js';
import { accessPort, formatMembership, type VlanMember, vlanMembership } from '../values/vlan.js';
import { asksForFilters, type FilterSources, MOST } from './filter-intent.js';

/** The intent for one NIC; at least one of the first three is defined, or its filters are asked for. */
export interface Intent {
  readonly nic: Nic;
  readonly vlan: readonly VlanMember[] | undefined;
  readonly isolated: boolean | undefined;
  readonly routed: RoutedIntent | undefined;
  /** The bridge of one VLAN that the host config makes for the NIC. */
  readonly made: MadeBridge | undefined;
  readonly filter: FilterSources;
  /** Metadata, [guest] or [network] mention the NIC: it is filtered, and its guest does not start without its VLANs. */
  readonly isDeclared: boolean;
  /** What [bridge.NAME] of its bridge says, where the bridge is known. */
  readonly table: BridgeConfig | undefined;
}

export interface MadeBridge extends OneVlan {
  readonly bridge: string;
}

/** A routed link's addresses, and the prefixes behind it with their next hops. */
export interface RoutedIntent {
  readonly veth?: VethWords | undefined;
  readonly addresses: readonly Address[];
  readonly routes: readonly { readonly to: Prefix; readonly via: Address }[];
  /** At most one of the two; neither: the host config's table. */
  readonly table: string | undefined;
  readonly vrf: string | undefined;
  /** The guest's author asks for it, not the host config. */
  readonly byMetadata?: true;
}

/** Returns the intent of every NIC that a source mentions. Throws DomainXmlError, ConflictError or NotAllowedError. */
export function domainIntents(domain: Domain, config: HostConfig, onStray?: OnStray): Intent[] {
  const metadata = new Map(readMetadata(domain, onStray).map((intent) => [intent.mac, intent]));
  const configured = configuredNics(config.guests, domain);
  assertConfigured(domain, configured, onStray);
  return domain.nics.flatMap((nic) => {
    const intent = aboutNic(nicPlace(domain, nic), () => intentOf(nic, { config, metadata, configured }));
    const speaks = [intent.vlan, intent.isolated, intent.routed, intent.made].some((part) => part !== undefined) ||
      (asksForFilters(intent.filter) && !mayComeYet(nic));
    if (!speaks) aboutNic(nicPlace(domain, nic), () => { assertMayBeUndeclared(nic, intent); });
    return speaks ? [intent] : [];
  });
}

/** What mentions a NIC, besides libvirt's own XML of it. */
interface Mention {
  readonly mine: NicMetadata | undefined;
  readonly guest: NicConfig | undefined;
  readonly group: { readonly vlan: readonly VlanMember[] } | undefined;
  readonly table: BridgeConfig | undefined;
}

function mentionOf(
  { mac, joins, source: { network, portgroup } }: Nic, { config, metadata, configured }: Sources,
): Mention {
  return {
    mine: mac === undefined ? undefined : metadata.get(mac),
    guest: mac === undefined ? undefined : configured.get(mac),
    group: network === undefined || portgroup === undefined
      ? undefined
      : config.portgroups.get(network)?.get(portgroup),
    table: joins.kind === 'bridge' ? bridgeNamed(config, joins.bridge) : undefined,
  };
}

function assertMayBeUndeclared({ joins }: Nic, { table }: Intent): void {
  if (joins.kind !== 'bridge' || table?.undeclared !== 'refuse') return;
  throw new NotAllowedError(`nothing names a VLAN for this NIC, and 'undeclared' in ${tableHeader(['bridge', joins.bridge])} of the host config refuses it: add a <vlan>`);
}

/** Returns what `read` returns; a value of the XML that it refuses is a DomainXmlError. */
function asXml<T>(read: () => T): T {
  return locate(DomainXmlError, undefined, read);
}

/** Before `start`, the XML does not hold the `<vlan>` of a libvirt network's portgroup. */
function mayComeYet({ joins }: Nic): boolean {
  return joins.kind === 'network';
}

/** As in metadata: a MAC that no NIC has would leave a NIC off its network in silence. */
function assertConfigured(
  { name, nics }: Domain, configured: ReadonlyMap<string, NicConfig>, onStray?: OnStray,
): void {
  const stray = [...configured.keys()].find((mac) => !nics.some((nic) => nic.mac === mac));
  if (stray === undefined) return;
  if (onStray !== undefined) {
    onStray(`guest ${quote(name)}: no NIC has the MAC ${quote(stray)} of [guest] in the host config`);
    return;
  }
  const macs = nics.flatMap(({ mac }) => (mac === undefined ? [] : [quote(mac)])).join(', ');
  throw new ConflictError(`no NIC has the MAC ${quote(stray)} of [guest] in the host config, the guest has ${macs === '' ? 'none' : macs}: use one of its MACs, or remove the table`);
}

interface Sources {
  readonly config: HostConfig;
  /** What the host config says about the guest's NICs, by MAC. */
  readonly configured: ReadonlyMap<string, NicConfig>;
  readonly metadata: ReadonlyMap<string, NicMetadata>;
}

function intentOf(nic: Nic, sources: Sources): Intent {
  const { config } = sources;
  const { mine, guest, group, table } = mentionOf(nic, sources);
  const { portgroup } = nic.source;
  const written = mine?.vlan;
  const made = madeBridge(nic, config);
  const isDeclared = [mine, guest, group].some((source) => source !== undefined);
  const named = oneVlan([
    { source: "the <vlan> of its <interface>", vlan: nativeMembership(nic) },
    { source: 'its metadata', vlan: written && asXml(() => vlanMembership(written)) },
    { source: `[guest] of the host config`, vlan: guest?.vlan },
    { source: `portgroup ${quote(portgroup ?? '')} of the host config`, vlan: group?.vlan },
    { source: `${made === undefined ? '' : bridgeHeader(config, made.bridge)} of the host config`, vlan: made && accessPort(made.vid) },
  ]);
  const vlan = named ?? table?.vlan;
  const routed = mine?.routed ?? undefined;
  const isPort = vlan !== undefined && (isDeclared || made !== undefined || table?.filter === 'all');
  return {
    nic,
    vlan, made, isDeclared, table,
    filter: filterIntent(nic, { mine: mine?.filter, guest: guest?.filter, isPort }),
    isolated: asXml(() => isolatedOf(mine?.isolated)) ?? guest?.isolated,
    routed: asXml(() => (routed === undefined ? routedByConfig(guest) : routedByMetadata(routed))),
  };
}

/**
 * A `<filterref>` may hold values of any kind for filters that are none of guestwire's: it is read for VLAN ports
 * alone.
 */
function filterIntent(
  { filterref }: Nic,
  { mine, guest, isPort }: { mine: NicMetadata['filter']; guest: NicConfig['filter']; isPort: boolean },
): FilterSources {
  const metadata = mine && asXml(() => wordsOfMetadata(mine));
  const reads = isPort && metadata?.ips === undefined;
  return {
    metadata, filterref: reads ? asXml(() => wordsOfFilterref(filterref)) : undefined, guest,
  };
}

/** Before `start`, only the host config knows the bridge of a libvirt network; from then on the XML has both. */
function madeBridge({ joins, source: { network } }: Nic, config: HostConfig): MadeBridge | undefined {
  if (joins.kind !== 'bridge' && joins.kind !== 'network') return undefined;
  const named = network === undefined ? undefined : config.networks.get(network);
  const bridge = joins.kind === 'bridge' ? joins.bridge : named;
  const made = [bridge, named].map((name) => (name === undefined ? undefined : bridgeNamed(config, name)?.made));
  if (named !== undefined && named !== bridge && made.some((one) => one !== undefined)) {
    throw new ConflictError(`network ${quote(network ?? '')} leads to bridge ${quote(bridge ?? '')}, and ${tableHeader(['network', network ?? ''])} of the host config says ${quote(named)}: make them equal`);
  }
  const [one] = made;
  return one && bridge !== undefined ? { ...one, bridge } : undefined;
}

/** libvirt's own `<vlan>` is intent only on a Linux bridge: elsewhere Open vSwitch or the network card honours it. */
function nativeMembership(nic: Nic): VlanMember[] | undefined {
  const { vlan } = nic;
  if (vlan === undefined || nic.joins.kind !== 'bridge') return undefined;
  return asXml(() => vlanMembership(vlan));
}

function oneVlan(
  sources: readonly { readonly source: string; readonly vlan: readonly VlanMember[] | undefined }[],
): readonly VlanMember[] | undefined {
  let winner: { source: string; vlan: readonly VlanMember[] } | undefined;
  for (const { source, vlan } of sources) {
    if (vlan === undefined) continue;
    winner ??= { source, vlan };
    const [first, second] = [formatMembership(winner.vlan), formatMembership(vlan)];
    if (first !== second) {
      throw new ConflictError(`${winner.source} says VLAN ${quote(first)}, ${source} says VLAN ${quote(second)}: make them equal or remove one`);
    }
  }
  return winner?.vlan;
}

function isolatedOf(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text !== 'yes' && text !== 'no') throw new ValueError(`isolated=${quote(text)} in <port> is neither 'yes' nor 'no'`);
  return text === 'yes';
}

function routedByMetadata(routed: RoutedMetadata): RoutedIntent {
  const addresses = routed.ips.map((ip) => {
    const address = parseAddress(ip.address);
    const whole = String(width(address.family));
    if (ip.prefix !== undefined && ip.prefix !== whole) {
      throw new ValueError(`prefix ${quote(ip.prefix)} of <ip> ${quote(address.text)} is not '${whole}': an <ip> is one address, use <route> for a prefix`);
    }
    return address;
  });
  const routes = routed.routes.map((route) => {
    const address = parseAddress(route.address);
    return {
      to: prefixOf(address, route.prefix ?? String(width(address.family))),
      gateway: route.gateway === undefined ? undefined : parseAddress(route.gateway),
    };
  });
  const table = routed.table === undefined ? undefined : tableOf(routed.table);
  return { ...routedIntent(addresses, routes, { table, vrf: routed.vrf }), veth: routed.veth, byMetadata: true };
}

function routedByConfig(guest: NicConfig | undefined): RoutedIntent | undefined {
  return guest?.routed &&
    { ...routedIntent(guest.routed.addresses, guest.routed.routes, guest.routed), veth: guest.routed.veth };
}

function routedIntent(
  addresses: readonly Address[],
  routes: readonly { readonly to: Prefix; readonly gateway: Address | undefined }[],
  { table, vrf }: { readonly table?: string | undefined; readonly vrf?: string | undefined },
): RoutedIntent {
  if (addresses.length === 0) throw new ValueError('a routed link needs an address: add at least one <ip>');
  assertAtMost(MOST.addresses, 'addresses', addresses.length);
  assertAtMost(MOST.routes, 'prefixes behind it', routes.length);
  if (table !== undefined && vrf !== undefined) {
    throw new ValueError(`both table ${quote(table)} and VRF ${quote(vrf)} are given: a VRF has a table of its own, keep one of the two`);
  }
  if (vrf !== undefined) locate(ValueError, 'VRF', () => { assertIfname(vrf); });
  for (const prefix of [...addresses, ...routes.map((route) => route.to)].map(asPrefix)) assertRoutable(prefix);
  return { addresses, routes: routes.map((route) => ({ to: route.to, via: nextHop(addresses, route) })), table, vrf };
}

/** A prefix is never on-link: with a next hop the guest answers neighbour discovery for one address, not for 2^64. */
function nextHop(
  addresses: readonly Address[], { to, gateway }: { to: Prefix; gateway: Address | undefined },
): Address {
  const hops = addresses.filter((address) => address.family === to.family);
  if (gateway === undefined) {
    const [first] = hops;
    if (first === undefined) {
      throw new ValueError(`route ${quote(to.text)} has no next hop: add an <ip> of its family, or a gateway`);
    }
    return first;
  }
  if (!hops.some((address) => address.text === gateway.text)) {
    throw new ValueError(`gateway ${quote(gateway.text)} of route ${quote(to.text)} is not an <ip> of this NIC, so the host cannot reach it: add it as <ip>`);
  }
  return gateway;
}
