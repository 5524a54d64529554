/** The host as the pipeline works on it, put together in one place for the hook, the commands, the agent and other programs. */
import { loadConfig } from './config/file.js';
import { type HostConfig, protectedOn } from './config/host-config.js';
import type { Settings } from './config/paths.js';
import { createJournal, type Journal } from './journal/journal.js';
import { quarantineIn } from './journal/quarantine.js';
import { followRenames } from './journal/renamed-links.js';
import { createKernel } from './kernel/kernel.js';
import type { Host } from './reconcile.js';
import type { Exec } from './system/exec.js';
import type { Lock } from './system/lock.js';

export interface HostParts {
  readonly settings: Settings;
  readonly exec: Exec;
  /** Told what of the journal is damaged, and what else is not as it should be. */
  readonly warn: (message: string) => void;
  /** Told each change, a line each; without it nobody is. */
  readonly log?: Host['log'];
  /** Held by whoever changes the host: each tool then keeps it until it ends. Who only looks needs none. */
  readonly lock?: Pick<Lock, 'fd'>;
  /** Default: that of the settings. */
  readonly journal?: Journal;
  /** Default: that of the settings, read when it first matters. Throws ConfigError. */
  readonly config?: () => HostConfig;
}

/** Returns the host that `settings` say, with its protected VIDs and its guests in quarantine. */
export function hostFrom({ settings, exec, warn, log = () => undefined, lock, ...parts }: HostParts): Host {
  const load = parts.config ?? (() => loadConfig(settings.config));
  let config: HostConfig | undefined;
  return {
    kernel: createKernel(lock === undefined ? exec : (request) => exec({ ...request, fd: lock.fd })),
    journal: followRenames(parts.journal ?? createJournal(settings.stateDir, warn)),
    log, warn, isQuarantined: quarantineIn(settings.quarantine),
    protectedOn: (bridge) => protectedOn(config ??= load())(bridge),
  };
}
