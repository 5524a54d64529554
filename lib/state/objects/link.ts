/**
 * Links and their settings. `dev` is the host end: the object ends with it. `end` is the link that has the setting: the
 * guest end, or `dev` itself. `shared`: guests share the link, and it outlives each of them.
 */
import { type ObjectKind, onOff } from '../object-kind.js';
import { disableIpv6Path } from './sysctl.js';

export interface Veth {
  readonly kind: 'veth';
  readonly dev: string;
  readonly peer: string;
}

/** A veth pair that guestwire made. Equivalent to: `ip link add name DEV type veth peer name PEER`. */
export const veth: ObjectKind<Veth> = {
  key: ({ dev }) => `veth ${dev}`,
  phase: () => 'made-links',
  tool: () => 'ip',
  set: ({ dev, peer }) => `link add name ${dev} type veth peer name ${peer}`,
  remove: ({ dev }) => `link del dev ${dev}`,
  name: ({ peer }) => `veth pair with '${peer}'`,
  owner: 'link',
  made: true,
  leftover: true,
};

export interface Tap {
  readonly kind: 'tap';
  readonly dev: string;
  readonly multiQueue: boolean;
}

/** A tap that guestwire made. Equivalent to: `ip tuntap add dev DEV mode tap user 0`. */
export const tap: ObjectKind<Tap> = {
  key: ({ dev }) => `tap ${dev}`,
  phase: () => 'made-links',
  tool: () => 'ip',
  // With an owner, only root can open it; without one, every user of the host can (tun_not_capable).
  set: ({ dev, multiQueue }) => `tuntap add dev ${dev} mode tap user 0${multiQueue ? ' multi_queue' : ''}`,
  remove: ({ dev }) => `link del dev ${dev}`,
  name: ({ multiQueue }) => `tap${multiQueue ? ' multi_queue' : ''}`,
  owner: 'link',
  made: true,
  leftover: true,
};

export interface VlanLink {
  readonly kind: 'vlan-link';
  readonly dev: string;
  readonly parent: string;
  readonly vid: number;
}

/**
 * A sub-interface that guestwire makes and guests share. Equivalent to:
 * `ip link add link PARENT name DEV type vlan id VID`.
 */
export const vlanLink: ObjectKind<VlanLink> = {
  key: ({ dev }) => `vlan-link ${dev}`,
  phase: () => 'made-links',
  tool: () => 'ip',
  set: ({ dev, parent, vid }) => `link add link ${parent} name ${dev} type vlan id ${vid}`,
  remove: ({ dev }) => `link del dev ${dev}`,
  name: ({ dev, parent, vid }) => `sub-interface '${dev}' of VLAN ${vid} of '${parent}'`,
  namesItsLink: true,
  owner: 'shared',
};

export interface Mac {
  readonly kind: 'mac';
  readonly dev: string;
  readonly address: string;
}

/**
 * The MAC of a made bridge: one that is set is not that of a port. Equivalent to: `ip link set dev DEV address MAC`.
 */
export const mac: ObjectKind<Mac> = {
  key: ({ dev }) => `mac ${dev}`,
  phase: () => 'mtus',
  tool: () => 'ip',
  set: ({ dev, address }) => `link set dev ${dev} address ${address}`,
  name: ({ dev, address }) => `MAC ${address} of '${dev}'`,
  namesItsLink: true,
  owner: 'shared',
};

export interface Alias {
  readonly kind: 'alias';
  readonly dev: string;
  readonly end: string;
  readonly alias: string;
  readonly shared?: true;
}

/** The alias of a link. Equivalent to: `ip link set dev END alias ALIAS`. */
export const alias: ObjectKind<Alias> = {
  key: ({ end }) => `alias ${end}`,
  renamed,
  phase: () => 'aliases',
  tool: () => 'ip',
  set: ({ end, alias: text }) => `link set dev ${end} alias ${text === '' ? '""' : text}`,
  name: ({ end, alias: text }) => `alias '${text}' of '${end}'`,
  owner: 'link',
};

export interface Mtu {
  readonly kind: 'mtu';
  readonly dev: string;
  readonly end: string;
  readonly bytes: number;
  readonly shared?: true;
}

