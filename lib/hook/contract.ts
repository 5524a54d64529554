/**
 * libvirt's hook contract as one table: operation, action, what a failure means. Nothing here writes to standard
 * output, which at `migrate` and `restore` would replace the guest's XML, and nothing talks to libvirt, which would
 * deadlock.
 */
import { attraction } from '../attachments/attachment.js';
import { type ConfigReading, configReading } from '../config/file.js';
import { defaultConfig, type HostConfig } from '../config/host-config.js';
import { agentLockOf, type Settings } from '../config/paths.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { guestOf, nicLabel, sentenceAbout } from '../domain/guest.js';
import { ConfigError, DomainXmlError, GuestwireError, NotAllowedError } from '../errors.js';
import { createJournal, type Journal } from '../journal/journal.js';
import { createKernel } from '../kernel/kernel.js';
import { announce } from '../lan/announce.js';
import { probeNeighbours } from '../lan/probe.js';
import { type Host, hostFrom } from '../reconcile/host.js';
import { make, refilter, release, UNSPOKEN, unwire, wire } from '../reconcile/reconcile.js';
import { releaseDead } from '../reconcile/unrecorded.js';
import { serveGuest, silence } from '../serve/serve.js';
import type { Exec } from '../system/exec.js';
import { acquireLock, isHeld } from '../system/lock.js';
import { createLog, type Log, once } from '../system/log.js';
import { quote } from '../values/quote.js';
import { concerns, understand } from './understanding.js';

export interface HookCall {
  /** argv as libvirt gives it: guest name, operation, sub-operation, extra. */
  readonly guest: string;
  readonly operation: string;
  /** The domain XML. */
  readonly stdin: string | Uint8Array;
  readonly settings: Settings;
  readonly exec: Exec;
}

export interface HookResult {
  readonly exitCode: number;
  /** One sentence, or nothing. libvirt shows it to the user that started the guest. */
  readonly stderr: string;
}

/** Everything one hook run works with. */
interface Run {
  readonly call: HookCall;
  readonly journal: Journal;
  readonly log: Log;
  readonly config: ConfigReading;
}

interface Action {
  readonly run: (run: Run) => Promise<void>;
  /**
   * 'refuse': the guest does not start (or, at `migrate`, stays where it is) and the user sees why. 'log': libvirt
   * would ignore the status, or kill a running guest for it (libvirt 9.0, 11.3).
   */
  readonly failure: 'refuse' | 'log';
}

const ACTIONS: ReadonlyMap<string, Action> = new Map<string, Action>([
  ['migrate', { run: announceIncoming, failure: 'refuse' }],
  ['prepare', { run: prepare, failure: 'refuse' }],
  ['start', { run: start, failure: 'refuse' }],
  ['reconnect', { run: reconnect, failure: 'log' }],
  ['stopped', { run: (run) => end(run, unwire), failure: 'log' }],
  ['release', { run: (run) => end(run, release), failure: 'log' }],
]);

/** Exit status of a refusal; the launcher tells it from a crash of node, which ends with 1. */
const REFUSED = 3;

/**
 * Seconds to wait for the lock: a start waits as long as a user may, an end leaves a mark instead, and what has no
 * record is left to 'guestwire reconcile --all'.
 */
const LOCK_WAIT = { start: 30, end: 10, lost: 2 };
/** Seconds that a start waits in all, where many hold the lock in turn; the launcher ends the call after 120 s. */
const MOST_WAIT = 100;
/** Milliseconds that one call spends on other guests: its own guest waits meanwhile. */
const OTHERS_BUDGET = 5000;

/** Carries out one hook call. Never throws; an operation that needs no work does nothing. */
export async function runHook(call: HookCall): Promise<HookResult> {
  const action = ACTIONS.get(call.operation);
  if (action === undefined) return { exitCode: 0, stderr: '' };
  const log = createLog(call.exec);
  const config = configReading(call.settings.config);
  const journal = createJournal(call.settings.stateDir, once(log.warn));
  let result: HookResult = { exitCode: 0, stderr: '' };
  try {
    await action.run({ call, journal, log, config });
  } catch (error) {
    const sentence = sentenceAbout(call.guest, error);
    log.error(`${call.operation}: ${sentence}`);
    if (action.failure === 'refuse' && concerns(call, config)) {
      result = { exitCode: REFUSED, stderr: `guestwire: ${sentence}\n` };
    }
  }
  await log.flush();
  return result;
}

