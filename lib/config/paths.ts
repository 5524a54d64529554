/**
 * Where guestwire keeps things on this host, with the overrides that tests and trial runs use. libvirt strips the
 * environment, so under a daemon the defaults hold.
 */
import { DEFAULT_CONFIG_PATH } from './file.js';

export interface Settings {
  readonly config: string;
  readonly stateDir: string;
  /** Beside the state directory, not in it: the directory then holds guests only. */
  readonly lock: string;
  /** Guests in quarantine; it outlasts a restart of the host. */
  readonly quarantine: string;
  /** Which guest last had an address. */
  readonly addresses: string;
  /** Where libvirt keeps the XML of its guests, separated by colons: the hook must not ask libvirt. */
  readonly definitions: string;
}

/** The directories of drivers with guests that guestwire wires. */
const DEFINITIONS = ['qemu', 'lxc', 'libxl'].map((driver) => `/etc/libvirt/${driver}`).join(':');

/** Where systemd's tmpfiles and packages expect it, too. */
const STATE_DIR = '/run/guestwire';

/**
 * Returns the settings that `env` asks for: GUESTWIRE_CONFIG, GUESTWIRE_STATE_DIR, GUESTWIRE_LOCK,
 * GUESTWIRE_QUARANTINE_DIR,
 * GUESTWIRE_ADDRESSES_DIR, GUESTWIRE_DEFINITIONS_DIR.
 */
export function settingsFrom(env: Readonly<Record<string, string | undefined>>): Settings {
  const stateDir = env['GUESTWIRE_STATE_DIR'] ?? STATE_DIR;
  return {
    config: env['GUESTWIRE_CONFIG'] ?? DEFAULT_CONFIG_PATH,
    stateDir,
    lock: env['GUESTWIRE_LOCK'] ?? `${stateDir}.lock`,
    quarantine: env['GUESTWIRE_QUARANTINE_DIR'] ?? '/var/lib/guestwire/quarantine',
    addresses: env['GUESTWIRE_ADDRESSES_DIR'] ??
      (stateDir === STATE_DIR ? '/var/lib/guestwire/addresses' : `${stateDir}.addresses`),
    definitions: env['GUESTWIRE_DEFINITIONS_DIR'] ?? DEFINITIONS,
  };
}

/** Returns the file that a live agent keeps locked: while it is locked, the agent notices when a guest runs here. */
export function agentLockOf({ stateDir }: Pick<Settings, 'stateDir'>): string {
  return `${stateDir}.agent`;
}
