/**
 * A port of a bridge of one VLAN, as a value, and a guest's use of such a bridge. guestwire makes the bridge and the
 * sub-interface that carries the VLAN with the first guest, and removes them with the last. The use is a link of its
 * own beside the NIC's: it is there from `prepare` to `release`, longer than the tap, and by it guests count.
 */
import { type OneVlan, subinterfaceName } from '../../config/bridge-tables.js';
import type { Policy } from '../../intent/policy.js';
import type { Own } from '../../values/address.js';
import type { Attached, Recorded, WiredLink } from '../attached.js';

/** A port of a bridge on which all is one VLAN. */
export interface VlanBridge extends Attached {
  readonly kind: 'vlan-bridge';
  readonly bridge: string;
  readonly vid: number;
  /** The link that carries the VLAN: its sub-interface joins the bridge. */
  readonly parent: string;
  /** undefined: not declared, and then not guestwire's to set. */
  readonly isolated: boolean | undefined;
  /** What the guest declares as its own; of a family without any, sources are not checked. */
  readonly declared?: readonly Own[] | undefined;
  readonly policy: Policy;
}

export type PlacedVlanBridge = VlanBridge & { readonly link: string };

/** A guest's use of a bridge of one VLAN; `link` is the bridge. */
export type BridgeUse = Attached & {
  readonly kind: 'bridge-use';
  readonly link: string;
  readonly vid: number;
  readonly parent: string;
  /** The sub-interface, as guestwire calls it. */
  readonly sub: string;
};

/** The alias of the links that guestwire makes for guests together: it proves that they are guestwire's. */
export const SHARED_ALIAS = 'guestwire:vlan-bridge';

/** Returns the use of the bridge that a port makes. */
export function useOf({ nic, mac, bridge, vid, parent }: VlanBridge): BridgeUse {
  return { kind: 'bridge-use', nic, mac, link: bridge, vid, parent, sub: subOf({ vid, parent }) };
}

/** Returns the name that guestwire gives the sub-interface. */
export function subOf(one: OneVlan): string {
  return subinterfaceName(one);
}

/** Returns the uses of bridges among these links. */
export function usesIn(links: readonly WiredLink[]): (BridgeUse & Recorded)[] {
  return links.filter((one): one is BridgeUse & Recorded => one.kind === 'bridge-use');
}

/** Returns the ports of bridges of one VLAN among these links. */
export function bridgePortsIn(links: readonly WiredLink[]): (PlacedVlanBridge & Recorded)[] {
  return links.filter((one): one is PlacedVlanBridge & Recorded => one.kind === 'vlan-bridge');
}
