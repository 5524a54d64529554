/** VLANs that guestwire put on uplinks of bridges on which no guest has a port any more. */
import { planUplinks, type UplinkRecord, type WiredPort } from '../attachments/vlan-port/uplinks.js';
import type { Wired } from '../attachments/wired.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import type { Host } from '../reconcile/host.js';
import type { NetState } from '../state/netstate.js';
import { keyOf } from '../state/objects.js';

/** Returns what the records say is guestwire's and no port needs, and the records without it. */
export async function surplusUplinks({ kernel, journal, protectedOn }: Host, wired: readonly Wired[]): Promise<{ readonly surplus: NetState; readonly records: readonly UplinkRecord[] }> {
  const records = journal.readUplinks();
  const ports = wired.filter((one): one is WiredPort & { kind: 'vlan-port' } => one.kind === 'vlan-port');
  const idle = records.filter(({ dev }) => !ports.some(({ uplinks }) => uplinks.includes(dev)));
  if (idle.length === 0) return { surplus: [], records };
  const first = await kernel.observe({ ...EMPTY_SCOPE, links: idle.map(({ dev }) => dev) });
  const bridges = [...new Set(idle.flatMap(({ dev }) => first.links.get(dev)?.master ?? []))];
  const observation = await kernel.observe({ ...EMPTY_SCOPE, links: [...idle.map(({ dev }) => dev), ...bridges, ...ports.map(({ link }) => link)], ports: idle.map(({ dev }) => dev), bridges });
  // A port of nobody in no VLAN: what its bridge's uplinks need is then what all others need.
  const concerned = idle.map(({ dev, ifindex }): WiredPort => (
    { kind: 'vlan-port', nic: 0, mac: undefined, link: dev, ifindex, bridge: observation.links.get(dev)?.master ?? '', vlans: [], isolated: undefined, uplinks: [dev] }));
  const plan = planUplinks({ wanted: [], concerned, others: () => ports, records, protectedOn }, observation);
  const kept = new Set(plan.after.flatMap(({ dev, vids }) => vids.map((vid) => keyOf({ kind: 'uplink-vlan', dev, vid }))));
  const surplus = plan.observed.filter((object) => !kept.has(keyOf(object)));
  return { surplus, records: plan.after };
}
