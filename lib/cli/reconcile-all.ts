/** `guestwire reconcile --all`: every guest that runs made right, and what is left of those that are gone collected. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { closeKernel } from '../closelook.js';
import { loadConfig } from '../config.js';
import { differenceOf } from '../difference.js';
import { diff } from '../diff.js';
import { CommandError, GuestwireError, HostError } from '../errors.js';
import { allProtocols } from '../findings.js';
import { garbageIn, observeHost } from '../garbage.js';
import { createJournal, type Holding, type Wired } from '../journal.js';
import { EMPTY_SCOPE } from '../observation.js';
import { type Batch, describeLine, render } from '../operation.js';
import { quote } from '../quote.js';
import { type Guest, type Host, release, releaseRunning, wire } from '../reconcile.js';
import { byLife } from '../rivals.js';
import { serveGuest } from '../serving.js';
import { labelOf, type Owner, refusals, survey } from '../survey.js';
import { surplusUplinks } from '../uplinkgarbage.js';
import type { Io } from './command.js';
import { locked, lookingHost } from './host.js';
import { type Asked, askGuests } from './wishes.js';

/** What `virsh domstate --reason` calls a guest whose memory is still elsewhere (libvirt 9.0, 11.3). */
export const ON_ITS_WAY = /^paused \((migrating|starting up|post-copy.*)\)$/;

/** Returns the exit status: 1 when a guest could not be made right. `isOnItsWay` asks libvirt. */
export async function reconcileAll(io: Io, isOnItsWay: (uuid: string) => Promise<boolean>): Promise<number> {
  const since = new Date().toISOString();
  const asked = await asking(io, isOnItsWay);
  const journal = createJournal(io.settings.stateDir, io.warn);
  let failures = 0;
  const touched: Guest[] = [];
  const changes = await locked(io, { journal, holder: 'guestwire reconcile --all' }, async (plain) => {
    const host = closely(io, plain);
    for (const { guest } of await goneOf(host, { asked, since })) {
      await release(host, guest.uuid);
      host.log(`guest ${quote(guest.name)}: forgotten: it is gone`);
    }
    failures = await heal(host, { asked, touched, io });
    await collectGarbage(io, host);
    collectMarks(io, journal.list());
    const log = { info: host.log, warn: io.warn };
    for (const guest of touched) await serveGuest({ journal, exec: io.exec, log, settings: io.settings }, { uuid: guest.uuid, ended: false });
  });
  await releaseEnded(io, touched);
  if (changes === 0 && failures === 0) io.print('all is as it should be, nothing changed');
  return failures === 0 ? 0 : 1;
}

/** Prints what {@link reconcileAll} would do. Returns 1 when guests could not be made right. */
export async function previewAll(io: Io, isOnItsWay: (uuid: string) => Promise<boolean>): Promise<number> {
  const since = new Date().toISOString();
  const asked = await asking(io, isOnItsWay);
  const host = closely(io, lookingHost(io));
  const gone = await goneOf(host, { asked, since });
  for (const { guest } of gone) io.print(`guest ${quote(guest.name)}: would be forgotten: it is gone`);
  const failures = await preview(io, host, { ...asked, isMeant: (owner) => !gone.some(({ guest }) => guest.uuid === owner.guest?.uuid) });
  const lines = (await garbageOn(io, host, host.journal.list().filter(({ guest }) => !gone.some((one) => one.guest.uuid === guest.uuid)))).flatMap(({ lines: all }) => all);
  for (const line of lines) io.print(`host: would ${describeLine(line) ?? line.text}`);
  return failures;
}

