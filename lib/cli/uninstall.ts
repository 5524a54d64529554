/** `guestwire uninstall`: takes away what `install` put on a host, and what the hook keeps there. */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LEDGER_NAMES, leftWords } from '../attachments/ledger.js';
import { agentLockOf } from '../config/paths.js';
import { defaultConfig, type HostConfig } from '../config/host-config.js';
import { ConfigError, GuestwireError, HostError, UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { LOCK_WAIT } from '../guests/locked.js';
import { AGENT_UNIT, isAgentInstalled, stopAgent } from '../install/agent-unit.js';
import { DRAFT_DIRS, DROP_IN_DIRS, DROP_IN_FILES, isOurDropIn } from '../install/drop-ins.js';
import { leftoversIn, fileReason } from '../install/file-set.js';
import {
  AGENT, BESIDE, BESIDE_DIR, HOOKS_DIR, LIBRARY_DIR, LIBRARY_FILES, linkStat, MAIN, RECORD, standingAt,
} from '../install/layout.js';
import { readRecord } from '../install/record.js';
import { installedUnits, reloadUnits, UNITS_DIR } from '../install/units.js';
import { createJournal, type Journal } from '../journal/journal.js';
import { listQuarantine } from '../journal/quarantine.js';
import { byLife } from '../reconcile/holders.js';
import { type Host, hostFrom } from '../reconcile/host.js';
import { release, releaseRunning } from '../reconcile/reconcile.js';
import { releaseUnrecorded, unrecorded } from '../reconcile/unrecorded.js';
import { stopServing } from '../serve/serve.js';
import { acquireLock, type Lock } from '../system/lock.js';
import { createLog } from '../system/log.js';
import { quote } from '../values/quote.js';
import { assertRoot, command } from './command.js';

export const uninstall = command({
  name: 'uninstall',
  summary: "remove libvirt's hook from this host",
  help: `Usage: guestwire uninstall [--unwire | --keep-wiring]

Removes the launcher, /usr/lib/guestwire and what the hook keeps in /run, and leaves no trace. It keeps the host config,
/etc/guestwire/config.toml, which is yours, and touches nothing that is not guestwire's. No daemon needs a reload.
Do not start guests meanwhile.

While guests are wired it refuses and names them, because nothing would remove their wiring when they stop. Stop them
first, or choose:

  --unwire       remove the wiring now, also wiring without a record: links of running guests go down, and their ports
                 leave all VLANs, until the guests are wired again or restarted. A guest in quarantine stays cut off.
  --keep-wiring  keep the wiring, and the state directory that describes it: after another 'guestwire install' it goes
                 when the guests stop, or 'guestwire uninstall --unwire' removes it

Needs root.`,
  options: { unwire: { type: 'boolean' }, 'keep-wiring': { type: 'boolean' } },
  run: async ({ values: { unwire, 'keep-wiring': keep } }, io) => {
    if (unwire === true && keep === true) throw new UsageError("'--unwire' and '--keep-wiring' exclude each other");
    assertRoot('uninstall');
    await remove(io, unwire === true ? 'unwire' : keep === true ? 'keep' : 'refuse');
    return 0;
  },
});

type Wiring = 'refuse' | 'unwire' | 'keep';

/** A guest with an entry in the journal. A damaged entry gives no name: its guest cannot be released. */
interface WiredGuest {
  readonly uuid: string;
  readonly label: string;
  readonly outcome: string;
}

async function remove(io: Io, wiring: Wiring): Promise<void> {
  const isInstalled = installedFiles().length > 0;
  if (!isInstalled) {
    io.print('guestwire is not installed');
    const guests = wiredGuests(io, quietJournal(io));
    if (guests.length > 0 && wiring !== 'unwire') io.warn(`still wired: ${labels(guests)}: 'guestwire uninstall --unwire' removes the wiring`);
    if (wiring !== 'unwire') return;
  }
  const lock = await acquireLock(io.exec, { path: io.settings.lock, wait: LOCK_WAIT, holder: 'guestwire uninstall' });
  try {
    const left = await settleWiring(io, lock, wiring);
    await stopServing({ ...io, journal: quietJournal(io), log: { info: io.print, warn: io.warn } });
    const units = [...installedUnits(), ...(isAgentInstalled() ? [AGENT_UNIT] : [])];
    // What it would wire again waits for the lock, and then finds its files gone.
    await stopAgent(io);
    removeFiles(io);
    await reloadUnits(io, units);
    if (wiring === 'unwire') tellQuarantine(io);
    if (left.length === 0) removeState(io);
    else io.print(`left the wiring of ${labels(left)}, and its record in ${quote(io.settings.stateDir)}`);
  } finally {
    lock.release();
  }
  if (existsSync(io.settings.config)) io.print(`left ${quote(io.settings.config)}, which is yours`);
  if (isInstalled) io.print('libvirt needs no reload: it ignores a missing hook');
}

/** Without guestwire nothing cuts a guest off at its next start. */
function tellQuarantine(io: Io): void {
  for (const { name } of listQuarantine(io.settings.quarantine)) {
    io.print(`guest ${quote(name)} is in quarantine: it stays cut off until its next start: to let it in before, install guestwire, run 'guestwire quarantine ${name} --lift' and 'guestwire reconcile ${name}'`);
  }
}

/** Returns the guests that stay wired. Throws, before anything is removed, when none may or some cannot be released. */
async function settleWiring(io: Io, lock: Lock, wiring: Wiring): Promise<WiredGuest[]> {
  const journal = quietJournal(io);
  const { stale } = await byLife(hostOf(io, lock), journal.list());
  // Guests that ended while their hook could not get the lock, or without a hook call.
  const ended = new Set([...journal.listEnded(), ...stale.map(({ guest }) => guest.uuid)]);
  const late = wiredGuests(io, journal).filter(({ uuid }) => ended.has(uuid));
  (await releaseAll(io, lock, { guests: late, letGo: release })).forEach((failure) => { io.warn(`a guest that ended is still not released: ${failure}`); });
  const guests = wiredGuests(io, journal);
  if (wiring === 'keep') return guests;
  if (wiring === 'refuse') {
    if (guests.length > 0) throw new HostError(`nothing was removed, because guests are wired: ${labels(guests)}: stop them, or choose --unwire or --keep-wiring`);
    await assertNothingLeft(hostOf(io, lock));
    return [];
  }
  const failures = await releaseAll(io, lock, {
    guests, letGo: (host, uuid) => releaseRunning(host, uuid, { keepMade: false }), last: releaseUnrecorded,
  });
  if (failures.length > 0) throw new HostError(`nothing was removed, because not every guest could be released: ${failures.join('; ')}`);
  return [];
}

/** The state directory may be lost: the wiring in the kernel would stay, and no command would show it. */
async function assertNothingLeft(host: Host): Promise<void> {
  const [first, ...rest] = await unrecorded(host);
  if (first === undefined) return;
  throw new HostError(`nothing was removed, because this host has wiring without a record (to do: ${first}${rest.length === 0 ? '' : ` and ${rest.length} more`}): run 'guestwire reconcile --all', or choose --unwire or --keep-wiring`);
}

/** A broken config must not keep guestwire on a host. */
function hostOf(io: Io, lock: Lock, log?: Host['log']): Host {
  const read = (): HostConfig => {
    try {
      return io.config.read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return defaultConfig();
    }
  };
  return hostFrom({ ...io, config: { read }, lock, journal: quietJournal(io), ...(log && { log }) });
}

interface Releasing {
  readonly guests: readonly WiredGuest[];
  readonly letGo: typeof release;
  /** Runs when all of them are released. */
  readonly last?: (host: Host) => Promise<void>;
}

/** Releases as many of the guests as it can. Returns what failed, a sentence a guest. */
async function releaseAll(io: Io, lock: Lock, { guests, letGo, last }: Releasing): Promise<string[]> {
  const log = createLog(io.exec);
  const tell = (line: string): void => {
    log.info(line);
    io.print(line);
  };
  const host = hostOf(io, lock, tell);
  const failures: string[] = [];
  const attempt = async (label: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      log.error(`${label}: not released: ${error.detail}`);
      failures.push(`${label}: ${error.detail}`);
    }
  };
  for (const { uuid, label, outcome } of guests) {
    await attempt(label, async () => {
      await letGo(host, uuid);
      tell(`${label}: ${outcome}`);
    });
  }
  if (last !== undefined && failures.length === 0) await attempt('this host', () => last(host));
  await log.flush();
  return failures;
}

