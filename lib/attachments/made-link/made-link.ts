import type { Attached } from '../attached.js';

/**
 * Links that guestwire makes for a NIC before libvirt looks for them. One is a veth pair: libvirt puts a macvtap (QEMU)
 * or a macvlan (lxc) on its guest end. The other is a tap that libvirt must not make (`managed='no'`). Their names come
 * from the XML. They are made at `prepare` and removed at `release`.
 */

export type MadeLink = MadeVeth | MadeTap;

export interface MadeVeth {
  readonly kind: 'veth';
  /** The host end, which the routes lead to. */
  readonly dev: string;
  /** The guest end: the NIC's `<source dev>`. */
  readonly peer: string;
  /** Marks both ends as made for this guest. */
  readonly alias: string;
  /** Bytes, of both ends; undefined: as the kernel makes them. */
  readonly mtu: number | undefined;
  /**
   * macvtap stays in the host's namespace and must be told what the guest listens to; macvlan goes into the container.
   */
  readonly on: 'macvtap' | 'macvlan';
  /** The macvtap on the guest end; undefined before `start`, and for a macvlan. */
  readonly macvtap: string | undefined;
}

export interface MadeTap {
  readonly kind: 'tap';
  readonly dev: string;
  readonly alias: string;
  readonly mtu: number | undefined;
  /**
   * libvirt opens it more than once: a tap made otherwise would be refused, and so would be the reverse (libvirt 9.0).
   */
  readonly multiQueue: boolean;
}

/** Returns how the alias of a link begins that guestwire made; the guest's UUID follows. */
export const ALIAS_PREFIX = 'guestwire:';

/** Returns the names a made link has on this host. */
export function madeNames(made: MadeLink): string[] {
  return made.kind === 'veth' ? [made.dev, made.peer] : [made.dev];
}

/** The link that guestwire makes for a routed link, apart from it because it is there before and after it. */
export type PlacedMade = Attached & { readonly kind: 'made-link'; readonly link: string; readonly made: MadeLink };
/** The macvtap that libvirt puts on a veth pair's guest end: a link of its own, with its own ifindex and end. */
export type PlacedMacvtap = Attached & { readonly kind: 'macvtap'; readonly link: string };
