/** What one consumer of events has not taken yet: an async iterator over a queue that has a bound. */
import type { LibvirtEvent } from './eventnames.js';
import type { EventKind } from './types.js';

export interface Subscription extends AsyncIterableIterator<LibvirtEvent> {
  readonly kinds: ReadonlySet<EventKind>;
  /** Adds an event. In a full queue all that wait are replaced by one 'resync': a list of now is worth more than they are. */
  push(event: LibvirtEvent): void;
  /** Ends it after what is queued, with an error or without. */
  end(error?: Error): void;
}

type Result = IteratorResult<LibvirtEvent, undefined>;

interface Taker {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

/** Returns an empty subscription. `onReturn` is called when the consumer leaves. */
export function createSubscription(kinds: ReadonlySet<EventKind>, most: number, onReturn: () => void): Subscription {
  let queue: LibvirtEvent[] = [];
  const takers: Taker[] = [];
  let over = false;
  let failure: Error | undefined;

  const finish = (): Promise<Result> => {
    const error = failure;
    failure = undefined;
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  };
  const subscription: Subscription = {
    kinds,
    push: (event) => {
      if (over) return;
      const taker = takers.shift();
      if (taker !== undefined) taker.resolve({ done: false, value: event });
      else if (queue.length < most) queue.push(event);
      else queue = [{ kind: 'resync', reason: 'overflow' }, event].slice(0, most) as LibvirtEvent[];
    },
    end: (error) => {
      if (over) return;
      over = true;
      failure = error;
      for (const { resolve, reject } of takers.splice(0)) finish().then(resolve, reject);
    },
    next: () => {
      const value = queue.shift();
      if (value !== undefined) return Promise.resolve({ done: false, value });
      return over ? finish() : new Promise((resolve, reject) => { takers.push({ resolve, reject }); });
    },
    return: () => {
      queue = [];
      subscription.end();
      onReturn();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => subscription,
  };
  return subscription;
}
