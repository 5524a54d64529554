/** What `bridge` changes: VLANs of ports and of uplinks, and isolation. */
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
  set: (one, vids) => `vlan add dev ${one.dev} vid ${vids ?? one.vid}${flagsOf(one)}`,
  remove: ({ dev, vid }, vids) => `vlan del dev ${dev} vid ${vids ?? vid}`,
  series: {
    number: ({ vid }) => vid,
    shape: (one, { after }) => {
      // The kernel refuses a range with the PVID flag, even a range of one.
      if (after?.pvid === true) return `pvid ${one.vid}`;
      return `vlan ${one.dev} ${after === undefined ? 'del' : `add${flagsOf(one)}`}`;
    },
  },
  name: (one, vids) => `VLAN ${vids ?? one.vid}${flagsOf(one)}`,
  owner: 'link',
  grant: true,
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
};

/** VIDs have one width in keys, so that keys sort as VIDs do. */
function vlanKey({ kind, dev, vid }: Vlan | UplinkVlan): string {
  return `${kind} ${dev} ${String(vid).padStart(4, '0')}`;
}

function revokes({ before, after }: Change<Vlan>): boolean {
  if (before === undefined) return false;
  return after === undefined || (before.pvid && !after.pvid) || (before.untagged && !after.untagged);
}

/** Returns the flags of a VLAN as bridge(8) has them, with a space before each. */
function flagsOf({ pvid, untagged }: Pick<Vlan, 'pvid' | 'untagged'>): string {
  return `${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}`;
}
