/** Bridges and their ports: VLANs of ports and of uplinks, isolation, and bridges that guestwire makes. */
import type { Change, ObjectKind } from '../object-kind.js';
import { onOff } from '../object-kind.js';

export interface Vlan {
  readonly kind: 'vlan';
  readonly dev: string;
  readonly vid: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
}

/** A VLAN of a port. Equivalent to: `bridge vlan add dev PORT vid VID pvid untagged`. */
export const vlan: ObjectKind<Vlan> = {
  key: vlanKey,
  phase: (_, change) => (revokes(change) ? 'vlans-revoked' : 'vlans-granted'),
  // Also at the end of a guest, the port leaves VLANs before anything else changes.
  unwires: () => false,
  tool: () => 'bridge',
  set: (one, vids) => `vlan add dev ${one.dev} vid ${vids ?? one.vid}${vlanFlags(one)}`,
  remove: ({ dev, vid }, vids) => `vlan del dev ${dev} vid ${vids ?? vid}`,
  series: {
    number: ({ vid }) => vid,
    shape: (one, { after }) => {
      // The kernel refuses a range with the PVID flag, even a range of one.
      if (after?.pvid === true) return `pvid ${one.vid}`;
      return `vlan ${one.dev} ${after === undefined ? 'del' : `add${vlanFlags(one)}`}`;
    },
  },
  name: (one, vids) => `VLAN ${vids ?? one.vid}${vlanFlags(one)}`,
  owner: 'link',
  grant: true,
  cuts: ({ after }) => after === undefined,
};

export interface UplinkVlan {
  readonly kind: 'uplink-vlan';
  readonly dev: string;
  readonly vid: number;
}

/** A VLAN that an uplink carries because a guest needs it. Equivalent to: `bridge vlan add dev UPLINK vid VID`. */
export const uplinkVlan: ObjectKind<UplinkVlan> = {
  key: vlanKey,
  phase: (_, { after }) => (after === undefined ? 'uplink-vlans-back' : 'uplink-vlans'),
  tool: () => 'bridge',
  set: ({ dev, vid }, vids) => `vlan add dev ${dev} vid ${vids ?? vid}`,
  remove: ({ dev, vid }, vids) => `vlan del dev ${dev} vid ${vids ?? vid}`,
  series: {
    number: ({ vid }) => vid,
    shape: ({ dev }, { after }) => `uplink-vlan ${dev} ${after === undefined ? 'del' : 'add'}`,
  },
  name: ({ vid }, vids) => `VLAN ${vids ?? vid}`,
  owner: 'shared',
  need: ({ dev, vid }) => `${dev} ${vid}`,
};

export interface Isolated {
  readonly kind: 'isolated';
  readonly dev: string;
  readonly on: boolean;
}

/** Whether isolated ports are kept from each other. Equivalent to: `bridge link set dev PORT isolated on`. */
export const isolated: ObjectKind<Isolated> = {
  key: ({ dev }) => `isolated ${dev}`,
  phase: ({ on }) => (on ? 'isolation-on' : 'isolation-off'),
  tool: () => 'bridge',
  set: ({ dev, on }) => `link set dev ${dev} isolated ${onOff(on)}`,
  name: ({ dev, on }) => `port '${dev}' ${on ? '' : 'not '}isolated`,
  namesItsLink: true,
  drift: ({ dev, on }) => `port '${dev}' ${on ? 'is isolated and should not be' : 'is not isolated and should be'}`,
  owner: 'link',
  guards: true,
};

export interface Bridge {
  readonly kind: 'bridge';
  readonly dev: string;
}

/** A bridge that guestwire makes and guests share. Equivalent to: `ip link add name DEV type bridge`. */
export const bridge: ObjectKind<Bridge> = {
  key: ({ dev }) => `bridge ${dev}`,
  phase: () => 'made-links',
  tool: () => 'ip',
  // A bridge keeps an MTU that was once changed, and takes that of its smallest port otherwise (br_change_mtu): the
  // first value is one that no link gets, so that the MTU which follows is a change.
  set: ({ dev }) => `link add name ${dev} mtu 68 type bridge`,
  remove: ({ dev }) => `link del dev ${dev}`,
  name: ({ dev }) => `bridge '${dev}'`,
  namesItsLink: true,
  owner: 'shared',
};

export interface BridgeSettings {
  readonly kind: 'bridge-settings';
  readonly dev: string;
  readonly filtering: boolean;
  readonly stp: boolean;
  /** Hundredths of a second. */
  readonly forwardDelay: number;
}

/** How a made bridge forwards. Equivalent to: `ip link set dev DEV type bridge stp_state 0 forward_delay 0`. */
export const bridgeSettings: ObjectKind<BridgeSettings> = {
  key: ({ dev }) => `bridge-settings ${dev}`,
  phase: () => 'mtus',
  tool: () => 'ip',
  set: (one) => `link set dev ${one.dev} type bridge ${forwardingWords(one)}`,
  // A kernel without VLAN filtering refuses the word even where it changes nothing (Linux 6.18).
  replace: (before, one) =>
    `link set dev ${one.dev} type bridge ${before.filtering === one.filtering ? '' : `vlan_filtering ${Number(one.filtering)} `}${forwardingWords(one)}`,
  name: ({ dev, filtering, stp, forwardDelay }) =>
    `bridge '${dev}' with VLAN filtering ${onOff(filtering)}, STP ${onOff(stp)} and forward delay ${forwardDelay / 100} s`,
  namesItsLink: true,
  owner: 'shared',
};

export interface Port {
  readonly kind: 'port';
  readonly dev: string;
  readonly bridge: string;
  /** Guests share the port: it is the sub-interface of their bridge. */
  readonly shared?: true;
}

/** The bridge that a link is a port of. Equivalent to: `ip link set dev DEV master BRIDGE`. */
export const port: ObjectKind<Port> = {
  key: ({ dev }) => `port ${dev}`,
  phase: (one, { after }) => (after === undefined && one.shared === undefined ? 'links-cut' : 'ports'),
  unwires: ({ shared }, { after }) => after === undefined && shared === true,
  tool: () => 'ip',
  set: ({ dev, bridge: name }) => `link set dev ${dev} master ${name}`,
  remove: ({ dev }) => `link set dev ${dev} nomaster`,
  name: ({ dev, bridge: name }) => `port '${dev}' of bridge '${name}'`,
  namesItsLink: true,
  owner: 'link',
  grant: true,
  cuts: ({ before, after }) => after === undefined && before?.shared === undefined,
  master: ({ bridge: name }) => name,
};

/** VIDs have one width in keys, so that keys sort as VIDs do. */
function vlanKey({ kind, dev, vid }: Vlan | UplinkVlan): string {
  return `${kind} ${dev} ${String(vid).padStart(4, '0')}`;
}

function revokes({ before, after }: Change<Vlan>): boolean {
  if (before === undefined) return false;
  return after === undefined || (before.pvid && !after.pvid) || (before.untagged && !after.untagged);
}

function forwardingWords({ stp, forwardDelay }: BridgeSettings): string {
  return `stp_state ${Number(stp)} forward_delay ${forwardDelay}`;
}

/** Returns the flags of a VLAN as bridge(8) has them, with a space before each. */
function vlanFlags({ pvid, untagged }: Pick<Vlan, 'pvid' | 'untagged'>): string {
  return `${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}`;
}
