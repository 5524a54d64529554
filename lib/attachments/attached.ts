/**
 * What every attachment has, and the interface of a kind of attachment. The rest of the code knows a kind by this
 * interface only. The folder of the kind has the rest: how a NIC of that kind is derived, checked, wired, shown and
 * given up.
 */
import type * as z from 'zod/mini';
import type { HostConfig } from '../config/host-config.js';
import type { Domain } from '../domain/domain.js';
import type { Policy, Trust } from '../intent/policy.js';
import type { LinkFacts, Observation, Scope } from '../kernel/observation.js';
import type { NetObject, NetState } from '../state/netstate.js';
import type { Address, Prefix } from '../values/address.js';
import type { VlanMember } from '../values/vlan.js';
import type { Presence } from './presence.js';
import type { SchemaOf } from './schema.js';
import type { Intent } from './sources.js';

export interface Attached {
  readonly kind: string;
  /** Position of the NIC among the domain's interfaces, from 0. */
  readonly nic: number;
  /** Configured MAC, lower case; undefined only in hand-written XML. */
  readonly mac: string | undefined;
  /** Host-side link; undefined until libvirt has named it (before `start`). */
  readonly link: string | undefined;
  /** The name that libvirt knows, when the link was renamed since. */
  readonly was?: string | undefined;
  /** Absent: no trust. */
  readonly trust?: Trust | undefined;
  /** Drops are logged. */
  readonly logged?: true | undefined;
  /** No source mentions it but libvirt's own XML: a fault is a warning, and the NIC stays as libvirt made it. */
  readonly lenient?: true | undefined;
}

/** An attachment with a known link: it can be wired. */
export type AttachedLink = Attached & { readonly link: string };

/** A wired link with its ifindex: names are reused, indexes are not. */
export interface Recorded {
  readonly ifindex: number;
  /** Nothing passes to or from the guest. */
  readonly quarantined?: true | undefined;
}

export type WiredLink = AttachedLink & Recorded;

export interface DeriveContext {
  readonly domain: Domain;
  readonly config: HostConfig;
}

/** What a check looks at besides the attachment. */
export interface Surroundings {
  readonly observation: Observation;
  /** Live guests that guestwire wired. */
  readonly holders: readonly Holder[];
  /** Links of the guest, as wanted and as wired before: a route to one of them does not conflict. */
  readonly own: readonly { readonly link: string | undefined; readonly protocol: number | undefined }[];
  /** Returns the name of the guest with this UUID; undefined: guestwire does not know it. */
  readonly guestName: (uuid: string) => string | undefined;
  /** Returns whether a run that was killed was about to make this link: it may have no alias yet. */
  readonly isUnfinished: (dev: string) => boolean;
  /** Returns whether the journal has this link as a guest's; reading it costs something. */
  readonly isGuestLink: (dev: string) => boolean;
}

export interface Holder {
  readonly name: string;
  /** It is defined and does not run. */
  readonly isOff: boolean;
  readonly nics: readonly {
    readonly nic: number;
    readonly mac: string | undefined;
    readonly claims: readonly Prefix[];
  }[];
}

/** The links of an attachment, or what libvirt did instead of giving it one: 'created no link for this NIC'. */
export type Placing<P> = { readonly links: readonly P[] } | { readonly lacks: string };

/** How a link is guarded: as a port of a bridge (nftables family bridge) or as a link of its own (netdev and inet). */
export interface Guard {
  readonly how: 'port' | 'link';
  /** Whether the link has a filter. A link without one has a filter only in quarantine. */
  readonly filters: boolean;
  /** Addresses and prefixes that the guest may send from; of a family without any, a port is not checked. */
  readonly own: readonly Prefix[];
  /** Addresses of the host on this link. */
  readonly gateways: readonly Address[];
  readonly tagged: 'never' | 'members';
  /** undefined: an entry of a release that knew no policy for the kind. */
  readonly policy: Policy | undefined;
  readonly isolated: boolean;
  /** Layer-2 segments, as `br0 vlan 10`: two ports that share one are neighbours. */
  readonly segments: readonly string[];
  readonly bridge: string | undefined;
  /** Link-local destinations beyond this host that the guest of a routed link may reach; absent: none. */
  readonly linkLocal?: readonly Address[] | undefined;
}

