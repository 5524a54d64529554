/**
 * What reconciling does to a host, for real or in words only. Whoever reconciles goes the same way with either, so that
 * what a dry run prints is what the run then does.
 */
import type { Guest } from '../domain/guest.js';
import type { Journal } from '../journal/journal.js';
import type { Kernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type Observation, type Scope } from '../kernel/observation.js';
import { announce, type Announcement, announcementWords } from '../lan/announce.js';
import { rivalsOf } from '../reconcile/holders.js';
import { type Host, pastOf } from '../reconcile/host.js';
import { logPlan } from '../reconcile/plan-log.js';
import type { Plan } from '../reconcile/plan.js';
import { planWiring, release, releaseRunning } from '../reconcile/reconcile.js';
import { rejoin } from '../reconcile/rejoin.js';
import { ofRunning, planTakeBack, type TakeBack } from '../reconcile/release-plan.js';
import type { Wish } from '../reconcile/request.js';
import { masterOf } from '../state/objects.js';
import type { Batch, BatchLine } from '../state/render.js';
import type { Exec } from '../system/exec.js';
import { quote } from '../values/quote.js';
import { accessPort } from '../values/vlan.js';
import { wireRejoined } from './reconcile-guest.js';

export interface Acts {
  readonly host: Host;
  /** Puts taps back into their bridge and wires the guest. */
  readonly wire: (wish: Wish) => Promise<Plan>;
  readonly release: (guest: Guest) => Promise<void>;
  readonly releaseRunning: (guest: Guest) => Promise<void>;
  /** Runs batches that are no guest's, as far as they go; `look` says what is then still to do, by what the kernel holds. */
  readonly run: (batches: readonly Batch[], look: () => Promise<readonly Batch[]>) => Promise<{ readonly done: readonly BatchLine[]; readonly left: readonly BatchLine[] }>;
  /** Does what is no change of the kernel. */
  readonly apart: (act: () => void) => void;
  readonly announce: (announcement: Announcement) => Promise<void>;
}

/** Returns the acts that change the host; the lock is held while they do. */
export function realActs(host: Host, { exec, log }: { readonly exec: Exec; readonly log: Parameters<typeof announce>[1] }): Acts {
  return {
    host,
    wire: (wish) => wireRejoined(host, wish),
    release: ({ uuid }) => release(host, uuid),
    releaseRunning: ({ uuid }) => releaseRunning(host, uuid),
    run: async (batches, look) => {
      if (batches.length === 0) return { done: [], left: [] };
      await host.kernel.run(batches, 'carry-on', EMPTY_SCOPE);
      const left = linesOf(await look());
      const still = new Set(left.map(identityOf));
      return { done: linesOf(batches).filter((line) => !still.has(identityOf(line))), left };
    },
    apart: (act) => { act(); },
    announce: (announcement) => announce(exec, log, announcement),
  };
}

/** Returns the acts that change nothing, and tell `host.log` what would be done. */
export function toldActs(real: Host): Acts {
  const host = { ...real, kernel: untouched(real.kernel), journal: overlaid(real.journal) };
  const said = new Set<string>();
  /** What is done for one guest needs no doing for the next: tables are shared. */
  const unsaid = (batches: readonly Batch[]): Batch[] => batches.flatMap(({ tool, lines }) => {
    const fresh = lines.filter((line) => !said.has(identityOf(line)));
    for (const line of fresh) said.add(identityOf(line));
    return fresh.length === 0 ? [] : [{ tool, lines: fresh }];
  });
  const takeBack = async (guest: Guest, how: TakeBack): Promise<void> => {
    const planned = await planTakeBack(host, guest.uuid, how);
    if (planned !== undefined) logPlan(host, guest, { ...planned.plan, batches: unsaid(planned.plan.batches) });
    host.journal.remove(guest.uuid);
  };
  return {
    host,
    wire: async (wish) => {
      const { guest, attachments } = wish;
      await rejoin(host, wish);
      const { stale } = await rivalsOf(host, attachments, pastOf(host, guest.uuid));
      for (const { guest: rival } of stale) {
        await takeBack(rival, { keepMade: false });
        host.log(`guest ${quote(rival.name)}: forgotten: its links are gone`);
      }
      const plan = await planWiring(host, { guest, attachments, fresh: false, incoming: false }, pastOf(host, guest.uuid));
      logPlan(host, guest, { ...plan, batches: unsaid(plan.batches) });
      return plan;
    },
    release: (guest) => takeBack(guest, { keepMade: false }),
    releaseRunning: (guest) => takeBack(guest, ofRunning(host, guest.uuid)),
    run: (batches) => Promise.resolve({ done: linesOf(unsaid(batches)), left: [] }),
    apart: () => undefined,
    announce: (announcement) => {
      for (const line of announcementWords(announcement)) host.log(line);
      return Promise.resolve();
    },
  };
}

/** The text alone is not enough: rules of both families have the same. */
function identityOf({ text, operations }: BatchLine): string {
  return `${operations[0]?.key ?? ''} ${text}`;
}

function linesOf(batches: readonly Batch[]): BatchLine[] {
  return batches.flatMap(({ lines }) => lines);
}

/** Returns a kernel that runs nothing; links that would be put into a bridge are seen there, in its default VLAN. */
function untouched(kernel: Kernel): Kernel {
  const joined = new Map<string, string>();
  const observe = async (scope: Scope): Promise<Observation> => {
    const observation = await kernel.observe(scope);
    const [links, vlans] = [new Map(observation.links), new Map(observation.vlans)];
    for (const [dev, master] of joined) {
      const facts = links.get(dev);
      if (facts === undefined) continue;
      links.set(dev, { ...facts, master });
      const vid = links.get(master)?.bridge?.defaultPvid ?? 0;
      if (vid > 0) vlans.set(dev, accessPort(vid));
    }
    return { ...observation, links, vlans };
  };
  return {
    observe,
    run: async (batches, _mode, scope) => {
      for (const { after } of batches.flatMap(({ lines }) => lines.flatMap(({ operations }) => operations))) {
        const master = after && masterOf(after);
        if (after !== undefined && master !== undefined) joined.set(after.dev, master);
      }
      return { observation: await observe(scope), failure: undefined };
    },
  };
}

/** Returns a journal that forgets guests for whoever reads it, and writes nothing. */
function overlaid(journal: Journal): Journal {
  const removed = new Set<string>();
  const ignore = (): void => undefined;
  return {
    ...journal,
    read: (uuid) => (removed.has(uuid) ? undefined : journal.read(uuid)),
    list: () => journal.list().filter(({ guest }) => !removed.has(guest.uuid)),
    remove: (uuid) => { removed.add(uuid); },
    write: ignore, markIncoming: ignore, markEnded: ignore, writeLedger: ignore,
    takeIncoming: (uuid) => journal.expectsIncoming(uuid),
  };
}
