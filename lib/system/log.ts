/**
 * The system's journal (`journalctl -t guestwire`): lines are collected and given to one `logger` run at the end,
 * because a run for each line would cost a hook more than the change that the line reports.
 */
import { oneLine } from '../values/quote.js';
import type { Exec } from './exec.js';

export interface Log {
  readonly info: (line: string) => void;
  readonly warn: (line: string) => void;
  readonly error: (line: string) => void;
  /** Hands the lines over. Never throws: a logger that is missing or hangs must not refuse a guest. */
  readonly flush: () => Promise<void>;
}

/** syslog priorities, facility daemon (RFC 5424 section 6.2.1), as `logger --prio-prefix` takes them. */
const PRIORITY = { info: 30, warn: 28, error: 27 };

/** logger cuts a line at 1 KiB unless told; a longer message is worth more than the rest of a bad one. */
const LONGEST = 4096;

/** Milliseconds: without a listener on /dev/log it ends at once, with one it takes 3. */
const DEADLINE = 2_000;

/** Returns a log that writes through `exec`. */
export function createLog(exec: Exec): Log {
  const lines: string[] = [];
  const add = (priority: number) => (line: string) => { lines.push(`<${priority}>${oneLine(line)}`); };
  return {
    info: add(PRIORITY.info),
    warn: add(PRIORITY.warn),
    error: add(PRIORITY.error),
    flush: async () => {
      if (lines.length === 0) return;
      const input = `${lines.splice(0).join('\n')}\n`;
      await exec({
        tool: 'logger', args: ['--tag', 'guestwire', '--prio-prefix', '--size', String(LONGEST)], input,
        deadline: DEADLINE,
      });
    },
  };
}

/** Returns what tells each line once: the journal, for one, is read several times a run. */
export function once(tell: (line: string) => void): (line: string) => void {
  const told = new Set<string>();
  return (line) => {
    if (!told.has(line)) tell(line);
    told.add(line);
  };
}
