/**
 * One running guest made to agree with its XML, or released when it has ended: what `guestwire reconcile` does once and
 * the agent for every event. libvirt is asked before the lock is taken and after it is given back: it may be waiting
 * for this guest's hook, which waits for the lock.
 */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { type Guest, guestLabel, guestOf } from '../domain/guest.js';
import { HostError } from '../errors.js';
import { createJournal, type Journal } from '../journal/journal.js';
import type { Host } from '../reconcile/host.js';
import type { Plan } from '../reconcile/plan.js';
import { release } from '../reconcile/reconcile.js';
import type { RunningGuest } from '../reconcile/request.js';
import type { Effects } from './effects.js';
import type { Inquiry } from './inquiry.js';
import type { Io } from './io.js';
import { type Part, repairGuest } from './repair.js';

/** How a guest gets its turn on the host. */
export interface Turn {
  readonly run: (act: (host: Host) => Promise<void>) => Promise<void>;
  /** Does what {@link wireNow} does, for this guest alone or together with others that are due. */
  readonly wire: (wiring: Wiring) => Promise<Part>;
}

export interface Wiring extends RunningGuest {
  /** The stamp of the guest's entry before libvirt was asked. */
  readonly stamp: string | undefined;
}

export interface GuestWork {
  readonly io: Io;
  readonly inquiry: Inquiry;
  readonly turn: Turn;
  readonly effects: Pick<Effects, 'serve' | 'announce'>;
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

function overtaken({ name }: Guest, what: string): OvertakenError {
  return new OvertakenError(`it ${what}`).placeAt({ guest: name }, guestLabel(name));
}

/**
 * Wires a guest that runs here. Throws OvertakenError when the guest was started again or ended since libvirt was
 * asked.
 */
export async function wireGuest(work: GuestWork): Promise<Done> {
  const { io, inquiry } = work;
  const journal = journalOf(io);
  const domain = parseDomain(await inquiry.xml());
  const guest = guestOf(domain);
  // A start or an end of the guest after this line leaves another stamp; one before this line, another id.
  const stamp = stampOf(journal, guest);
  const id = await inquiry.id();
  if (id === undefined || id !== domain.id) {
    throw overtaken(guest, 'ended or was started again during this command: run it again');
  }
  const config = io.config.read();
  const attachments = deriveAttachments(domain, config, io.warn);
  work.onAsked?.(domain, attachments);
  const asks = attachments.length === 0 ? 'nothing' : 'something';
  if (asks === 'nothing' && stamp === undefined) return { guest, asks };
  const plan = await work.turn.wire({ guest, nics: domain.nics, attachments, stamp });
  await assertSame(work, guest, { id, stamp: stampOf(journal, guest) });
  if (plan !== undefined && config.routed.announce) {
    await work.effects.announce({ guest: guest.name, plan, fresh: false });
  }
  return { guest, asks };
}

/** Makes the host agree with a guest that runs. Expects the lock to be held. Throws OvertakenError. */
export async function wireNow(host: Host, { stamp, ...running }: Wiring): Promise<Plan | undefined> {
  assertStamp(host, running.guest, stamp);
  return repairGuest(host, running);
}

/** Does what {@link wireNow} does, and then serves the guest's links. */
export async function wireServed({ serve }: Pick<Effects, 'serve'>, host: Host, wiring: Wiring): Promise<Part> {
  const plan = await wireNow(host, wiring);
  await serve(host, wiring.guest);
  return plan;
}

function assertStamp({ journal }: Pick<Host, 'journal'>, guest: Guest, stamp: string | undefined): void {
  if (stampOf(journal, guest) !== stamp) throw overtaken(guest, 'was started or ended during this command: run it again');
}

/**
 * Releases what is left of a guest that does not run. `seen`: the stamp of its entry before libvirt was asked. When the
 * stamp differs now, the guest was started since.
 */
export async function releaseGuest(
  work: Omit<GuestWork, 'inquiry'>, guest: Guest, seen: string | undefined,
): Promise<void> {
  await served(work, guest, async (host) => {
    assertStamp(host, guest, seen);
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

/** What tells one run of a guest from the next. */
interface Run {
  readonly id: number;
  readonly stamp: string | undefined;
}

/** Releases a guest that ended while it was wired. The hook of a guest that was started again has done so already. */
async function assertSame(work: GuestWork, guest: Guest, { id, stamp }: Run): Promise<void> {
  const now = await work.inquiry.id();
  if (now === id) return;
  if (now !== undefined) throw overtaken(guest, 'was started again during this command: run it again');
  await served(work, guest, async (host) => {
    // Its hook may have started it since, and waited for the lock no longer than this did.
    assertStamp(host, guest, stamp);
    await release(host, guest.uuid);
  });
  throw overtaken(guest, 'ended during this command: its wiring is released');
}

async function served(
  { turn, effects }: Omit<GuestWork, 'inquiry'>, guest: Guest, act: (host: Host) => Promise<void>,
): Promise<void> {
  await turn.run(async (host) => {
    await act(host);
    await effects.serve(host, guest);
  });
}
