/** The records of two kinds: a port of a bridge of one VLAN, and a guest's use of that bridge. */
import * as z from 'zod/mini';
import { trackedBy } from '../../intent/policy.js';
import type { Scope } from '../../kernel/observation.js';
import { disableIpv6Path } from '../../state/objects/sysctl.js';
import { asPrefix } from '../../values/address.js';
import { accessPort, formatMembership } from '../../values/vlan.js';
import { type AttachmentKind, distinct } from '../attached.js';
import { IPV6_PROBE } from '../made-link/state.js';
import { attached, guarded, own, policy, recorded, word } from '../schema.js';
import { assertVlanBridge } from './check.js';
import { deriveVlanBridge } from './derive.js';
import { desiredBridgePort, observedBridgePort } from './state.js';
import { type BridgeUse, type PlacedVlanBridge, useOf, type VlanBridge } from './vlan-bridge.js';

export const vlanBridge: AttachmentKind<VlanBridge, PlacedVlanBridge> = {
  isSatellite: false,
  staysUntilRelease: false,
  schema: z.object({
    kind: z.literal('vlan-bridge'), ...attached, bridge: word, vid: z.number(), parent: word,
    isolated: z.optional(z.boolean()), ...guarded, declared: z.optional(z.array(own)), policy, ...recorded,
  }),
  derive: deriveVlanBridge,
  place: (one) => (one.link === undefined ? { lacks: 'created no link for this NIC' } : {
    links: [useOf(one), { ...one, link: one.link } satisfies PlacedVlanBridge],
  }),
  makes: (one) => [useOf(one)],
  scope: (one, use) => ({
    ...bridgeUse.scope(useOf(one), use), links: distinct([one.link, ...bridgeLinks(useOf(one))]),
    tracking: use === 'wanted' && trackedBy(one.policy) !== undefined,
  }),
  // What the parent is a port of is known only when the parent is.
  furtherScope: ({ parent }, { links }) => {
    const facts = links.get(parent);
    return { links: distinct([facts?.master]), bridges: facts?.bridge?.filtering === true ? [parent] : [] };
  },
  check: assertVlanBridge,
  desired: desiredBridgePort,
  observed: observedBridgePort,
  // Outside its bridge the tap is a link to the host itself, which no filter of bridges sees.
  left: ({ link }) => [{ kind: 'link', dev: link, up: false }],
  guard: ({ bridge, declared = [], policy: words, isolated }) => ({
    how: 'port', filters: true, own: declared.map(asPrefix), gateways: [], tagged: 'never', policy: words,
    isolated: isolated === true, bridge,
    segments: [bridge],
  }),
  dependsOn: (one) => ({ links: [], shared: bridgeLinks(useOf(one)), carried: new Map() }),
  shown: ({ bridge, vid, declared = [] }) => ({
    bridge, vlans: accessPort(vid), addresses: declared.map(({ text }) => text), routes: [], network: `${bridge}: ${formatMembership(accessPort(vid))}`,
  }),
  words: ({ bridge, vid, parent, isolated }) => `port of bridge ${bridge}, VLAN ${vid} of ${parent}${isolated === true ? ', isolated' : ''}`,
  withPlaceholders: (one, name) => ({ ...one, link: one.link ?? name }),
  foreseen: ({ bridge }) => ({ sysctls: [], vlans: undefined, up: true, master: bridge }),
};

export const bridgeUse: AttachmentKind<BridgeUse> = {
  isSatellite: true,
  staysUntilRelease: true,
  schema: z.object({
    kind: z.literal('bridge-use'), ...attached, vid: z.number(), parent: word, sub: word, ...guarded, ...recorded,
  }),
  place: (one) => ({ links: [one] }),
  // Guests share the names.
  names: () => [],
  scope,
  dependsOn: (one) => ({ links: [], shared: bridgeLinks(one), carried: new Map() }),
  // What it is for is planned in bridges.ts: guests share it.
  desired: () => [],
  observed: () => [],
  // Its ifindex is known only after it is made.
  foreseen: () => ({ sysctls: [], vlans: undefined, up: true, absent: true }),
  isBeingMade: (one, facts) => one.ifindex === 0 && facts.bridge !== undefined,
};

function scope(one: BridgeUse): Partial<Scope> {
  return {
    links: bridgeLinks(one), subinterfaces: true, joined: [one.link],
    sysctls: [IPV6_PROBE, disableIpv6Path(one.link), disableIpv6Path(one.sub)],
  };
}

function bridgeLinks({ link, sub, parent }: BridgeUse): string[] {
  return [link, sub, parent];
}