/** The destination of a migration learns here, and only here, that the next start is not a fresh one. */
async function announceIncoming(run: Run): Promise<void> {
  const { call, journal } = run;
  const { domain, attachments, config } = understand(run.call, run.config);
  const attracting = attachments.find((one) => attraction(one) !== undefined);
  if (attracting !== undefined && config.routed.migration !== 'manual' && !await isHeld(
    call.exec, agentLockOf(call.settings),
  )) {
    const { nic, mac } = attracting;
    throw new NotAllowedError(`a guest with ${attraction(attracting)?.of ?? ''} cannot migrate here without an agent: run 'guestwire install --agent', or set 'migration = "manual"' in [routed] and reconcile after its arrival`)
      .placeAt({ guest: domain.name, nic, mac }, nicLabel(domain.name, { index: nic, mac }));
  }
  if (attachments.length > 0) journal.markIncoming(guestOf(domain).uuid);
}

async function prepare(run: Run): Promise<void> {
  const { domain, attachments, config } = understand(run.call, run.config, run.log);
  if (attachments.length === 0) {
    await forget(run, domain);
    return;
  }
  const guest = guestOf(domain);
  // Without the lock: others start meanwhile. One that comes by migration answers where it still runs.
  if (config.routed.probe && !run.journal.expectsIncoming(guest.uuid)) {
    await probeNeighbours(
      { exec: run.call.exec, kernel: createKernel(run.call.exec), log: run.log }, guest.name, attachments,
    );
  }
  await locked(run, { uuid: guest.uuid, wait: LOCK_WAIT.start }, async (host) => {
    const incoming = run.journal.takeIncoming(guest.uuid);
    // Whatever an earlier run of this guest left is void: libvirt is only now starting it.
    await release(host, guest.uuid);
    await make(host, { guest, attachments, incoming });
    if (!incoming || run.journal.read(guest.uuid) !== undefined) return;
    run.journal.write({ version: 1, guest, since: new Date().toISOString(), incoming: true, wired: [], original: [] });
  });
}

/** A guest that was wired once and no longer asks for it: whatever is broken here, it starts. */
async function forget(run: Run, { uuid }: Domain): Promise<void> {
  try {
    if (uuid !== undefined && run.journal.read(uuid) !== undefined) await end(run, release);
  } catch (error) {
    run.log.error(`${run.call.operation}: ${sentenceAbout(run.call.guest, error)}`);
  }
}

async function start(run: Run): Promise<void> {
  const { domain, attachments, config } = understand(run.call, run.config, run.log);
  if (attachments.length === 0) return;
  const guest = guestOf(domain);
  const plan = await locked(run, { uuid: guest.uuid, wait: LOCK_WAIT.start }, async (host) => {
    const incoming = run.journal.read(guest.uuid)?.incoming ?? false;
    await silence({ ...run.call, ...run }, attachments.map(({ link }) => link));
    return wire(host, { guest, attachments, fresh: true, incoming });
  });
  if (config.routed.announce) await announce(run.call.exec, run.log, { guest: guest.name, plan, fresh: true });
}

/**
 * libvirtd came back and the guest never stopped. The guest is wired as its XML says, and never refused. If nothing
 * asks for the guest now, its wiring stays: the config may be half edited.
 */
