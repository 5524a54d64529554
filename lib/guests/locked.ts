/** The host for a command that changes it: under the lock, and each change told. */
import { type Host, hostFrom } from '../reconcile/host.js';
import { acquireLock } from '../system/lock.js';
import { createLog } from '../system/log.js';
import type { Io } from './io.js';

/** Runs `act` under the host's lock; each change is printed and logged. Returns how many there were. */
export async function locked(io: Io, holder: string, act: (host: Host) => Promise<void>): Promise<number> {
  const lock = await acquireLock(io.exec, { path: io.settings.lock, wait: LOCK_WAIT, holder });
  const log = createLog(io.exec);
  let changes = 0;
  const tell = (line: string): void => {
    changes += 1;
    log.info(line);
    io.print(line);
  };
  try {
    await act(hostFrom({ ...io, lock, log: tell }));
  } finally {
    lock.release();
    await log.flush();
  }
  return changes;
}

/** Seconds to wait for hooks that run: a person waits, and can try again. */
export const LOCK_WAIT = 10;
