/**
 * The JSON of iproute2 to facts. Each schema names only the keys that are read, so a newer iproute2 may add others;
 * a key that is read and missing or of another type is an error, because a guess here would be wired into the host.
 */
import * as z from 'zod/mini';
import { ToolOutputError } from '../errors.js';
import {
  type Address, contains, type Family, parseAddress, parseDestination, type Prefix,
} from '../values/address.js';
import { routeProtocol, routeTable, routeType } from '../values/route-names.js';
import { canonicalMembership, vidsOf, type VlanMember } from '../values/vlan.js';
import type { LinkFacts, ProxyFacts, RouteFacts, Subinterface } from './observation.js';

/** What iproute2 prints of a link's own kind, all kinds in one: bridge, VLAN, tap and VRF. */
const kindSchema = z.object({
  vlan_filtering: z.optional(z.number()),
  vlan_protocol: z.optional(z.string()),
  vlan_default_pvid: z._default(z.number(), 0),
  stp_state: z.optional(z.number()),
  forward_delay: z.optional(z.number()),
  id: z.optional(z.number()),
  protocol: z.optional(z.string()),
  type: z.optional(z.string()),
  persist: z.optional(z.boolean()),
  multi_queue: z.optional(z.boolean()),
  table: z.optional(z.number()),
});

const linkSchema = z.object({
  ifname: z.string(),
  ifindex: z.number(),
  address: z.optional(z.string()),
  flags: z.array(z.string()),
  txqlen: z._default(z.number(), 0),
  mtu: z.optional(z.number()),
  ifalias: z.optional(z.string()),
  // A veth's other end, a VLAN link's parent.
  link: z.optional(z.string()),
  master: z.optional(z.string()),
  addr_info: z._default(z.array(z.object({ local: z.optional(z.string()), prefixlen: z.optional(z.number()) })), []),
  linkinfo: z.optional(
    z.object({
      info_kind: z.optional(z.string()),
      info_data: z.optional(kindSchema),
      info_slave_kind: z.optional(z.string()),
      info_slave_data: z.optional(z.object({ isolated: z.optional(z.boolean()) })),
    }),
  ),
});

/**
 * Returns the links of `ip -json -details address show`. A kernel without CONFIG_BRIDGE_VLAN_FILTERING prints
 * vlan_filtering 0 and no vlan_protocol (iproute2 6.1 on Linux 6.18).
 */
export function parseLinks(answer: readonly unknown[]): LinkFacts[] {
  // iproute2 prints {} for a link that its filter left out.
  return answer.filter((entry) => !isEmpty(entry)).map((entry) => {
    const link = read(linkSchema, entry, 'ip address');
    const { info_kind: infoKind, info_data: data } = link.linkinfo ?? {};
    const { info_slave_kind: joined, info_slave_data: port } = link.linkinfo ?? {};
    return {
      ifname: link.ifname,
      ifindex: link.ifindex,
      mac: /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(link.address ?? '') ? link.address : undefined,
      up: link.flags.includes('UP'),
      txqlen: link.txqlen,
      mtu: link.mtu,
      allmulticast: link.flags.includes('ALLMULTI'),
      alias: link.ifalias,
      peer: infoKind === 'veth' ? link.link : undefined,
      tap: infoKind === 'tun' ? tapFacts(data) : undefined,
      master: link.master,
      addresses: link.addr_info.flatMap(({ local, prefixlen: length }) =>
        local === undefined || length === undefined ? [] : [{ address: parseAddress(local), length }]),
      isolated: joined === 'bridge' ? (port?.isolated ?? false) : undefined,
      vlan: infoKind === 'vlan' ? vlanFacts(link.link, data) : undefined,
      vrfTable: infoKind === 'vrf' && data?.table !== undefined ? String(data.table) : undefined,
      bridge: infoKind === 'bridge' ? bridgeFacts(data) : undefined,
    };
  });
}

type KindData = z.output<typeof kindSchema> | undefined;

function tapFacts(data: KindData): LinkFacts['tap'] {
  return data?.type === 'tap' && data.persist === true ? { multiQueue: data.multi_queue ?? false } : undefined;
}

function vlanFacts(parent: string | undefined, data: KindData): LinkFacts['vlan'] {
  if (parent === undefined || data?.id === undefined) return undefined;
  return { parent, vid: data.id, protocol: tagProtocol(data.protocol) };
}

function bridgeFacts(data: KindData): LinkFacts['bridge'] {
  return {
    capable: data?.vlan_protocol !== undefined,
    filtering: data?.vlan_filtering === 1,
    protocol: tagProtocol(data?.vlan_protocol),
    defaultPvid: data?.vlan_default_pvid ?? 0,
    stp: data?.stp_state !== undefined && data.stp_state !== 0,
    forwardDelay: data?.forward_delay,
  };
}

const hop = { gateway: z.optional(z.string()), via: z.optional(z.object({ host: z.string() })) };
const nextHop = z.object({ ...hop, dev: z.optional(z.string()) });
const hopsSchema = z.object({ ...hop, nexthops: z._default(z.array(nextHop), []) });

const routeSchema = z.extend(hopsSchema, {
  type: z._default(z.string(), 'unicast'),
  dst: z.string(),
  dev: z.optional(z.string()),
  table: z._default(z.string(), 'main'),
  protocol: z.optional(z.string()),
  prefsrc: z.optional(z.string()),
});

const NOWHERE: ReadonlySet<string> = new Set(['blackhole', 'unreachable', 'prohibit', 'throw']);

