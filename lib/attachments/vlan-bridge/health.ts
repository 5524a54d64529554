/** What `doctor` finds about bridges of one VLAN that guestwire makes: whether their parents can carry the VLAN. */
import { bridgeNamed, type OneVlan } from '../../config/bridge-tables.js';
import type { HostConfig } from '../../config/host-config.js';
import type { Observation } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import { distinct } from '../attached.js';
import type { Finding, HostFacts, KindHealth, NamedBridges } from '../health-facts.js';
import { isOf, stray } from './check.js';

export const bridgeHealth = {
  makes: (config: HostConfig, bridge: string) => bridgeNamed(config, bridge)?.made !== undefined,
  scope: (bridges: NamedBridges) => {
    const made = bridgesMade(bridges);
    return { links: distinct(made.flatMap(({ name, parent }) => [name, parent])), subinterfaces: made.length > 0 };
  },
  furtherScope: (bridges: NamedBridges, { links, subinterfaces }: Observation) => {
    const made = bridgesMade(bridges);
    const masters = distinct(made.map(({ parent }) => links.get(parent)?.master));
    const subs = subinterfaces.filter((sub) => made.some((one) => isOf(one, sub))).map(({ ifname }) => ifname);
    return { links: distinct([...masters, ...subs]), bridges: masters };
  },
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

function bridgeFindings({ name, vid, parent }: Made, observation: Observation): Finding[] {
  const { links, subinterfaces } = observation;
  const why = `guests on bridge ${quote(name)} do not start`;
  const finding = (what: string, cure: string, more = ''): Finding =>
    ({ severity: 'error', what, why: `${why}${more}`, cure });
  const facts = links.get(parent);
  if (facts === undefined) return [finding(`parent ${quote(parent)} of bridge ${quote(name)} does not exist`, `parent = "..." in [bridge] of the host config, or ip link add ${parent} ...`)];
  const { up, master = '' } = facts;
  const sub = subinterfaces.find((one) => isOf({ vid, parent }, one) && one.master !== name);
  const lost = sub && stray(
    { ...sub, master: sub.master, facts: links.get(sub.ifname), hasBridge: links.has(name) }, name,
  );
  return [
    ...(up ? [] : [finding(`parent ${quote(parent)} of bridge ${quote(name)} is down`, `ip link set dev ${parent} up`)]),
    ...(links.get(master)?.bridge?.filtering === true
      ? [finding(`parent ${quote(parent)} of bridge ${quote(name)} is a port of ${quote(master)}, which filters VLANs`, viaMaster({ parent, master, vid }, observation))]
      : []),
    ...(lost === undefined ? [] : [finding(lost.what, lost.cure, lost.isCommand ? UNUSED : '')]),
  ];
}

const UNUSED = '; if the host does not use the sub-interface, you may remove it instead';

/** A VLAN that is there is not added again: that would clear its flags, and cut off the host that uses it. */
function viaMaster(
  { parent, master, vid }: { readonly parent: string; readonly master: string; readonly vid: number },
  { vlans }: Observation,
): string {
  const there = [master, parent].map((dev) => ({ dev, member: vlans.get(dev)?.find((one) => one.vid === vid) }));
  const untagged = there.find(({ member }) => member?.untagged === true);
  if (untagged !== undefined) return `another vid in [bridge] of the host config, or ports of ${quote(master)} for its guests (docs/vlan.md): VLAN ${vid} is untagged on ${quote(untagged.dev)}`;
  const lines = there
    .filter(({ member }) => member === undefined)
    .map(({ dev }) => `bridge vlan add dev ${dev} vid ${vid}${dev === master ? ' self' : ''}`);
  return `parent = "${master}" in the host config${lines.length === 0 ? '' : `, after '${lines.join(' && ')}'`}`;
}
