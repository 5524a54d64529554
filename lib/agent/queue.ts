/**
 * The queue of the agent: one entry for each guest, debounced, a few at a time, and never two runs for one guest at
 * once. A failed run is repeated after a growing pause; a new event ends the pause.
 */

export interface WorkOptions {
  readonly run: (key: string) => Promise<void>;
  /** `failures`: how many there were in a row. */
  readonly onFailure: (key: string, error: unknown, failures: number) => void;
  /** Milliseconds from the first reason to the run, in which other reasons join it. */
  readonly debounce: number;
  /** How many guests are worked on at a time. */
  readonly most: number;
  /** Milliseconds after the first failure, and at most. */
  readonly backoff: { readonly first: number; readonly most: number };
}

/**
 * 'afresh': the wanted state may have changed, so the pause ends. 'again': the kernel changed, perhaps by the failing
 * run itself, so the pause stays.
 */
export type WorkReason = 'afresh' | 'again';

export interface Work {
  readonly want: (key: string, reason: WorkReason) => void;
  /** Takes no more, and resolves when what runs has ended. */
  readonly stop: () => Promise<void>;
  /** How many guests wait or are worked on. */
  readonly size: () => number;
}

interface Item {
  timer: NodeJS.Timeout | undefined;
  phase: 'waits' | 'pauses' | 'queued' | 'runs';
  /** Asked for while it ran. */
  next: WorkReason | undefined;
  failures: number;
}

interface State extends WorkOptions {
  readonly items: Map<string, Item>;
  readonly queue: string[];
  readonly running: Set<Promise<void>>;
  over: boolean;
}

/** Returns the work of an agent, empty. */
export function createWork(options: WorkOptions): Work {
  const state: State = { ...options, items: new Map(), queue: [], running: new Set(), over: false };
  return {
    want: (key, reason) => { want(state, key, reason); },
    size: () => state.items.size,
    stop: async () => {
      state.over = true;
      for (const { timer } of state.items.values()) clearTimeout(timer);
      await Promise.all(state.running);
    },
  };
}

function want(state: State, key: string, reason: WorkReason): void {
  if (state.over) return;
  const item = state.items.get(key) ?? { timer: undefined, phase: 'waits', next: undefined, failures: 0 };
  const isNew = !state.items.has(key);
  state.items.set(key, item);
  if (item.phase === 'runs') {
    item.next = item.next === 'afresh' ? item.next : reason;
    return;
  }
  if (reason === 'afresh') item.failures = 0;
  if (isNew || (item.phase === 'pauses' && reason === 'afresh')) wait(state, key, item, state.debounce);
}

// eslint-disable-next-line max-params -- the item is the key's own
function wait(state: State, key: string, item: Item, pause: number): void {
  clearTimeout(item.timer);
  item.phase = pause > state.debounce ? 'pauses' : 'waits';
  item.timer = setTimeout(() => {
    item.phase = 'queued';
    state.queue.push(key);
    pump(state);
  }, pause);
}

function pump(state: State): void {
  while (!state.over && state.running.size < state.most) {
    const key = state.queue.shift();
    const item = key === undefined ? undefined : state.items.get(key);
    if (key === undefined || item === undefined) return;
    item.phase = 'runs';
    item.next = undefined;
    const run: Promise<void> = attempt(state, key, item).finally(() => {
      state.running.delete(run);
      pump(state);
    });
    state.running.add(run);
  }
}

async function attempt(state: State, key: string, item: Item): Promise<void> {
  let pause: number | undefined;
  try {
    await state.run(key);
    item.failures = 0;
  } catch (error) {
    if (item.next === 'afresh') item.failures = 0;
    pause = item.next === 'afresh'
      ? state.debounce
      : Math.min(state.backoff.first * 2 ** item.failures, state.backoff.most);
    item.failures += 1;
    state.onFailure(key, error, item.failures);
  }
  if (pause === undefined && item.next !== undefined) pause = state.debounce;
  if (pause === undefined || state.over) state.items.delete(key);
  else wait(state, key, item, pause);
}