/** The launcher first: without it nothing calls the rest. The record last: after a failure the next run needs it. */
function removeFiles(io: Io): void {
  const made = readRecord()?.directories ?? [];
  for (const path of installedFiles().filter((each) => each !== RECORD)) removeFile(io, path);
  for (const path of [BESIDE_DIR, HOOKS_DIR, ...[...DROP_IN_DIRS].reverse()].filter((each) => made.includes(each))) {
    removeIfEmpty(io, path);
  }
  if (installedFiles().includes(RECORD)) removeFile(io, RECORD);
  removeIfEmpty(io, LIBRARY_DIR);
}

function installedFiles(): string[] {
  // The files behind a symlink are not guestwire's.
  const library = linkStat(LIBRARY_DIR)?.isDirectory() === true
    ? [...LIBRARY_FILES.map((name) => join(LIBRARY_DIR, name)), AGENT, RECORD].filter(isFile)
    : [];
  return [
    ...[MAIN, BESIDE].filter(isOurs), ...(isAgentInstalled() ? [AGENT_UNIT] : []), ...installedUnits(),
    ...[HOOKS_DIR, LIBRARY_DIR, UNITS_DIR, ...DRAFT_DIRS].flatMap(leftoversIn), ...DROP_IN_FILES.filter(isOurDropIn),
    ...library,
  ];
}

