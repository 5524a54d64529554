/**
 * Whether libvirt will call guestwire's hook, and the hook will run: the faults that `install` would refuse or repair.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { GuestwireError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { isSelinuxEnforcing } from '../kernel/host-settings.js';
import { quote } from '../values/quote.js';
import { BESIDE, BESIDE_DIR, HOOK, linkStat, MAIN, type Standing, standingAt } from './layout.js';
import { readRecord } from './record.js';
import { ignorantDaemons } from './reload.js';
import { assertHost, MissingError } from './requirements.js';

/** A fault of the hook, in the words that doctor prints. */
export interface HookFinding {
  readonly severity: 'error' | 'note';
  readonly what: string;
  /** Absent: libvirt does not call the hook, or the hook does not run. */
  readonly why?: string;
  readonly cure: string;
}

/** Returns what is wrong, the cause first. */
export async function hookFindings(io: Io): Promise<HookFinding[]> {
  return [...await hostFindings(io), ...placeFindings(), ...otherHooks(), ...selinuxFindings()];
}

async function hostFindings(io: Io): Promise<HookFinding[]> {
  try {
    await assertHost(io);
    return [];
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    return [{ severity: 'error', what: error.message, cure: error instanceof MissingError ? `apt-get install ${error.packages.join(' ')} && guestwire install` : 'guestwire install' }];
  }
}

function placeFindings(): HookFinding[] {
  const install = 'guestwire install';
  try {
    const standings = [MAIN, BESIDE].map((path) => ({ path, standing: standingAt(path) }));
    if (!standings.some(({ standing }) => standing === 'ours')) {
      const other = standings.find(({ standing }) => standing !== 'absent');
      return [{ severity: 'error', what: `guestwire's hook is not installed${other === undefined ? '' : `: ${quote(other.path)} is another script`}`, cure: install }];
    }
    if (!existsSync(HOOK)) return [{ severity: 'error', what: `${quote(HOOK)} is missing: the launcher runs it`, cure: install }];
    const record = readRecord();
    const ignorant = record === undefined ? [] : ignorantDaemons(record);
    return ignorant.map((daemon) => ({ severity: 'error', what: `${daemon} does not call the hook yet: it started before the hook was installed`, cure: 'guestwire install --yes' }));
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    return [{ severity: 'error', what: error.message, cure: install }];
  }
}

/** Beside guestwire's launcher libvirt runs these for the same guests, in an order that their names decide. */
function otherHooks(): HookFinding[] {
  if (![MAIN, BESIDE].some((path) => placed(path) === 'ours')) return [];
  const beside = linkStat(BESIDE_DIR)?.isDirectory() === true
    ? readdirSync(BESIDE_DIR).map((name) => join(BESIDE_DIR, name))
    : [];
  const others = [MAIN, ...beside].filter((path) => ((linkStat(path)?.mode ?? 0) & 0o111) !== 0 &&
    placed(path) !== 'ours');
  return others.map((path) => ({
    severity: 'note', what: `${quote(path)} is another hook`, why: "libvirt runs it for guestwire's guests, too: guestwire takes its changes to their links and routes for drift, and a guest that it refuses does not start", cure: `less ${path}`,
  }));
}

function placed(path: string): Standing | undefined {
  try {
    return standingAt(path);
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    return undefined;
  }
}

/** libvirt's policy lets hooks run as virt_hooks_t, or not at all. */
function selinuxFindings(): HookFinding[] {
  if (!isSelinuxEnforcing()) return [];
  return [{ severity: 'note', what: 'SELinux is enforcing', cure: 'restorecon -R /etc/libvirt/hooks; setsebool -P virt_hooks_unconfined on' }];
}
