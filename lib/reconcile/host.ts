/** The host as the pipeline works on it, put together in one place for the hook, the commands, the agent and other programs. */
import { withQuarantine } from '../attachments/attachment.js';
import type { Ledger } from '../attachments/ledger.js';
import { loadConfig } from '../config/file.js';
import { type HostConfig, protectedOn } from '../config/host-config.js';
import type { Settings } from '../config/paths.js';
import { createJournal, type Entry, type Holding, type Journal } from '../journal/journal.js';
import { quarantineIn } from '../journal/quarantine.js';
import { followRenames } from '../journal/renamed-links.js';
import { createKernel, type Kernel } from '../kernel/kernel.js';
import type { Exec } from '../system/exec.js';
import type { Lock } from '../system/lock.js';

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

/** What a plan starts from, besides the kernel. */
export interface Past {
  /** The guest's entry in the journal, if it has one. */
  readonly entry: Entry | undefined;
  /** What guestwire records of what guests share. */
  readonly ledger: Ledger;
  /** What other guests hold; reading it costs something, so only who needs it asks. */
  readonly others: () => readonly Holding[];
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
  /** Nothing may pass to or from the guest. */
  readonly quarantined: boolean;
}

/** Where effects go: injected at the top, so that tests put fakes in. */
export interface Host {
  readonly kernel: Kernel;
  readonly journal: Journal;
  /** Told what was done, a line a change. */
  readonly log: (line: string) => void;
  /** Told what is not as it should be, and what guestwire changes does not mend; absent: `log` is. */
  readonly warn?: ((line: string) => void) | undefined;
  /** VIDs that the host config says never to remove from the uplinks of a bridge. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
  /** Whether nothing may pass to or from the guest of this UUID. */
  readonly isQuarantined: (uuid: string) => boolean;
}

/** Returns what a plan for this guest starts from. */
export function pastOf({ journal, protectedOn, isQuarantined }: Host, uuid: string): Past {
  let others: Holding[] | undefined;
  return {
    entry: journal.read(uuid), ledger: journal.readLedger(), protectedOn, quarantined: isQuarantined(uuid),
    others: () => (others ??= journal.list().filter(({ guest }) => guest.uuid !== uuid).map((entry) => withQuarantineOf(entry, isQuarantined))),
  };
}

/** The file counts, not what the entry remembers of it. */
export function withQuarantineOf(entry: Holding, isQuarantined: (uuid: string) => boolean): Holding {
  const quarantined = isQuarantined(entry.guest.uuid) || undefined;
  return { ...entry, wired: entry.wired.map((wired) => withQuarantine(wired, quarantined)) };
}
