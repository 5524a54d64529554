/**
 * Guests as a command line names them: by name, by UUID or, for a running guest, by id; and one sentence for a guest
 * that does not exist.
 */
import { parseDomain } from '../domain/domain.js';
import { type Guest, guestOf } from '../domain/guest.js';
import { HostError } from '../errors.js';
import type { Connection } from '../libvirt/connection.js';
import { type DomainRef, isAnyCaseUuid } from '../libvirt/refs.js';
import { quote } from '../values/quote.js';
import { isLibvirts } from './ask-libvirt.js';
import { askLibvirt, noSuchGuest, unlessGone } from './inquiry.js';
import type { Io } from './io.js';

type Asking = Pick<Io, 'exec'>;

/**
 * Returns the guest that libvirt knows by this name, UUID or id. Throws HostError when it knows none, or one by this
 * name and another by this id, what a Connection throws, DomainXmlError.
 */
export async function guestOfLibvirt(io: Asking, by: string): Promise<Guest> {
  return askLibvirt(io, async (libvirt) =>
    guestOf(parseDomain(await libvirt.domainXml(await domainNamed(libvirt, by)))));
}

/** Returns the guest of `known` with this name or UUID. Throws HostError when two have the name. */
export function guestAmong<T extends Guest>(known: readonly T[], by: string): T | undefined {
  const found = new Map(known
    .filter(({ name, uuid }) => name === by || uuid === by.toLowerCase())
    .map((one) => [one.uuid, one]));
  if (found.size > 1) throw new HostError(`guest ${quote(by)} is known by more than one UUID: ${[...found.keys()].join(', ')}: give one of them`);
  return [...found.values()][0];
}

/**
 * Returns the guest of `known` that is meant. undefined: libvirt knows the guest and `known` does not have it, or
 * libvirt does not answer. Throws HostError when the guest does not exist.
 */
export async function guestMeant<T extends Guest>(io: Asking, known: readonly T[], by: string): Promise<T | undefined> {
  const found = guestAmong(known, by);
  if (found !== undefined) return found;
  try {
    const { uuid } = await guestOfLibvirt(io, by);
    return known.find((one) => one.uuid === uuid);
  } catch (error) {
    if (isLibvirts(error)) return undefined;
    throw error;
  }
}

/**
 * Returns the domain of a connection by its name, UUID or id. Throws HostError when it does not exist, or when two
 * domains have this name and this id; what `libvirt` throws.
 */
export async function domainNamed(libvirt: Connection, by: string): Promise<DomainRef> {
  const named = (isAnyCaseUuid(by) ? await unlessGone(() => libvirt.lookupDomain({ uuid: by }), undefined) : undefined)
    ?? await unlessGone(() => libvirt.lookupDomain({ name: by }), undefined);
  const numbered = /^\d+$/.test(by)
    ? (await libvirt.listDomains({ state: 'active' })).find(({ id }) => id === Number(by))
    : undefined;
  if (named !== undefined && numbered !== undefined && named.uuid !== numbered.uuid) {
    throw new HostError(`${quote(by)} is the name of one guest and the id of guest ${quote(numbered.name)}: give a UUID`);
  }
  const found = named ?? numbered;
  if (found === undefined) throw noSuchGuest(by);
  return found;
}
