/** What one consumer of events has not taken yet: an async iterator over a queue that has a bound. */
import type { EventKind, LibvirtEvent } from './events.js';

export interface Subscription extends AsyncIterableIterator<LibvirtEvent> {
  readonly kinds: ReadonlySet<EventKind>;
  /**
   * Adds an event. In a full queue all that wait are replaced by one 'resync': a list of now is worth more than they
   * are.
   */
  push(event: LibvirtEvent): void;
  /** Ends it after what is queued, with an error or without. */
  end(error?: Error): void;
}

/**
 * Characters of names in the queue: an event can hold 8 MiB of them, and a queue of such would be all the memory there
 * is.
 */
const MOST_CHARACTERS = 4 * 1024 * 1024;

type Result = IteratorResult<LibvirtEvent, undefined>;

interface Taker {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

/** Returns an empty subscription. `onReturn` is called when the consumer leaves. */
export function createSubscription(kinds: ReadonlySet<EventKind>, most: number, onReturn: () => void): Subscription {
  const queue = createQueue(most);
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
      if (taker === undefined) queue.push(event);
      else taker.resolve({ done: false, value: event });
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
      queue.clear();
      subscription.end();
      onReturn();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => subscription,
  };
  return subscription;
}

interface Queue {
  readonly push: (event: LibvirtEvent) => void;
  readonly shift: () => LibvirtEvent | undefined;
  readonly clear: () => void;
}

function createQueue(most: number): Queue {
  let events: LibvirtEvent[] = [];
  let characters = 0;
  const clear = (): void => {
    events = [];
    characters = 0;
  };
  return {
    clear,
    push: (event) => {
      characters += charactersOf(event);
      if (events.length >= most || characters > MOST_CHARACTERS) {
        clear();
        events.push({ kind: 'resync', reason: 'overflow' });
      } else events.push(event);
    },
    shift: () => {
      const event = events.shift();
      if (event !== undefined) characters -= charactersOf(event);
      return event;
    },
  };
}

function charactersOf(event: LibvirtEvent): number {
  const { name } = 'domain' in event ? event.domain : 'network' in event ? event.network : { name: '' };
  const more = 'alias' in event ? event.alias : 'uri' in event ? event.uri : undefined;
  return name.length + (more?.length ?? 0);
}
