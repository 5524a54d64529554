/**
 * A connection that outlives the daemon: when a session ends, another is opened, after a pause that grows. Calls that
 * come meanwhile wait within their own time. A call that was under way is never repeated: it may have taken effect.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '../values/quote.js';
import { abortError, type Call, type LimitedOptions } from './calls.js';
import { LibvirtClosedError, LibvirtConnectionError, LibvirtTimeoutError } from './errors.js';
import type { Registrar } from './registrations.js';
import type { Session, SessionOptions } from './session.js';

/** Pauses between attempts to connect again, in milliseconds; each is twice the one before. */
export interface BackoffOptions {
  /** The first; 100 unless given. */
  readonly first: number;
  /** The longest; 10000 unless given. A session that lived as long as this resets the pause to the first. */
  readonly most: number;
}

export interface LastingOptions {
  readonly where: string;
  readonly open: (hooks: Pick<SessionOptions, 'onEvent' | 'onEnd' | 'signal'>) => Promise<Session>;
  /** undefined: the first end is the last. */
  readonly backoff: BackoffOptions | undefined;
  readonly registrar: Registrar;
  /** Gives the first attempt up. */
  readonly signal: AbortSignal | undefined;
}

export interface Lasting {
  readonly call: Call;
  readonly uri: () => string;
  readonly close: () => Promise<void>;
}

interface State extends LastingOptions {
  session: Session | undefined;
  /** Calls that wait for a session. */
  readonly waiting: Set<{ readonly resolve: (session: Session) => void; readonly reject: (error: Error) => void }>;
  readonly closing: AbortController;
  /** Why there will be no more sessions. */
  over: Error | undefined;
  /** Why the last attempt failed. */
  failure: Error | undefined;
  pause: number;
  openedAt: number;
  /** What the first session opened; callers rely on it. */
  uri: string;
}

/** Resolves when the first session is open, and throws what openSession() throws. */
export async function openLasting(options: LastingOptions): Promise<Lasting> {
  const state: State = {
    ...options, session: undefined, waiting: new Set(), closing: new AbortController(), over: undefined,
    failure: undefined,
    pause: options.backoff?.first ?? 0, openedAt: 0, uri: '',
  };
  const first = await open(state, options.signal);
  state.uri = first.uri;
  adopt(state, first);
  let closed: Promise<void> | undefined;
  return {
    call: async (name, args, limits) => {
      if (state.session !== undefined) return state.session.call(name, args, limits);
      const started = performance.now();
      const session = await nextSession(state, name, limits);
      return session.call(name, args, {
        ...limits, timeout: Math.max(1, Math.round(limits.timeout - (performance.now() - started))),
      });
    },
    uri: () => state.uri,
    close: () => { closed ??= close(state); return closed; },
  };
}

function open(state: State, signal: AbortSignal | undefined): Promise<Session> {
  return state.open({
    signal,
    onEvent: (event) => { state.registrar.deliver(event); },
    onEnd: (error) => { ended(state, error); },
  });
}

function adopt(state: State, session: Session): void {
  state.session = session;
  state.openedAt = performance.now();
  for (const { resolve } of state.waiting) resolve(session);
  state.waiting.clear();
  state.registrar.connected(session);
}

function ended(state: State, error: Error): void {
  state.session = undefined;
  state.failure = error;
  const { backoff } = state;
  if (backoff === undefined) {
    finish(state, error);
    return;
  }
  state.registrar.disconnected(error);
  // A daemon that takes a connection only to drop it is not asked again at once, and again.
  if (performance.now() - state.openedAt >= backoff.most) state.pause = backoff.first;
  void reopen(state, backoff);
}

/** Tries until there is a session or no caller wants one. Never rejects. */
async function reopen(state: State, { most }: BackoffOptions): Promise<void> {
  const { signal } = state.closing;
  while (state.over === undefined) {
    // Many clients of one daemon that comes back need not all come at once.
    const pause = state.pause * (0.75 + Math.random() / 4);
    state.pause = Math.min(2 * state.pause, most);
    try {
      await sleep(pause, undefined, { signal });
      const session = await open(state, signal);
      if (signal.aborted) await session.close(new LibvirtClosedError(`${state.where}: closed`));
      else if (session.uri !== state.uri) await refuse(state, session);
      else adopt(state, session);
      return;
    } catch (error) {
      state.failure = error as Error;
    }
  }
}

/**
 * Without a URI the next driver's daemon answers while the one that was found first is away, and knows none of its
 * guests.
 */
async function refuse(state: State, session: Session): Promise<never> {
  await session.close(new LibvirtClosedError(`${state.where}: closed`));
  throw new LibvirtConnectionError(`${state.where}: ${quote(session.uri)} answers instead of ${quote(state.uri)}, to which this connection was made`);
}

function nextSession(state: State, name: string, { timeout, signal }: LimitedOptions): Promise<Session> {
  const { where, waiting } = state;
  return new Promise((resolve, reject) => {
    if (state.over !== undefined) throw state.over;
    const settled = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      waiting.delete(waiter);
    };
    const waiter = {
      resolve: (session: Session) => { settled(); resolve(session); },
      reject: (error: Error) => { settled(); reject(error); },
    };
    const onAbort = (): void => { waiter.reject(abortError(where, name, signal)); };
    const timer = setTimeout(() => {
      const why = state.failure === undefined ? '' : `: ${state.failure.message}`;
      waiter.reject(new LibvirtTimeoutError(`${where}: ${name} waited ${Math.round(timeout)} ms for a connection${why}`, { cause: state.failure }));
    }, timeout);
    waiting.add(waiter);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });
}

function finish(state: State, error: Error): void {
  state.over = error;
  for (const { reject } of state.waiting) reject(error);
  state.registrar.end(error instanceof LibvirtClosedError ? undefined : error);
}

async function close(state: State): Promise<void> {
  const error = new LibvirtClosedError(`${state.where}: closed`);
  finish(state, error);
  state.closing.abort(error);
  const { session } = state;
  state.session = undefined;
  await session?.close(error);
}