/** The MTU of a link. Equivalent to: `ip link set dev END mtu BYTES`. */
export const mtu: ObjectKind<Mtu> = {
  key: ({ end }) => `mtu ${end}`,
  renamed,
  phase: () => 'mtus',
  tool: () => 'ip',
  set: ({ end, bytes }) => `link set dev ${end} mtu ${bytes}`,
  name: ({ end, bytes }) => `mtu ${bytes} of '${end}'`,
  owner: 'link',
};

export interface Allmulticast {
  readonly kind: 'allmulticast';
  readonly dev: string;
  readonly on: boolean;
}

/** Whether a link receives all multicast. Equivalent to: `ip link set dev DEV allmulticast on`. */
export const allmulticast: ObjectKind<Allmulticast> = {
  key: ({ dev }) => `allmulticast ${dev}`,
  phase: () => 'links-up',
  tool: () => 'ip',
  set: ({ dev, on }) => `link set dev ${dev} allmulticast ${onOff(on)}`,
  name: ({ on }) => `allmulticast ${onOff(on)}`,
  owner: 'link',
};

export interface Ipv6 {
  readonly kind: 'ipv6';
  readonly dev: string;
  readonly end: string;
  readonly on: boolean;
  readonly shared?: true;
}

/** Whether a link has IPv6 at all. Equivalent to: `sysctl -w net.ipv6.conf.END.disable_ipv6=1`. */
export const ipv6: ObjectKind<Ipv6> = {
  key: ({ end }) => `ipv6 ${end}`,
  renamed,
  phase: () => 'link-settings',
  tool: () => 'sysctl',
  set: ({ end, on }) => `${disableIpv6Path(end)}=${on ? '0' : '1'}`,
  name: ({ end, on }) => `IPv6 ${onOff(on)} of '${end}'`,
  owner: 'link',
  guards: true,
};

export interface Link {
  readonly kind: 'link';
  readonly dev: string;
  readonly up: boolean;
  readonly shared?: true;
}

/** Whether a link is up. Equivalent to: `ip link set dev DEV up`. */
export const link: ObjectKind<Link> = {
  key: ({ dev }) => `link ${dev}`,
  phase: ({ up }) => (up ? 'links-up' : 'links-cut'),
  cuts: ({ after }) => after?.up === false,
  tool: () => 'ip',
  set: ({ dev, up }) => `link set dev ${dev} ${up ? 'up' : 'down'}`,
  name: ({ dev, up }) => `link '${dev}' ${up ? 'up' : 'down'}`,
  namesItsLink: true,
  drift: ({ dev, up }) => `link '${dev}' ${up ? 'is up and should be down' : 'is down and should be up'}`,
  owner: 'link',
};

export interface Txqlen {
  readonly kind: 'txqlen';
  readonly dev: string;
  readonly length: number;
}

/** The length of a link's transmit queue. Equivalent to: `ip link set dev DEV txqueuelen LENGTH`. */
export const txqlen: ObjectKind<Txqlen> = {
  key: ({ dev }) => `txqlen ${dev}`,
  phase: () => 'link-settings',
  tool: () => 'ip',
  set: ({ dev, length }) => `link set dev ${dev} txqueuelen ${length}`,
  name: ({ length }) => `txqueuelen ${length}`,
  owner: 'link',
  queue: ({ length }) => length,
};

export interface Master {
  readonly kind: 'master';
  readonly dev: string;
  readonly master: string;
}

/** The bridge or VRF that a link is in. Equivalent to: `ip link set dev DEV master MASTER`. */
export const master: ObjectKind<Master> = {
  key: ({ dev }) => `master ${dev}`,
  phase: () => 'masters',
  tool: () => 'ip',
  set: ({ dev, master: name }) => `link set dev ${dev} master ${name}`,
  remove: ({ dev }) => `link set dev ${dev} nomaster`,
  name: ({ master: name }) => `master ${name}`,
  owner: 'link',
  master: ({ master: name }) => name,
};

/** The setting may be on the guest end, which keeps its name. */
function renamed<One extends Alias | Mtu | Ipv6>(one: One, dev: string): One {
  return { ...one, dev, end: one.end === one.dev ? dev : one.end };
}
