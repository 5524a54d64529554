/** A port of a VLAN-aware Linux bridge, as a value. */
import type { Policy } from '../../intent/policy.js';
import type { Own } from '../../values/address.js';
import type { VlanMember } from '../../values/vlan.js';
import type { Attached, Recorded, WiredLink } from '../attached.js';

/** A port of a VLAN-aware Linux bridge with exactly these VLANs. */
export interface VlanPort extends Attached {
  readonly kind: 'vlan-port';
  /** undefined while a libvirt network has not said which bridge it is (before `start`). */
  readonly bridge: string | undefined;
  readonly vlans: readonly VlanMember[];
  /** undefined: not declared, and then not guestwire's to set. */
  readonly isolated: boolean | undefined;
  /** Ports of the bridge towards the world, from the host config: they carry this port's VLANs, too. */
  readonly uplinks: readonly string[];
  /** What the guest declares as its own; of a family without any, sources are not checked. */
  readonly declared?: readonly Own[] | undefined;
  /** Absent in entries of releases without policies for VLAN ports: the port then has no policy. */
  readonly policy?: Policy | undefined;
  /** Only libvirt's own <vlan> or the host config's table of the bridge names its VLANs: it has no filter. */
  readonly unfiltered?: true | undefined;
}

export type PlacedPort = VlanPort & { readonly link: string; readonly bridge: string };

/** A port that is wired or was; names are reused, so only with this ifindex it is that port. */
export type WiredPort = PlacedPort & Recorded;

/** Returns the VLAN ports among these links. */
export function portsIn(links: readonly WiredLink[]): WiredPort[] {
  return links.filter((one): one is WiredPort => one.kind === 'vlan-port');
}
