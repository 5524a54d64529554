/**
 * Domain and host config to attachments. Pure, and the only judge of intent: every source is read in its order, per
 * element, and is checked against what the host permits. A NIC that no source mentions yields nothing, and its guest
 * starts whatever else its XML contains.
 */
import type { HostConfig } from '../config/host-config.js';
import type { Domain } from '../domain/domain.js';
import { guestLabel, nicLabel } from '../domain/guest.js';
import type { OnStray } from '../domain/metadata.js';
import { about, ConflictError, DomainXmlError, locate, UnsupportedError } from '../errors.js';
import { bare } from '../values/address.js';
import { assertIfname } from '../values/ifname.js';
import { quote } from '../values/quote.js';
import { type Attachment, claimsOf, madeOf } from './attachment.js';
import { guardedBy, policyBy, type TrustPermit } from './filter-intent.js';
import { routedLink } from './routed-link/derive.js';
import { assertNamesApart } from './routed-link/link.js';
import { type Intent, wishesOf } from './sources.js';
import { vlanPort } from './vlan-port/derive.js';

/**
 * Returns the attachment of each NIC that a source speaks of, in document order. Throws DomainXmlError, UnsupportedError,
 * NotAllowedError or ConflictError; the message names the guest and the NIC. With `onStray` a MAC that no NIC has is none
 * of these: of a running guest a NIC may have been detached while its metadata stays.
 */
export function deriveAttachments(domain: Domain, config: HostConfig, onStray?: OnStray): Attachment[] {
  return about({ guest: domain.name }, guestLabel(domain.name), () => {
    const attachments = wishesOf(domain, config, onStray).map((intent) => {
      const { index: nic, mac, target } = intent.nic;
      return about({ guest: domain.name, nic, mac, link: target.dev }, nicLabel(domain.name, intent.nic), () => attach(domain, config, intent));
    });
    assertClaimsApart(domain, attachments);
    assertNamesApart(domain, madeOf(attachments));
    return attachments;
  });
}

function attach(domain: Domain, config: HostConfig, intent: Intent): Attachment {
  const { nic } = intent;
  const where = nicLabel(domain.name, nic);
  const { dev } = nic.target;
  if (dev !== undefined) locate(DomainXmlError, `${where}: target dev`, () => { assertIfname(dev); });
  if (intent.routed !== undefined) {
    if (intent.vlan !== undefined || intent.isolated !== undefined) {
      throw new UnsupportedError(`${where}: both a VLAN or port setting and a routed link are asked for: keep one of them`);
    }
    const link = routedLink(where, nic, { wish: intent.routed, config, domain });
    const permit: TrustPermit = { place: 'routed links', table: 'routed', words: config.routed.trust };
    return { ...link, ...guardedBy(where, intent.filter, { config, permit }), policy: policyBy(where, intent.filter, { config, name: domain.name }) };
  }
  return vlanPort(where, intent, { config, domain });
}

/** Two claims of one guest may nest (a /128 inside its own /64), but the same destination twice has two owners. */
function assertClaimsApart(domain: Domain, attachments: readonly Attachment[]): void {
  const seen = new Map<string, Attachment>();
  for (const attachment of attachments) {
    if (attachment.kind !== 'routed-link') continue;
    for (const claim of claimsOf(attachment)) {
      const other = seen.get(claim.text);
      if (other !== undefined) {
        const where = nicLabel(domain.name, { index: attachment.nic, mac: attachment.mac });
        throw new ConflictError(`${where}: ${quote(bare(claim))} is listed twice, also on NIC ${other.nic}: list it once`);
      }
      seen.set(claim.text, attachment);
    }
  }
}
