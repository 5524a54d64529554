/**
 * What a NIC is trusted with and which peers its guest may reach: the words of the filters, without any nftables in
 * them.
 */
import type { Address, Prefix } from '../values/address.js';

/** What a NIC may do that no other may: every one of these is off unless the host allows it. */
export interface Trust {
  /** Frames from other MACs than its own. */
  readonly mac: boolean;
  /** Packets from, and neighbour discovery for, other addresses than its own. */
  readonly ip: boolean;
  /** Router advertisements and redirects. */
  readonly ra: boolean;
  /** Answers of a DHCPv4 or DHCPv6 server. */
  readonly dhcp: boolean;
  /** Spanning tree. */
  readonly stp: boolean;
  /** Frames with a priority tag (VID 0). */
  readonly vid0: boolean;
}

export type TrustWord = keyof Trust;

export const TRUST_WORDS: readonly TrustWord[] = ['mac', 'ip', 'ra', 'dhcp', 'stp', 'vid0'];

export const NO_TRUST: Trust = { mac: false, ip: false, ra: false, dhcp: false, stp: false, vid0: false };

/**
 * What decides where a NIC has no rule for a direction. `open`: all passes. `isolated`: to and from the world, no other
 * guest comes in, and of the host only what every guest needs. `closed`: as `isolated`, and nothing comes in.
 */
export type Profile = 'open' | 'isolated' | 'closed';

export const PROFILES: readonly Profile[] = ['open', 'isolated', 'closed'];

export type Direction = 'in' | 'out';

/** The peers that a rule names. */
export type Peer =
  /** A single address has its full length. */
  | { readonly kind: 'prefix'; readonly prefix: Prefix }
  | { readonly kind: 'guest' | 'group'; readonly name: string }
  /** This host itself; with direction `out` only. */
  | { readonly kind: 'host' };

export type Proto = 'tcp' | 'udp' | 'sctp' | 'icmp' | 'icmpv6';

export const PROTOS: readonly Proto[] = ['tcp', 'udp', 'sctp', 'icmp', 'icmpv6'];

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * A permission. A NIC that has one or more for a direction passes, in that direction, what one of them allows and
 * nothing else.
 */
export interface Allow {
  readonly direction: Direction;
  /** undefined: any. */
  readonly proto: Proto | undefined;
  /** Destination ports, sorted and apart; empty: any. With tcp, udp and sctp only. */
  readonly ports: readonly PortRange[];
  /** Senders of what comes in, receivers of what goes out; empty: any peer. */
  readonly peers: readonly Peer[];
  /** Where it is written, for `guestwire explain` alone: `<gw:allow> 2 in its metadata`. */
  readonly origin?: string | undefined;
}

/** The policy of one routed link or VLAN port. */
export interface Policy {
  readonly profile: Profile;
  /** Where the profile is written, as {@link Allow.origin}; absent: nowhere, it is the default. */
  readonly profileOrigin?: string | undefined;
  readonly allows: readonly Allow[];
  /** Name of the NIC's own guest, by which rules of others may name it. */
  readonly guest: string;
  readonly groups: readonly string[];
  /** What the host offers to this guest, and lets it reach whatever the profile. */
  readonly offers: { readonly dhcp: boolean; readonly dns: readonly Address[] };
}

/** Returns the word of a policy that needs connection tracking, for messages; undefined: none does. */
export function trackedBy(policy: Policy | undefined): string | undefined {
  const [first] = policy?.allows ?? [];
  if (first !== undefined) return first.origin ?? '<gw:allow>';
  return policy === undefined || policy.profile === 'open' ? undefined : `profile '${policy.profile}' (${policy.profileOrigin ?? 'the default'})`;
}
