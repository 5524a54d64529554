/**
 * What the kernel says about the given links, as plain facts with nothing judged. observe.ts fills it in;
 * the kinds in attachments/ read it. Every value is already canonical.
 */
import type { FilterFamily } from '../state/nft.js';
import type { Address, Family, Prefix } from '../values/address.js';
import type { VlanMember } from '../values/vlan.js';

/** What to ask the kernel for: never more than the NICs at hand need, because hosts have thousands of links. */
export interface Scope {
  /** Links to describe, with their addresses. A link that does not exist is not an error. */
  readonly links: readonly string[];
  /** Links for which the routes of one protocol are listed, in every table. */
  readonly routes: readonly { readonly dev: string; readonly protocol: number }[];
  /** Bridge ports for which the VLAN membership is listed; asked only when the kernel can filter VLANs. */
  readonly ports: readonly string[];
  /** Addresses for which the most specific route is looked up. */
  readonly lookups: readonly string[];
  /** Prefixes in which the host's own addresses are listed; for one address a lookup tells. */
  readonly locals: readonly string[];
  /** Prefixes for which the routes with a next hop in them are listed. Lists every table: ask only with cause. */
  readonly nextHops: readonly Prefix[];
  /** Prefixes for which the routes to exactly them are listed, in one table or 'all'. Ask only with cause, likewise. */
  readonly exact: readonly { readonly to: string; readonly table: string }[];
  /** Links for which neighbour proxies are listed. */
  readonly proxies: readonly string[];
  /** Paths below /proc/sys. */
  readonly sysctls: readonly string[];
  /** Bridges for which all ports and their VLANs are listed: only bridges with uplinks need it. */
  readonly bridges: readonly string[];
  /** Bridges whose ports alone are listed; absent: none. */
  readonly joined?: readonly string[];
  /** Whether 802.1Q sub-interfaces are listed: they take a VLAN away from the bridge their parent is a port of. */
  readonly subinterfaces: boolean;
  /** Families of which guestwire's nftables table is read, a program each. */
  readonly filters: readonly FilterFamily[];
  /** Whether the links with a default route from router advertisements are listed; absent: no. */
  readonly routers?: boolean;
  /** Whether all routing rules and the last resorts of this protocol are listed; absent: no. */
  readonly tables?: { readonly protocol: number } | undefined;
  /** Whether it is asked if this kernel can track connections in bridges, which costs a program; absent: no. */
  readonly tracking?: boolean;
}

export const EMPTY_SCOPE: Scope = {
  links: [], routes: [], ports: [], lookups: [], locals: [], nextHops: [], exact: [], proxies: [], sysctls: [],
  bridges: [], subinterfaces: false, filters: [],
};

export interface Observation {
  /** By ifname; a link that does not exist is absent. */
  readonly links: ReadonlyMap<string, LinkFacts>;
  readonly routes: readonly RouteFacts[];
  /** By port; a port without any VLAN has an empty list. */
  readonly vlans: ReadonlyMap<string, readonly VlanMember[]>;
  /** By address looked up; undefined when no route covers it. */
  readonly lookups: ReadonlyMap<string, RouteFacts | undefined>;
  /** Addresses for which the lookup ended at a route to nowhere: blackhole, unreachable or prohibit. */
  readonly nowhere: ReadonlySet<string>;
  /** The host's own addresses, as routes of type 'local'. */
  readonly locals: readonly RouteFacts[];
  readonly nextHops: readonly RouteFacts[];
  readonly exact: readonly RouteFacts[];
  /** Names of all ports, by bridge of the scope. */
  readonly members: ReadonlyMap<string, readonly string[]>;
  readonly subinterfaces: readonly Subinterface[];
  /** Returns whether there is a link of this name, asked for or not. Absent: it cannot be told. */
  readonly hasLink?: ((dev: string) => boolean) | undefined;
  /** By family asked for; absent: not asked. */
  readonly filters?: ReadonlyMap<FilterFamily, FilterFacts> | undefined;
  /** By link; a link that does not exist is absent. */
  readonly proxies: ReadonlyMap<string, readonly ProxyFacts[]>;
  /** Links that lose a default route when the host begins to forward IPv6; undefined: not asked. */
  readonly routers?: readonly string[] | undefined;
  /** undefined: not asked. */
  readonly rules?: readonly RuleFacts[] | undefined;
  /** Whether connections in bridges can be tracked; undefined: not asked. */
  readonly tracking?: boolean | undefined;
  readonly lastResorts?: readonly { readonly family: Family; readonly table: string; readonly protocol: number }[] |
    undefined;
  /** By path; a sysctl this kernel does not have is absent. */
  readonly sysctls: ReadonlyMap<string, string>;
}

