/**
 * What must be true of the host before the first effect: the bridge exists and filters, the link is where the XML says,
 * the host forwards, and nobody else holds what the guest claims. Pure; each refusal names guest, NIC, cause and cure.
 */
import { nicLabel } from '../domain/guest.js';
import { about } from '../errors.js';
import type { Observation, Scope } from '../kernel/observation.js';
import { contains, hostPrefix, parseAddress } from '../values/address.js';
import { type Attachment, claimsOf, type Placed, probesOf } from './attachment.js';
import { assertMade, type GuestName } from './made-link/check.js';
import { assertRoutedLink, type Surroundings } from './routed-link/check.js';
import { lacksForwarding6 } from './routed-link/forwarding.js';
import { assertPort, assertUplinksCarry } from './vlan-port/check.js';

/**
 * Throws HostError when the host cannot give what an attachment needs, ConflictError when somebody else holds it.
 * Checks what is known: an attachment without a link yet is checked as far as its bridge and addresses go.
 */
export function preflight(
  guest: string,
  attachments: readonly Attachment[],
  { observation, holders, recorded, guestName = () => undefined }: Surroundings & { readonly recorded: readonly (Attachment | Placed)[]; readonly guestName?: GuestName },
): void {
  const own = [...attachments, ...recorded].filter((attachment) => attachment.kind === 'routed-link');
  for (const attachment of attachments) {
    const { nic, mac, link } = attachment;
    const where = nicLabel(guest, { index: nic, mac });
    about({ guest, nic, mac, link }, where, () => {
      if (attachment.kind === 'vlan-port') {
        assertPort(where, attachment, observation);
        assertUplinksCarry(where, attachment, observation);
      } else {
        assertMade(where, attachment, { observation, guestName });
        assertRoutedLink(where, attachment, { observation, holders, own });
      }
    });
  }
}

/**
 * Returns what is to be asked when `observation` is known, and costs more to know: next hops for claims in a network the
 * host itself is on (one that holds the whole of it holds the host's own address), or that hold the next hop on their own
 * way; and the routes of claims that lead to nowhere, which a lookup does not show.
 */
export function furtherScope(attachments: readonly Attachment[], observation: Observation): Pick<Scope, 'nextHops' | 'exact' | 'routers'> {
  const { links, lookups, nowhere } = observation;
  const claims = attachments.flatMap((attachment) => (attachment.kind === 'routed-link' ? claimsOf(attachment).map((claim) => ({ claim, protocol: String(attachment.protocol) })) : []));
  const isNear = ({ claim, protocol }: (typeof claims)[number]): boolean => probesOf(claim).some((probe) => {
    const route = lookups.get(probe);
    if (route === undefined || route.protocol === protocol) return false;
    return route.hops.length === 0 || route.hops.some((hop) => contains(claim, hostPrefix(parseAddress(hop))));
  });
  return {
    nextHops: claims.filter(isNear).map(({ claim }) => claim.text),
    routers: attachments.some((link) => link.kind === 'routed-link' && lacksForwarding6(link, observation)),
    exact: [...inVrfs(attachments, links), ...claims.filter(({ claim }) => probesOf(claim).some((probe) => nowhere.has(probe))).map(({ claim }) => ({ to: claim.text, table: 'all' }))],
  };
}

function inVrfs(attachments: readonly Attachment[], links: Observation['links']): Scope['exact'] {
  return attachments.flatMap((link) => {
    const table = link.kind === 'routed-link' && link.vrf !== undefined ? links.get(link.vrf)?.vrfTable : undefined;
    return table === undefined || link.kind !== 'routed-link' ? [] : claimsOf(link).map(({ text: to }) => ({ to, table }));
  });
}
