/**
 * The lines that make a bridge filter VLANs, or that take the default VLAN from new ports: an operator may run them
 * over the network of the host, so they first give the host's own VLANs to the ports that the host uses.
 */
import type { Observation } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import type { VlanMember } from '../../values/vlan.js';
import { hostAddresses } from '../own-network.js';

type Seen = Pick<Observation, 'links' | 'members' | 'vlans' | 'subinterfaces'>;

export interface BridgeFault {
  readonly what: string;
  /** One line for a shell, or what is to be done. */
  readonly cure: string;
  readonly isCommand: boolean;
}

/**
 * Returns what is wrong with a bridge that does not filter, and what cures it. `uplinks` are those of the host config;
 * without any, each port that is not called as libvirt calls taps may be one.
 */
export function unfiltered(bridge: string, uplinks: readonly string[], seen: Seen): BridgeFault {
  const what = `bridge ${quote(bridge)} does not filter VLANs`;
  const ports = (seen.members.get(bridge) ?? []).filter((port) =>
    (uplinks.length > 0 ? uplinks.includes(port) : !port.startsWith('vnet')));
  const first = hostsVlans(bridge, ports, seen);
  if (first === undefined) {
    return { what, isCommand: false, cure: `first give ${quote(bridge)} itself (self) and its uplinks the VLANs of the host (docs/vlan.md), because filtering drops the rest, then turn it on` };
  }
  return { what, isCommand: true, cure: [...first, `ip link set dev ${bridge} type bridge vlan_filtering 1`].join(' && ') };
}

/** What else filtering does, as the end of a sentence. */
export const FILTERING_CUTS = 'its ports then drop tagged frames in VLANs that they do not have';

/** Returns the line that takes the default VLAN from new ports and leaves it to the ports that have it now. */
export function withoutDefault(
  bridge: string, vid: number, { members, vlans }: Pick<Seen, 'members' | 'vlans'>,
): string {
  const kept = [bridge, ...(members.get(bridge) ?? [])].filter((dev) =>
    vlans.get(dev)?.some((member) => member.vid === vid && member.pvid && member.untagged) === true);
  return [
    `ip link set dev ${bridge} type bridge vlan_default_pvid 0`,
    ...kept.map((dev) => addLine({ dev, bridge, vid, flags: ' pvid untagged' })),
  ].join(' && ');
}

/** Returns the lines that give the host's VLANs to the bridge and these ports; undefined: no such lines do it. */
function hostsVlans(bridge: string, ports: readonly string[], seen: Seen): string[] | undefined {
  const devs = [bridge, ...ports];
  const member = (dev: string, is: (one: VlanMember) => boolean): VlanMember | undefined =>
    seen.vlans.get(dev)?.find(is);
  const tagged = seen.subinterfaces
    .filter(({ parent, protocol }) => parent === bridge && protocol === seen.links.get(bridge)?.bridge?.protocol)
    .map(({ vid }) => vid);
  const natives = devs.map((dev) => ({ dev, native: member(dev, ({ pvid }) => pvid) }));
  const vids = new Set(natives.flatMap(({ native }) => (native === undefined ? [] : [native.vid])));
  const [vid = FALLBACK] = vids;
  const isUntagged = hostAddresses(seen.links.get(bridge)).length > 0;
  const clashes = isUntagged &&
    (vids.size > 1 || tagged.includes(vid) || natives.some(({ native }) => native?.untagged === false));
  if (clashes || devs.some((dev) => member(dev, (one) => one.untagged && tagged.includes(one.vid)))) return undefined;
  return [
    ...(isUntagged ? natives.filter(({ native }) => native === undefined) : [])
      .map(({ dev }) => addLine({ dev, bridge, vid, flags: ' pvid untagged' })),
    // To add a VLAN that is there would clear its flags.
    ...tagged.flatMap((each) => devs
      .filter((dev) => member(dev, (one) => one.vid === each) === undefined)
      .map((dev) => addLine({ dev, bridge, vid: each, flags: '' }))),
  ];
}

/** The VLAN of untagged frames where no port has any. */
const FALLBACK = 1;

interface Added {
  readonly dev: string;
  readonly bridge: string;
  readonly vid: number;
  readonly flags: string;
}

function addLine({ dev, bridge, vid, flags }: Added): string {
  return `bridge vlan add dev ${dev} vid ${vid}${flags}${dev === bridge ? ' self' : ''}`;
}
