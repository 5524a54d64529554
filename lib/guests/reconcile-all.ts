/**
 * `guestwire reconcile --all`: wires every running guest as its XML says, and removes what guests that are gone left.
 */
import { changedIn, type Ledger } from '../attachments/ledger.js';
import type { Guest } from '../domain/guest.js';
import { GuestwireError, HostError } from '../errors.js';
import { filteredLinks } from '../filter/state.js';
import { createJournal, type Holding } from '../journal/journal.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import type { WholeHost } from '../kernel/whole-host.js';
import { byLife } from '../reconcile/holders.js';
import { type Host, listHoldings } from '../reconcile/host.js';
import { lineId } from '../reconcile/plan-log.js';
import { release, releaseRunning } from '../reconcile/reconcile.js';
import { setLinksDown } from '../reconcile/unrecorded.js';
import { diff } from '../state/diff.js';
import { difference } from '../state/differences.js';
import { type Batch, type BatchLine, render } from '../state/render.js';
import { describeLine } from '../state/words.js';
import { leftoverShared } from '../survey/leftover-shared.js';
import { allProtocols, garbageIn, hostBeside } from '../survey/leftovers.js';
import { survey, surveyTasks } from '../survey/survey.js';
import { once } from '../system/log.js';
import { quote } from '../values/quote.js';
import { type Answer, askGuests, isLibvirts, readGuests } from './ask-libvirt.js';
import { dryEffects, type Effects, realEffects } from './effects.js';
import { askLibvirt, inquiryFor } from './inquiry.js';
import type { Io } from './io.js';
import { removeLeftFiles } from './left-files.js';
import { type Part, repairAll } from './repair.js';
import { stampOf } from './reconcile-guest.js';

const HOLDER = 'guestwire reconcile --all';

/** Returns the exit status: 1 when a guest could not be wired, or something that a guest left could not be removed. */
export async function reconcileAll(given: Io): Promise<number> {
  return reconcileHost(given, realEffects);
}

/** Prints what {@link reconcileAll} would do and returns what it would return, and changes nothing. */
export async function previewAll(given: Io): Promise<number> {
  return reconcileHost(given, dryEffects);
}

async function reconcileHost(given: Io, effectsOf: (io: Io) => Effects): Promise<number> {
  // Each reading of a damaged entry warns of it.
  const io = { ...given, warn: once(given.warn) };
  const effects = effectsOf(io);
  const since = new Date().toISOString();
  const task: Task = { io, effects, since, answer: await asking(io), done: { failures: 0, touched: [] } };
  const { done } = task;
  const changes = await effects.onHost(HOLDER, async (host) => {
    await reconcileThem(host, task);
    for (const { guest } of done.touched) await effects.serve(host, guest);
  });
  const here = await releaseAllEnded(task);
  if (io.config.read().routed.announce) {
    for (const { guest, part } of here) {
      if (part !== undefined) await effects.announce({ guest: guest.name, plan: part, fresh: false });
    }
  }
  if (changes === 0 && done.failures === 0) io.print(`all wiring is as the XML says, ${effects.nothing}`);
  return done.failures === 0 ? 0 : 1;
}

/** Before the lock is taken: libvirt may be waiting for a hook, which waits for the lock. */
async function asking(io: Io): Promise<Answer> {
  const known = new Map(createJournal(io.settings.stateDir, io.warn).list().map((entry) => [entry.guest.uuid, entry]));
  try {
    return await askLibvirt(io, async (libvirt) => {
      const answer = await readGuests(libvirt, io);
      const away = new Set<string>();
      for (const { guest } of answer.running.values()) {
        if (known.get(guest.uuid)?.incoming === false) continue;
        if ((await inquiryFor(guest, () => libvirt).life()).kind === 'coming') away.add(guest.uuid);
      }
      return { ...answer, running: new Map([...answer.running].filter(([uuid]) => !away.has(uuid))) };
    });
  } catch (error) {
    if (!isLibvirts(error)) throw error;
    throw new HostError(`'guestwire reconcile --all' needs libvirt to know which guests run: ${error.message}`, { cause: error });
  }
}

interface Done {
  failures: number;
  /** Guests that something was done for. */
  readonly touched: { readonly guest: Guest; readonly part: Part }[];
}

interface Task {
  readonly io: Io;
  readonly effects: Effects;
  readonly answer: Answer;
  /** A guest that was wired after this time may run although libvirt's answer does not have it. */
  readonly since: string;
  readonly done: Done;
}

async function reconcileThem(host: Host, task: Task): Promise<void> {
  for (const { guest } of await goneGuests(host, task)) {
    await reconcileInTurn(task, async () => {
      // A link that is still there may be that of a QEMU process that libvirt has lost.
      await releaseRunning(host, guest.uuid, { keepMade: false });
      host.log(`guest ${quote(guest.name)}: its record is removed: it no longer runs`);
    });
  }
  await heal(host, task);
  await reconcileInTurn(task, () => collectGarbage(host, task));
  removeLeftFiles({ host, dir: task.io.settings.stateDir, removeFile: task.effects.removeFile }, task.answer);
}

/** A failure for one guest does not stop the work for the others. */
async function reconcileInTurn(
  { effects, done }: Pick<Task, 'effects' | 'done'>, act: () => Promise<void> | void,
): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    effects.fail(error.message);
    done.failures += 1;
  }
}

