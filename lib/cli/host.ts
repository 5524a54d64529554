/** What the pipeline works on, for a command that changes the host. */
import { type HostConfig, loadConfig } from '../config.js';
import type { Exec } from '../exec.js';
import { protectedOn } from '../hostconfig.js';
import { createKernel } from '../kernel.js';
import type { Lock } from '../lock.js';
import type { Host } from '../reconcile.js';
import type { Io } from './command.js';

/** Returns the host as whoever holds `lock` may change it; `log` is told each change. The config is read when it matters. */
export function hostOf(io: Io, lock: Lock, { journal, log }: Pick<Host, 'journal' | 'log'>): Host {
  const exec: Exec = (request) => io.exec({ ...request, fd: lock.fd });
  let config: HostConfig | undefined;
  return { kernel: createKernel(exec), journal, log, protectedOn: (bridge) => protectedOn(config ??= loadConfig(io.settings.config))(bridge) };
}