/** What the host tells the guest of its network. */
export interface GuestEnd {
  readonly addresses: readonly Address[];
  readonly routes: readonly { readonly to: Prefix; readonly via: Address }[];
  readonly gateways: readonly Address[];
  /** Milliseconds between two solicitations for the MAC of a neighbour. */
  readonly retransTime: number;
}

/** What commands show of a NIC. */
export interface Shown {
  readonly bridge: string | undefined;
  /** undefined: the kind has no VLANs. */
  readonly vlans: readonly VlanMember[] | undefined;
  /** Addresses, canonical. */
  readonly addresses: readonly string[];
  /** Prefixes behind the guest. */
  readonly routes: readonly string[];
  /** The network in one word group, as the table of `status` has it. */
  readonly network: string;
}

/** Links outside the guest that its networking depends on. */
export interface Dependence {
  /** Other links that are the guest's alone. */
  readonly links: readonly string[];
  /** Links that guests share. */
  readonly shared: readonly string[];
  /** VIDs that each uplink carries for the guest. */
  readonly carried: ReadonlyMap<string, readonly number[]>;
}

/**
 * One way to join a NIC to the host. `A` is the attachment, `P` the same with its link known. Everything here is pure.
 */
export interface AttachmentKind<A extends Attached, P extends A & { readonly link: string } = A & {
  readonly link: string;
}> {
  /** A link beside the NIC's own: it carries no filter, no quarantine and no status of its own. */
  readonly isSatellite: boolean;
  /** The link stays until `release`, because libvirt or other guests still use it at `stopped`. */
  readonly staysUntilRelease: boolean;
  /**
   * What of it attracts traffic, in words ('its routes'), and what such attachments are ('routed links'): a guest that
   * migrates to this host gets that when it runs here. Absent: nothing.
   */
  readonly attracts?: { readonly what: string; readonly of: string };
  /** What the journal holds of it. */
  readonly schema: SchemaOf<P & Recorded>;
  /** Returns the attachment; undefined: the intent asks for another kind. Throws when the intent cannot be met. */
  readonly derive?: (intent: Intent, context: DeriveContext) => A | undefined;
  /** Returns the links to wire, the NIC's own among them. */
  readonly place: (one: A) => Placing<AttachedLink>;
  /** Returns the links that guestwire makes before libvirt looks for them. */
  readonly makes?: (one: A) => readonly AttachedLink[];
  /** Returns the names of links that its making would take, by what names them in the XML. */
  readonly names?: (one: P) => readonly string[];
  /** Returns what to ask the kernel; `wanted` is to be checked, `recorded` may only be given up. */
  readonly scope: (one: A, use: 'wanted' | 'recorded') => Partial<Scope>;
  /** Returns what to ask once the first answers are known. */
  readonly furtherScope?: (one: A, observation: Observation) => Partial<Scope>;
  /** Throws HostError when the host cannot give what it needs, ConflictError when something else holds it. */
  readonly check?: (one: A, surroundings: Surroundings) => void;
  readonly desired: (one: P, observation: Observation) => readonly NetObject[];
  readonly observed: (one: P, observation: Observation) => readonly NetObject[];
  /** Returns it with what only the host knows. */
  readonly resolve?: (one: P, observation: Observation) => P;
  /** Returns it without what attracts traffic. */
  readonly waiting?: (one: P) => P;
  /** Returns what a running guest's link is left as when guestwire gives it up. */
  readonly left?: (one: P) => readonly NetObject[];
  /** Returns whether a link without the recorded ifindex is the one that a killed run was making. */
  readonly isBeingMade?: (one: P & Recorded, facts: LinkFacts) => boolean;
  /** Returns every destination that the host routes to it. */
  readonly claims?: (one: A) => readonly Prefix[];
  /** Returns whether one of `claims` overlaps its own. */
  readonly holdsAny?: (one: A, claims: readonly Prefix[]) => boolean;
  /** Returns the protocol and the table of its routes. */
  readonly routing?: (one: A) => { readonly protocol: number; readonly table: string };
  /** Returns the links on which the host answers for its addresses. */
  readonly proxies?: (one: A) => readonly { readonly dev: string; readonly address: Address }[];
  readonly guard?: (one: A) => Guard;
  /** Absent: the network behind its bridge configures the guest. */
  readonly guestEnd?: (one: A) => GuestEnd;
  readonly dependsOn?: (one: A) => Dependence;
  /** Returns the bridge that its link belongs in, and whether that bridge must filter VLANs. */
  readonly joins?: (one: A) => { readonly bridge: string | undefined; readonly filters: boolean };
  readonly shown?: (one: A) => Shown;
  /** Returns it in words, as `derive` prints it. */
  readonly words?: (one: A) => string;
  /** Returns it with `name` for the links that libvirt has not named yet, for a plan. */
  readonly withPlaceholders?: (one: A, name: string) => A;
  /** Returns what the kernel will show of its link when libvirt has made it: sysctls by the path of their default. */
  readonly foreseen?: (one: P, observation: Observation) => Foreseen;
}