async function goneGuests(
  host: Host, { answer: { mayRun, running }, since }: Pick<Task, 'answer' | 'since'>,
): Promise<Holding[]> {
  const entries = listHoldings(host);
  const absent = entries.filter((entry) => !mayRun.has(entry.guest.uuid) && entry.since < since);
  const { stale } = await byLife(host, entries.filter(({ guest: { uuid } }) => mayRun.has(uuid) && !running.has(uuid)));
  return [...absent, ...stale];
}

/** A correctly wired guest is not touched. Objects that guests share are repaired with the first guest. */
async function heal(host: Host, task: Task): Promise<void> {
  const { answer: { running, faults }, done, effects } = task;
  for (const { error } of faults) effects.fail(error.message);
  done.failures += faults.length;
  const differing = surveyTasks(await survey(host, running))
    .map(({ guest, attachments }) => ({ guest, attachments, nics: running.get(guest.uuid)?.nics ?? [] }));
  for (const made of await repairAll(host, differing)) {
    await reconcileInTurn(task, () => {
      if ('error' in made) throw made.error;
      done.touched.push({ guest: made.running.guest, part: made.part });
    });
  }
}

interface Garbage {
  readonly batches: readonly Batch[];
  readonly ledger: Ledger;
  /** Links that are there and that lose their filters: a guest may run on them. */
  readonly bared: readonly string[];
}

async function garbageOn(host: Host, { io, answer: { running, mayRun } }: Task): Promise<Garbage> {
  const entries = listHoldings(host);
  const wired = entries.flatMap((entry) => entry.wired);
  const held = [...wired, ...[...running.values()].flatMap(({ attachments }) => attachments)];
  const protocols = allProtocols(held, [io.config.read().routed.protocol]);
  const kept = { held, uuids: new Set([...entries.map(({ guest }) => guest.uuid), ...mayRun]), protocols };
  const { surplus, ledger } = await leftoverShared(host, wired);
  const facts = await hostBeside(io.exec, kept);
  return {
    batches: render(diff([], [...garbageIn(facts, kept), ...surplus])), ledger,
    bared: linksBared(facts, held.map(({ link }) => link)),
  };
}

/** Returns the links in the tables that go, without those that a guest holds. */
function linksBared({ links, filters }: WholeHost, held: readonly (string | undefined)[]): string[] {
  const filtered = filteredLinks({ filters });
  return links.filter(({ ifname, ifindex }) => filtered.has(ifindex) && !held.includes(ifname))
    .map(({ ifname }) => ifname);
}

/** The objects of a running guest without a record are not garbage, and only its XML tells which they are. */
function assertAllKnown(host: Host, { answer: { faults } }: Task): void {
  const unknown = faults.find(({ guest }) => host.journal.read(guest.uuid) === undefined);
  if (unknown === undefined) return;
  throw new HostError(`what guests that are gone left stays, because guest ${quote(unknown.guest.name)} runs without a record and its XML cannot be read`);
}

async function collectGarbage(host: Host, task: Task): Promise<void> {
  assertAllKnown(host, task);
  const { batches, ledger, bared } = await garbageOn(host, task);
  if (batches.length > 0) await setLinksDown(host, bared);
  const left = batches.length === 0 ? [] : await removeAll(host, task, batches);
  const still = new Set(left.map(lineId));
  for (const line of plannedLines(batches)) if (!still.has(lineId(line))) host.log(`host: ${plannedWords(line)}: it belonged to no guest`, line);
  if (left.length > 0) throw new HostError(`objects that belong to no guest are still there, because these changes failed: ${left.map(plannedWords).join(', ')}`);
  const { journal } = host;
  for (const name of changedIn(journal.readLedger(), ledger)) journal.writeLedger(name, ledger[name]);
}

/** Returns the lines that are still to be carried out, by what the kernel then holds. */
async function removeAll(host: Host, task: Task, batches: readonly Batch[]): Promise<readonly BatchLine[]> {
  const { isDry } = await host.kernel.run(batches, 'carry-on', EMPTY_SCOPE);
  return isDry === true ? [] : plannedLines((await garbageOn(host, task)).batches);
}

function plannedWords(line: BatchLine): string {
  return describeLine(line) ?? difference(line) ?? line.text;
}

function plannedLines(batches: readonly Batch[]): BatchLine[] {
  return batches.flatMap(({ lines }) => lines);
}

/**
 * A guest may have ended between the question and the lock; then nothing else releases what was wired since. Returns
 * the others.
 */
async function releaseAllEnded({ io, effects, done: { touched } }: Task): Promise<Done['touched']> {
  const journal = createJournal(io.settings.stateDir, io.warn);
  const stamps = new Map(touched.map(({ guest }) => [guest.uuid, stampOf(journal, guest)]));
  const after = touched.length === 0 ? '' : await askGuests(io);
  const ended = typeof after === 'string' ? [] : touched.filter(({ guest }) => !after.mayRun.has(guest.uuid));
  if (ended.length === 0) return touched;
  await effects.onHost(HOLDER, async (host) => {
    // One that was started since has another stamp.
    for (const { guest } of ended) {
      if (stampOf(journal, guest) === stamps.get(guest.uuid)) await release(host, guest.uuid);
    }
  });
  return touched.filter((one) => !ended.includes(one));
}
