/**
 * What a guest's start says to its neighbours: those that knew the guest on another host send to this host from now on.
 * Like the flush of a tap's queue it changes nothing that could be observed here, so it is an action after the plan, no
 * operation of it; and since it only shortens the time until neighbours find out by themselves, nothing is refused for
 * it.
 */
import type { Presence } from '../attachments/presence.js';
import { CommandError } from '../errors.js';
import type { Operation } from '../state/diff.js';
import { needOf } from '../state/objects.js';
import type { Exec } from '../system/exec.js';
import type { Log } from '../system/log.js';
import { exchange, type Frame } from '../system/raw-socket.js';
import { quote } from '../values/quote.js';
import { announcementFrames } from './frames.js';

export interface Announcement {
  readonly guest: string;
  /** What was carried out. */
  readonly plan: { readonly operations: readonly Operation[]; readonly presence: readonly Presence[] };
  /** A guest that starts is announced whole; of any other what it was not reachable by before. */
  readonly fresh: boolean;
}

/** Announces the guest on its proxy links. Never throws: what fails is told to `log`. */
export async function announce(exec: Exec, log: Pick<Log, 'info' | 'warn'>, announcement: Announcement): Promise<void> {
  const { guest } = announcement;
  const told = toldBy(announcement);
  if (told.length === 0) return;
  const frames = told.flatMap(({ dev, speaker, addresses }) => addresses.flatMap((address) =>
    announcementFrames(speaker, address).map((bytes): Frame => ({ dev, bytes }))));
  try {
    const { faults } = await exchange(exec, frames, [0]);
    const failed = new Map(faults.map(({ dev, reason }) => [dev, reason]));
    for (const one of told) {
      const reason = failed.get(one.dev);
      if (reason === undefined) log.info(presenceWords(guest, one));
      else log.warn(`guest ${quote(guest)} is not announced on ${quote(one.dev)}: ${reason}: neighbours that knew it on another host notice the move late`);
    }
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    log.warn(`guest ${quote(guest)} is not announced: ${error.message}: install perl (package perl-base), or set 'announce = false' in [routed] of the host config`);
  }
}

/** Returns what {@link announce} logs about an announcement that succeeds. */
export function announcementWords(announcement: Announcement): string[] {
  return toldBy(announcement).map((told) => presenceWords(announcement.guest, told));
}

function presenceWords(guest: string, { dev, addresses }: Presence): string {
  return `guest ${quote(guest)}: announced ${addresses.map(({ text }) => text).join(', ')} on ${quote(dev)}`;
}

function toldBy({ plan, fresh }: Announcement): readonly Presence[] {
  if (fresh) return plan.presence;
  const added = new Set(plan.operations.flatMap(({ before, after }) =>
    (before === undefined && after !== undefined ? [`${after.dev} ${needOf(after) ?? ''}`] : [])));
  return plan.presence
    .map(({ addresses, ...where }) => ({
      ...where, addresses: addresses.filter(({ text }) => added.has(`${where.dev} ${text}`)),
    }))
    .filter(({ addresses }) => addresses.length > 0);
}