/** A neighbour proxy: the host answers ARP or NDP for this address. */
export interface ProxyFacts {
  readonly address: Address;
  /** Number of the routing protocol it was made with; '0' when it says none. */
  readonly protocol: string;
}

export interface LinkFacts {
  readonly ifname: string;
  readonly ifindex: number;
  /** Six bytes, lower case; undefined for a link that has no Ethernet address. */
  readonly mac: string | undefined;
  readonly up: boolean;
  readonly txqlen: number;
  /** Bytes; undefined only when the tool did not say. */
  readonly mtu: number | undefined;
  /** Receives all multicast because a user or program set it; what the kernel sets by itself does not count. */
  readonly allmulticast: boolean;
  /** ifalias; undefined: none. */
  readonly alias: string | undefined;
  /** The other end of a veth, if that is in this network namespace. */
  readonly peer: string | undefined;
  /** For a tap that outlives the process that opened it; undefined for any other link. */
  readonly tap: { readonly multiQueue: boolean } | undefined;
  readonly master: string | undefined;
  readonly addresses: readonly { readonly address: Address; readonly length: number }[];
  /** Bridge port flag; undefined when the link is not a bridge port. */
  readonly isolated: boolean | undefined;
  /** For an 802.1Q sub-interface; undefined for any other link. */
  readonly vlan?: VlanFacts | undefined;
  /** For a VRF; undefined for any other link. */
  readonly vrfTable?: string | undefined;
  /** For a bridge; undefined for any other link. */
  readonly bridge: BridgeFacts | undefined;
}

/** A VLAN link: frames of `vid` and its protocol that come in on `parent` go to it, and not to the bridge. */
export interface Subinterface extends VlanFacts {
  readonly ifname: string;
  readonly master?: string | undefined;
}

export interface VlanFacts {
  readonly parent: string;
  readonly vid: number;
  /** '802.1Q' or '802.1ad'. */
  readonly protocol: string;
}

/** One of guestwire's nftables tables. */
export interface FilterFacts {
  /** There is such a table. */
  readonly there: boolean;
  /** The comments of the rules of each chain, in their order. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Where the kernel calls a base chain; other chains are absent. */
  readonly hooks: ReadonlyMap<string, HookFacts>;
  /** The sets and maps of the table, by name. */
  readonly sets: ReadonlyMap<string, SetFacts>;
  /** What each set and map holds: the ifname of a link that exists, the ifindex of one that does not. */
  readonly elements: ReadonlyMap<string, ReadonlySet<string>>;
  /** Names of the sets that rules fill with addresses. */
  readonly learns: ReadonlySet<string>;
}

export interface HookFacts {
  readonly type: string | undefined;
  readonly hook: string | undefined;
  readonly prio: number | undefined;
  readonly policy: string | undefined;
}

export interface SetFacts {
  readonly kind: 'set' | 'map';
  /** As nft names it; undefined for a type made of several. */
  readonly type: string | undefined;
  readonly isEmpty: boolean;
}

export interface BridgeFacts {
  /** The kernel was built with CONFIG_BRIDGE_VLAN_FILTERING. */
  readonly capable: boolean;
  readonly filtering: boolean;
  /** By which ethertype the bridge knows a tag: '802.1Q' or '802.1ad'. */
  readonly protocol: string;
  /** VID a new port gets as PVID and untagged; 0: none. */
  readonly defaultPvid: number;
  /** The bridge speaks the spanning tree protocol. */
  readonly stp?: boolean | undefined;
  /** Hundredths of a second in which a new port of a bridge passes nothing. */
  readonly forwardDelay?: number | undefined;
}

/** A routing rule, as far as guestwire makes any. */
export interface RuleFacts {
  readonly family: Family;
  readonly priority: number;
  readonly iif: string | undefined;
  readonly to: Prefix | undefined;
  readonly table: string;
  readonly protocol: number;
}

export interface RouteFacts {
  /** 'unicast', 'local', 'broadcast', 'blackhole' and so on, as `ip route` names them. */
  readonly type: string;
  readonly to: Prefix;
  readonly dev: string | undefined;
  readonly via: Address | undefined;
  /** `via`, or the next hops of a multipath route. */
  readonly hops: readonly Address[];
  readonly table: string;
  /** Number or name from rt_protos, as `ip route` prints it; 'kernel' when it prints none. */
  readonly protocol: string;
  /** The source address that the route prefers; undefined: none. */
  readonly src?: string | undefined;
}
