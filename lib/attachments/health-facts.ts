/**
 * What `doctor` reads of the host, and what it asks of each kind: health.ts lists the kinds, and the hook never loads
 * them.
 */
import type { HostConfig } from '../config/host-config.js';
import type { DroppingChain } from '../kernel/host-chains.js';
import type { HostRule } from '../kernel/host-rules.js';
import type { Observation, Scope, Subinterface } from '../kernel/observation.js';
import type { Address } from '../values/address.js';

/** A fault of a host, and what cures it. */
export interface Finding {
  /** 'error': guests do not work, or are not apart; 'warning': they may not; 'note': to know. */
  readonly severity: 'error' | 'warning' | 'note';
  readonly what: string;
  readonly why: string;
  /** A command, or what is to be done. */
  readonly cure: string;
}

export interface BridgeHealth {
  readonly name: string;
  readonly filtering: boolean;
  readonly defaultPvid: number;
  /** undefined: iproute2 or the kernel does not say. */
  readonly learnsLinkLocal: boolean | undefined;
  readonly snoops: boolean;
  readonly queries: boolean;
  /** Ports towards the world that the host config names, with the VIDs each carries; undefined: it is not a port. */
  readonly uplinks: ReadonlyMap<string, ReadonlySet<number> | undefined>;
}

/** A NIC of a defined guest, as its XML and the host config have it. */
export interface DefinedNic {
  readonly guest: string;
  readonly mac: string | undefined;
  /** Its addresses on a link of its own; undefined: the host routes nothing to it. */
  readonly routed: readonly Address[] | undefined;
  readonly bridge: string | undefined;
  readonly vids: readonly number[];
  /** As nftables writes it: `vnet*` where libvirt gives the name. */
  readonly link: string;
  readonly running: boolean;
}

/** Bridges that the host config names or that guests use. */
export interface NamedBridges {
  readonly config: HostConfig;
  readonly names: readonly string[];
}

/** The host as the kinds judge it. */
export interface HostFacts extends NamedBridges {
  /** The answers to what the kinds ask. */
  readonly observation: Observation;
  /** Without the bridges that guestwire makes. */
  readonly bridges: readonly BridgeHealth[];
  readonly subinterfaces: readonly Subinterface[];
  readonly nics: readonly DefinedNic[];
  /** By path below /proc/sys; absent: this kernel does not have it. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Links with a default route from router advertisements, or that the host config names towards the world. */
  readonly uplinks: readonly string[];
  /** Chains of other programs that drop packets that no rule accepts. */
  readonly dropping: readonly DroppingChain[];
  /** The routing rules of all programs. */
  readonly rules: readonly HostRule[];
}

/** What `doctor` examines for the sake of one kind. */
export interface KindHealth {
  /** Returns whether guestwire makes the bridge: the other kinds do not judge it. Absent: the kind makes none. */
  readonly makes?: (config: HostConfig, bridge: string) => boolean;
  readonly scope?: (bridges: NamedBridges) => Partial<Scope>;
  /** Returns what to ask once the first answers are known. */
  readonly furtherScope?: (bridges: NamedBridges, observation: Observation) => Partial<Scope>;
  /** Returns the faults of the host that concern guests of this kind. */
  readonly findings: (facts: HostFacts) => readonly Finding[];
  /**
   * Returns what else of the host cuts such guests off, although all that guestwire makes is there: `check`
   * reports the errors among these, too. Absent: nothing.
   */
  readonly cuts?: (facts: HostFacts) => readonly Finding[];
}
