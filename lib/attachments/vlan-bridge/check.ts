/**
 * What a bridge of one VLAN needs of the host, checked before the first change: a parent that carries the VLAN, and
 * links of its names that are what they have to be. An existing sub-interface outside the bridge is refused, because it
 * may carry an address of the host.
 */
import { ConflictError, HostError } from '../../errors.js';
import type { LinkFacts, Observation, Subinterface } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import type { Surroundings } from '../attached.js';
import { hostAddresses } from '../own-network.js';
import { assertTracking } from '../vlan-port/check.js';
import { SHARED_ALIAS, subOf, type VlanBridge } from './vlan-bridge.js';

/** Throws HostError when the host cannot give the bridge, ConflictError when a link of its names is something else. */
export function assertVlanBridge(
  one: VlanBridge, { observation, isUnfinished }: Pick<Surroundings, 'observation' | 'isUnfinished'>,
): void {
  assertTracking(one.policy, observation);
  assertParent(one, observation);
  assertBridge(one, observation);
  assertSubinterface(one, { observation, isUnfinished });
  assertTap(one, observation);
}

function assertParent({ bridge, parent, vid }: VlanBridge, { links, vlans }: Observation): void {
  const label = `parent ${quote(parent)} of bridge ${quote(bridge)}`;
  const facts = links.get(parent);
  if (facts === undefined) throw new HostError(`${label} does not exist: create that link, or name another in the host config`);
  if (facts.ifname !== parent) {
    throw new HostError(`${label} is another name of link ${quote(facts.ifname)}: write that name in the host config`);
  }
  if (!facts.up) throw new HostError(`${label} is down, so VLAN '${vid}' cannot come up: run 'ip link set dev ${parent} up'`);
  const { master = '' } = facts;
  // The kernel gives the sub-interface its frames before the bridge sees them (net/core/dev.c, vlan_do_receive).
  if (links.get(master)?.bridge?.filtering === true) {
    throw new HostError(`parent ${quote(parent)} is a port of ${quote(master)}, which filters VLANs: set parent = "${master}", and add VLAN '${vid}' to ${quote(master)} (self) and ${quote(parent)}`);
  }
  if (facts.bridge?.filtering === true && vlans.get(parent)?.some((member) => member.vid === vid) !== true) {
    throw new HostError(`${label} filters VLANs and is not in VLAN '${vid}' itself: run 'bridge vlan add dev ${parent} vid ${vid} self'`);
  }
}

function assertBridge({ bridge, vid, parent }: VlanBridge, { links, subinterfaces }: Observation): void {
  const facts = links.get(bridge);
  if (facts === undefined) return;
  if (facts.bridge === undefined) {
    throw new ConflictError(`link ${quote(bridge)} exists and is not a bridge: remove it, or give the bridge another name in XML and host config`);
  }
  if (facts.bridge.filtering && facts.alias !== SHARED_ALIAS) {
    throw new HostError(`bridge ${quote(bridge)} filters VLANs, so it is not a bridge of one VLAN: remove 'vid' from its table in the host config, and use <gw:vlan>`);
  }
  const other = subinterfaces.find((sub) => sub.master === bridge && !isOf({ vid, parent }, sub));
  if (other === undefined) return;
  throw new HostError(`bridge ${quote(bridge)} has the port ${quote(other.ifname)} of VLAN '${other.vid}' of ${quote(other.parent)}: two VLANs would be one: stop the guests on it, or remove that port`);
}

function assertSubinterface(
  { bridge, vid, parent }: VlanBridge,
  { observation: { links, subinterfaces }, isUnfinished }: Pick<Surroundings, 'observation' | 'isUnfinished'>,
): void {
  const sub = subOf({ vid, parent });
  const there = subinterfaces.find((one) => isOf({ vid, parent }, one));
  if (there === undefined) {
    if (!links.has(sub)) return;
    throw new ConflictError(`link ${quote(sub)} exists and is not VLAN '${vid}' of ${quote(parent)}: remove or rename it: bridge ${quote(bridge)} needs a sub-interface of that name`);
  }
  const { ifname, master } = there;
  const alias = links.get(ifname)?.alias;
  if (master === bridge || (master === undefined && (alias === SHARED_ALIAS || (alias === undefined && isUnfinished(
    ifname,
  ))))) return;
  const { what, cure, isCommand } = stray(
    { ifname, master, facts: links.get(ifname), hasBridge: links.has(bridge) }, bridge,
  );
  throw new HostError(`${what}: ${isCommand ? `run '${cure}', or remove it` : cure}`);
}

interface Stray {
  readonly ifname: string;
  readonly master: string | undefined;
  /** undefined: its addresses are not known. */
  readonly facts: LinkFacts | undefined;
  readonly hasBridge: boolean;
}

/** Returns what is wrong with a sub-interface that is not a port of its bridge, and what cures it. */
export function stray(
  { ifname, master, facts, hasBridge }: Stray, bridge: string,
): { readonly what: string; readonly cure: string; readonly isCommand: boolean } {
  const elsewhere = master === undefined ? '' : `, but of ${quote(master)}`;
  const what = `sub-interface ${quote(ifname)} is not a port of bridge ${quote(bridge)}${elsewhere}`;
  if (master === undefined && facts !== undefined && hostAddresses(facts).length === 0) {
    const made = hasBridge ? '' : `ip link add name ${bridge} type bridge && ip link set dev ${bridge} up && `;
    return { what, isCommand: true, cure: `${made}ip link set dev ${ifname} master ${bridge}` };
  }
  const used = master === undefined ? "move the host's addresses and routes from it to a link outside bridges" : `free ${quote(master)} of what needs it there`;
  return { what, isCommand: false, cure: `first ${used}, then put it into ${quote(bridge)} or remove it` };
}

function assertTap({ link, bridge }: VlanBridge, { links }: Observation): void {
  if (link === undefined) return;
  const facts = links.get(link);
  if (facts === undefined) throw new HostError(`link ${quote(link)} does not exist: stop the guest and start it again`);
  // A link that lost its bridge comes back into it.
  if (facts.master === undefined || facts.master === bridge) return;
  throw new HostError(`link ${quote(link)} is not a port of bridge ${quote(bridge)}: its master is ${quote(facts.master)}: run 'ip link set dev ${link} master ${bridge}'`);
}

/** 802.1ad carries the same numbers, and is another tag. */
export function isOf({ vid, parent }: Pick<VlanBridge, 'vid' | 'parent'>, sub: Subinterface): boolean {
  return sub.parent === parent && sub.vid === vid && sub.protocol === '802.1Q';
}
