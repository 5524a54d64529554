/** What libvirt's guests ask for now: the XML of all that run, through one connection. */
import { deriveAttachments } from '../attachment.js';
import { loadConfig } from '../config.js';
import { parseDomain } from '../domain.js';
import { GuestwireError } from '../errors.js';
import { type Connection, connect, type DomainRef } from '../libvirt/index.js';
import type { Guest } from '../reconcile.js';
import type { Wishes } from '../survey.js';
import type { Io } from './command.js';

export interface Asked {
  readonly wishes: Wishes;
  /** UUIDs of guests that run. */
  readonly running: ReadonlySet<string>;
  /** Guests whose XML or config cannot be understood, and why. */
  readonly faults: readonly { readonly guest: Guest; readonly text: string }[];
}

/** Milliseconds for one question: a daemon that hangs must not hang a command that could do without it. */
const PATIENCE = 10_000;

/** Returns what libvirt says of the guests that run; a sentence: why nobody can say. */
export async function askGuests(io: Io): Promise<Asked | string> {
  let connection: Connection | undefined;
  try {
    connection = await connect(undefined, { readOnly: true, reconnect: false, keepalive: false, timeout: PATIENCE, exec: io.exec });
    return await read(connection, io);
  } catch (error) {
    if (!(error instanceof GuestwireError) || !error.code.startsWith('ERR_LIBVIRT')) throw error;
    return error.message;
  } finally {
    await connection?.close();
  }
}

async function read(connection: Connection, io: Io): Promise<Asked> {
  const config = loadConfig(io.settings.config);
  const domains = await connection.listDomains({ state: 'active' });
  const found = await Promise.all(domains.map(async (domain) => {
    const guest = { name: domain.name, uuid: domain.uuid };
    const xml = await xmlOf(connection, domain);
    if (xml === undefined) return undefined;
    try {
      return { guest, attachments: deriveAttachments(parseDomain(xml), config, io.warn) };
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      return { guest, text: error.message };
    }
  }));
  return {
    running: new Set(domains.map(({ uuid }) => uuid)),
    wishes: new Map(found.flatMap((one) => (one?.attachments === undefined ? [] : [[one.guest.uuid, one] as const]))),
    faults: found.flatMap((one) => (one?.text === undefined ? [] : [one])),
  };
}

/** A guest that ended since it was listed asks for nothing. */
async function xmlOf(connection: Connection, domain: DomainRef): Promise<string | undefined> {
  try {
    return await connection.domainXml(domain);
  } catch (error) {
    if ((error as { readonly refusal?: { readonly reason?: string } }).refusal?.reason === 'VIR_ERR_NO_DOMAIN') return undefined;
    throw error;
  }
}
