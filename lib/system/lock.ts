/**
 * The one host-wide lock: `flock` on a root-only file. Guests start in parallel and share bridges, uplinks and routes.
 * The kernel frees it when every process that holds the descriptor is dead, so a killed hook never leaves it behind,
 * and a tool that outlives the hook keeps it until its last change is made.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { JournalError } from '../errors.js';
import { oneLine, quote, systemReason } from '../values/quote.js';
import type { Exec, ExecResult } from './exec.js';

export interface Lock {
  /** Pass it to every tool that changes the host. */
  readonly fd: number;
  /** Gives the lock back; safe to call twice. */
  readonly release: () => void;
}

export interface LockRequest {
  readonly path: string;
  /** Seconds to wait. */
  readonly wait: number;
  /**
   * Seconds to wait in all; `wait` is then the time for one holder, and others may hold the lock in turn. Absent:
   * `wait` is for all of them together.
   */
  readonly most?: number;
  /** Written into the file, so that a waiter can name the holder: `start of guest 'web1'`. */
  readonly holder: string;
}

/**
 * Exit status of flock(1) when the lock is still held at the end of the wait. Not 1, which a failure of flock itself
 * gives.
 */
const IS_HELD = 75;
/** Exit status of WATCHED when one holder kept the lock for too long. */
const IS_KEPT = 76;

/**
 * Waits for the lock, at most $3 s in all and $2 s for one holder, which writes a stamp into the second line of $1. The
 * kernel serves waiters in the order of their arrival (fs/locks.c of Linux 5.0 and newer), so the wait is one call.
 */
const WATCHED = `
flock --exclusive --timeout "$3" --conflict-exit-code ${IS_HELD} 3 &
waiter=$!
{
  seen= count=0
  while sleep 1; do
    stamp=
    { read -r holder; read -r stamp; } <"$1"
    [ "$stamp" = "$seen" ] || count=0
    seen=$stamp count=$((count + 1))
    [ "$count" -le "$2" ] || { kill "$waiter"; exit; }
  done
} 3>&- >/dev/null 2>&1 &
watcher=$!
wait "$waiter"
status=$?
kill "$watcher" 2>/dev/null
[ "$status" -ne 143 ] || status=${IS_KEPT}
exit "$status"`;

/** Returns the lock. Throws JournalError when it is not free in time, naming the holder, or cannot be taken at all. */
export async function acquireLock(exec: Exec, request: LockRequest): Promise<Lock> {
  for (;;) {
    const lock = await lockFile(exec, request);
    // `uninstall` removes the file, and a lock on a removed file excludes no other process.
    if (fstatSync(lock.fd).ino === statSync(request.path, { throwIfNoEntry: false })?.ino) return lock;
    lock.release();
  }
}

/**
 * Returns whether some process holds the lock of `path`: by the kernel's word, which no kill -9 makes a lie. A file
 * that is not there is not locked. Throws JournalError when it cannot be told.
 */
export async function isHeld(exec: Exec, path: string): Promise<boolean> {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return false;
  const fd = openLockFile(path);
  try {
    // Shared, so that two processes that query at once do not take each other for the holder.
    const result = await exec({
      tool: 'flock', args: ['--shared', '--nonblock', '--conflict-exit-code', String(IS_HELD), '3'], fd,
    });
    if (result.exitCode === IS_HELD) return true;
    if (result.exitCode !== 0) throw new JournalError(`could not query lock ${quote(path)}: ${lockReason(result)}`);
    return false;
  } finally {
    closeSync(fd);
  }
}

async function lockFile(exec: Exec, request: LockRequest): Promise<Lock> {
  const { path, wait, most, holder } = request;
  const fd = openLockFile(path);
  try {
    const result = await waitForLock(exec, fd, request);
    const isTurn = most !== undefined && result.exitCode === IS_HELD;
    if (result.exitCode === IS_HELD || result.exitCode === IS_KEPT) {
      const now = readFileSync(path, 'utf8').split('\n', 1)[0]?.trim() ?? '';
      throw new JournalError(`could not get lock ${quote(path)} within ${isTurn ? most : wait} s: ${isTurn ? 'others held it in turn, at last' : 'held by'} ${now === '' ? 'an unknown process' : now}`);
    }
    if (result.exitCode !== 0) {
      throw new JournalError(`could not get lock ${quote(path)}: ${lockReason(result)}`);
    }
    noteHolder(fd, holder);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  let held = true;
  return {
    fd,
    release: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}

async function waitForLock(exec: Exec, fd: number, { path, wait, most }: LockRequest): Promise<ExecResult> {
  const flock = (how: readonly string[]): Promise<ExecResult> => exec({
    tool: 'flock', args: ['--exclusive', ...how, '--conflict-exit-code', String(IS_HELD), '3'], fd,
    deadline: (wait + 5) * 1000,
  });
  if (most === undefined) return flock(['--timeout', String(wait)]);
  const first = await flock(['--nonblock']);
  return first.exitCode !== IS_HELD ? first : exec({
    tool: '/bin/sh', args: ['-c', WATCHED, 'sh', path, String(wait), String(most)], fd, deadline: (most + 5) * 1000,
  });
}

function lockReason({ errno, signal, stderr, exitCode }: ExecResult): string {
  if (errno === 'ENOENT') return "flock is not installed: no 'flock' in PATH";
  if (errno !== undefined) return `flock could not be started (${errno})`;
  if (signal !== undefined) return `flock was killed by ${signal}`;
  return stderr.trim() === '' ? `flock ended with ${exitCode ?? 'no status'}` : oneLine(stderr);
}

/**
 * Waiters read it; on a full /run only this text is lost. Overwritten before truncating, so that it needs no new page.
 */
function noteHolder(fd: number, holder: string): void {
  const text = `${oneLine(holder)} (pid ${process.pid})\n${process.pid} ${process.hrtime.bigint()}\n`;
  try {
    ftruncateSync(fd, writeSync(fd, text, 0));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

/** A named pipe is opened at once, to be refused. */
const LOCK_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Only root may open it: a process that holds the lock can keep every guest from starting. */
function openLockFile(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, LOCK_FLAGS, 0o600);
  } catch (error) {
    throw new JournalError(`lock ${quote(path)} cannot be opened: ${systemReason(error)}`, { cause: error });
  }
  const stats = fstatSync(fd);
  const { uid, mode } = stats;
  if (!stats.isFile()) {
    closeSync(fd);
    throw new JournalError(`lock ${quote(path)} is not a regular file: remove it`);
  }
  if (uid !== 0 && uid !== process.geteuid?.()) {
    closeSync(fd);
    throw new JournalError(`lock ${quote(path)} belongs to user ${uid}: remove it`);
  }
  if ((mode & 0o077) !== 0) {
    closeSync(fd);
    throw new JournalError(`lock ${quote(path)} is open to other users (mode 0${(mode & 0o777).toString(8)}): remove it`);
  }
  return fd;
}