/** A link to a launcher is not what install made. */
function isOurs(path: string): boolean {
  return isFile(path) && standingAt(path) === 'ours';
}

function isFile(path: string): boolean {
  return linkStat(path)?.isFile() === true;
}

/** The lock goes last: until then no other run may work here. */
function removeState(io: Io): void {
  const { stateDir, lock } = io.settings;
  for (const words of leftWords(quietJournal(io).readLedger())) io.warn(words);
  for (const name of namesIn(stateDir).filter((each) => STATE_FILE.test(each))) removeFile(io, join(stateDir, name));
  removeIfEmpty(io, stateDir);
  removeReservations(io);
  const agentLock = agentLockOf(io.settings);
  if (isFile(agentLock)) removeFile(io, agentLock);
  removeFile(io, lock);
}

function removeReservations({ settings: { addresses }, print }: Io): void {
  if (!existsSync(addresses)) return;
  attemptRemoval(addresses, () => {
    rmSync(addresses, { recursive: true });
    // A quarantine may be beside it.
    if (namesIn(dirname(addresses)).length === 0) rmdirSync(dirname(addresses));
  });
  print(`removed ${quote(addresses)}`);
}

const STATE_FILE = new RegExp(`^(${LEDGER_NAMES.map((name) => `${name}\\.json`).join('|')}|[0-9a-f-]{36}\\.(json|incoming|ended))(\\.draft)?$`);

function removeFile(io: Io, path: string): void {
  attemptRemoval(path, () => { rmSync(path); });
  io.print(`removed ${quote(path)}`);
}

function removeIfEmpty(io: Io, path: string): void {
  if (linkStat(path)?.isDirectory() !== true) return;
  const [name] = namesIn(path);
  if (name !== undefined) {
    io.print(`left ${quote(path)}, which holds ${quote(name)}`);
    return;
  }
  attemptRemoval(path, () => { rmdirSync(path); });
  io.print(`removed ${quote(path)}`);
}

function attemptRemoval(path: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw new HostError(`${quote(path)} cannot be removed: ${fileReason(error)}, and run 'guestwire uninstall' again`, { cause: error });
  }
}

function wiredGuests({ settings: { stateDir } }: Io, journal: Journal): WiredGuest[] {
  const uuids = namesIn(stateDir)
    .filter((name) => /^[0-9a-f-]{36}\.json$/.test(name))
    .map((name) => name.slice(0, -'.json'.length));
  return uuids.map((uuid) => {
    const name = journal.read(uuid)?.guest.name;
    if (name === undefined) return { uuid, label: `guest ${uuid} (its journal entry is damaged)`, outcome: 'its record is removed' };
    return { uuid, label: `guest ${quote(name)}`, outcome: 'released by guestwire uninstall' };
  });
}

/** A damaged entry shows in the guest's label, wherever it is named. */
function quietJournal(io: Io): Journal {
  return createJournal(io.settings.stateDir, () => undefined);
}

function labels(guests: readonly WiredGuest[]): string {
  return guests.map(({ label }) => label).join(', ');
}

function namesIn(directory: string): string[] {
  return linkStat(directory)?.isDirectory() === true ? readdirSync(directory).sort() : [];
}