/** Prints what would be done for one guest or all. Returns 1 when one would be refused. */
export async function preview(io: Io, host: Host, { wishes, faults, isMeant }: Pick<Asked, 'wishes' | 'faults'> & { readonly isMeant: (owner: Owner) => boolean }): Promise<number> {
  const found = await survey(host, wishes);
  const refused = [...faults, ...await refusals(host, found)].filter(({ guest }) => isMeant({ guest, nic: undefined }));
  for (const { guest, nic, line } of found.changes) {
    const said = describeLine(line);
    if (said === undefined || !isMeant({ guest, nic })) continue;
    io.print(`${labelOf({ guest, nic })}: would ${said}`);
  }
  for (const { text } of refused) io.warn(`would be refused: ${text}`);
  return refused.length === 0 ? 0 : 1;
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
async function asking(io: Io, isOnItsWay: (uuid: string) => Promise<boolean>): Promise<Asked> {
  const asked = await askGuests(io);
  if (typeof asked === 'string') throw new HostError(`'guestwire reconcile --all' needs libvirt to know which guests run: ${asked}`);
  const known = new Map(createJournal(io.settings.stateDir, io.warn).list().map((entry) => [entry.guest.uuid, entry]));
  const away = new Set<string>();
  for (const uuid of asked.running) {
    if (known.get(uuid)?.incoming === false) continue;
    if (await isOnItsWay(uuid)) away.add(uuid);
  }
  return { ...asked, wishes: new Map([...asked.wishes].filter(([uuid]) => !away.has(uuid))) };
}

interface Gone {
  readonly asked: Asked;
  /** A guest that was wired after libvirt was asked may run by now. */
  readonly since: string;
}

async function goneOf(host: Host, { asked, since }: Gone): Promise<Holding[]> {
  const absent = host.journal.list().filter((entry) => !asked.running.has(entry.guest.uuid) && entry.since < since);
  const { stale } = await byLife(host, host.journal.list().filter((entry) => asked.running.has(entry.guest.uuid) && !asked.wishes.has(entry.guest.uuid)));
  return [...absent, ...stale];
}

interface Healing {
  readonly asked: Asked;
  /** Guests that something was done for. */
  readonly touched: Guest[];
  readonly io: Io;
}

/** A guest that is in order is not touched. What guests share is mended with the first of them. */
async function heal(host: Host, { asked: { wishes, faults }, touched, io }: Healing): Promise<number> {
  for (const { text } of faults) io.warn(text);
  let failures = faults.length;
  const found = await survey(host, wishes);
  const shared = found.changes.some(({ guest }) => guest === undefined);
  const concerned = new Set(found.changes.map(({ guest }) => guest?.uuid));
  for (const { guest, entry, attachments } of found.subjects) {
    const waits = entry?.incoming === true || attachments?.some(({ link }) => link === undefined || !found.observation.links.has(link)) === true;
    if (attachments === undefined || (!shared && !waits && !concerned.has(guest.uuid))) continue;
    try {
      if (attachments.length === 0) await releaseRunning(host, guest.uuid);
      else await wire(host, { guest, attachments, fresh: false, incoming: false });
      touched.push(guest);
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      io.warn(error.message);
      failures += 1;
    }
  }
  return failures;
}

async function garbageOn(io: Io, host: Host, entries: readonly Holding[]): Promise<Batch[]> {
  const wired = entries.flatMap((entry) => entry.wired);
  const protocols = allProtocols(wired, [loadConfig(io.settings.config).routed.protocol]);
  const garbage = garbageIn(await observeHost(io.exec, protocols), { wired, uuids: new Set(entries.map(({ guest }) => guest.uuid)), protocols });
  const uplinks = await surplusUplinks(host, wired);
  return render(diff([], [...garbage, ...uplinks.surplus]));
}

async function collectGarbage(io: Io, host: Host): Promise<void> {
  const entries = host.journal.list();
  const batches = await garbageOn(io, host, entries);
  const { records } = await surplusUplinks(host, entries.flatMap(({ wired }) => wired));
  if (batches.length > 0) {
    const { failure } = await host.kernel.run(batches, 'carry-on', EMPTY_SCOPE);
    for (const line of batches.flatMap(({ lines }) => lines)) host.log(`host: ${describeLine(line) ?? differenceOf(line) ?? line.text}: it was no guest's any more`);
    if (failure instanceof CommandError) io.warn(failure.message);
  }
  host.journal.writeUplinks(records);
}

/** Marks of migrations that never came are void after a minute. */
function collectMarks(io: Io, entries: readonly Holding[]): void {
  const dir = io.settings.stateDir;
  const names = statSync(dir, { throwIfNoEntry: false }) === undefined ? [] : readdirSync(dir);
  for (const name of names) {
    const [, uuid = ''] = /^([0-9a-f-]{36})\.(?:incoming|ended|json\.draft|incoming\.draft)$/.exec(name) ?? [];
    if (uuid === '' || entries.some(({ guest }) => guest.uuid === uuid)) continue;
    const age = Date.now() - (statSync(join(dir, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > 60_000) rmSync(join(dir, name), { force: true });
  }
}

/** A guest may have ended between the question and the lock; then nobody else releases what was wired since. */
async function releaseEnded(io: Io, touched: readonly Guest[]): Promise<void> {
  if (touched.length === 0) return;
  const after = await askGuests(io);
  const ended = typeof after === 'string' ? [] : touched.filter(({ uuid }) => !after.running.has(uuid));
  if (ended.length === 0) return;
  await locked(io, { journal: createJournal(io.settings.stateDir, io.warn), holder: 'guestwire reconcile --all' }, async (host) => {
    for (const { uuid } of ended) await release(host, uuid);
  });
}
