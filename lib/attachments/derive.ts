/**
 * Domain and host config to attachments. Pure, and the only judge of intent: every source is read in its order, per
 * element, and is checked against what the host permits. A NIC that no source mentions yields nothing, and its guest
 * starts whatever else its XML contains.
 */
import type { HostConfig } from '../config/host-config.js';
import type { Domain } from '../domain/domain.js';
import { aboutNic, guestLabel, nicLabel, nicPlace } from '../domain/guest.js';
import type { OnStray } from '../domain/metadata.js';
import { about, ConflictError, DomainXmlError, locate, UnsupportedError } from '../errors.js';
import { bare } from '../values/address.js';
import { assertIfname } from '../values/ifname.js';
import { quote } from '../values/quote.js';
import { claimsOf, madeOf, namesOf } from './attachment.js';
import { ALL_KINDS, type Attachment } from './kinds.js';
import { type Intent, domainIntents } from './sources.js';

/**
 * Returns the attachment of each NIC that a source mentions, in document order. Throws DomainXmlError,
 * UnsupportedError, NotAllowedError or ConflictError; the message names the guest and the NIC. With `onStray`, metadata
 * for a MAC without a NIC is allowed: a running guest may have lost the NIC, and its metadata stays.
 */
export function deriveAttachments(domain: Domain, config: HostConfig, onStray?: OnStray): Attachment[] {
  return about({ guest: domain.name }, guestLabel(domain.name), () => {
    const attachments = domainIntents(domain, config, onStray).map((intent) =>
      aboutNic(nicPlace(domain, intent.nic), () => attach(domain, config, intent)));
    assertClaimsApart(domain, attachments);
    assertNamesApart(domain, attachments);
    return attachments;
  });
}

function attach(domain: Domain, config: HostConfig, intent: Intent): Attachment {
  const { dev } = intent.nic.target;
  if (dev !== undefined) locate(DomainXmlError, 'target dev', () => { assertIfname(dev); });
  for (const kind of ALL_KINDS) {
    const attachment = kind.derive?.(intent, { domain, config });
    if (attachment !== undefined) return attachment as Attachment;
  }
  throw new UnsupportedError('no way to join the network fits the settings of this NIC: give it a <vlan> or a <routed>');
}

/** Two claims of one guest may nest (a /128 inside its own /64), but the same destination twice has two owners. */
function assertClaimsApart({ name }: Domain, attachments: readonly Attachment[]): void {
  const seen = new Map<string, Attachment>();
  for (const attachment of attachments) {
    for (const claim of claimsOf([attachment])) {
      const other = seen.get(claim.text);
      if (other !== undefined) {
        const { nic, mac } = attachment;
        throw new ConflictError(`${quote(bare(claim))} is listed twice, also on NIC ${other.nic}: list it once`)
          .placeAt({ nic, mac }, nicLabel(name, { index: nic, mac }));
      }
      seen.set(claim.text, attachment);
    }
  }
}

/** Throws ConflictError when two links of one guest would have one name. */
function assertNamesApart(domain: Domain, attachments: readonly Attachment[]): void {
  const targets = domain.nics.flatMap(({ index, target }) => (target.dev === undefined ? [] : [
    [target.dev, { nic: index, isTarget: true }] as const,
  ]));
  const taken = new Map<string, { readonly nic: number; readonly isTarget: boolean }>(targets);
  for (const made of madeOf(attachments)) {
    const { nic } = made;
    const mac = domain.nics[nic]?.mac;
    const where = nicLabel(domain.name, { index: nic, mac });
    const names = namesOf(made);
    if (new Set(names).size < names.length) {
      throw new ConflictError(`both ends of the veth pair have the name ${quote(names[0] ?? '')}: give the host end another name`)
        .placeAt({ nic, mac }, where);
    }
    for (const name of names) {
      const other = taken.get(name);
      // A tap that guestwire makes is the NIC's own target.
      const isItself = names.length === 1 && other?.isTarget === true && other.nic === made.nic;
      if (other !== undefined && !isItself) {
        throw new ConflictError(`two links of this guest have the name ${quote(name)}, the other is of NIC ${other.nic}: give each its own name`)
          .placeAt({ nic, mac }, where);
      }
      taken.set(name, { nic: made.nic, isTarget: false });
    }
  }
}
