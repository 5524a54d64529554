/**
 * One running guest made to agree with its XML, or released when it has ended: what `guestwire reconcile` does once and the
 * agent for every event. libvirt is asked before the lock is taken and after it is given back: it may be waiting for this
 * guest's hook, which waits for the lock.
 */
import { announce } from '../announce.js';
import { type Attachment, deriveAttachments } from '../attachment.js';
import { loadConfig } from '../config.js';
import { type Domain, parseDomain } from '../domain.js';
import { DomainXmlError, HostError } from '../errors.js';
import { createJournal, type Journal } from '../journal.js';
import type { Plan } from '../plan.js';
import { quote } from '../quote.js';
import { type Guest, type Host, release, releaseRunning, wire, type WireRequest } from '../reconcile.js';
import { rejoin } from '../rejoin.js';
import { serveGuest } from '../serving.js';
import type { Io } from './command.js';

/** Gives `act` the host, and the exec that it shares with whoever else runs under this lock. */
export type UnderLock = (concerned: Concerned, act: (host: Host, io: Pick<Io, 'exec'>) => Promise<void>) => Promise<number>;

export interface Concerned {
  readonly guest: Guest;
  readonly journal: Journal;
}

/** What libvirt answers about one guest. */
export interface Inquiry {
  readonly life: () => Promise<Life>;
  /** undefined: it does not run. */
  readonly id: () => Promise<string | undefined>;
  readonly xml: () => Promise<string>;
}

/** 'coming': its memory is still elsewhere; `shown` is libvirt's word for that. */
export type Life = { readonly kind: 'here' } | { readonly kind: 'gone' } | { readonly kind: 'coming'; readonly shown: string };

export interface GuestWork {
  readonly io: Io;
  readonly inquiry: Inquiry;
  /** Runs `act` under the host's lock and returns how many changes it made. */
  readonly underLock: UnderLock;
  /** Told what the XML asks for, before anything is done for it, and also when that then fails. */
  readonly onAsked?: (domain: Domain, attachments: readonly Attachment[]) => void;
}

export interface Done {
  readonly guest: Guest;
  readonly changes: number;
  /** What the guest's XML asks for. */
  readonly asks: 'something' | 'nothing';
}

/** Thrown when the guest was started, stopped or migrated between libvirt's answer and the lock; trying again helps. */
export class OvertakenError extends HostError {
  override readonly retryable = true;
}

/** What libvirt calls a guest whose memory is still elsewhere (`virsh domstate --reason`, 9.0 and 11.3). */
const ON_ITS_WAY = /^(migrating|starting up|post-copy.*)$/;

/** Returns what a state and the reason of a pause say about where the guest's memory is. */
export function lifeOf(state: string, reason: string | undefined): Life {
  if (state === 'paused' && reason !== undefined && ON_ITS_WAY.test(reason)) return { kind: 'coming', shown: `${state} (${reason})` };
  return /^(shut off|shutoff|crashed|no ?state)$/.test(state) ? { kind: 'gone' } : { kind: 'here' };
}

/** Wires a guest that runs here. Throws OvertakenError when it is not any more the one that was asked for. */
export async function wireGuest(work: GuestWork): Promise<Done> {
  const { io, inquiry } = work;
  const journal = journalOf(io);
  const xml = await inquiry.xml();
  const domain = parseDomain(xml);
  const guest = guestOf(domain);
  // Whoever starts or ends the guest from here on leaves another stamp; whoever did so before, another id.
  const stamp = stampOf(journal, guest);
  const id = await inquiry.id();
  if (id === undefined || id !== idIn(xml)) throw new OvertakenError(`guest ${quote(guest.name)} ended or was started again meanwhile`);
  const config = loadConfig(io.settings.config);
  const attachments = deriveAttachments(domain, config, io.warn);
  work.onAsked?.(domain, attachments);
  const asks = attachments.length === 0 ? 'nothing' : 'something';
  if (asks === 'nothing' && stamp === undefined) return { guest, changes: 0, asks };
  const plans: Plan[] = [];
  const changes = await reconciled(work, { guest, journal }, async (host) => {
    if (stampOf(journal, guest) !== stamp) throw new OvertakenError(`guest ${quote(guest.name)} was started or ended meanwhile`);
    if (asks === 'nothing') await releaseRunning(host, guest.uuid);
    else plans.push(await wireRejoined(host, domain, { guest, attachments, fresh: false, incoming: false }));
  });
  await assertSame(work, { guest, journal, id });
  for (const plan of config.routed.announce ? plans : []) {
    await announce(io.exec, { info: io.print, warn: io.warn }, { guest: guest.name, plan, fresh: false });
  }
  return { guest, changes, asks };
}

/** To look for ports without a bridge each time would be one more program, at a tenth of the cost of all the rest. */
async function wireRejoined(host: Host, domain: Domain, request: WireRequest): Promise<Plan> {
  try {
    return await wire(host, request);
  } catch (error) {
    if (!(error instanceof HostError) || !await rejoin(host, domain, request.attachments)) throw error;
    return wire(host, request);
  }
}

/**
 * Releases what is left of a guest that does not run. `seen`: the stamp of its entry before libvirt was asked; when it is
 * another by now the guest has been started since. Returns how many changes were made.
 */
export async function releaseGuest(work: Omit<GuestWork, 'inquiry'>, guest: Guest, seen: string | undefined): Promise<number> {
  const journal = journalOf(work.io);
  return reconciled(work, { guest, journal }, async (host) => {
    if (stampOf(journal, guest) !== seen) throw new OvertakenError(`guest ${quote(guest.name)} was started meanwhile`);
    await release(host, guest.uuid);
  });
}

/** Returns what tells one run of a guest from the next, as far as guestwire wired them; undefined: it is not wired. */
export function stampOf(journal: Pick<Journal, 'read'>, { uuid }: Pick<Guest, 'uuid'>): string | undefined {
  return journal.read(uuid)?.since;
}

export function journalOf(io: Io): Journal {
  return createJournal(io.settings.stateDir, io.warn);
}

export function guestOf({ name, uuid }: { readonly name: string; readonly uuid: string | undefined }): Guest {
  if (uuid === undefined) throw new DomainXmlError(`guest ${quote(name)}: the domain XML has no <uuid>: libvirt's own XML has one`);
  return { name, uuid };
}

/** What was wired for a guest that ended meanwhile would stay; of one that was started again its hook has seen to it. */
async function assertSame(work: GuestWork, { guest, journal, id }: { readonly guest: Guest; readonly journal: Journal; readonly id: string }): Promise<void> {
  const now = await work.inquiry.id();
  if (now === id) return;
  if (now !== undefined) throw new OvertakenError(`guest ${quote(guest.name)} was started again meanwhile`);
  await reconciled(work, { guest, journal }, (host) => release(host, guest.uuid));
  throw new OvertakenError(`guest ${quote(guest.name)} ended meanwhile: what was wired for it is released`);
}

function idIn(xml: string): string | undefined {
  return /<domain\b[^>]*?\sid=['"](\d+)['"]/.exec(xml)?.[1];
}

/** Returns how many changes were made. */
async function reconciled({ io, underLock }: Omit<GuestWork, 'inquiry'>, { guest, journal }: Concerned, act: (host: Host) => Promise<void>): Promise<number> {
  return underLock({ guest, journal }, async (host, { exec }) => {
    await act(host);
    await serveGuest({ journal, exec, log: { info: host.log, warn: io.warn }, settings: io.settings }, { uuid: guest.uuid, ended: false });
  });
}
