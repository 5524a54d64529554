/**
 * Which events the daemon sends: each kind that a consumer wants is registered once, for all domains or networks, and
 * given back when no consumer wants it. One change at a time, so that coming and going consumers never cross.
 */
import { LibvirtError } from './errors.js';
import type { EventKind, LibvirtObjectEvent } from './events.js';
import type { Session } from './session.js';
import type { Subscription } from './subscription.js';

/** VIR_DOMAIN_EVENT_ID_* and VIR_NETWORK_EVENT_ID_*. */
const IDS: Readonly<Record<EventKind, { readonly of: 'domain' | 'network'; readonly id: number }>> = {
  'domain-lifecycle': { of: 'domain', id: 0 },
  'device-removed': { of: 'domain', id: 15 },
  'device-added': { of: 'domain', id: 19 },
  'device-removal-failed': { of: 'domain', id: 22 },
  'metadata-change': { of: 'domain', id: 23 },
  'network-lifecycle': { of: 'network', id: 0 },
};

/** Every kind there is. */
export const EVENT_KINDS = Object.keys(IDS) as EventKind[];

export interface Registrar {
  add(subscription: Subscription): void;
  remove(subscription: Subscription): void;
  /** There is a connection, perhaps a new one; or there is none: then all are told why. */
  connected(session: Session): void;
  disconnected(cause: Error): void;
  deliver(event: LibvirtObjectEvent): void;
  /** Ends all subscriptions, and those that come later. */
  end(error?: Error): void;
}

interface State {
  session: Session | undefined;
  /** Callback ids of the present session. */
  registered: Map<EventKind, number>;
  readonly timeout: number;
  /** Which subscriptions get events, and whether they ever did. */
  readonly subscriptions: Map<Subscription, 'new' | 'live' | 'lost'>;
}

/** Returns a registrar without connection. `timeout` is for each of its calls, in milliseconds. */
export function createRegistrar(timeout: number): Registrar {
  const state: State = { session: undefined, registered: new Map(), timeout, subscriptions: new Map() };
  const { subscriptions } = state;
  let work = Promise.resolve();
  let over: { readonly error: Error | undefined } | undefined;
  const update = (): void => { work = work.then(() => agree(state)); };
  return {
    add: (subscription) => {
      if (over === undefined) subscriptions.set(subscription, 'new');
      else subscription.end(over.error);
      update();
    },
    remove: (subscription) => { if (subscriptions.delete(subscription)) update(); },
    connected: (session) => {
      state.session = session;
      state.registered = new Map();
      update();
    },
    disconnected: (cause) => {
      state.session = undefined;
      for (const [subscription, was] of subscriptions) {
        if (was !== 'live') continue;
        subscriptions.set(subscription, 'lost');
        subscription.push({ kind: 'disconnected', cause });
      }
    },
    deliver: (event) => {
      for (const [subscription, is] of subscriptions) {
        if (is === 'live' && subscription.kinds.has(event.kind)) subscription.push(event);
      }
    },
    end: (error) => {
      over ??= { error };
      for (const subscription of subscriptions.keys()) subscription.end(error);
      subscriptions.clear();
    },
  };
}

/** Makes what is registered what is wanted. Never rejects: what cannot be is told to those who want it. */
async function agree(state: State): Promise<void> {
  const { session, registered, subscriptions, timeout } = state;
  if (session === undefined) return;
  const wanted = new Set([...subscriptions.keys()].flatMap(({ kinds }) => [...kinds]));
  for (const kind of wanted) {
    if (registered.has(kind)) continue;
    try {
      registered.set(kind, await register(session, kind, timeout));
    } catch (error) {
      // A connection that broke is made again, and then this is tried again.
      if (state.session !== session) return;
      refuse(state, kind, error as Error);
    }
  }
  for (const [kind, id] of registered) {
    if (wanted.has(kind)) continue;
    registered.delete(kind);
    // This does no harm: events that still come have no consumer.
    await deregister(session, kind, { id, timeout }).catch(() => undefined);
  }
  if (state.session !== session) return;
  for (const [subscription, was] of subscriptions) {
    if (was === 'live' || ![...subscription.kinds].every((kind) => registered.has(kind))) continue;
    subscriptions.set(subscription, 'live');
    subscription.push({ kind: 'resync', reason: was === 'new' ? 'start' : 'reconnected' });
  }
}

function refuse({ subscriptions }: State, kind: EventKind, error: Error): void {
  for (const subscription of subscriptions.keys()) {
    if (!subscription.kinds.has(kind)) continue;
    subscriptions.delete(subscription);
    subscription.end(error instanceof LibvirtError
      ? new LibvirtError(`events of kind '${kind}'`, error.refusal, { cause: error })
      : error);
  }
}

async function register({ call }: Session, kind: EventKind, timeout: number): Promise<number> {
  const { of, id } = IDS[kind];
  const { callbackId } = of === 'domain'
    ? await call('connect_domain_event_callback_register_any', { event: id, domain: undefined }, { timeout })
    : await call('connect_network_event_register_any', { event: id, network: undefined }, { timeout });
  return callbackId;
}

async function deregister(
  { call }: Session, kind: EventKind, { id, timeout }: { readonly id: number; readonly timeout: number },
): Promise<void> {
  const procedure = IDS[kind].of === 'domain' ? 'connect_domain_event_callback_deregister_any' : 'connect_network_event_deregister_any';
  await call(procedure, { callbackId: id }, { timeout });
}
