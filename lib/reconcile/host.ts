/**
 * The host as the pipeline works on it, put together in one place for the hook, the commands, the agent and other
 * programs.
 */
import { withQuarantine } from '../attachments/attachment.js';
import type { Ledger } from '../attachments/ledger.js';
import { type ConfigReading, configReading } from '../config/file.js';
import { type HostConfig, protectedOn } from '../config/host-config.js';
import type { Settings } from '../config/paths.js';
import { createJournal, type Entry, type Holding, type Journal } from '../journal/journal.js';
import { quarantineIn } from '../journal/quarantine.js';
import { type Reservations, reservationsIn } from '../journal/reservations.js';
import { entryNow, holdingNow } from '../journal/renamed-links.js';
import { createKernel, type Kernel } from '../kernel/kernel.js';
import { type LinkNames, linkNames } from '../kernel/link-files.js';
import { observeHost, type WholeHost } from '../kernel/whole-host.js';
import type { Guest } from '../domain/guest.js';
import type { FilterFamily } from '../state/nft.js';
import type { BatchLine } from '../state/render.js';
import type { Exec } from '../system/exec.js';
import type { Lock } from '../system/lock.js';

export interface HostParts {
  readonly settings: Settings;
  readonly exec: Exec;
  /** Receives warnings about damaged entries of the journal, and about other differences. */
  readonly warn: (message: string) => void;
  /** Receives each change as one line; absent: changes are not reported. */
  readonly log?: Host['log'];
  /**
   * The lock of a caller that changes the host: each tool keeps it until the tool ends. A caller that only reads does
   * not need it.
   */
  readonly lock?: Pick<Lock, 'fd'>;
  /** Default: that of the settings. */
  readonly journal?: Journal;
  /** The run's reading of the host config. Default: one of the settings' file. */
  readonly config?: Pick<ConfigReading, 'read'>;
}

/** Returns the host that `settings` say, with its protected VIDs and its guests in quarantine. */
export function hostFrom({ settings, exec, warn, log = () => undefined, lock, ...parts }: HostParts): Host {
  const config = parts.config ?? configReading(settings.config);
  const ours: Exec = lock === undefined ? exec : (request) => exec({ ...request, fd: lock.fd });
  return {
    kernel: createKernel(ours),
    journal: parts.journal ?? createJournal(settings.stateDir, warn), names: linkNames(),
    log, warn, isQuarantined: quarantineIn(settings.quarantine),
    protectedOn: (bridge) => protectedOn(config.read())(bridge),
    reserved: { record: reservationsIn(settings.addresses, settings.definitions), config: config.read },
    marks: async (filters) => {
      const { protocol } = config.read().routed;
      return { protocol, ...await observeHost(ours, { protocols: [protocol], filters }) };
    },
  };
}

/** What a plan starts from, besides the kernel. */
export interface Past {
  /** What the journal records of the guests that are planned, together; undefined: nothing. */
  readonly entry: RecordedWiring | undefined;
  /** What guestwire records of what guests share. */
  readonly ledger: Ledger;
  /** What other guests hold. Reading it costs something, so only a plan that needs it asks. */
  readonly others: () => readonly Holding[];
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
  /** Nothing may pass to or from any of the guests. */
  readonly quarantined: boolean;
}

export type RecordedWiring = Pick<Entry, 'wired' | 'original'>;

/** What a warning is about: its sentence need not be read for that. */
export interface Concern {
  readonly guest: Guest;
  /** Empty: the guest as a whole. */
  readonly nics: readonly ConcernedNic[];
}

export interface ConcernedNic {
  /** The NIC's position in the domain XML. */
  readonly nic: number;
  readonly mac: string | undefined;
  /** The link on the host; undefined: guestwire does not know one yet. */
  readonly link: string | undefined;
}

/** Where effects go: injected at the top, so that tests put fakes in, and a dry run what changes nothing. */
export interface Host {
  readonly kernel: Kernel;
  /** As it was written: {@link readEntry} gives it with the names that links have now. */
  readonly journal: Journal;
  /** The names that links have now; absent: those of the journal. */
  readonly names?: LinkNames | undefined;
  /** Told what was done, a line a change; `change` is what the kernel was told for it, if it was. */
  readonly log: (line: string, change?: BatchLine) => void;
  /** Receives warnings about differences that guestwire cannot repair; absent: `log` receives them. */
  readonly warn?: ((line: string, about?: Concern) => void) | undefined;
  /** Returns all of this host that carries a mark of guestwire's; each family of tables costs a program. */
  readonly marks?: ((families: readonly FilterFamily[]) => Promise<Marks>) | undefined;
  /** Which guests keep their addresses while they are off; absent: none. */
  readonly reserved?: Reserved | undefined;
  /** VIDs that the host config says never to remove from the uplinks of a bridge. */
  readonly protectedOn: (bridge: string) => ReadonlySet<number>;
  /** Whether nothing may pass to or from the guest of this UUID. */
  readonly isQuarantined: (uuid: string) => boolean;
}

/** Which guests had which addresses, and the config by which their definitions are read. */
export interface Reserved {
  readonly record: Reservations;
  readonly config: () => HostConfig;
}

/** What carries a mark of guestwire's, and the route protocol that is one. */
export type Marks = WholeHost & { readonly protocol: number };

/** What tells the entries of guests, with the names that links have now. */
export type Records = Pick<Host, 'journal' | 'names'>;

/** Returns the guest's entry with its links under their present names; undefined: the journal has no entry. */
export function readEntry({ journal, names }: Records, uuid: string): Entry | undefined {
  const entry = journal.read(uuid);
  return entry === undefined || names === undefined ? entry : entryNow(entry, names);
}

/** Returns what all guests hold, with their links under their present names. */
export function listHoldings({ journal, names }: Records): Holding[] {
  const all = journal.list();
  return names === undefined ? all : all.map((entry) => holdingNow(entry, names));
}

/** Returns what a plan for this guest starts from. */
export function pastOf(host: Host, uuid: string): Past {
  return {
    ...pastOfAll(host, [{ guest: { uuid }, entry: readEntry(host, uuid) }]), quarantined: host.isQuarantined(uuid),
  };
}

/** Returns what a plan for these guests starts from. Which of them are in quarantine their attachments say. */
export function pastOfAll(
  host: Host, members: readonly { readonly guest: Pick<Guest, 'uuid'>; readonly entry: Entry | undefined }[],
): Past {
  const { journal, protectedOn, isQuarantined } = host;
  const uuids = new Set(members.map(({ guest }) => guest.uuid));
  const entries = members.flatMap(({ entry }) => entry ?? []);
  let others: Holding[] | undefined;
  return {
    entry: together(entries), ledger: journal.readLedger(), protectedOn, quarantined: false,
    others: () => (others ??= listHoldings(host).filter(({ guest }) => !uuids.has(guest.uuid))
      .map((entry) => withQuarantineOf(entry, isQuarantined))),
  };
}

function together(entries: readonly Entry[]): RecordedWiring | undefined {
  const [first, ...rest] = entries;
  if (first === undefined || rest.length === 0) return first;
  return { wired: entries.flatMap(({ wired }) => wired), original: entries.flatMap(({ original }) => original) };
}

/** The file counts, not what the entry remembers of it. */
function withQuarantineOf(entry: Holding, isQuarantined: (uuid: string) => boolean): Holding {
  const quarantined = isQuarantined(entry.guest.uuid) || undefined;
  return { ...entry, wired: entry.wired.map((wired) => withQuarantine(wired, quarantined)) };
}
