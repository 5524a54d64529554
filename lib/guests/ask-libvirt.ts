/** What libvirt's guests ask for now: the XML of all that run, through one connection. */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { type Guest, isOfDriver } from '../domain/guest.js';
import { GuestwireError } from '../errors.js';
import { createJournal } from '../journal/journal.js';
import type { Connection, DomainXmlOptions } from '../libvirt/connection.js';
import { LibvirtArgumentError, LibvirtClosedError, LibvirtConnectionError } from '../libvirt/errors.js';
import type { DomainRef } from '../libvirt/refs.js';
import { parseUri } from '../libvirt/uri.js';
import type { RunningGuest } from '../reconcile/request.js';
import type { RunningGuests } from '../survey/survey.js';
import { quote } from '../values/quote.js';
import { askLibvirt, unlessGone } from './inquiry.js';
import type { Io } from './io.js';

/** libvirt's answer about all guests. */
export interface Answer {
  readonly running: RunningGuests;
  /** UUIDs of guests that run, and of those of another driver: this libvirt knows nothing of them. */
  readonly mayRun: ReadonlySet<string>;
  /** Guests with XML or config that cannot be understood, and why. */
  readonly faults: readonly { readonly guest: Guest; readonly error: GuestwireError }[];
}

export type OnAsked = (uuid: string, domain: Domain, attachments: readonly Attachment[]) => void;

/** Returns libvirt's answer about the running guests; a sentence: why libvirt does not answer. */
export async function askGuests(io: Io): Promise<Answer | string> {
  try {
    return await askLibvirt(io, (libvirt) => readGuests(libvirt, io));
  } catch (error) {
    if (!isLibvirts(error)) throw error;
    return error.message;
  }
}

/** Returns whether libvirt did not answer, or refused to. */
export function isLibvirts(error: unknown): error is GuestwireError {
  return error instanceof GuestwireError && error.code.startsWith('ERR_LIBVIRT');
}

/**
 * Returns what the running guests of a connection ask for; `onAsked` gets each guest with XML that can be understood.
 */
export async function readGuests(
  connection: Connection, io: Pick<Io, 'settings' | 'config' | 'warn'>, onAsked: OnAsked = () => undefined,
): Promise<Answer> {
  assertCallsHooks(connection.uri);
  const domains = await connection.listDomains({ state: 'active' });
  const found = await readDomains({ connection, io }, domains, onAsked);
  return {
    mayRun: new Set([...domains, ...strangersTo(connection, io)].map(({ uuid }) => uuid)),
    running: new Map(found.flatMap((one) => ('error' in one ? [] : [[one.guest.uuid, one] as const]))),
    faults: found.flatMap((one) => ('error' in one ? [one] : [])),
  };
}

/** Returns the running guests that ask for wiring and are not among `known`; none when libvirt does not answer. */
export async function askBeside(io: Io, known: ReadonlySet<string>): Promise<RunningGuest[]> {
  try {
    return await askLibvirt(io, async (connection) => {
      assertCallsHooks(connection.uri);
      const domains = (await connection.listDomains({ state: 'active' })).filter(({ uuid }) => !known.has(uuid));
      const found = await readDomains({ connection, io: { ...io, warn: () => undefined } }, domains);
      return found.flatMap((one) => ('error' in one || one.attachments.length === 0 ? [] : [one]));
    });
  } catch (error) {
    if (!isLibvirts(error)) throw error;
    return [];
  }
}

type Found = RunningGuest | Answer['faults'][number];

interface Reading extends Pick<DomainXmlOptions, 'from'> {
  readonly connection: Connection;
  readonly io: Pick<Io, 'settings' | 'config' | 'warn'>;
}

/**
 * Returns what each of these domains asks for, or why that cannot be understood. A domain that has gone is left out.
 */
export async function readDomains(
  { connection, io, ...options }: Reading, domains: readonly DomainRef[], onAsked: OnAsked = () => undefined,
): Promise<Found[]> {
  const config = io.config.read();
  const found = await Promise.all(domains.map(async (ref): Promise<Found | undefined> => {
    const guest = { name: ref.name, uuid: ref.uuid };
    try {
      // A guest that ended since it was listed asks for nothing.
      const xml = await unlessGone(() => connection.domainXml(ref, options), undefined);
      if (xml === undefined) return undefined;
      const domain = parseDomain(xml);
      const attachments = deriveAttachments(domain, config, io.warn);
      onAsked(ref.uuid, domain, attachments);
      return { guest, attachments, nics: domain.nics };
    } catch (error) {
      // One guest without an answer from libvirt, because it hangs for instance, does not stop the questions about the
      // others.
      if (
        !(error instanceof GuestwireError) ||
        error instanceof LibvirtConnectionError ||
        error instanceof LibvirtClosedError
      ) {
        throw error;
      }
      return { guest, error };
    }
  }));
  return found.filter((one) => one !== undefined);
}

/** Returns the wired guests of other drivers than the connection's. */
function strangersTo({ uri }: Connection, { settings }: Pick<Io, 'settings'>): Guest[] {
  return createJournal(settings.stateDir, () => undefined)
    .list()
    .map(({ guest }) => guest)
    .filter((guest) => !isOfDriver(guest, uri));
}

/**
 * Throws LibvirtArgumentError for a libvirt that calls no hook of this host, that of another host or a user's own: that
 * a guest does not run there says nothing of the guests that were wired here.
 */
export function assertCallsHooks(uri: string): void {
  const parsed = parseUri(uri);
  const isElsewhere = parsed.way === 'virsh' && !parsed.uri.includes(':///');
  if (!isElsewhere && !(parsed.way === 'socket' && parsed.session)) return;
  const whose = isElsewhere ? "another host's" : "a user's own";
  throw new LibvirtArgumentError(`${quote(uri)} is ${whose} libvirt, but guestwire wires guests of this host's libvirt: use 'qemu:///system'`);
}
