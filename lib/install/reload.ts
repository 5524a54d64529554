/**
 * Telling libvirt's daemon that there is a hook now: it looks for hooks when it starts and at SIGHUP only. SIGHUP also
 * starts every inactive network and storage pool that is set to autostart (libvirt 9.0), so the administrator has to
 * agree.
 */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { GuestwireError, HostError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { inactiveAutostart } from '../libvirt/this-host.js';
import { isAfter, type Moment, processOf } from '../system/process.js';
import { oneLine, quote } from '../values/quote.js';
import type { InstallRecord } from './record.js';

/** A running daemon that calls the qemu hook. */
export interface Daemon {
  readonly name: 'libvirtd' | 'virtqemud';
  readonly pid: number;
  readonly started: Moment;
}

/** 'agree': without a question, as if the administrator had said yes. */
export type Consent = 'never' | 'ask' | 'agree';

/** Reloads the daemons that may not know of the hook, as far as `consent` goes. Returns those that were reloaded. */
export async function reloadDaemons(io: Io, record: InstallRecord, consent: Consent): Promise<Daemon[]> {
  const daemons = runningDaemons();
  if (daemons.length === 0) {
    io.print("neither libvirtd nor virtqemud is running: it finds the hook when it starts");
    return [];
  }
  const ignorant = daemons.filter((daemon) => !knows(daemon, record));
  for (const daemon of daemons.filter((each) => !ignorant.includes(each))) io.print(`${label(daemon)} knows the hook`);
  if (ignorant.length === 0) return [];
  if (consent !== 'never') await nameWhatStarts(io, ignorant);
  const answer = consent === 'ask' ? await confirm(`Reload ${ignorant.map(label).join(' and ')} now? [yes/no] `) : consent;
  if (answer !== 'agree') {
    const why = {
      never: 'you said --no-reload', no: 'you did not say yes', unasked: 'the command has no terminal to ask on',
    }[answer];
    for (const daemon of ignorant) io.warn(`${label(daemon)} does not call the hook yet, because ${why}: run 'guestwire install --yes', or reload it yourself`);
    return [];
  }
  for (const daemon of ignorant) {
    hangUp(daemon);
    io.print(`reloaded ${label(daemon)}`);
  }
  return ignorant;
}

/** Returns the daemons that run and may not know of the hook, as `libvirtd (pid 1)`. */
export function ignorantDaemons(record: InstallRecord): string[] {
  return runningDaemons().filter((daemon) => !knows(daemon, record)).map(label);
}

/** Returns how the record names a daemon: another one with its pid is another one. */
export function daemonKey({ name, pid, started }: Daemon): string {
  return `${name} ${pid} ${started.boot} ${started.ticks}`;
}

function knows(daemon: Daemon, { placed, told }: InstallRecord): boolean {
  return (placed !== undefined && isAfter(daemon.started, placed)) || told.includes(daemonKey(daemon));
}

function label({ name, pid }: Daemon): string {
  return `${name} (pid ${pid})`;
}

/** A pid file outlives a daemon that was killed, and its number may belong to another process since. */
function runningDaemons(): Daemon[] {
  return (['libvirtd', 'virtqemud'] as const).flatMap((name) => {
    const file = `/run/${name}.pid`;
    const pid = existsSync(file) ? Number(readFileSync(file, 'utf8').trim()) : NaN;
    const found = Number.isInteger(pid) ? processOf(pid) : undefined;
    return found?.name === name ? [{ name, pid, started: found.started }] : [];
  });
}

/** virtqemud has no networks and no pools; other daemons have those then, and guestwire does not reload them. */
async function nameWhatStarts(io: Io, daemons: readonly Daemon[]): Promise<void> {
  if (!daemons.some(({ name }) => name === 'libvirtd')) return;
  for (const word of ['network', 'storage pool'] as const) {
    try {
      const names = await inactiveAutostart(io.exec, word);
      io.print(names.length === 0
        ? `a reload starts no ${word}`
        : `a reload starts these inactive ${word}s, because they are set to autostart: ${names.map(quote).join(', ')}`);
    } catch (error) {
      if (!(error instanceof GuestwireError)) throw error;
      io.warn(`a reload starts every inactive ${word} that is set to autostart; libvirt did not list their names: ${error.message}`);
    }
  }
}

/** Only a clear yes is one; the end of the input and Ctrl-C are a no. */
async function confirm(question: string): Promise<'agree' | 'no' | 'unasked'> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return 'unasked';
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // At its end the terminal closes, and the question fails or stays open, as the version of node has it.
  const ended = once(terminal, 'close').then(() => undefined);
  const answer = await Promise.race([ended, terminal.question(question).catch((error: unknown) => {
    if ((error as Error).name !== 'AbortError') throw error;
    return undefined;
  })]);
  if (answer === undefined) process.stdout.write('\n');
  terminal.close();
  return /^y(es)?$/i.test(answer?.trim() ?? '') ? 'agree' : 'no';
}

function hangUp(daemon: Daemon): void {
  try {
    process.kill(daemon.pid, 'SIGHUP');
  } catch (error) {
    throw new HostError(`${label(daemon)} could not be reloaded: ${oneLine((error as Error).message)}`, { cause: error });
  }
}
