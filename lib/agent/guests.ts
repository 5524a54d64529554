/**
 * The agent's guests: asked of libvirt one by one, wired or released, and what went wrong told once and tried again.
 */
import { sentenceAbout } from '../domain/guest.js';
import { GuestwireError } from '../errors.js';
import { readGuests } from '../guests/ask-libvirt.js';
import { closely, realEffects } from '../guests/effects.js';
import { inquiryFor } from '../guests/inquiry.js';
import { forOneRun, type Io } from '../guests/io.js';
import {
  type GuestWork, journalOf, OvertakenError, releaseGuest, stampOf, wireGuest,
} from '../guests/reconcile-guest.js';
import { createTurns } from '../guests/turns.js';
import type { CallOptions } from '../libvirt/calls.js';
import type { Connection } from '../libvirt/connection.js';
import { LibvirtClosedError, LibvirtConnectionError } from '../libvirt/errors.js';
import type { DomainRef } from '../libvirt/refs.js';
import { hostFrom, listHoldings, readEntry } from '../reconcile/host.js';
import { survey, surveyTasks } from '../survey/survey.js';
import { bugReport } from '../values/quote.js';
import type { Concerns } from './concerns.js';
import { createWork, type WorkReason, type Work } from './queue.js';

export interface Guests {
  /** The connection to ask from now on; undefined: libvirt is not connected. */
  readonly use: (libvirt: Connection | undefined) => void;
  readonly want: (uuid: string, reason: WorkReason) => void;
  /** libvirt said something of this guest. */
  readonly hear: (domain: DomainRef) => void;
  /** libvirt said something of a network: what hangs on it is looked at. */
  readonly hearNetwork: (name: string) => void;
  /**
   * Checks every running guest and every wired guest, and works on those that differ from the wanted state. Never
   * rejects.
   */
  readonly checkAll: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Milliseconds for each question to libvirt: a guest with a hook that waits for the lock does not answer. */
const CALL: CallOptions = { timeout: 10_000 };
const WORK = { debounce: 100, most: 64, backoff: { first: 500, most: 60_000 } };
/** Pauses before a failed check of all guests is repeated. Only that check finds guests with lost events. */
const CHECK = { debounce: 1_000, most: 1, backoff: { first: 2_000, most: 60_000 } };
/** The key of warnings that concern the host and no single guest. */
const HOST = 'host';

interface State {
  readonly io: Io;
  readonly concerns: Concerns;
  readonly names: Map<string, string>;
  /** The warnings printed last for a guest or the host. A warning is printed again after a check without it. */
  readonly told: Map<string, ReadonlySet<string>>;
  readonly turns: ReturnType<typeof createTurns>;
  /** Guests for which the next check compares every nftables rule. */
  readonly thorough: Set<string>;
  libvirt: Connection | undefined;
}

/** Returns the guests of a host, none known yet. */
export function createGuests(io: Io, concerns: Concerns): Guests {
  const state: State = {
    io, concerns, names: new Map(), told: new Map(), turns: createTurns(io, 'guestwire agent'), thorough: new Set(),
    libvirt: undefined,
  };
  const work: Work = createWork({
    ...WORK,
    run: (uuid) => reconcileGuest(state, uuid),
    onFailure: (uuid, error, failures) => { tellFailure(state, uuid, { error, failures }); },
  });
  const checks = createWork({
    ...CHECK, run: () => lookAtAll(state, work), onFailure: (_, error) => { tellUnseen(state, error); },
  });
  return {
    use: (libvirt) => { state.libvirt = libvirt; },
    want: work.want,
    hear: ({ uuid, name }) => {
      state.names.set(uuid, name);
      work.want(uuid, 'afresh');
    },
    hearNetwork: (name) => { for (const uuid of concerns.byNetwork(name)) work.want(uuid, 'afresh'); },
    checkAll: async () => {
      try {
        await lookAtAll(state, work);
      } catch (error) {
        tellUnseen(state, error);
        // Without a connection there comes a resync, and with it the next check.
        if (!isWithout(error)) checks.want(HOST, 'again');
      }
    },
    stop: async () => { await Promise.all([work.stop(), checks.stop()]); },
  };
}

/** Surveys all guests from one observation, rule by rule, and queues those that differ. */
async function lookAtAll(state: State, work: Work): Promise<void> {
  const { concerns } = state;
  const lines = new Set<string>();
  const io: Io = { ...forOneRun(state.io), warn: (line) => { lines.add(line); } };
  const host = closely(io, hostFrom(io));
  // The warnings of a guest are printed when the queue reaches that guest.
  const { running, mayRun, faults } = await readGuests(libvirtOf(state), { ...io, warn: () => undefined }, (
    uuid, domain, attachments,
  ) => {
    state.names.set(uuid, domain.name);
    concerns.set(uuid, domain, attachments);
  });
  const entries = listHoldings(host);
  const wiredOf = new Map(entries.map(({ guest, wired }) => [guest.uuid, wired]));
  for (const uuid of running.keys()) concerns.hold(uuid, wiredOf.get(uuid) ?? []);
  const gone = entries.filter(({ guest }) => !mayRun.has(guest.uuid));
  for (const { guest } of [...gone, ...faults, ...surveyTasks(await survey(host, running))]) {
    state.names.set(guest.uuid, guest.name);
    state.thorough.add(guest.uuid);
    work.want(guest.uuid, 'afresh');
  }
  tell(state, HOST, lines);
}

function tellUnseen(state: State, error: unknown): void {
  if (!isWithout(error)) tell(state, HOST, new Set([`could not check all guests: ${sentenceOf(error)}: will retry`]));
}

function isWithout(error: unknown): boolean {
  return error instanceof LibvirtConnectionError || error instanceof LibvirtClosedError;
}

async function reconcileGuest(state: State, uuid: string): Promise<void> {
  const { concerns, names } = state;
  const guest = { uuid, name: names.get(uuid) ?? uuid };
  const lines = new Set<string>();
  const io: Io = { ...forOneRun(state.io), warn: (line) => { lines.add(line); } };
  // The stamp is read before libvirt is asked. A later start of the guest writes another stamp.
  const seen = stampOf(journalOf(io), guest);
  // A check that asks for it during this run gets it in the next run.
  const isThorough = state.thorough.delete(uuid);
  const inquiry = inquiryFor(guest, () => libvirtOf(state), CALL);
  const work: GuestWork = { io, inquiry, effects: realEffects(io), turn: state.turns({ io, isThorough }) };
  try {
    const life = await work.inquiry.life();
    // Its last step, 'resumed', is an event.
    if (life.kind === 'coming') {
      if (isThorough) state.thorough.add(uuid);
      return;
    }
    if (life.kind === 'here') {
      await wireGuest({ ...work, onAsked: (domain, attachments) => { concerns.set(uuid, domain, attachments); } });
      concerns.hold(uuid, readEntry(hostFrom(io), uuid)?.wired ?? []);
    } else {
      concerns.forget(uuid);
      if (seen !== undefined) await releaseGuest(work, guest, seen);
      names.delete(uuid);
      lines.clear();
    }
    tell(state, uuid, lines);
    state.told.delete(failureKey(uuid));
  } catch (error) {
    if (isThorough) state.thorough.add(uuid);
    if (lines.size > 0) tell(state, uuid, lines);
    throw error;
  }
}

/** The key of the warning why a guest cannot be wired. It is apart from the guest's other warnings. */
function failureKey(uuid: string): string {
  return `failure of ${uuid}`;
}

/** Prints a warning once, not at every check that finds it. */
function tell({ io, told }: State, uuid: string, lines: ReadonlySet<string>): void {
  const before = told.get(uuid);
  for (const line of lines) if (before?.has(line) !== true) io.warn(line);
  if (lines.size === 0) told.delete(uuid);
  else told.set(uuid, lines);
}

function tellFailure(
  state: State, uuid: string, { error, failures }: { readonly error: unknown; readonly failures: number },
): void {
  // A passing cause is not reported: the guest was starting or ending, or the daemon is away.
  if (failures === 1 && error instanceof GuestwireError) return;
  if (error instanceof OvertakenError || error instanceof LibvirtConnectionError) return;
  const name = state.names.get(uuid) ?? uuid;
  tell(state, failureKey(uuid), new Set([`${sentenceAbout(name, error)}: will retry`]));
}

function libvirtOf({ libvirt }: State): Connection {
  if (libvirt === undefined) throw new LibvirtConnectionError('libvirt is not connected now');
  return libvirt;
}

function sentenceOf(error: unknown): string {
  return error instanceof GuestwireError ? error.message : bugReport(error);
}
