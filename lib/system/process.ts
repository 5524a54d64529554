/** Processes, and when they started: by the kernel's ticks since boot, because a clock may be set. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Exec } from './exec.js';

/** A point in the life of this machine. */
export interface Moment {
  readonly boot: string;
  /** Hundredths of a second since then: Linux shows processes' starts in no other unit. */
  readonly ticks: number;
}

export interface Process {
  readonly name: string;
  readonly started: Moment;
}

/** Returns the process `pid`; undefined when it does not exist. */
export function processOf(pid: number): Process | undefined {
  try {
    return processIn(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    // ESRCH: it ended between open and read.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Returns whether a process with this name runs. The kernel keeps 15 characters of a name (proc(5)). */
export function isRunning(name: string): boolean {
  return readdirSync('/proc').some((pid) => /^\d+$/.test(pid) && processOf(Number(pid))?.name === name.slice(0, 15));
}

/**
 * Returns the current time in the kernel's start-time ticks, by starting a process and reading its start: no clock that
 * Node can read compares with a daemon's start time (in a container /proc/uptime may be its own).
 */
export async function now(exec: Exec): Promise<Moment | undefined> {
  const { exitCode, stdout } = await exec({ tool: 'cat', args: ['/proc/self/stat'] });
  return exitCode === 0 ? processIn(stdout).started : undefined;
}

function processIn(stat: string): Process {
  // A name may hold anything, a parenthesis too (proc(5)).
  const [, name = '', rest = ''] = /^\d+ \((.*)\) (.*)/s.exec(stat) ?? [];
  return { name, started: {
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), ticks: Number(rest.split(' ')[19]),
  } };
}

/** Returns whether a process that runs now, and started then, did so after `moment`. */
export function isAfter(started: Moment, moment: Moment): boolean {
  return started.boot !== moment.boot || started.ticks > moment.ticks;
}