/**
 * Returns the routes of `ip -json -details route`. iproute2 leaves out what it was asked to filter by, so the question
 * fills in the device and the protocol. A route to nowhere has no device. A batch of iproute2 6.15 lists those of IPv4
 * whatever the device of the question is (Debian 13).
 */
export function parseRoutes(
  answer: readonly unknown[],
  question: { readonly dev?: string; readonly protocol?: string } = {},
): RouteFacts[] {
  return answer.filter((entry) => !isEmpty(entry)).map((entry) => {
    const route = read(routeSchema, entry, 'ip route');
    const hops = hopsOf(route);
    const [via] = hops;
    const type = routeType(route.type);
    return {
      type,
      to: parseDestination(route.dst, destinationFamily(route.dst, via)),
      dev: route.dev ?? (NOWHERE.has(type) ? undefined : question.dev) ?? route.nexthops[0]?.dev,
      via,
      hops,
      table: routeTable(route.table),
      protocol: routeProtocol(route.protocol ?? question.protocol ?? 'kernel'),
      src: route.prefsrc,
    };
  });
}

/**
 * Returns the routes of a whole table with a next hop in one of `prefixes`. The rest is not looked at closely:
 * there may be a million of them.
 */
export function parseNextHops(answer: readonly unknown[], prefixes: readonly Prefix[]): RouteFacts[] {
  const isWithin = (hop: Address): boolean => prefixes.some((prefix) => contains(prefix, hop.prefix));
  return answer
    .filter((entry) => hasHop(entry) && hopsOf(read(hopsSchema, entry, 'ip route')).some(isWithin))
    .flatMap((entry) => parseRoutes([entry]));
}

function hasHop(entry: unknown): boolean {
  return typeof entry === 'object' && entry !== null &&
    ('gateway' in entry || 'via' in entry || 'nexthops' in entry);
}

function hopsOf(route: z.output<typeof hopsSchema>): Address[] {
  return [route, ...route.nexthops].flatMap(({ gateway, via }) => gateway ?? via?.host ?? []).map(parseAddress);
}

const proxySchema = z.object({ dst: z.string(), dev: z.optional(z.string()), protocol: z.optional(z.string()) });

/** Returns the neighbour proxies of `ip -json -Numeric neigh show proxy dev LINK`, of both families. */
export function parseProxies(answer: readonly unknown[]): ProxyFacts[] {
  return parseHostProxies(answer).map(({ address, protocol }) => ({ address, protocol }));
}

/** Returns the neighbour proxies of `ip -json -Numeric neigh show proxy`, each with its link. */
export function parseHostProxies(answer: readonly unknown[]): (ProxyFacts & { readonly dev: string })[] {
  return answer.filter((entry) => !isEmpty(entry)).map((entry) => {
    const { dst, dev = '', protocol = '0' } = read(proxySchema, entry, 'ip neigh');
    return { address: parseAddress(dst), protocol, dev };
  });
}

const portSchema = z.object({
  ifname: z.string(),
  vlans: z.array(
    z.object({
      vlan: z.number(),
      vlanEnd: z.optional(z.number()),
      // Absent for a tagged VID; an empty list when VIDs are compressed (iproute2 6.1).
      flags: z._default(z.array(z.string()), []),
    }),
  ),
});

/** Returns the membership of each port of `bridge -json vlan show`, compressed or not. */
export function parseVlans(answer: readonly unknown[]): Map<string, VlanMember[]> {
  return new Map(
    answer.filter((entry) => !isEmpty(entry)).map((entry) => {
      const port = read(portSchema, entry, 'bridge vlan');
      const members = port.vlans.flatMap(({ vlan, vlanEnd, flags }) =>
        vidsOf({ first: vlan, last: vlanEnd ?? vlan }).map((vid) => ({
          vid, pvid: flags.includes('PVID'), untagged: flags.includes('Egress Untagged'),
        })));
      return [port.ifname, canonicalMembership(members)];
    }),
  );
}

const subinterfaceSchema = z.object({
  ifname: z.string(),
  link: z.optional(z.string()),
  master: z.optional(z.string()),
  linkinfo: z.object({ info_data: z.optional(z.pick(kindSchema, { protocol: true, id: true })) }),
});

/** Returns the VLAN links of `ip -json -details link show type vlan` with a parent in this network namespace. */
export function parseSubinterfaces(answer: readonly unknown[]): Subinterface[] {
  return answer.filter((entry) => !isEmpty(entry)).flatMap((entry) => {
    const { ifname, link, master, linkinfo } = read(subinterfaceSchema, entry, 'ip link');
    const { id, protocol } = linkinfo.info_data ?? {};
    if (link === undefined || id === undefined) return [];
    const port = master === undefined ? {} : { master };
    return [{ ifname, parent: link, vid: id, protocol: tagProtocol(protocol), ...port }];
  });
}

/** As a number an ethertype is printed in brackets (iproute2's ll_proto_n2a). */
function tagProtocol(text: string | undefined): string {
  return text === '802.1ad' || text === '[34984]' ? '802.1ad' : '802.1Q';
}

function read<T extends z.ZodMiniType>(schema: T, entry: unknown, what: string): z.output<T> {
  const result = z.safeParse(schema, entry, { jitless: true });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ToolOutputError(`${what}: unexpected JSON at '${issue?.path.join('.') ?? ''}' in '${JSON.stringify(entry).slice(0, 200)}'`);
}

function isEmpty(entry: unknown): boolean {
  return typeof entry === 'object' && entry !== null && Object.keys(entry).length === 0;
}

function destinationFamily(dst: string, via: Address | undefined): Family {
  return dst.includes(':') || (dst === 'default' && via?.family === 'inet6') ? 'inet6' : 'inet';
}
