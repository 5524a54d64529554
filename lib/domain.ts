/**
 * Domain XML to `Domain`: what libvirt's XML says, as text, with nothing judged. A NIC that guestwire does not wire may
 * hold anything libvirt accepts, and its guest must start all the same, so values stay strings until a source of intent
 * speaks of the NIC (attachment.ts). Only this file and metadata.ts know libvirt's element names.
 */

/** One guest, as libvirt's XML of the moment describes it. */
export interface Domain {
  /** Driver: 'qemu', 'kvm', 'lxc', 'xen' and so on. */
  readonly type: string;
  readonly name: string;
  /** Lower case; absent in a hand-written XML that libvirt has not defined yet. */
  readonly uuid: string | undefined;
  /** In document order; `Nic.index` counts from 0. */
  readonly nics: readonly Nic[];
  /** guestwire's own element in `<metadata>`, unread: metadata.ts reads it when an attachment is derived. */
  readonly metadata: XmlElement | undefined;
}

/** One `<interface>`, live or inactive. Absent attributes are undefined, never ''. */
export interface Nic {
  readonly index: number;
  /** `@type` as written; which network it joins is in `joins`. */
  readonly type: string;
  /** The configured MAC (`mac@address`, never `currentAddress`), lower case. */
  readonly mac: string | undefined;
  readonly joins: NicJoin;
  readonly source: NicSource;
  /** `<target dev>`: the host-side link. libvirt names it from `start` on and strips it again at `stopped`. */
  readonly target: { readonly dev: string | undefined; readonly managed: string | undefined };
  readonly vlan: NativeVlan | undefined;
  /** `<port isolated>` as written. */
  readonly isolated: string | undefined;
  readonly virtualport: string | undefined;
  readonly mtu: string | undefined;
  readonly linkState: string | undefined;
  readonly filterref: Filterref | undefined;
  /** Host-side `<source><ip>` and `<source><route>`, which libvirt itself applies. */
  readonly hostIp: IpConfig;
  /** Guest-side `<ip>` and `<route>`. */
  readonly guestIp: IpConfig;
  readonly backend: Readonly<Record<string, string>> | undefined;
  readonly alias: string | undefined;
}

/**
 * What the NIC joins, by what its elements say: the live XML of a libvirt network prints as type 'network', 'bridge' or
 * 'direct' depending on the network's kind (libvirt 9.0 and 11.3), so `@type` alone would mislead.
 */
export type NicJoin =
  /** A tap on a Linux bridge. */
  | { readonly kind: 'bridge'; readonly bridge: string }
  /** A bridge that Open vSwitch runs: `<virtualport type='openvswitch'>`. */
  | { readonly kind: 'openvswitch'; readonly bridge: string | undefined }
  /** A libvirt network whose kind this XML does not tell yet (inactive XML, `prepare`). */
  | { readonly kind: 'network'; readonly network: string | undefined }
  /** A tap that joins nothing: type 'ethernet'. */
  | { readonly kind: 'ethernet' }
  /** macvtap or macvlan on `dev`. */
  | { readonly kind: 'direct'; readonly dev: string | undefined; readonly mode: string | undefined }
  /** No host link that could be wired: user, vhostuser, hostdev, vdpa, mcast, udp, server, client, internal, null, vds. */
  | { readonly kind: 'none' };

export interface NicSource {
  readonly bridge: string | undefined;
  readonly dev: string | undefined;
  readonly mode: string | undefined;
  readonly network: string | undefined;
  readonly portgroup: string | undefined;
  readonly portid: string | undefined;
}

/** libvirt's `<vlan>` or its twin in guestwire's metadata, as written. */
export interface NativeVlan {
  readonly trunk: string | undefined;
  readonly tags: readonly { readonly id: string | undefined; readonly nativeMode: string | undefined }[];
}

export interface Filterref {
  readonly filter: string;
  /** Parameters repeat: IP given twice is a list (libvirt formatnwfilter). */
  readonly parameters: readonly { readonly name: string; readonly value: string }[];
}

export interface IpConfig {
  readonly ips: readonly {
    readonly address: string | undefined;
    readonly prefix: string | undefined;
    readonly family: string | undefined;
    readonly peer: string | undefined;
  }[];
  readonly routes: readonly {
    readonly address: string | undefined;
    readonly prefix: string | undefined;
    readonly netmask: string | undefined;
    readonly family: string | undefined;
    readonly gateway: string | undefined;
    readonly metric: string | undefined;
  }[];
}