export interface Foreseen {
  /** The plan itself makes the link: until then it is not there. */
  readonly absent?: true;
  /** The bridge that libvirt puts the link into, where that is asked for. */
  readonly master?: string;
  readonly sysctls: readonly { readonly path: string; readonly source: string }[];
  readonly vlans: readonly VlanMember[] | undefined;
  /** Whether libvirt hands the link over up. */
  readonly up: boolean;
}

/** What guests share for the sake of one kind: the ledger in ledger.ts lists them. `R` is one record of the journal. */
export interface SharedKind<R = never> {
  /** Returns what of it is on the host for these guests' sake. Other guests are not read for it where that is dear. */
  readonly observed: (request: SharedRequest<R>, observation: Observation) => readonly NetObject[];
  /** Returns what is to be there, and the records while it is made and after. */
  readonly plan: (request: SharedRequest<R>, observation: Observation) => SharedPlan<R>;
}

/** What guests share and the kernel alone does not tell: the journal has a record of it. */
export interface RecordedKind<R> extends SharedKind<R> {
  /** Schema of the records. */
  readonly schema: z.ZodMiniType<readonly R[]>;
  /** Returns whether a run that was killed was about to make this link. */
  readonly isMaking?: (records: readonly R[], dev: string) => boolean;
  /** How to find what no guest needs any more; absent: it goes with the last guest. */
  readonly surplus?: Surplus<R>;
  /** Returns what the host may still have of a record when guestwire goes, in words. */
  readonly leftWords: (record: R) => string;
}

export interface SharedRequest<R = never> {
  /** The guest's links as they are to be; none when it is released. */
  readonly wanted: readonly WiredLink[];
  /** The guest's links, both as wired before and as wanted: shared objects are maintained on all of them. */
  readonly concerned: readonly WiredLink[];
  /** Links of other guests, as the journal has them; reading them costs something. */
  readonly others: () => readonly WiredLink[];
  readonly records: readonly R[];
  /** VIDs of a bridge that the host config says never to remove. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
}

export interface SharedPlan<R = never> {
  readonly desired: readonly NetObject[];
  readonly during: readonly R[];
  readonly after: readonly R[];
  readonly warnings?: readonly SharedWarning[];
  readonly presence?: readonly Presence[];
}

/** A fault that guestwire cannot repair: each run reports it until the host is changed. */
export interface SharedWarning {
  /** Links of the guests that it concerns. */
  readonly links: readonly string[];
  readonly text: string;
}

export interface Surplus<R> {
  /** Returns what to ask first, or nothing when every record is needed. */
  readonly scope: (records: readonly R[], wired: readonly WiredLink[]) => Partial<Scope> | undefined;
  /** Returns what to ask then. */
  readonly furtherScope: (records: readonly R[], wired: readonly WiredLink[], seen: Observation) => Partial<Scope>;
  readonly of: (
    request: Pick<SharedRequest<R>, 'records' | 'protectedOn'> & { readonly wired: readonly WiredLink[] },
    seen: Observation,
  ) => { readonly surplus: NetState; readonly records: readonly R[] };
}

/** Returns the values that are defined, each once, in order. */
export function distinct(values: readonly (string | undefined)[]): string[] {
  return [...new Set(values.filter((value): value is string => value !== undefined))];
}
