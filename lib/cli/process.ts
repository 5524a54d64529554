/** Processes, and when they started: by the kernel's ticks since boot, because a clock may be set. */
import { readFileSync } from 'node:fs';

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

/** Added to what is measured from this process's start: node's own clock starts a little after it. */
const MARGIN = 100;

/** Returns the process `pid`; undefined when there is none. */
export function processOf(pid: number | 'self'): Process | undefined {
  try {
    // A name may hold anything, a parenthesis too (proc(5)).
    const [, name = '', rest = ''] = /^\d+ \((.*)\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return { name, started: { boot, ticks: Number(rest.split(' ')[19]) } };
  } catch (error) {
    // ESRCH: it ended between open and read.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Returns a moment not before this one, and at most a second or so after it. */
export function now(): Moment | undefined {
  const own = processOf('self')?.started;
  return own && { ...own, ticks: own.ticks + Math.ceil(performance.now() / 10) + MARGIN };
}

/** Returns whether a process that runs now, and started then, did so after `moment`. */
export function isAfter(started: Moment, moment: Moment): boolean {
  return started.boot !== moment.boot || started.ticks > moment.ticks;
}
