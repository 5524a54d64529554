/**
 * Where reconciling guests has its effects, for real or as a dry run. Everything above goes one way with either, so
 * that a dry run prints what the run then does.
 */
import { rmSync } from 'node:fs';
import type { Wired } from '../attachments/kinds.js';
import type { Guest } from '../domain/guest.js';
import { closeKernel } from '../filter/rule-check.js';
import { announce, type Announcement, announcementWords } from '../lan/announce.js';
import { dryRun } from '../reconcile/dry-run.js';
import { type Host, hostFrom, listHoldings } from '../reconcile/host.js';
import { serveGuest } from '../serve/serve.js';
import type { Io } from './io.js';
import { locked } from './locked.js';

export interface Effects {
  /** Runs `act` on the host; its `log` gets each change. Returns the number of changes. */
  readonly onHost: (holder: string, act: (host: Host) => Promise<void>) => Promise<number>;
  /** Serves the guest's present links. The caller must be on the host. */
  readonly serve: (host: Pick<Host, 'journal' | 'log'>, guest: Guest) => Promise<void>;
  readonly announce: (announcement: Announcement) => Promise<void>;
  readonly removeFile: (path: string) => void;
  /** Told what cannot be done. */
  readonly fail: (text: string) => void;
  /** How nothing to do is said. */
  readonly nothing: 'nothing changed' | 'nothing to change';
}

/** Returns the effects that change the host, under its lock. */
export function realEffects(io: Io): Effects {
  return {
    onHost: (holder, act) => locked(io, holder, (host) => act(closely(io, host))),
    serve: ({ journal, log }, { uuid }) => serveGuest(
      { ...io, journal, log: { info: log, warn: io.warn } }, { uuid, ended: false },
    ),
    announce: (announcement) => announce(io.exec, { info: io.print, warn: io.warn }, announcement),
    removeFile: (path) => { rmSync(path, { force: true }); },
    fail: io.warn,
    nothing: 'nothing changed',
  };
}

/** Returns the effects of a dry run: what would be done is printed. */
export function dryEffects(io: Io): Effects {
  let changes = 0;
  const tell = (line: string): void => {
    changes += 1;
    io.print(`would: ${line}`);
  };
  const host = dryRun({ ...closely(io, hostFrom(io)), log: tell });
  return {
    onHost: async (_holder, act) => {
      const before = changes;
      await act(host);
      return changes - before;
    },
    serve: () => Promise.resolve(),
    announce: (announcement) => {
      for (const line of announcementWords(announcement)) tell(line);
      return Promise.resolve();
    },
    removeFile: () => undefined,
    fail: (text) => { io.warn(`would fail: ${text}`); },
    nothing: 'nothing to change',
  };
}

/** Returns `host` as one that sees altered rules of nftables, too. */
export function closely(io: Pick<Io, 'exec'>, host: Host): Host {
  const wired = (): Wired[] => listHoldings(host).flatMap(({ guest, wired: all }) => {
    const quarantined = host.isQuarantined(guest.uuid) ? (true as const) : undefined;
    return all.map((one): Wired => ({ ...one, quarantined }));
  });
  return { ...host, kernel: closeKernel(host.kernel, io.exec, wired) };
}
