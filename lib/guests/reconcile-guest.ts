/**
 * One running guest made to agree with its XML, or released when it has ended: what `guestwire reconcile` does once and the
 * agent for every event. libvirt is asked before the lock is taken and after it is given back: it may be waiting for this
 * guest's hook, which waits for the lock.
 */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import { loadConfig } from '../config/file.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { type Guest, guestOf } from '../domain/guest.js';
import { GuestwireError, HostError } from '../errors.js';
import { createJournal, type Journal } from '../journal/journal.js';
import { announce } from '../lan/announce.js';
import type { Host } from '../reconcile/host.js';
import type { Plan } from '../reconcile/plan.js';
import { refilter, release, releaseRunning, wire } from '../reconcile/reconcile.js';
import { rejoin } from '../reconcile/rejoin.js';
import type { Wish } from '../reconcile/request.js';
import { serveGuest } from '../serve/serve.js';
import { quote } from '../values/quote.js';
import type { Io } from './io.js';

/** What happens under the host's lock. */
export interface UnderLock {
  readonly run: (concerned: Concerned, act: (host: Host) => Promise<void>) => Promise<void>;
  /** Does what {@link wireNow} does, for this guest alone or together with others that are due. */
  readonly wire: (concerned: Concerned, wiring: Wiring) => Promise<Part>;
}

export interface Concerned {
  readonly guest: Guest;
  readonly journal: Journal;
}

export interface Wiring extends Omit<Wish, 'guest'> {
  /** Of the guest's entry before libvirt was asked. */
  readonly stamp: string | undefined;
}

/** What of a plan tells whom to announce; undefined: what was wired was released, because the guest asks for nothing any more. */
export type Part = Pick<Plan, 'operations' | 'presence'> | undefined;

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
  readonly underLock: UnderLock;
  /** Told what the XML asks for, before anything is done for it, and also when that then fails. */
  readonly onAsked?: (domain: Domain, attachments: readonly Attachment[]) => void;
}

export interface Done {
  readonly guest: Guest;
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
  if (asks === 'nothing' && stamp === undefined) return { guest, asks };
  const plan = await work.underLock.wire({ guest, journal }, { nics: domain.nics, attachments, stamp });
  await assertSame(work, { guest, journal, id, stamp: stampOf(journal, guest) });
  if (plan !== undefined && config.routed.announce) await announce(io.exec, { info: io.print, warn: io.warn }, { guest: guest.name, plan, fresh: false });
  return { guest, asks };
}

/** Makes the host agree with a guest that runs. Expects the lock to be held. Throws OvertakenError. */
export async function wireNow(host: Host, { guest, journal }: Concerned, { stamp, nics, attachments }: Wiring): Promise<Plan | undefined> {
  assertStamp({ guest, journal }, stamp);
  if (attachments.length === 0) {
    await releaseRunning(host, guest.uuid);
    return undefined;
  }
  return wireRejoined(host, { guest, nics, attachments });
}

/** Does what {@link wireNow} does, and serves what the guest has by then. */
export async function wireServed({ io, host }: { readonly io: Io; readonly host: Host }, concerned: Concerned, wiring: Wiring): Promise<Part> {
  const plan = await wireNow(host, concerned, wiring);
  await serve(io, host, concerned);
  return plan;
}

function assertStamp({ guest, journal }: Concerned, stamp: string | undefined): void {
  if (stampOf(journal, guest) !== stamp) throw new OvertakenError(`guest ${quote(guest.name)} was started or ended meanwhile`);
}

/**
 * Wires a guest that runs, and first puts its taps back into their bridge if that is why it cannot be. To look for such each
 * time would be one more program, at a tenth of the cost of all the rest.
 */
export async function wireRejoined(host: Host, wish: Wish): Promise<Plan> {
  const request = { guest: wish.guest, attachments: wish.attachments, fresh: false, incoming: false };
  try {
    return await wire(host, request);
  } catch (error) {
    if (error instanceof HostError && await rejoin(host, wish)) return wire(host, request);
    if (error instanceof GuestwireError) await filterAllTheSame(host, wish.guest);
    throw error;
  }
}

/** A guest that cannot be wired as it should be, for want of forwarding for instance, runs on: not without its filters. */
async function filterAllTheSame(host: Host, { name, uuid }: Guest): Promise<void> {
  const { log, warn = log } = host;
  try {
    await refilter(host, uuid);
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    warn(`guest ${quote(name)}: its filters could not be checked and repaired, either: ${error.message}`);
  }
}

/**
 * Releases what is left of a guest that does not run. `seen`: the stamp of its entry before libvirt was asked; when it is
 * another by now the guest has been started since.
 */
export async function releaseGuest(work: Omit<GuestWork, 'inquiry'>, guest: Guest, seen: string | undefined): Promise<void> {
  const journal = journalOf(work.io);
  await reconciled(work, { guest, journal }, async (host) => {
    assertStamp({ guest, journal }, seen);
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

/** What was wired for a guest that ended meanwhile would stay; of one that was started again its hook has seen to it. */
async function assertSame(work: GuestWork, { guest, journal, id, stamp }: Concerned & { readonly id: string; readonly stamp: string | undefined }): Promise<void> {
  const now = await work.inquiry.id();
  if (now === id) return;
  if (now !== undefined) throw new OvertakenError(`guest ${quote(guest.name)} was started again meanwhile`);
  await reconciled(work, { guest, journal }, async (host) => {
    // Its hook may have started it since, and waited for the lock no longer than this did.
    assertStamp({ guest, journal }, stamp);
    await release(host, guest.uuid);
  });
  throw new OvertakenError(`guest ${quote(guest.name)} ended meanwhile: its wiring is released`);
}

function idIn(xml: string): string | undefined {
  return /<domain\b[^>]*?\sid=['"](\d+)['"]/.exec(xml)?.[1];
}

async function reconciled({ io, underLock }: Omit<GuestWork, 'inquiry'>, concerned: Concerned, act: (host: Host) => Promise<void>): Promise<void> {
  await underLock.run(concerned, async (host) => {
    await act(host);
    await serve(io, host, concerned);
  });
}

/** Serves what the guest has by now. Expects the lock to be held. */
export async function serve({ exec, settings, warn }: Pick<Io, 'exec' | 'settings' | 'warn'>, { log }: Pick<Host, 'log'>, { guest, journal }: Concerned): Promise<void> {
  await serveGuest({ journal, exec, log: { info: log, warn }, settings }, { uuid: guest.uuid, ended: false });
}
