/**
 * The host's lock, shared by guests that are due at the same time: taken once for a row of them, and given back before a
 * hook has to wait long. What nft holds is asked once a row: listing its tables is the dearest question of all (110 ms with
 * twenty guests, nft 1.0.6), and what is done for one guest changes nothing of another's in them.
 */
import type { Io } from '../cli/command.js';
import { hostOf } from '../cli/host.js';
import { LOCK_WAIT } from '../cli/requirements.js';
import type { Exec, ExecResult } from '../exec.js';
import type { Journal } from '../journal.js';
import { acquireLock, type Lock } from '../lock.js';
import { createLog, type Log } from '../log.js';
import type { Host } from '../reconcile.js';

export interface Turn {
  readonly io: Io;
  readonly journal: Journal;
  /** The guest it is for. */
  readonly uuid: string;
}

/** Runs `act` under the host's lock, one at a time, each change printed and logged. Returns how many there were. */
export type Turns = (turn: Turn, act: (host: Host, io: Io) => Promise<void>) => Promise<number>;

/** Milliseconds that one row of guests may keep hooks waiting. */
const LONGEST = 1_000;

interface Row {
  readonly lock: Lock;
  readonly log: Log;
  readonly since: number;
  readonly answers: Map<string, Promise<ExecResult>>;
  readonly served: Set<string>;
}

/** Returns the turns of one agent. */
export function createTurns(io: Io): Turns {
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();
  let row: Row | undefined;
  const end = async (): Promise<void> => {
    const ended = row;
    row = undefined;
    ended?.lock.release();
    await ended?.log.flush();
  };
  const take = async (turn: Turn, act: (host: Host, io: Io) => Promise<void>): Promise<number> => {
    row ??= await open(io);
    try {
      return await serve(row, turn, act);
    } finally {
      if (waiting === 1 || performance.now() - row.since > LONGEST) await end();
    }
  };
  return async (turn, act) => {
    waiting += 1;
    const mine = last.then(() => take(turn, act)).finally(() => { waiting -= 1; });
    last = mine.catch(() => undefined);
    return mine;
  };
}

async function open(io: Io): Promise<Row> {
  const lock = await acquireLock(io.exec, { path: io.settings.lock, wait: LOCK_WAIT, holder: 'guestwire watch' });
  return { lock, log: createLog(io.exec), since: performance.now(), answers: new Map(), served: new Set() };
}

async function serve(row: Row, { io, journal, uuid }: Turn, act: (host: Host, io: Io) => Promise<void>): Promise<number> {
  // What was asked before this guest's own change does not tell what is now.
  if (row.served.has(uuid)) row.answers.clear();
  row.served.add(uuid);
  let changes = 0;
  const log = (line: string): void => {
    changes += 1;
    row.log.info(line);
    io.print(line);
  };
  const sharing: Io = { ...io, exec: remembering(io.exec, row) };
  await act(hostOf(sharing, row.lock, { journal, log }), sharing);
  return changes;
}

/** Answers `nft list` from what was heard in this row, unless a table itself was made, removed or found wanting since. */
function remembering(exec: Exec, { answers }: Row): Exec {
  return async (request) => {
    if (request.tool !== 'nft') return exec(request);
    if (request.args.includes('list')) {
      const key = request.args.join(' ');
      const answer = answers.get(key) ?? exec(request);
      answers.set(key, answer);
      if ((await answer).exitCode !== 0) answers.delete(key);
      return answer;
    }
    const result = await exec(request);
    if (result.exitCode !== 0 || /^\s*(?:(?:add|create|delete|destroy) table|flush|table) /m.test(request.input ?? '')) answers.clear();
    return result;
  };
}
