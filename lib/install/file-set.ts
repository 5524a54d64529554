/**
 * Changes to files that are made together or not at all. Every draft is on the disk before the first file is replaced,
 * and the file that is replaced stays under a second name until the last one is: everything that can fail has failed
 * before, and the way back is a rename, which needs no space. A file is replaced by a rename, so there is never a
 * moment without it.
 */
import {
  chmodSync, chownSync, closeSync, fchmodSync, fchownSync, fsyncSync, linkSync, mkdirSync, openSync, readdirSync,
  readFileSync, renameSync, rmdirSync, rmSync, writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { HostError, RollbackError } from '../errors.js';
import { oneLine, quote } from '../values/quote.js';
import { fileDetails, linkStat } from './layout.js';

export interface FileSpec {
  readonly path: string;
  readonly content: Buffer;
  readonly mode: 0o644 | 0o755;
  /** Where the draft lies until it is renamed; absent: beside the file. Must be on the same file system. */
  readonly staging?: string;
}

export interface FileSet {
  /** Made when absent, parents first. */
  readonly directories: readonly string[];
  /** Replaced in this order. */
  readonly files: readonly FileSpec[];
  /** Removed after that, when there. */
  readonly surplus: readonly Omit<FileSpec, 'content' | 'mode'>[];
}

/** Returns drafts and second names in a directory, by their names: left by a run that was killed. */
export function leftoversIn(directory: string): string[] {
  if (linkStat(directory)?.isDirectory() !== true) return [];
  return readdirSync(directory)
    .filter((name) => /^\.guestwire-.*\.(draft|old)$/.test(name))
    .sort()
    .map((name) => join(directory, name));
}

type Undo = () => void;

/** What became of a file or a directory. */
export interface FileOutcome {
  readonly path: string;
  readonly isChanged: boolean;
  readonly text: string;
}

/** Makes the host's files as `set` says, all belonging to root, and returns what was done. */
export function applyFileSet(set: FileSet): FileOutcome[] {
  const undo: Undo[] = [];
  const done: FileOutcome[] = [];
  const files = set.files.map((file) => ({ ...file, before: fileState(file) }));
  const changed = files.filter(({ before }) => before !== 'same');
  const surplus = set.surplus.filter(({ path }) => linkStat(path) !== undefined);
  try {
    for (const path of set.directories.filter((directory) => linkStat(directory) === undefined)) {
      attemptFile(path, () => { makeDirectory(path, undo); });
      done.push({ path, isChanged: true, text: `made ${quote(path)}` });
    }
    for (const file of changed) attemptFile(file.path, () => { prepare(file, undo); });
    for (const file of changed) attemptFile(file.path, () => { replace(file, undo); });
    for (const file of surplus) attemptFile(file.path, () => { setAside(file, undo); });
  } catch (error) {
    rollBack(undo, error as Error);
    throw error;
  }
  for (const file of [...changed, ...surplus]) rmSync(secondName(file, 'old'), { force: true });
  for (const path of set.directories.flatMap(leftoversIn)) rmSync(path);
  for (const directory of new Set([...changed, ...surplus].map(({ path }) => dirname(path)))) sync(directory);
  const said = {
    absent: (path: string) => `wrote ${path}`, other: (path: string) => `replaced ${path}`,
    same: (path: string) => `${path} is up to date`,
  };
  return [
    ...done,
    ...files.map(({ path, before }) => ({ path, isChanged: before !== 'same', text: said[before](quote(path)) })),
    ...surplus.map(({ path }) => ({ path, isChanged: true, text: `removed ${quote(path)}` })),
  ];
}

/** Returns why the system did not let `path` be changed, and what helps. */
export function fileReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EROFS') return 'its file system is read-only: mount it writable';
  if (code === 'EPERM') return "it or its directory is immutable: 'lsattr' shows it, 'chattr -i' ends it";
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'its file system is full: make room';
  if (code === 'EBUSY' || code === 'EXDEV') return 'something is mounted there: unmount it';
  return oneLine(message);
}

function attemptFile(path: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw new HostError(`nothing was changed, because ${quote(path)} cannot be written: ${fileReason(error)}`, { cause: error });
  }
}

function fileState({ path, content, mode }: FileSpec): 'absent' | 'same' | 'other' {
  const stat = linkStat(path);
  if (stat === undefined) return 'absent';
  if (!stat.isFile()) throw new HostError(`${fileDetails(path)}, not a file of guestwire's: move it away`);
  const same = (stat.mode & 0o7777) === mode && stat.uid === 0 && stat.gid === 0 && readFileSync(path).equals(content);
  return same ? 'same' : 'other';
}

function makeDirectory(path: string, undo: Undo[]): void {
  mkdirSync(path);
  undo.push(() => { rmdirSync(path); });
  // Whatever the umask and the set-group-id bit of the parent made of it.
  chmodSync(path, 0o755);
  chownSync(path, 0, 0);
}

function prepare(file: FileSpec & { before: string }, undo: Undo[]): void {
  const draft = secondName(file, 'draft');
  rmSync(draft, { force: true });
  const fd = openSync(draft, 'wx', 0o600);
  undo.push(() => { rmSync(draft, { force: true }); });
  try {
    writeFileSync(fd, file.content);
    fchownSync(fd, 0, 0);
    fchmodSync(fd, file.mode);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (file.before === 'absent') return;
  const old = secondName(file, 'old');
  rmSync(old, { force: true });
  linkSync(file.path, old);
  undo.push(() => { rmSync(old, { force: true }); });
}

function replace(file: FileSpec & { before: string }, undo: Undo[]): void {
  renameSync(secondName(file, 'draft'), file.path);
  undo.push(() => {
    if (file.before === 'absent') rmSync(file.path);
    else renameSync(secondName(file, 'old'), file.path);
  });
}

function setAside(file: FileSet['surplus'][number], undo: Undo[]): void {
  renameSync(file.path, secondName(file, 'old'));
  undo.push(() => { renameSync(secondName(file, 'old'), file.path); });
}

function secondName({ path, staging = dirname(path) }: FileSet['surplus'][number], ending: 'draft' | 'old'): string {
  return join(staging, `.guestwire-${basename(path)}.${ending}`);
}

function rollBack(undo: readonly Undo[], cause: Error): void {
  const failures: string[] = [];
  for (const act of [...undo].reverse()) {
    try {
      act();
    } catch (error) {
      failures.push(oneLine((error as Error).message));
    }
  }
  if (failures.length > 0) throw new RollbackError(`${cause.message}; the rollback failed too: ${failures.join(', ')}`, { cause });
}

function sync(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
