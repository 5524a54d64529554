/** The kind of a VLAN port. */
import * as z from 'zod/mini';
import { trackedBy } from '../../intent/policy.js';
import type { Scope } from '../../kernel/observation.js';
import { asPrefix } from '../../values/address.js';
import { accessPort, formatMembership } from '../../values/vlan.js';
import type { AttachmentKind, Guard } from '../attached.js';
import { attached, guarded, own, policy, recorded, word } from '../schema.js';
import { assertPort, assertUplinksCarry } from './check.js';
import { deriveVlanPort } from './derive.js';
import { desiredPort, observedPort } from './state.js';
import type { PlacedPort, VlanPort } from './vlan-port.js';

export const vlanPort: AttachmentKind<VlanPort, PlacedPort> = {
  isSatellite: false,
  staysUntilRelease: false,
  schema: z.object({
    kind: z.literal('vlan-port'), ...attached, bridge: word,
    vlans: z.array(z.object({ vid: z.number(), pvid: z.boolean(), untagged: z.boolean() })),
    isolated: z.optional(z.boolean()), uplinks: z.array(word), ...guarded, declared: z.optional(z.array(own)),
    policy: z.optional(policy), unfiltered: z.optional(z.literal(true)), ...recorded,
  }),
  derive: deriveVlanPort,
  place: (port) => {
    if (port.link === undefined) return { lacks: 'created no link for this NIC' };
    if (port.bridge === undefined) return { lacks: 'did not put this NIC into a Linux bridge' };
    return { links: [{ ...port, link: port.link }] };
  },
  scope,
  // What the host itself needs of the bridge: only a refusal tells it.
  furtherScope: ({ bridge }, { links }) => {
    const facts = links.get(bridge ?? '')?.bridge;
    return facts?.capable === true && !facts.filtering && bridge !== undefined
      ? { bridges: [bridge], subinterfaces: true }
      : {};
  },
  check: (port, { observation }) => {
    assertPort(port, observation);
    assertUplinksCarry(port, observation);
  },
  desired: desiredPort,
  observed: observedPort,
  guard,
  dependsOn: ({ bridge, uplinks, vlans }) => ({
    links: [],
    shared: [...(bridge === undefined ? [] : [bridge]), ...uplinks],
    carried: new Map(uplinks.map((dev) => [dev, vlans.map(({ vid }) => vid)])),
  }),
  joins: ({ bridge }) => ({ bridge, filters: true }),
  shown: ({ bridge, vlans, declared = [] }) => ({
    bridge, vlans, addresses: declared.map(({ text }) => text), routes: [], network: `${bridge ?? '?'}: ${formatMembership(vlans)}`,
  }),
  words: ({ bridge, vlans, isolated }) =>
    `VLAN port on ${bridge ?? 'the bridge of its network'}: ${formatMembership(vlans)}${isolated === true ? ', isolated' : ''}`,
  withPlaceholders: (port, name) => ({ ...port, link: port.link ?? name, bridge: port.bridge ?? 'BRIDGE' }),
  foreseen: ({ bridge }, { links }) => {
    const vid = links.get(bridge)?.bridge?.defaultPvid ?? 0;
    return { sysctls: [], vlans: vid > 0 ? accessPort(vid) : undefined, up: true };
  },
};

function scope({ link, bridge, uplinks, policy: words }: VlanPort, use: 'wanted' | 'recorded'): Partial<Scope> {
  const hasUplinks = uplinks.length > 0;
  return {
    links: [link, bridge, ...uplinks].filter((name) => name !== undefined),
    ports: [link, ...uplinks].filter((name) => name !== undefined),
    bridges: hasUplinks && bridge !== undefined ? [bridge] : [],
    subinterfaces: use === 'wanted' && hasUplinks,
    tracking: use === 'wanted' && trackedBy(words) !== undefined,
  };
}

function guard({ bridge, vlans, declared = [], policy: words, isolated, unfiltered }: VlanPort): Guard {
  const isAccess = vlans.length === 1 && vlans[0]?.untagged === true;
  return {
    how: 'port', filters: unfiltered !== true, own: declared.map(asPrefix), gateways: [],
    tagged: isAccess ? 'never' : 'members', policy: words,
    isolated: isolated === true, bridge, segments: vlans.map(({ vid }) => `${bridge ?? ''} vlan ${vid}`),
  };
}
