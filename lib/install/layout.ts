/**
 * Where `install` puts things on a host and what stands there now. A launcher is guestwire's when its second line says
 * so; everything else in libvirt's hook directories belongs to others and is never written, moved or removed.
 */
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { HostError } from '../errors.js';
import { quote } from '../values/quote.js';

export const LIBRARY_DIR = '/usr/lib/guestwire';
export const HOOKS_DIR = '/etc/libvirt/hooks';
/** libvirt runs every executable in here, too, since 6.5.0. */
export const BESIDE_DIR = `${HOOKS_DIR}/qemu.d`;
export const MAIN = `${HOOKS_DIR}/qemu`;
export const BESIDE = `${BESIDE_DIR}/guestwire`;
export const HOOK = `${LIBRARY_DIR}/hook.cjs`;
/** The agent, with `install --agent`. */
export const AGENT = `${LIBRARY_DIR}/agent.mjs`;
export const RECORD = `${LIBRARY_DIR}/install.json`;

/** What of `dist/` is installed, in the order it is replaced. The first must be there, its companions may. */
export const LIBRARY_FILES = ['hook.cjs', 'hook-cached.cjs', 'hook.cache'] as const;

const MARK = '# guestwire hook launcher:';

/** 'ours' and 'script' are regular files; 'link' leads to a script of another owner, 'blocked' is anything else. */
export type Standing = 'absent' | 'ours' | 'script' | 'link' | 'blocked';

/**
 * Returns what stands at a launcher's place. A link to a launcher is refused: beside it, every guest would be wired
 * twice.
 */
export function standingAt(path: string): Standing {
  const stat = linkStat(path);
  if (stat === undefined) return 'absent';
  if (stat.isFile()) return isLauncher(path) ? 'ours' : 'script';
  if (!stat.isSymbolicLink() || statOf(path)?.isFile() !== true) return 'blocked';
  if (isLauncher(path)) throw new HostError(`${fileDetails(path)}, which is a guestwire launcher already: remove the symlink`);
  return 'link';
}

/** Where the launcher goes, and which other copy of it must go away. */
export interface InstallPlace {
  readonly launcher: typeof MAIN | typeof BESIDE;
  readonly surplus: readonly string[];
}

/** Returns the launcher's place: where it is, else libvirt's own place for it, else beside the script that is there. */
export function findPlace(): InstallPlace {
  assertOnlyOurs();
  const main = standingAt(MAIN);
  const beside = standingAt(BESIDE);
  if (main === 'blocked') throw new HostError(`${fileDetails(MAIN)}, not a hook script: move it away`);
  if (main === 'ours') return { launcher: MAIN, surplus: beside === 'ours' ? [BESIDE] : [] };
  if (beside === 'ours') return { launcher: BESIDE, surplus: [] };
  if (main === 'absent') return { launcher: MAIN, surplus: [] };
  if (beside !== 'absent') throw new HostError(`${fileDetails(BESIDE)} that is not guestwire's, and ${quote(MAIN)} is another script: move one of them away`);
  return { launcher: BESIDE, surplus: [] };
}

/** Throws unless `path` is free or a directory that only root can change: what is in it runs as root. */
export function assertSafeDirectory(path: string): void {
  const stat = linkStat(path);
  if (stat === undefined) return;
  if (!stat.isDirectory()) throw new HostError(`${fileDetails(path)}, not a directory: move it away`);
  if (stat.uid !== 0 || (stat.mode & 0o022) !== 0) {
    throw new HostError(`directory ${quote(path)} is writable by other users (owner ${stat.uid}, mode 0${(stat.mode & 0o777).toString(8)}): it must belong to root with mode 0755`);
  }
}

/** Returns what stands at `path` in words: `'/x' is a symlink to '/y'`. */
export function fileDetails(path: string): string {
  const stat = linkStat(path);
  if (stat?.isSymbolicLink() === true) return `${quote(path)} is a symlink to ${quote(readlinkSync(path))}`;
  if (stat?.isDirectory() === true) return `${quote(path)} is a directory`;
  return `${quote(path)} is a ${stat?.isFile() === true ? '' : 'special '}file`;
}

/** Returns lstat of `path`; undefined when nothing is there. */
export function linkStat(path: string): Stats | undefined {
  return unlessAbsent(() => lstatSync(path, { throwIfNoEntry: false }));
}

/** Someone may have put a launcher into qemu.d by hand, under a name that decides the order. */
function assertOnlyOurs(): void {
  if (statOf(BESIDE_DIR)?.isDirectory() !== true) return;
  for (const name of readdirSync(BESIDE_DIR).sort()) {
    const path = join(BESIDE_DIR, name);
    if (path === BESIDE || statOf(path)?.isFile() !== true || !isLauncher(path)) continue;
    throw new HostError(`${quote(path)} is a guestwire launcher already: remove it`);
  }
}

function isLauncher(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(256);
    const size = readSync(fd, head, 0, head.length, 0);
    return (head.toString('latin1', 0, size).split('\n')[1] ?? '').startsWith(MARK);
  } finally {
    closeSync(fd);
  }
}

function statOf(path: string): Stats | undefined {
  return unlessAbsent(() => statSync(path, { throwIfNoEntry: false }));
}

/** A symlink to itself leads nowhere, and below a file there is nothing. */
function unlessAbsent(read: () => Stats | undefined): Stats | undefined {
  try {
    return read();
  } catch (error) {
    if (['ELOOP', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
