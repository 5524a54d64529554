/**
 * The host's lock, shared by guests that are due at the same time: a guest that comes while the lock is held waits, and
 * those that waited are then wired together. So one guest alone hardly waits, and twenty cost a round or two.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { closely, type Effects, realEffects } from './effects.js';
import type { Io } from './io.js';
import { locked } from './locked.js';
import { type Part, wireThoseThatCan } from './repair.js';
import { stampOf, type Turn, wireServed, type Wiring } from './reconcile-guest.js';
import type { Host } from '../reconcile/host.js';

/** One guest that waits to be wired. */
interface Due extends Turned {
  readonly wiring: Wiring;
  readonly done: (part: Part) => void;
  readonly failed: (error: unknown) => void;
}

/** The guest that a turn is for. */
export interface Turned {
  /** Told what concerns this guest alone. */
  readonly io: Io;
  /** What no event tells, such as a rule that was altered, is looked for, too. */
  readonly isThorough: boolean;
}

/** Returns what gives each guest its turn; `holder` is what the lock shows to others that wait for it. */
export function createTurns(io: Io, holder: string): (turned: Turned) => Turn {
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
    if (due.length > 0) await wireDue({ io, holder }, due);
  };
  return (turned) => ({
    run: (act) => inTurn(async () => { await locked(turned.io, holder, act); }),
    wire: (wiring) => new Promise<Part>((done, failed) => {
      waiting.push({ ...turned, wiring, done, failed });
      inTurn(takeAll).catch(failed);
    }),
  });
}

/** Returns the turn of a command for one guest, and what tells the number of changes in it. */
export function countingTurn(
  effects: Pick<Effects, 'onHost' | 'serve'>, holder: string,
): { readonly turn: Turn; readonly changes: () => number } {
  let changes = 0;
  const run: Turn['run'] = async (act) => { changes += await effects.onHost(holder, act); };
  return {
    changes: () => changes,
    turn: {
      run,
      wire: async (wiring) => {
        const parts: Part[] = [];
        await run(async (host) => { parts.push(await wireServed(effects, host, wiring)); });
        return parts[0];
      },
    },
  };
}

/** Milliseconds for which the first waits for those that libvirt was asked about at the same time. */
const GATHER = 20;

/** Guests that cannot go together take the lock one by one: a starting guest waits for one of them only. */
async function wireDue(
  { io, holder }: { readonly io: Io; readonly holder: string }, due: readonly Due[],
): Promise<void> {
  let left = due;
  try {
    for (let [first] = left; first !== undefined; [first] = left) {
      // The guests of one round have the reading of the first of them.
      await locked({ ...io, config: first.io.config }, holder, async (host) => {
        const seen = left.some(({ isThorough }) => isThorough) ? closely(io, host) : host;
        const [alone, ...others] = left === due ? await wireTogether(seen, due) : left;
        left = others;
        if (alone !== undefined) await wireAlone(seen, alone);
      });
    }
  } catch (error) {
    for (const { failed } of due) failed(error);
  }
}

/** Wires those that can go together. Returns the others, which are to be wired one by one. */
async function wireTogether(host: Host, due: readonly Due[]): Promise<readonly Due[]> {
  const current = due.filter(({ wiring: { guest, stamp } }) => stampOf(host.journal, guest) === stamp);
  const dueOf = new Map(current.map((one) => [one.wiring, one]));
  const wired = new Set<Due>();
  for (const made of await wireThoseThatCan({ ...host, warn: warner(current) }, [...dueOf.keys()])) {
    const one = dueOf.get(made.running);
    if (one === undefined || !('part' in made)) continue;
    wired.add(one);
    await realEffects(one.io).serve(host, made.running.guest);
    one.done(made.part);
  }
  return due.filter((one) => !wired.has(one));
}

/** Returns what gives each guest its own warnings. A warning that names no guest goes to all of them. */
function warner(due: readonly Due[]): NonNullable<Host['warn']> {
  return (line, about) => {
    for (const { io, wiring } of due)
      if (about === undefined || wiring.guest.uuid === about.guest.uuid) io.warn(line);
  };
}

async function wireAlone(host: Host, { io, wiring, done, failed }: Due): Promise<void> {
  try {
    done(await wireServed(realEffects(io), { ...host, warn: io.warn }, wiring));
  } catch (error) {
    failed(error);
  }
}
