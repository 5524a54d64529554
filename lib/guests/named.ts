/** Guests as a command line names them: by name, by UUID or, of one that runs, by id; and one sentence for who is none. */
import { parseDomain } from '../domain/domain.js';
import { type Guest, guestOf } from '../domain/guest.js';
import { CommandError, HostError } from '../errors.js';
import type { Connection } from '../libvirt/connection.js';
import { LibvirtError } from '../libvirt/errors.js';
import { type DomainRef, isUuid } from '../libvirt/refs.js';
import type { Exec } from '../system/exec.js';
import { quote } from '../values/quote.js';
import { askLibvirt, noSuchGuest } from './virsh.js';

interface Asking {
  readonly exec: Exec;
}

/**
 * Returns the guest that libvirt knows by this name, UUID or id. Throws HostError when it knows none, or one by this name and
 * another by this id, CommandError, DomainXmlError.
 */
export async function guestOfLibvirt(io: Asking, by: string): Promise<Guest> {
  // domuuid takes no UUID, and domname no name (virsh 9.0).
  const guest = guestOf(parseDomain(await askLibvirt(io, ['dumpxml', '--domain', by], 'reading the domain XML')));
  if (/^\d+$/.test(by) && guest.name !== by && await isOthersName(io, by)) {
    throw new HostError(`${quote(by)} is the name of one guest and the id of guest ${quote(guest.name)}: give a UUID`);
  }
  return guest;
}

/** virsh takes digits for an id before it takes them for a name; `domid` alone takes no id (9.0). */
async function isOthersName(io: Asking, id: string): Promise<boolean> {
  try {
    return (await askLibvirt(io, ['domid', '--domain', id], 'asking for the id')).trim() !== id;
  } catch (error) {
    if (error instanceof HostError) return false;
    throw error;
  }
}

/** Returns who of `known` has this name or UUID. Throws HostError when two have the name. */
export function guestAmong<T extends Guest>(known: readonly T[], by: string): T | undefined {
  const found = new Map(known.filter(({ name, uuid }) => name === by || uuid === by.toLowerCase()).map((one) => [one.uuid, one]));
  if (found.size > 1) throw new HostError(`guest ${quote(by)} is known by more than one UUID: ${[...found.keys()].join(', ')}: give one of them`);
  return [...found.values()][0];
}

/**
 * Returns who of `known` is meant; undefined: a guest that libvirt knows and that is none of them, or one of whom nobody can
 * tell, because libvirt does not answer. Throws HostError when there is no such guest.
 */
export async function guestMeant<T extends Guest>(io: Asking, known: readonly T[], by: string): Promise<T | undefined> {
  const found = guestAmong(known, by);
  if (found !== undefined) return found;
  try {
    const { uuid } = await guestOfLibvirt(io, by);
    return known.find((one) => one.uuid === uuid);
  } catch (error) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

/** Returns the domain of a connection by its name, UUID or id. Throws HostError when there is none, what `connection` throws. */
export async function domainNamed(connection: Connection, by: string): Promise<DomainRef> {
  for (const key of isUuid(by) ? [{ uuid: by }, { name: by }] : [{ name: by }]) {
    try {
      return await connection.lookupDomain(key);
    } catch (error) {
      if (!(error instanceof LibvirtError) || error.refusal.reason !== 'VIR_ERR_NO_DOMAIN') throw error;
    }
  }
  const running = /^\d+$/.test(by) ? await connection.listDomains({ state: 'active' }) : [];
  const found = running.find(({ id }) => id === Number(by));
  if (found === undefined) throw noSuchGuest(by);
  return found;
}