async function reconnect(run: Run): Promise<void> {
  const { domain, attachments, config } = understand(run.call, run.config, run.log);
  if (attachments.length === 0) {
    if (domain.uuid === undefined || run.journal.read(domain.uuid) === undefined) return;
    run.log.warn(`guest ${quote(domain.name)}: ${UNSPOKEN}`);
    return;
  }
  const guest = guestOf(domain);
  const plan = await locked(run, { uuid: guest.uuid, wait: LOCK_WAIT.start }, async (host) => {
    try {
      return await wire(host, { guest, attachments, fresh: false, incoming: false, keepsUnspoken: true });
    } catch (error) {
      // It runs with its routes, whatever the host lacks: its filters need nothing of that.
      if (error instanceof GuestwireError) await refilter(host, guest.uuid);
      throw error;
    }
  });
  if (config.routed.announce) await announce(run.call.exec, run.log, { guest: guest.name, plan, fresh: false });
}

/** Uses the journal alone: the XML no longer names the taps, and may have been edited since. */
async function end(run: Run, finish: (host: Host, uuid: string) => Promise<void>): Promise<void> {
  const uuid = uuidOfEnded(run);
  if (uuid === undefined) return;
  const isLost = hasLostRecord(run, uuid);
  try {
    await locked(run, { uuid, wait: isLost ? LOCK_WAIT.lost : LOCK_WAIT.end }, async (host) => {
      await finish(host, uuid);
      if (isLost) await releaseDead(host, { uuid, made: finish === release });
    });
  } catch (error) {
    leavePending(run, uuid);
    throw error;
  }
}

/**
 * Returns whether a guest ends that left rules and neighbour proxies, if it was wired, and no record of them. A start
 * that was refused ends in this way, too.
 */
function hasLostRecord({ call, config, journal }: Run, uuid: string): boolean {
  try {
    return !journal.has(uuid) && understand(call, config).attachments.some((one) => attraction(one) !== undefined);
  } catch (error) {
    if (error instanceof GuestwireError) return false;
    throw error;
  }
}

/** What could not be released now, the next run that has the lock does. */
function leavePending({ call, journal, log }: Run, uuid: string): void {
  try {
    if (journal.read(uuid) !== undefined) journal.markEnded(uuid);
  } catch (error) {
    log.error(`${call.operation}: ${sentenceAbout(call.guest, error)}`);
  }
}

/** Runs `act` for the guest `uuid` under the host's lock, after what earlier runs had to leave of others is done. */
async function locked<T>(
  { call, journal, log, config }: Run,
  { uuid, wait }: { readonly uuid: string; readonly wait: number },
  act: (host: Host) => Promise<T>,
): Promise<T> {
  const lock = await acquireLock(call.exec, {
    path: call.settings.lock, wait, ...(wait === LOCK_WAIT.start && { most: MOST_WAIT }), holder: `${call.operation} of guest ${quote(call.guest)}`,
  });
  try {
    const exec: Exec = (request) => call.exec({ ...request, fd: lock.fd });
    const host = hostFrom({
      settings: call.settings, exec, journal, log: log.info, warn: log.warn, config: { read: () => orDefault(config) },
    });
    await releaseEnded(host, journal.listEnded().filter((ended) => ended !== uuid), log);
    const done = await act(host);
    const { operation } = call;
    if (operation !== 'prepare') await serveGuest({ journal, exec, log, config, settings: call.settings }, {
      uuid, ended: operation === 'stopped' || operation === 'release',
    });
    return done;
  } finally {
    lock.release();
  }
}

async function releaseEnded(host: Host, ended: readonly string[], log: Log): Promise<void> {
  const began = performance.now();
  for (const [done, uuid] of ended.entries()) {
    if (performance.now() - began > OTHERS_BUDGET) {
      log.warn(`${ended.length - done} guests that ended are not released yet: later calls of the hook release them`);
      return;
    }
    try {
      await release(host, uuid);
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      log.warn(`a guest that ended is still not released: ${error.message}`);
    }
  }
}

/** A broken config protects nothing, and must not keep a guest from being released. */
function orDefault(config: ConfigReading): HostConfig {
  try {
    return config.read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return defaultConfig();
  }
}

/** A guest with XML that cannot be read is found by its name, so that its wiring is removed, too. */
function uuidOfEnded({ call, journal }: Run): string | undefined {
  try {
    return parseDomain(call.stdin).uuid;
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    return journal.list().find(({ guest }) => guest.name === call.guest)?.guest.uuid;
  }
}
