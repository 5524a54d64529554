/** What `doctor` finds about bridges of one VLAN that guestwire makes: whether their parents can carry the VLAN. */
import { bridgeNamed, type OneVlan } from '../../config/bridge-tables.js';
import type { HostConfig } from '../../config/host-config.js';
import type { Observation } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import { distinct } from '../attached.js';
import type { Finding, HostFacts, KindHealth, NamedBridges } from '../health-facts.js';
import { isOf } from './check.js';

export const bridgeHealth = {
  makes: (config: HostConfig, bridge: string) => bridgeNamed(config, bridge)?.made !== undefined,
  scope: (bridges: NamedBridges) => {
    const parents = distinct(bridgesMade(bridges).map(({ parent }) => parent));
    return { links: parents, subinterfaces: parents.length > 0 };
  },
  furtherScope: (_: NamedBridges, { links }: Observation) =>
    ({ links: distinct([...links.values()].map(({ master }) => master)) }),
  findings: (facts: NamedBridges & Pick<HostFacts, 'observation'>): Finding[] =>
    bridgesMade(facts).flatMap((bridge) => bridgeFindings(bridge, facts.observation)),
} satisfies KindHealth;

interface Made extends OneVlan {
  readonly name: string;
}

function bridgesMade({ config, names }: NamedBridges): Made[] {
  return names.flatMap((name) => {
    const made = bridgeNamed(config, name)?.made;
    return made === undefined ? [] : [{ name, ...made }];
  });
}

function bridgeFindings({ name, vid, parent }: Made, { links, subinterfaces }: Observation): Finding[] {
  const why = `guests on bridge ${quote(name)} do not start`;
  const finding = (what: string, cure: string): Finding => ({ severity: 'error', what, why, cure });
  const facts = links.get(parent);
  if (facts === undefined) return [finding(`parent ${quote(parent)} of bridge ${quote(name)} does not exist`, `parent = "..." in [bridge] of the host config, or ip link add ${parent} ...`)];
  const { up, master = '' } = facts;
  const stray = subinterfaces.find((sub) => isOf({ vid, parent }, sub) && sub.master !== name)?.ifname;
  return [
    ...(up ? [] : [finding(`parent ${quote(parent)} of bridge ${quote(name)} is down`, `ip link set dev ${parent} up`)]),
    ...(links.get(master)?.bridge?.filtering === true ? [finding(`parent ${quote(parent)} of bridge ${quote(name)} is a port of ${quote(master)}, which filters VLANs`, `bridge vlan add dev ${master} vid ${vid} self && bridge vlan add dev ${parent} vid ${vid}, and parent = "${master}" in the host config`)] : []),
    ...(stray === undefined ? [] : [finding(`sub-interface ${quote(stray)} is not a port of bridge ${quote(name)}`, `ip link set dev ${stray} master ${name} (its addresses stop working; move them first), or remove the sub-interface if the host does not use it`)]),
  ];
}
