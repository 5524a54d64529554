/** doctor and the bridges of one VLAN that guestwire makes: whether their parents can carry the VLAN. */
import { bridgeNamed, type OneVlan } from '../config/bridge-tables.js';
import type { HostConfig } from '../config/host-config.js';
import type { Kernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type LinkFacts, type Subinterface } from '../kernel/observation.js';
import { quote } from '../values/quote.js';

export interface MadeBridgeHealth extends OneVlan {
  readonly name: string;
  readonly state: 'there' | 'missing' | 'down';
  /** The VLAN-filtering bridge that the parent is a port of. */
  readonly within: string | undefined;
  /** A sub-interface of the VLAN outside the bridge. */
  readonly stray: string | undefined;
}

interface Found {
  readonly severity: 'error';
  readonly what: string;
  readonly why: string;
  readonly cure: string;
}

/** Returns the facts of the made bridges among those that the host config names, and those that guests use. */
export async function madeBridgesOf(
  kernel: Kernel, config: HostConfig, used: readonly string[],
): Promise<MadeBridgeHealth[]> {
  const bridges = [...new Set([...config.bridges.keys(), ...used])].flatMap((name) => {
    const made = bridgeNamed(config, name)?.made;
    return made === undefined ? [] : [{ name, ...made }];
  });
  if (bridges.length === 0) return [];
  const first = await kernel.observe({
    ...EMPTY_SCOPE, links: [...new Set(bridges.map(({ parent }) => parent))], subinterfaces: true,
  });
  const masters = [...new Set([...first.links.values()].flatMap(({ master }) => master ?? []))];
  const { links } = await kernel.observe({ ...EMPTY_SCOPE, links: masters });
  return bridges.map((bridge) => healthOf(bridge, {
    parent: first.links.get(bridge.parent), subinterfaces: first.subinterfaces,
    filters: (link) => links.get(link)?.bridge?.filtering === true,
  }));
}

interface Seen {
  readonly parent: LinkFacts | undefined;
  readonly subinterfaces: readonly Subinterface[];
  readonly filters: (link: string) => boolean;
}

function healthOf(
  bridge: OneVlan & { readonly name: string }, { parent, subinterfaces, filters }: Seen,
): MadeBridgeHealth {
  const { name, vid } = bridge;
  const sub = subinterfaces.find((one) => one.parent === bridge.parent && one.vid === vid && one.protocol === '802.1Q');
  return {
    ...bridge, state: parent === undefined ? 'missing' : parent.up ? 'there' : 'down',
    within: parent?.master !== undefined && filters(parent.master) ? parent.master : undefined,
    stray: sub === undefined || sub.master === name ? undefined : sub.ifname,
  };
}

/** Returns what keeps guests on these bridges from starting. */
export function madeBridgeIlls(bridges: readonly MadeBridgeHealth[]): Found[] {
  return bridges.flatMap(({ name, vid, parent, state, within, stray }): Found[] => {
    const why = `guests on bridge ${quote(name)} do not start`;
    const ill = (what: string, cure: string): Found => ({ severity: 'error', what, why, cure });
    if (state === 'missing') return [ill(`parent ${quote(parent)} of bridge ${quote(name)} does not exist`, `parent = "..." in [bridge] of the host config, or ip link add ${parent} ...`)];
    return [
      ...(state === 'down' ? [ill(`parent ${quote(parent)} of bridge ${quote(name)} is down`, `ip link set dev ${parent} up`)] : []),
      ...(within === undefined ? [] : [ill(`parent ${quote(parent)} of bridge ${quote(name)} is a port of ${quote(within)}, which filters VLANs`, `bridge vlan add dev ${within} vid ${vid} self && bridge vlan add dev ${parent} vid ${vid}, and parent = "${within}" in the host config`)]),
      ...(stray === undefined ? [] : [ill(`sub-interface ${quote(stray)} is not a port of bridge ${quote(name)}`, `ip link set dev ${stray} master ${name} (its addresses stop working; move them first), or remove the sub-interface if the host does not use it`)]),
    ];
  });
}
