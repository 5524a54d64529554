/** `guestwire reconcile --all`: every guest that runs made right, and what is left of those that are gone collected. */
import type { Wired } from '../attachments/kinds.js';
import { changedIn, type Ledger } from '../attachments/ledger.js';
import { loadConfig } from '../config/file.js';
import type { Guest } from '../domain/guest.js';
import { GuestwireError, HostError } from '../errors.js';
import { closeKernel } from '../filter/rule-check.js';
import { createJournal, type Holding } from '../journal/journal.js';
import { byLife } from '../reconcile/holders.js';
import { type Host, hostFrom } from '../reconcile/host.js';
import type { Plan } from '../reconcile/plan.js';
import { release } from '../reconcile/reconcile.js';
import type { Wish } from '../reconcile/request.js';
import { serveGuest } from '../serve/serve.js';
import { diff } from '../state/diff.js';
import { differenceOf } from '../state/differences.js';
import { type Batch, type BatchLine, render } from '../state/render.js';
import { describeLine } from '../state/words.js';
import { leftoverShared } from '../survey/leftover-shared.js';
import { allProtocols, garbageIn, observeHost } from '../survey/leftovers.js';
import { survey, tasksOf } from '../survey/survey.js';
import { quote } from '../values/quote.js';
import { type Asked, askGuests } from './ask-libvirt.js';
import { type Acts, realActs, toldActs } from './effects.js';
import type { Io } from './io.js';
import { removeLeftFiles } from './left-files.js';
import { locked } from './locked.js';
import { stampOf } from './reconcile-guest.js';

/** Asks libvirt whether a guest's memory is still elsewhere. */
type IsOnItsWay = (uuid: string) => Promise<boolean>;

/** Returns the exit status: 1 when a guest could not be made right, or something that is left of one could not be removed. */
export async function reconcileAll(given: Io, isOnItsWay: IsOnItsWay): Promise<number> {
  const io = warningOnce(given);
  const since = new Date().toISOString();
  const asked = await asking(io, isOnItsWay);
  const journal = createJournal(io.settings.stateDir, io.warn);
  const done: Done = { failures: 0, touched: [] };
  const log = { info: io.print, warn: io.warn };
  const changes = await locked(io, { journal, holder: 'guestwire reconcile --all' }, async (plain) => {
    const host = closely(io, plain);
    await reconcileThem(realActs(host, { exec: io.exec, log }), { io, asked, since, done });
    const serving = { journal, exec: io.exec, log: { info: host.log, warn: io.warn }, settings: io.settings };
    for (const { guest } of done.touched) await serveGuest(serving, { uuid: guest.uuid, ended: false });
  });
  const here = await releaseEnded(io, done.touched);
  if (loadConfig(io.settings.config).routed.announce) await announceThem(realActs(hostFrom(io), { exec: io.exec, log }), here);
  if (changes === 0 && done.failures === 0) io.print('all wiring is as the XML says, nothing changed');
  return done.failures === 0 ? 0 : 1;
}

/** Prints what {@link reconcileAll} would do and returns what it would return, and changes nothing. */
export async function previewAll(given: Io, isOnItsWay: IsOnItsWay): Promise<number> {
  const io = warningOnce(given);
  const since = new Date().toISOString();
  const asked = await asking(io, isOnItsWay);
  const done: Done = { failures: 0, touched: [] };
  return preview(io, async (acts) => {
    await reconcileThem(acts, { io: { ...io, warn: (text) => { io.warn(`would fail: ${text}`); } }, asked, since, done });
    if (loadConfig(io.settings.config).routed.announce) await announceThem(acts, done.touched);
    return done.failures;
  });
}

/** Runs `act` with acts that only tell. Returns 1 when it says that something would fail. */
export async function preview(io: Io, act: (acts: Acts) => Promise<number>): Promise<number> {
  let changes = 0;
  const log = (line: string): void => {
    changes += 1;
    io.print(`would: ${line}`);
  };
  const failures = await act(toldActs({ ...closely(io, hostFrom(io)), log }));
  if (changes === 0 && failures === 0) io.print('all wiring is as the XML says, nothing to change');
  return failures === 0 ? 0 : 1;
}

/** Returns `host` as one that sees altered rules of nftables, too. */
export function closely(io: Io, host: Host): Host {
  const wired = (): Wired[] => host.journal.list().flatMap(({ guest, wired: all }) => {
    const quarantined = host.isQuarantined(guest.uuid) ? (true as const) : undefined;
    return all.map((one): Wired => ({ ...one, quarantined }));
  });
  return { ...host, kernel: closeKernel(host.kernel, io.exec, wired) };
}

/** Before the lock is taken: libvirt may be waiting for a hook, which waits for the lock. */
async function asking(io: Io, isOnItsWay: IsOnItsWay): Promise<Asked> {
  const asked = await askGuests(io);
  if (typeof asked === 'string') throw new HostError(`'guestwire reconcile --all' needs libvirt to know which guests run: ${asked}`);
  const known = new Map(createJournal(io.settings.stateDir, io.warn).list().map((entry) => [entry.guest.uuid, entry]));
  const away = new Set<string>();
  for (const uuid of asked.wishes.keys()) {
    if (known.get(uuid)?.incoming === false) continue;
    if (await isOnItsWay(uuid)) away.add(uuid);
  }
  return { ...asked, wishes: new Map([...asked.wishes].filter(([uuid]) => !away.has(uuid))) };
}

