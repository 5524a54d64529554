/**
 * The host's lock, shared by guests that are due at the same time: whoever comes while it is at work waits, and those who
 * waited are then wired together. So one guest alone hardly waits, and twenty cost a round or two.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestwireError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { locked } from '../guests/locked.js';
import { closely } from '../guests/reconcile-all.js';
import {
  type Concerned, type Part, serve, stampOf, type UnderLock, wireServed, type Wiring,
} from '../guests/reconcile-guest.js';
import type { Host } from '../reconcile/host.js';
import { canGoTogether, partOf, warningsFor, wireTogether } from '../reconcile/wire-many.js';

/** One guest's wish to be wired. `io` is told what concerns this guest alone. */
interface Due {
  readonly io: Io;
  readonly concerned: Concerned;
  readonly wiring: Wiring;
  readonly isThorough: boolean;
  readonly done: (part: Part) => void;
  readonly failed: (error: unknown) => void;
}

/** For whom a turn is. */
export interface Turn {
  readonly io: Io;
  /** What nobody's event tells, such as a rule that somebody altered, is looked for, too. */
  readonly isThorough: boolean;
}

/** Returns what gives each guest of an agent its turn. */
export function createTurns(io: Io): (turn: Turn) => UnderLock {
  let last: Promise<unknown> = Promise.resolve();
  let waiting: Due[] = [];
  const inTurn = async <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act);
    last = mine.catch(() => undefined);
    return mine;
  };
  const takeAll = async (): Promise<void> => {
    if (waiting.length > 0) await sleep(GATHER);
    const due = waiting;
    waiting = [];
    if (due.length > 0) await wireAll(io, due);
  };
  return (turn) => ({
    run: ({ journal }, act) => inTurn(async () => { await locked(turn.io, { journal, holder: HOLDER }, act); }),
    wire: (concerned, wiring) => new Promise<Part>((done, failed) => {
      waiting.push({ ...turn, concerned, wiring, done, failed });
      inTurn(takeAll).catch(failed);
    }),
  });
}

const HOLDER = 'guestwire watch';
/** Milliseconds for which the first waits for those that libvirt was asked about at the same time. */
const GATHER = 20;

/** Of those that cannot go together each has the lock for itself: a guest that starts waits for one of them, not for all. */
async function wireAll(io: Io, due: readonly Due[]): Promise<void> {
  let left = due;
  try {
    for (let [first] = left; first !== undefined; [first] = left) {
      await locked(io, { journal: first.concerned.journal, holder: HOLDER }, async (host) => {
        const seen = left.some(({ isThorough }) => isThorough) ? closely(io, host) : host;
        const [alone, ...others] = left === due ? await wireThoseThatCan(seen, due) : left;
        left = others;
        if (alone !== undefined) await wireAlone(seen, alone);
      });
    }
  } catch (error) {
    for (const { failed } of due) failed(error);
  }
}

/** Returns those that are still to be wired, each alone. */
async function wireThoseThatCan(host: Host, due: readonly Due[]): Promise<readonly Due[]> {
  const together = due.filter(({ concerned: { guest, journal }, wiring: { attachments, stamp } }) => attachments.length > 0 && stampOf(journal, guest) === stamp);
  const wishes = together.map(({ concerned: { guest }, wiring: { attachments } }) => ({ guest, attachments }));
  if (together.length < 2 || !canGoTogether(host, wishes)) return due;
  try {
    const plan = await wireTogether(host, wishes);
    for (const { io, concerned, wiring, done } of together) {
      for (const line of warningsFor(plan, { guest: concerned.guest, attachments: wiring.attachments })) io.warn(line);
      await serve(io, host, concerned);
      done(partOf(plan, wiring.attachments));
    }
    return due.filter((one) => !together.includes(one));
  } catch (error) {
    // One that cannot be wired keeps no other from it.
    if (error instanceof GuestwireError) return due;
    throw error;
  }
}

async function wireAlone(host: Host, { io, concerned, wiring, done, failed }: Due): Promise<void> {
  try {
    done(await wireServed({ io, host: { ...host, warn: io.warn } }, concerned, wiring));
  } catch (error) {
    failed(error);
  }
}
