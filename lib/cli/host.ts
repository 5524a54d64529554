/** What the pipeline works on, for a command that changes the host. */
import { type HostConfig, loadConfig } from '../config.js';
import type { Exec } from '../exec.js';
import { protectedOn } from '../hostconfig.js';
import { createJournal, type Journal } from '../journal.js';
import { createKernel } from '../kernel.js';
import { acquireLock, type Lock } from '../lock.js';
import { createLog } from '../log.js';
import { quarantineIn } from '../quarantine.js';
import type { Host } from '../reconcile.js';
import { followRenames } from '../renamed.js';
import type { Io } from './command.js';
import { LOCK_WAIT } from './requirements.js';

/** Returns the host as whoever holds `lock` may change it; `log` is told each change. The config is read when it matters. */
export function hostOf(io: Io, lock: Lock, { journal, log }: Pick<Host, 'journal' | 'log'>): Host {
  const exec: Exec = (request) => io.exec({ ...request, fd: lock.fd });
  let config: HostConfig | undefined;
  return {
    kernel: createKernel(exec), journal: followRenames(journal), log, isQuarantined: quarantineIn(io.settings.quarantine),
    protectedOn: (bridge) => protectedOn(config ??= loadConfig(io.settings.config))(bridge),
  };
}

/** Returns the host for a command that looks and changes nothing: without the lock, so that it never keeps a guest waiting. */
export function lookingHost(io: Io): Host {
  let config: HostConfig | undefined;
  return {
    kernel: createKernel(io.exec), journal: followRenames(createJournal(io.settings.stateDir, io.warn)), log: () => undefined, isQuarantined: quarantineIn(io.settings.quarantine),
    protectedOn: (bridge) => protectedOn(config ??= loadConfig(io.settings.config))(bridge),
  };
}

/** Runs `act` under the host's lock; each change is printed and logged. Returns how many there were. */
export async function locked(io: Io, { journal, holder }: { readonly journal: Journal; readonly holder: string }, act: (host: Host) => Promise<void>): Promise<number> {
  const lock = await acquireLock(io.exec, { path: io.settings.lock, wait: LOCK_WAIT, holder });
  const log = createLog(io.exec);
  let changes = 0;
  const tell = (line: string): void => {
    changes += 1;
    log.info(line);
    io.print(line);
  };
  try {
    await act(hostOf(io, lock, { journal, log: tell }));
  } finally {
    lock.release();
    await log.flush();
  }
  return changes;
}
