/**
 * Intent to port of a bridge of one VLAN: which bridge the host config makes for the NIC, and what its words may ask
 * there.
 */
import { bridgeHeader, bridgeNamed } from '../../config/bridge-tables.js';
import { UnsupportedError } from '../../errors.js';
import { quote } from '../../values/quote.js';
import type { DeriveContext } from '../attached.js';
import { declaredBy, guardedBy, portPolicyBy, type TrustPermit } from '../filter-intent.js';
import type { Intent } from '../sources.js';
import type { VlanBridge } from './vlan-bridge.js';

/** Returns the port; undefined: the host config makes no bridge for this NIC. */
export function deriveVlanBridge(
  intent: Intent, { config, domain }: DeriveContext,
): VlanBridge | undefined {
  const { nic, made, isolated, filter, routed } = intent;
  if (made === undefined) return undefined;
  const { bridge, vid, parent } = made;
  if (routed !== undefined) {
    throw new UnsupportedError(`a routed link is asked for on bridge ${quote(bridge)}, which is a bridge of VLAN '${vid}': use interface type 'ethernet', or remove <routed>`);
  }
  const table = bridgeHeader(config, bridge).slice(1, -1);
  const permit: TrustPermit = {
    place: `bridge ${quote(bridge)}`, table, words: bridgeNamed(config, bridge)?.trust ?? new Set(),
  };
  return {
    kind: 'vlan-bridge', nic: nic.index, mac: nic.mac, link: nic.target.dev, bridge, vid, parent,
    // libvirt sets its own <port isolated> when it makes the port, and not when the port comes back into a new bridge.
    isolated: isolated ?? (nic.isolated === 'yes' ? true : undefined),
    ...guardedBy(filter, { config, permit }), ...declaredBy(filter),
    policy: portPolicyBy(filter, { config, name: domain.name }),
  };
}
