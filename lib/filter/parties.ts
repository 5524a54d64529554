/** Which guest of a host has an address: the ends of a flow. */
import type { Guard } from '../attachments/attached.js';
import { guardOf } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import type { Guest } from '../domain/guest.js';
import { type Address, contains, type Family } from '../values/address.js';

/** One end of a flow. */
export type End =
  /** The host itself, or whatever is neither it nor a guest of it. */
  | { readonly kind: 'host' | 'world'; readonly address: Address }
  | NicEnd;

/** A guest's NIC. Of a VLAN port only the addresses it declares are known. */
export interface NicEnd {
  readonly kind: 'nic';
  readonly address: Address;
  readonly guest: Guest;
  readonly wired: Wired;
  readonly guard: Guard;
}

export interface Parties {
  /** What the journal has of guests that run. */
  readonly guests: readonly { readonly guest: Guest; readonly wired: readonly Wired[] }[];
  /** Addresses of the host, canonical; the gateways of the guests need not be among them. */
  readonly host: ReadonlySet<string>;
  /** UUIDs of guests in quarantine. */
  readonly quarantined: ReadonlySet<string>;
}

/** Returns the NICs of guests, filtered or not; links beside them are none. */
export function nicsOf({ guests }: Pick<Parties, 'guests'>): Omit<NicEnd, 'address'>[] {
  return guests.flatMap(({ guest, wired }) => wired.flatMap((one) => {
    const guard = guardOf(one);
    return guard === undefined ? [] : [{ kind: 'nic' as const, guest, wired: one, guard }];
  }));
}

/** Returns whose an address is. Of prefixes that nest the longest tells, as it does for the host's routes. */
export function endOf(address: Address, parties: Parties): End {
  const nics = nicsOf(parties);
  const isGateway = ({ guard }: (typeof nics)[number]): boolean =>
    guard.gateways.some(({ text }) => text === address.text);
  if (parties.host.has(address.text) || nics.some(isGateway)) return { kind: 'host', address };
  const owners = nics.flatMap((nic) =>
    nic.guard.own.filter((own) => contains(own, address.prefix)).map((own) => ({ nic, length: own.length })));
  const [owner] = owners.sort((a, b) => b.length - a.length);
  return owner === undefined ? { kind: 'world', address } : { ...owner.nic, address };
}

/**
 * Returns the NIC by which a guest may send from an address that is nobody's: one that is trusted with others'
 * addresses, or a VLAN port that declares none of the family. undefined: none may, and what it sends is dropped as
 * forged.
 */
export function unboundNic(uuid: string, address: Address, parties: Parties): NicEnd | undefined {
  const { family } = address;
  const nic = nicsOf(parties).find(({ guest, wired, guard }) => guest.uuid === uuid &&
    (wired.trust?.ip === true || (guard.how === 'port' && !declares(guard, family))));
  return nic && { ...nic, address };
}

function declares({ own: all }: Guard, family: Family): boolean {
  return all.some((own) => own.family === family);
}
