/** The kinds of the links that guestwire makes: the link itself, and the macvtap on one. */
import * as z from 'zod/mini';
import { disableIpv6Path } from '../../state/objects/sysctl.js';
import type { AttachmentKind } from '../attached.js';
import { attached, guarded, recorded, word } from '../schema.js';
import { type MadeLink, madeNames, type PlacedMacvtap, type PlacedMade } from './made-link.js';
import { desiredMacvtap, desiredMade, IPV6_PROBE, isHalfMade, observedMacvtap, observedMade } from './state.js';

const mtu = z.optional(z.number());

/** Schema of a made link in the journal. */
export const madeSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('veth'), dev: word, peer: word, alias: word, mtu, on: z.literal(['macvtap', 'macvlan']),
    macvtap: z.optional(word),
  }),
  z.object({ kind: z.literal('tap'), dev: word, alias: word, mtu, multiQueue: z.boolean() }),
]);

export const madeLink: AttachmentKind<PlacedMade> = {
  isSatellite: true,
  staysUntilRelease: true,
  schema: z.object({ kind: z.literal('made-link'), ...attached, made: madeSchema, ...guarded, ...recorded }),
  place: (one) => ({ links: [one] }),
  names: (one) => madeNames(one.made),
  scope: ({ link, made: one }) => ({
    links: [link, ...madeNames(one), ...macvtaps(one)],
    sysctls: [
      ...(one.kind === 'veth' ? [IPV6_PROBE, disableIpv6Path(one.peer)] : []), ...macvtaps(one).map(disableIpv6Path),
    ],
  }),
  desired: desiredMade,
  observed: observedMade,
  // An ifindex is known only after the link is made.
  isBeingMade: (one, facts) => one.ifindex === 0 && isHalfMade(one, facts),
  foreseen: () => ({ sysctls: [], vlans: undefined, up: false }),
};

export const macvtap: AttachmentKind<PlacedMacvtap> = {
  isSatellite: true,
  staysUntilRelease: false,
  schema: z.object({ kind: z.literal('macvtap'), ...attached, ...guarded, ...recorded }),
  place: (one) => ({ links: [one] }),
  scope: ({ link }) => ({ links: [link], sysctls: [disableIpv6Path(link)] }),
  desired: desiredMacvtap,
  observed: observedMacvtap,
};

function macvtaps(one: MadeLink): string[] {
  return one.kind === 'veth' && one.macvtap !== undefined ? [one.macvtap] : [];
}
