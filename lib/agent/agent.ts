/**
 * The agent: takes the events of libvirt and the kernel, finds the guests that they concern, and has exactly those
 * guests reconciled, by the same path as `guestwire reconcile` and under the same lock. Its state does not matter: a
 * full check finds every event that it missed. After a kill at any moment, its next run or the guest's hook completes
 * the work.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { agentLockOf } from '../config/paths.js';
import { GuestwireError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { listLinks } from '../kernel/monitor-lines.js';
import type { Connection } from '../libvirt/connection.js';
import { LibvirtArgumentError, LibvirtError, LibvirtUnsupportedError } from '../libvirt/errors.js';
import type { EventKind, LibvirtEvent } from '../libvirt/events.js';
import type { Follow } from '../system/follow.js';
import { acquireLock } from '../system/lock.js';
import { createConcerns } from './concerns.js';
import { createGuests, type Guests } from './guests.js';
import { startMonitors } from './monitors.js';
import type { Supervisor } from './supervisor.js';

export interface AgentOptions {
  readonly io: Io;
  readonly connect: (signal: AbortSignal) => Promise<Connection>;
  readonly follow: Follow;
  readonly supervisor: Supervisor;
  /** Ends the agent, which then resolves. */
  readonly signal: AbortSignal;
  /** Called with what makes a full check. */
  readonly onReload: (check: () => void) => void;
}

/** Milliseconds between full checks. Only they find a change without an event, such as a removed sysctl or route. */
const FULL_CHECK = 300_000;
/** Milliseconds between full checks that gaps ask for. */
const GAP = 1_000;
/** Seconds to wait for another agent that is just ending. */
const LOCK_WAIT = 5;
/** Milliseconds for what runs to end by itself: a tool that is at work keeps the lock, and the journal knows of it. */
const LAST_WORDS = 3_000;
/** Milliseconds until libvirt is looked for again: the first pause, and the longest. */
const PAUSE = { first: 200, most: 5_000 };

const DOMAIN_KINDS: readonly EventKind[] = ['domain-lifecycle', 'device-added', 'device-removed', 'metadata-change'];

/** Runs until `signal` fires. Throws when another agent runs, and for a URI that has no events. */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { io, signal } = options;
  const lock = await acquireLock(io.exec, {
    path: agentLockOf(io.settings), wait: LOCK_WAIT, holder: 'guestwire agent',
  });
  const concerns = createConcerns();
  const guests = createGuests(io, concerns);
  const timer = setInterval(() => { void guests.checkAll(); }, FULL_CHECK);
  const stopMonitors = startMonitors({
    follow: options.follow, warn: io.warn, onGap: throttled(() => { void guests.checkAll(); }, GAP),
    onChange: (change) => {
      const { own, sharing } = concerns.byLink(change);
      for (const uuid of own) guests.want(uuid, 'again');
      // No attempt for a guest changes a bridge or an uplink, so what failed for want of it may succeed now.
      for (const uuid of sharing) guests.want(uuid, 'afresh');
    },
  });
  // Without this, the first port that comes or goes makes the agent check all guests of its bridge, and the guest that
  // it concerns waits for them.
  listLinks(options.follow, concerns.know);
  options.onReload(() => { void guests.checkAll(); });
  try {
    await serve(options, guests);
  } finally {
    clearInterval(timer);
    void options.supervisor.tell('STOPPING=1');
    await Promise.all([stopMonitors(), Promise.race([guests.stop(), sleep(LAST_WORDS, undefined, { ref: false })])]);
    options.supervisor.stop();
    lock.release();
  }
  if (!signal.aborted) throw new Error('the agent ended unexpectedly');
}

/** A connection reconnects while its daemon is away; a connection that gave up is replaced. */
async function serve(options: AgentOptions, guests: Guests): Promise<void> {
  const { io, signal } = options;
  let [pause, said] = [PAUSE.first, ''];
  while (!isAborted(signal)) {
    let libvirt: Connection | undefined;
    try {
      libvirt = await options.connect(signal);
      guests.use(libvirt);
      // A daemon that takes a connection and refuses its events is not there, either.
      await listen(options, libvirt, { guests, onHeard: () => { [pause, said] = [PAUSE.first, '']; } });
    } catch (error) {
      if (isAborted(signal)) return;
      if (
        error instanceof LibvirtUnsupportedError ||
        error instanceof LibvirtArgumentError ||
        !(error instanceof GuestwireError)
      ) {
        throw error;
      }
      if (error.message !== said) io.warn(`cannot connect to libvirt, will keep trying: ${error.message}`);
      said = error.message;
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      pause = Math.min(2 * pause, PAUSE.most);
    } finally {
      guests.use(undefined);
      await libvirt?.close();
    }
  }
}

async function listen(
  { io, signal, supervisor }: AgentOptions, libvirt: Connection,
  { guests, onHeard }: { readonly guests: Guests; readonly onHeard: () => void },
): Promise<void> {
  void listenToNetworks({ io, signal }, libvirt, guests);
  for await (const event of libvirt.events({ kinds: DOMAIN_KINDS, signal })) {
    onHeard();
    if (event.kind === 'resync') void guests.checkAll().then(() => supervisor.tell('READY=1', 'STATUS=watching'));
    else if (event.kind === 'disconnected') io.warn(`lost the connection to libvirt, will reconnect: ${event.cause.message}`);
    else if ('domain' in event && isOfConcern(event)) guests.hear(event.domain);
  }
}

/** The agent watches the guests of a daemon without networks, too. */
async function listenToNetworks(
  { io, signal }: Pick<AgentOptions, 'io' | 'signal'>, libvirt: Connection, guests: Guests,
): Promise<void> {
  try {
    for await (const event of libvirt.events({ kinds: ['network-lifecycle'], signal })) {
      if (event.kind === 'network-lifecycle') guests.hearNetwork(event.network.name);
    }
  } catch (error) {
    if (error instanceof LibvirtError) io.warn(`libvirt does not report events of its networks: ${error.message}`);
    else if (!(error instanceof GuestwireError)) throw error;
  }
}

function isOfConcern(event: LibvirtEvent): boolean {
  // A title, or the element of another program, wires nothing.
  if (event.kind === 'metadata-change') return event.type === 'unknown' || event.uri === 'urn:guestwire:1';
  return event.kind !== 'domain-lifecycle' || !['defined', 'undefined', 'shutdown', 'suspended'].includes(event.event);
}

/** Returns `act`, at once or at the end of `pause` after the last time. */
function throttled(act: () => void, pause: number): () => void {
  let timer: NodeJS.Timeout | undefined;
  let last = -Infinity;
  return () => {
    if (timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      last = performance.now();
      act();
    }, Math.max(0, last + pause - performance.now())).unref();
  };
}

/** A function, because the compiler assumes that the value stays the same across a wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
