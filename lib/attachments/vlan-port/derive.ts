/**
 * Intent to VLAN port: which bridge the NIC joins, which VLANs it gets, and whether the host permits them.
 */
import type { HostConfig } from '../../config/host-config.js';
import type { Nic } from '../../domain/domain.js';
import { DomainXmlError, locate, NotAllowedError, UnsupportedError } from '../../errors.js';
import { assertIfname } from '../../values/ifname.js';
import { quote } from '../../values/quote.js';
import { formatVids, type VlanMember } from '../../values/vlan.js';
import type { DeriveContext } from '../attached.js';
import {
  asksForFilters, declaredBy, guardedBy, nowhereError, portPolicyBy, type TrustPermit,
} from '../filter-intent.js';
import type { Intent } from '../sources.js';
import type { VlanPort } from './vlan-port.js';

/** Returns the port. It is the last kind that is asked: what no other kind takes has to be a VLAN port. */
export function deriveVlanPort(
  { nic, vlan, isolated, filter, isDeclared, table }: Intent, { config, domain }: DeriveContext,
): VlanPort {
  if (vlan === undefined) {
    if (isolated === undefined && asksForFilters(filter)) throw nowhereError(filter);
    throw new UnsupportedError('<port isolated> needs a VLAN: add the <vlan> of this port, or set isolated in the <interface> itself');
  }
  const bridge = namedBridge(nic);
  if (bridge !== undefined) {
    locate(DomainXmlError, 'bridge', () => { assertIfname(bridge); });
    assertAllowed(vlan, { bridge, allowed: config.bridges.get(bridge)?.allowed });
  }
  const uplinks = bridge === undefined ? [] : (config.bridges.get(bridge)?.uplinks ?? []);
  return {
    kind: 'vlan-port', nic: nic.index, mac: nic.mac, link: nic.target.dev, bridge, vlans: vlan, isolated, uplinks,
    ...guardedBy(filter, { config, permit: bridge === undefined ? undefined : permitOf(bridge, config) }),
    ...declaredBy(filter), policy: portPolicyBy(filter, { config, name: domain.name }),
    ...(isDeclared || table?.filter === 'all' ? {} : { unfiltered: true }),
    ...(isDeclared || table !== undefined ? {} : { lenient: true }),
  };
}

function permitOf(bridge: string, { bridges }: HostConfig): TrustPermit {
  return {
    place: `bridge ${quote(bridge)}`, table: `bridge.${bridge}`, words: bridges.get(bridge)?.trust ?? new Set(),
  };
}

function namedBridge(nic: Nic): string | undefined {
  switch (nic.joins.kind) {
    case 'bridge':
      return nic.joins.bridge;
    case 'network':
      return undefined;
    case 'openvswitch':
      throw new UnsupportedError('guestwire cannot wire an Open vSwitch port: put <vlan> into its <interface>, and libvirt gives it to Open vSwitch');
    case 'ethernet':
      throw new UnsupportedError("interface type 'ethernet' joins no bridge, so it cannot be in a VLAN: use type 'bridge', or make it a routed link");
    case 'direct':
    case 'none':
      throw new UnsupportedError(`interface type ${quote(nic.type)} has no tap on a Linux bridge, so it cannot be in a VLAN: use type 'bridge'`);
  }
}

function assertAllowed(
  vlan: readonly VlanMember[],
  { bridge, allowed }: { bridge: string; allowed: ReadonlySet<number> | undefined },
): void {
  if (allowed === undefined) return;
  const refused = vlan.map((member) => member.vid).filter((vid) => !allowed.has(vid));
  if (refused.length === 0) return;
  throw new NotAllowedError(`VLAN ${quote(formatVids(refused))} is not allowed on bridge ${quote(bridge)}: its 'allowed' in the host config has ${quote(formatVids([...allowed]))}`);
}
