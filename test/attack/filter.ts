/** The filter of lib/ as nft text, for one NIC of a host to attack: what the hook would load for it. */
import type { Wired } from '../../lib/attachments/kinds.js';
import { tableLines } from '../../lib/filter/nft-tables.js';
import { nicFilter } from '../../lib/filter/nic-filter.js';
import { nicLines } from '../../lib/state/nft.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';
import type { HostileNic, Topology } from './host.js';

/** Returns nft lines that let this NIC send as itself only. The tables are made anew. */
export function filterFor(topology: Topology, nic: HostileNic): string {
  const families = topology === 'bridge' ? ['bridge'] as const : ['netdev', 'inet'] as const;
  const wired = topology === 'bridge' ? portOf(nic) : linkOf(nic);
  return families.flatMap((family) => {
    const filter = nicFilter(wired, family);
    return [
      `add table ${family} guestwire`, `delete table ${family} guestwire`, ...tableLines(family),
      ...(filter === undefined ? [] : nicLines(family, filter, wired)),
    ];
  }).map((line) => `${line}\n`).join('');
}

function portOf({ dev, ifindex, mac, addresses, tags }: HostileNic): Wired {
  const untagged = { vid: 1, pvid: true, untagged: true };
  return wiredOf({
    kind: 'vlan-port', nic: 0, mac, link: dev, ifindex,
    bridge: 'br0', isolated: undefined, uplinks: [], declared: addresses,
    vlans: [untagged, ...tags.map((vid) => ({ vid, pvid: false, untagged: false }))],
  });
}

function linkOf({ dev, ifindex, mac, addresses }: HostileNic): Wired {
  return wiredOf({
    kind: 'routed-link', nic: 0, mac, link: dev, ifindex,
    addresses, routes: [], gateways: ['169.254.0.1', 'fe80::1'], table: 'main', protocol: 117,
    // Whom it may meet is another matter.
    policy: { ...POLICY, profile: 'open' },
  });
}
