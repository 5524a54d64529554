/**
 * The journal: one file a guest in the state directory. A run writes it before its first effect, so the next run or the
 * guest's `release` can finish what a killed run left. It holds what this host did for a guest. Teardown goes by it
 * alone, because the XML at `stopped` no longer names the tap (libvirt 9.0, 11.3).
 */
import {
  closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { type Wired, wiredSchema } from '../attachments/kinds.js';
import { type Ledger, LEDGER_NAMES, type LedgerName, ledgerSchema } from '../attachments/ledger.js';
import { word } from '../attachments/schema.js';
import type { Guest } from '../domain/guest.js';
import { JournalError } from '../errors.js';
import type { NetState } from '../state/netstate.js';
import { quote, systemReason } from '../values/quote.js';
import { UUID } from '../values/uuid.js';

/** What this host did for one guest. */
export interface Entry {
  readonly version: 1;
  readonly guest: Guest;
  /** When the guest was wired first, ISO 8601. */
  readonly since: string;
  /** The guest comes by migration and may not run here yet: nothing that attracts its traffic is made. */
  readonly incoming: boolean;
  readonly wired: readonly Wired[];
  /** What of the wired links was there before, and is put back when the guest is released. */
  readonly original: NetState;
}

export type Holding = Omit<Entry, 'original'>;

export interface Journal {
  /** Returns the guest's entry; undefined when there is none or it cannot be read, which `onDamage` is told. */
  readonly read: (uuid: string) => Entry | undefined;
  /** Returns whether the guest has an entry, readable or not. What is no UUID has none. */
  readonly has: (uuid: string) => boolean;
  /** Returns what guests hold; what they held before, which is most of an entry, is not read for that. */
  readonly list: () => Holding[];
  readonly write: (entry: Entry) => void;
  /** Removes the entry and the marks of a guest. None is no error. */
  readonly remove: (uuid: string) => void;
  /** Notes that a migration of this guest towards this host was announced. */
  readonly markIncoming: (uuid: string) => void;
  /** Returns whether the guest was announced less than a minute ago. */
  readonly expectsIncoming: (uuid: string) => boolean;
  /** Does the same, and forgets it. */
  readonly takeIncoming: (uuid: string) => boolean;
  /** Notes that a guest ended while the lock was not had: the next run releases it. */
  readonly markEnded: (uuid: string) => void;
  readonly listEnded: () => string[];
  /** Returns what guestwire recorded of what guests share, for all guests together. */
  readonly readLedger: () => Ledger;
  /** Replaces one part of it; an empty list removes the file. */
  readonly writeLedger: <Name extends LedgerName>(name: Name, records: Ledger[Name]) => void;
}

/** Milliseconds after which an announced migration is taken for failed: libvirt calls `prepare` within a second. */
const INCOMING_LASTS = 60_000;

/** Of all the files a guest may have; a draft stays when the hook is killed while it writes. */
const ENDINGS = ['json', 'incoming', 'ended'].flatMap((ending) => [ending, `${ending}.draft`]);

/** Returns the journal in `dir`, which is made when first written to. Every error is a JournalError. */
export function createJournal(dir: string, onDamage: (message: string) => void): Journal {
  const file = fileIn(dir);
  const read = (uuid: string): Entry | undefined => {
    assertSafe(dir);
    return readFrom(file(uuid, 'json'), entrySchema, onDamage) as Entry | undefined;
  };
  const readHolding = (uuid: string): Holding | undefined =>
    readFrom(file(uuid, 'json'), holdingSchema, onDamage) as Holding | undefined;
  return {
    read,
    has: (uuid) => UUID.test(uuid) && markAge(file(uuid, 'json')) !== undefined,
    list: () => uuidsIn(dir, 'json').flatMap((uuid) => readHolding(uuid) ?? []),
    write: (entry) => {
      makeDir(dir);
      writeAtomically(file(entry.guest.uuid, 'json'), `${JSON.stringify(entry, null, 1)}\n`);
    },
    remove: (uuid) => {
      for (const path of ENDINGS.map((ending) => file(uuid, ending))) {
        attempt(`remove ${quote(path)}`, () => { rmSync(path, { force: true }); });
      }
    },
    ...marksIn(dir),
    ...ledgerIn(dir, onDamage),
  };
}

type Marks = Pick<Journal, 'markIncoming' | 'expectsIncoming' | 'takeIncoming' | 'markEnded' | 'listEnded'>;

/** Empty files beside the entries, which say that something is still to come or to be done. */
function marksIn(dir: string): Marks {
  const file = fileIn(dir);
  return {
    markIncoming: (uuid) => {
      makeDir(dir);
      writeAtomically(file(uuid, 'incoming'), '');
    },
    expectsIncoming: (uuid) => (markAge(file(uuid, 'incoming')) ?? INCOMING_LASTS) < INCOMING_LASTS,
    takeIncoming: (uuid) => {
      const path = file(uuid, 'incoming');
      const age = markAge(path);
      if (age === undefined) return false;
      attempt(`remove ${quote(path)}`, () => { rmSync(path, { force: true }); });
      return age < INCOMING_LASTS;
    },
    markEnded: (uuid) => { writeAtomically(file(uuid, 'ended'), ''); },
    listEnded: () => uuidsIn(dir, 'ended'),
  };
}

function fileIn(dir: string): (uuid: string, ending: string) => string {
  return (uuid, ending) => join(dir, `${assertUuid(uuid)}.${ending}`);
}

function uuidsIn(dir: string, ending: string): string[] {
  assertSafe(dir);
  return namesIn(dir, `.${ending}`).filter((uuid) => UUID.test(uuid));
}

function ledgerIn(dir: string, onDamage: (message: string) => void): Pick<Journal, 'readLedger' | 'writeLedger'> {
  const read = (name: LedgerName): unknown => readFrom(ledgerFile(dir, name), ledgerSchema(name), onDamage) ?? [];
  return {
    readLedger: () => {
      assertSafe(dir);
      return Object.fromEntries(LEDGER_NAMES.map((name) => [name, read(name)])) as unknown as Ledger;
    },
    writeLedger: (name, records) => {
      const path = ledgerFile(dir, name);
      if (records.length > 0) writeAtomically(path, `${JSON.stringify(records)}\n`);
      else attempt(`remove ${quote(path)}`, () => { rmSync(path, { force: true }); });
    },
  };
}

function ledgerFile(dir: string, name: LedgerName): string {
  return join(dir, `${name}.json`);
}

const holdingSchema = z.looseObject({
  version: z.literal(1),
  guest: z.object({ name: z.string(), uuid: z.string(), driver: z.optional(z.string()) }),
  since: z.string(),
  incoming: z.boolean(),
  wired: z.array(wiredSchema),
});

const entrySchema = z.extend(holdingSchema, {
  original: z.array(z.catchall(z.object({ kind: word, dev: word }), z.union([word, z.number(), z.boolean()]))),
});

/** A damaged file must not keep a guest from starting: what it knew is observed again. */
function readFrom(path: string, schema: z.ZodMiniType, onDamage: (message: string) => void): unknown {
  const text = attempt(`read ${quote(path)}`, () => readIfThere(path));
  if (text === undefined) return undefined;
  const json = parseOrUndefined(text);
  // Compiling a schema pays off after many values.
  const result = z.safeParse(schema, json, { jitless: true });
  if (result.success) return result.data;
  onDamage(`journal ${quote(path)} is damaged and is treated as empty: the wiring that it recorded stays`);
  return undefined;
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Returns '' for a named pipe, which would hold up every start, for a link and for a directory. */
function readIfThere(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    if (['ELOOP', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
  try {
    return fstatSync(fd).isFile() ? readFileSync(fd, 'utf8') : '';
  } finally {
    closeSync(fd);
  }
}

function namesIn(dir: string, ending: string): string[] {
  return attempt(`read ${quote(dir)}`, () => {
    try {
      const names = readdirSync(dir).filter((name) => name.endsWith(ending));
      return names.map((name) => name.slice(0, -ending.length)).sort();
    } catch (error) {
      if (isAbsent(error)) return [];
      throw error;
    }
  });
}

function markAge(path: string): number | undefined {
  return attempt(`read ${quote(path)}`, () => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat && Date.now() - stat.mtimeMs;
  });
}

function makeDir(dir: string): void {
  attempt(`make ${quote(dir)}`, () => mkdirSync(dir, { recursive: true, mode: 0o700 }));
  assertSafe(dir);
}

/** A process that can write here decides what is torn down, so the directory must belong to root alone. */
function assertSafe(dir: string): void {
  const stats = attempt(`read ${quote(dir)}`, () => statSync(dir, { throwIfNoEntry: false }));
  if (stats === undefined) return;
  const { uid, mode } = stats;
  if ((uid !== 0 && uid !== process.geteuid?.()) || (mode & 0o022) !== 0) {
    throw new JournalError(`journal ${quote(dir)} is writable by other users (owner ${uid}, mode 0${(mode & 0o777).toString(8)}): it must belong to root with mode 0700`);
  }
}

/** A named pipe or a link in the place of the draft would hold up the run, or lead elsewhere: it is removed first. */
function writeAtomically(path: string, text: string): void {
  const draft = `${path}.draft`;
  attempt(`write ${quote(path)}`, () => {
    rmSync(draft, { force: true });
    try {
      const fd = openSync(draft, 'wx', 0o600);
      try {
        writeFileSync(fd, text);
        if (fstatSync(fd).size !== Buffer.byteLength(text)) throw new Error('short write');
      } finally {
        closeSync(fd);
      }
      renameSync(draft, path);
    } catch (error) {
      rmSync(draft, { force: true });
      throw error;
    }
  });
}

function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof JournalError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const cure = code === 'EACCES' && process.geteuid?.() !== 0 ? ': run it as root' : '';
    throw new JournalError(`journal: cannot ${what}: ${systemReason(error)}${cure}`, { cause: error });
  }
}

function assertUuid(uuid: string): string {
  if (!UUID.test(uuid)) throw new JournalError(`journal: ${quote(uuid)} is not a UUID`);
  return uuid;
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
