/** What libvirt's guests ask for now: the XML of all that run, through one connection. */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import { loadConfig } from '../config/file.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { type Guest, isOfDriver } from '../domain/guest.js';
import { GuestwireError } from '../errors.js';
import { createJournal } from '../journal/journal.js';
import { connect } from '../libvirt/connect.js';
import type { Connection, DomainXmlOptions } from '../libvirt/connection.js';
import { LibvirtArgumentError, LibvirtClosedError, LibvirtConnectionError } from '../libvirt/errors.js';
import type { DomainRef } from '../libvirt/refs.js';
import { parseUri } from '../libvirt/uri.js';
import type { Wish } from '../reconcile/request.js';
import type { Wishes } from '../survey/survey.js';
import { quote } from '../values/quote.js';
import type { Io } from './io.js';

export interface Asked {
  readonly wishes: Wishes;
  /** UUIDs of guests that run, and of those that another driver's libvirt runs: who was asked knows nothing of these. */
  readonly mayRun: ReadonlySet<string>;
  /** Guests whose XML or config cannot be understood, and why. */
  readonly faults: readonly { readonly guest: Guest; readonly text: string }[];
}

export type OnAsked = (uuid: string, domain: Domain, attachments: readonly Attachment[]) => void;

/** Milliseconds for one question: a daemon that hangs must not hang a command that could do without it. */
const PATIENCE = 10_000;

/** Returns what libvirt says of the guests that run; a sentence: why nobody can say. */
export async function askGuests(io: Io): Promise<Asked | string> {
  let connection: Connection | undefined;
  try {
    connection = await connect(undefined, { readOnly: true, reconnect: false, keepalive: false, timeout: PATIENCE, exec: io.exec });
    return await readGuests(connection, io);
  } catch (error) {
    if (!(error instanceof GuestwireError) || !error.code.startsWith('ERR_LIBVIRT')) throw error;
    return error.message;
  } finally {
    await connection?.close();
  }
}

/** Returns what the guests of a connection that run ask for; `onAsked` is told of each whose XML can be understood. */
export async function readGuests(connection: Connection, io: Pick<Io, 'settings' | 'warn'>, onAsked: OnAsked = () => undefined): Promise<Asked> {
  assertCallsHooks(connection.uri);
  const domains = await connection.listDomains({ state: 'active' });
  const found = await readDomains({ connection, io }, domains, onAsked);
  return {
    mayRun: new Set([...domains, ...strangersTo(connection, io)].map(({ uuid }) => uuid)),
    wishes: new Map(found.flatMap((one) => ('text' in one ? [] : [[one.guest.uuid, one] as const]))),
    faults: found.flatMap((one) => ('text' in one ? [one] : [])),
  };
}

type Found = Wish | Asked['faults'][number];

interface Reading extends Pick<DomainXmlOptions, 'from'> {
  readonly connection: Connection;
  readonly io: Pick<Io, 'settings' | 'warn'>;
}

/** Returns what each of these domains asks for, or why that cannot be understood; of one that is gone by now, nothing. */
export async function readDomains({ connection, io, ...options }: Reading, domains: readonly DomainRef[], onAsked: OnAsked = () => undefined): Promise<Found[]> {
  const config = loadConfig(io.settings.config);
  const found = await Promise.all(domains.map(async (ref): Promise<Found | undefined> => {
    const guest = { name: ref.name, uuid: ref.uuid };
    try {
      const xml = await xmlOf(connection, ref, options);
      if (xml === undefined) return undefined;
      const domain = parseDomain(xml);
      const attachments = deriveAttachments(domain, config, io.warn);
      onAsked(ref.uuid, domain, attachments);
      return { guest, attachments, nics: domain.nics };
    } catch (error) {
      // One guest that libvirt cannot speak of, because it hangs for instance, keeps nobody from asking for the others.
      if (!(error instanceof GuestwireError) || error instanceof LibvirtConnectionError || error instanceof LibvirtClosedError) throw error;
      return { guest, text: error.message };
    }
  }));
  return found.filter((one) => one !== undefined);
}

/** Returns the wired guests of other drivers than the connection's. */
function strangersTo({ uri }: Connection, { settings }: Pick<Io, 'settings'>): Guest[] {
  return createJournal(settings.stateDir, () => undefined).list().map(({ guest }) => guest).filter((guest) => !isOfDriver(guest, uri));
}

/**
 * Throws LibvirtArgumentError for a libvirt that calls no hook of this host, that of another host or a user's own: that a
 * guest does not run there says nothing of the guests that were wired here.
 */
export function assertCallsHooks(uri: string): void {
  const parsed = parseUri(uri);
  const isElsewhere = parsed.way === 'virsh' && !parsed.uri.includes(':///');
  if (!isElsewhere && !(parsed.way === 'socket' && parsed.session)) return;
  const whose = isElsewhere ? "another host's" : "a user's own";
  throw new LibvirtArgumentError(`${quote(uri)} is ${whose} libvirt, but guestwire wires guests of this host's libvirt: use 'qemu:///system'`);
}

/** A guest that ended since it was listed asks for nothing. */
async function xmlOf(connection: Connection, domain: DomainRef, options: DomainXmlOptions): Promise<string | undefined> {
  try {
    return await connection.domainXml(domain, options);
  } catch (error) {
    if ((error as { readonly refusal?: { readonly reason?: string } }).refusal?.reason === 'VIR_ERR_NO_DOMAIN') return undefined;
    throw error;
  }
}