interface Done {
  failures: number;
  /** Guests that something was done for. */
  readonly touched: { readonly guest: Guest; readonly plan: Plan | undefined }[];
}

interface Task {
  readonly io: Io;
  readonly asked: Asked;
  /** A guest that was wired after libvirt was asked may run by now. */
  readonly since: string;
  readonly done: Done;
}

async function reconcileThem(acts: Acts, task: Task): Promise<void> {
  for (const { guest } of await goneOf(acts.host, task)) {
    await attempt(task, async () => {
      await acts.release(guest);
      acts.host.log(`guest ${quote(guest.name)}: forgotten: it is gone`);
    });
  }
  await heal(acts, task);
  await attempt(task, () => collectGarbage(acts, task));
  removeLeftFiles(acts, task.io.settings.stateDir, task.asked);
}

/** What fails for one guest keeps nobody from doing the rest. */
async function attempt({ io, done }: Pick<Task, 'io' | 'done'>, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    io.warn(error.message);
    done.failures += 1;
  }
}

async function goneOf(host: Host, { asked, since }: Pick<Task, 'asked' | 'since'>): Promise<Holding[]> {
  const entries = host.journal.list();
  const absent = entries.filter((entry) => !asked.mayRun.has(entry.guest.uuid) && entry.since < since);
  const { stale } = await byLife(host, entries.filter((entry) => asked.mayRun.has(entry.guest.uuid) && !asked.wishes.has(entry.guest.uuid)));
  return [...absent, ...stale];
}

/** A correctly wired guest is not touched. Objects that guests share are repaired with the first guest. */
async function heal(acts: Acts, task: Task): Promise<void> {
  const { asked: { wishes, faults }, done, io } = task;
  for (const { text } of faults) io.warn(text);
  done.failures += faults.length;
  for (const { guest, attachments } of tasksOf(await survey(acts.host, wishes))) {
    await attempt(task, async () => { done.touched.push({ guest, plan: await right(acts, { guest, attachments, nics: wishes.get(guest.uuid)?.nics ?? [] }) }); });
  }
}

async function right(acts: Acts, wish: Wish): Promise<Plan | undefined> {
  if (wish.attachments.length > 0) return acts.wire(wish);
  await acts.releaseRunning(wish.guest);
  return undefined;
}

interface Garbage {
  readonly batches: readonly Batch[];
  readonly ledger: Ledger;
}

async function garbageOn({ host }: Acts, { io, asked }: Task): Promise<Garbage> {
  const entries = host.journal.list();
  const wired = entries.flatMap((entry) => entry.wired);
  const held = [...wired, ...[...asked.wishes.values()].flatMap(({ attachments }) => attachments)];
  const protocols = allProtocols(held, [loadConfig(io.settings.config).routed.protocol]);
  const kept = { held, uuids: new Set([...entries.map(({ guest }) => guest.uuid), ...asked.mayRun]), protocols };
  const { surplus, ledger } = await leftoverShared(host, wired);
  return { batches: render(diff([], [...garbageIn(await observeHost(io.exec, kept), kept), ...surplus])), ledger };
}

async function collectGarbage(acts: Acts, task: Task): Promise<void> {
  const { batches, ledger } = await garbageOn(acts, task);
  const { done, left } = await acts.run(batches, async () => (await garbageOn(acts, task)).batches);
  const words = (line: BatchLine): string => describeLine(line) ?? differenceOf(line) ?? line.text;
  for (const line of done) acts.host.log(`host: ${words(line)}: it belonged to no guest`);
  if (left.length > 0) throw new HostError(`objects that belong to no guest are still there, because these changes failed: ${left.map(words).join(', ')}`);
  acts.apart(() => {
    const { journal } = acts.host;
    for (const name of changedIn(journal.readLedger(), ledger)) journal.writeLedger(name, ledger[name]);
  });
}

async function announceThem(acts: Acts, touched: Done['touched']): Promise<void> {
  for (const { guest, plan } of touched) if (plan !== undefined) await acts.announce({ guest: guest.name, plan, fresh: false });
}

/** A guest may have ended between the question and the lock; then nobody else releases what was wired since. Returns the others. */
async function releaseEnded(io: Io, touched: Done['touched']): Promise<Done['touched']> {
  const journal = createJournal(io.settings.stateDir, io.warn);
  const stamps = new Map(touched.map(({ guest }) => [guest.uuid, stampOf(journal, guest)]));
  const after = touched.length === 0 ? '' : await askGuests(io);
  const ended = typeof after === 'string' ? [] : touched.filter(({ guest }) => !after.mayRun.has(guest.uuid));
  if (ended.length === 0) return touched;
  await locked(io, { journal, holder: 'guestwire reconcile --all' }, async (host) => {
    // One that was started since has another stamp.
    for (const { guest } of ended) if (stampOf(journal, guest) === stamps.get(guest.uuid)) await release(host, guest.uuid);
  });
  return touched.filter((one) => !ended.includes(one));
}

/** Every look at a damaged file would tell of it. */
function warningOnce(io: Io): Io {
  const said = new Set<string>();
  return { ...io, warn: (text) => { if (!said.has(text)) io.warn(text); said.add(text); } };
}
