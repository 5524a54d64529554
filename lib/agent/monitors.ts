/** The monitors of the kernel's links and VLANs, started again whenever they end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type LinkChange, type Monitor, MONITORS, reportsLoss } from '../kernel/monitor-lines.js';
import type { Follow, Followed } from '../system/follow.js';
import { oneLine } from '../values/quote.js';

export interface MonitorOptions {
  readonly follow: Follow;
  readonly onChange: (change: LinkChange) => void;
  /** Changes may be lost: a monitor started again, or the kernel dropped messages (ENOBUFS). */
  readonly onGap: () => void;
  readonly warn: (line: string) => void;
}

/** Milliseconds: the first pause before a monitor is started again, and the longest. */
const PAUSE = { first: 100, most: 60_000 };
/** A monitor that lived as long did its work. */
const SOUND = 10_000;

/** Starts the monitors. Returns what ends them, which resolves when they have ended. */
export function startMonitors(options: MonitorOptions): () => Promise<void> {
  const stopping = new AbortController();
  const over = Promise.all(MONITORS.map((monitor) => keep(monitor, options, stopping.signal)));
  return async () => {
    stopping.abort();
    await over;
  };
}

async function keep(monitor: Monitor, options: MonitorOptions, signal: AbortSignal): Promise<void> {
  let [pause, told] = [PAUSE.first, ''];
  while (!signal.aborted) {
    const started = performance.now();
    const why = await runOnce(monitor, options, signal);
    if (isAborted(signal)) return;
    if (performance.now() - started >= SOUND) [pause, told] = [PAUSE.first, ''];
    if (why !== told) options.warn(`'${monitor.tool} ${monitor.args.join(' ')}' ended (${why}): restarting it; until then changes are noticed only by the periodic check of all guests`);
    told = why;
    await sleep(pause, undefined, { signal }).catch(() => undefined);
    pause = Math.min(2 * pause, PAUSE.most);
    options.onGap();
  }
}

async function runOnce(
  { tool, args, read }: Monitor, { follow, onChange, onGap }: MonitorOptions, signal: AbortSignal,
): Promise<string> {
  let said = '';
  const followed: Followed = follow({ tool, args }, (line, from) => {
    if (from === 'err') {
      said = oneLine(line);
      if (reportsLoss(line)) onGap();
      return;
    }
    const change = read(line);
    if (change !== undefined) onChange(change);
  });
  signal.addEventListener('abort', followed.stop, { once: true });
  const why = await followed.ended;
  signal.removeEventListener('abort', followed.stop);
  return said === '' ? why : `${why}: ${said}`;
}

/** A function, because the compiler assumes that the value stays the same across the wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
