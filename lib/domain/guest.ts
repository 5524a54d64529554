/** A guest as everything but its XML knows it. */
import { about, DomainXmlError, GuestwireError, type Place } from '../errors.js';
import { bugReport, quote } from '../values/quote.js';
import type { Domain, Nic } from './domain.js';

export interface Guest {
  readonly name: string;
  readonly uuid: string;
  /** libvirt's driver that runs it, as the scheme of a connection's URI names it; absent: 'qemu'. */
  readonly driver?: string | undefined;
}

/** No guest has this UUID (RFC 9562, 5.9), and nothing is ever written under it. */
export const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * Types of a domain that the driver 'qemu' runs (docs/schemas/domaincommon.rng of libvirt 9.0); others are named as
 * theirs.
 */
const OF_QEMU: readonly (string | undefined)[] = [undefined, 'qemu', 'kvm', 'hvf', 'kqemu'];

/** Returns the guest of a domain. Throws DomainXmlError when it has no UUID. */
export function guestOf({ name, uuid, type }: Pick<Domain, 'name' | 'uuid' | 'type'>): Guest {
  if (uuid === undefined) throw new DomainXmlError("the domain XML has no <uuid>: libvirt's own XML has one").placeAt({ guest: name }, guestLabel(name));
  return { name, uuid, ...(!OF_QEMU.includes(type) && { driver: type }) };
}

/**
 * Returns whether a libvirt connected to as `uri` ('qemu:///system') can know whether the guest runs: each knows its
 * driver's.
 */
export function isOfDriver({ driver = 'qemu' }: Guest, uri: string): boolean {
  return uri.split(/[+:]/, 1)[0] === driver;
}

/** Returns how messages name a guest: `guest 'web1'`. */
export function guestLabel(guest: string): string {
  return `guest ${quote(guest)}`;
}

/** Returns how messages name a NIC: `guest 'web1' NIC 1 (52:54:00:12:34:56)`. */
export function nicLabel(guest: string, nic: { readonly index: number; readonly mac: string | undefined }): string {
  return `guest ${quote(guest)} NIC ${nic.index}${nic.mac === undefined ? '' : ` (${nic.mac})`}`;
}

/** Where an error about a NIC is. */
type NicPlace = Place & { readonly guest: string; readonly nic: number };

/** Returns the place of a NIC of the domain. */
export function nicPlace({ name: guest }: Domain, { index: nic, mac, target }: Nic): NicPlace {
  return { guest, nic, mac, link: target.dev };
}

/** Returns what `act` returns; an error in it is about the NIC, and its message begins with the NIC. */
export function aboutNic<T>(place: NicPlace, act: () => T): T {
  return about(place, nicLabel(place.guest, { index: place.nic, mac: place.mac }), act);
}

/** Returns the sentence of an error that concerns a guest, with the guest at its start. Other errors are bugs. */
export function sentenceAbout(guest: string, error: unknown): string {
  const label = guestLabel(guest);
  return error instanceof GuestwireError ? error.placeAt({ guest }, label).message : `${label}: ${bugReport(error)}`;
}
