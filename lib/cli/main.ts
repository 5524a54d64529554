/** The table of commands, and what picks one: prints what it returns, ends with its status. */
import { readFileSync } from 'node:fs';
import { settingsFrom } from '../config/paths.js';
import { GuestwireError, UsageError } from '../errors.js';
import { forOneRun, type Io } from '../guests/io.js';
import { execAsync } from '../system/exec-async.js';
import { agent, watch } from './agent.js';
import { check } from './check.js';
import { cloudInit } from './cloud-init.js';
import type { Command } from './command.js';
import { completionScript } from './completion.js';
import { derive } from './derive.js';
import { doctor } from './doctor.js';
import { drops } from './drops.js';
import { explain } from './explain.js';
import { install } from './install.js';
import { plan } from './plan.js';
import { quarantine } from './quarantine.js';
import { reconcile } from './reconcile.js';
import { set, unset } from './set.js';
import { status } from './status.js';
import { uninstall } from './uninstall.js';

export const COMMANDS: readonly Command[] = [
  status, check, doctor, derive, plan, explain, drops, reconcile, agent, set, unset, quarantine, install, uninstall,
  cloudInit, completionScript(() => COMMANDS),
];

/** Returns the process's own streams, settings and tools. */
export function processIo(): Io {
  return forOneRun({
    print: (text) => { process.stdout.write(`${text}\n`); },
    warn: (text) => { process.stderr.write(`guestwire: ${text}\n`); },
    settings: settingsFrom(process.env),
    exec: execAsync,
    // https://no-color.org: whatever it says, unless it is empty.
    colours: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
  });
}

/**
 * Keeps what cannot be printed from ending the command with a stack trace. A reader that has gone, as of `| head -1`,
 * wants no more: a command that changes the host still goes on, because half done is worse.
 */
export function mindStreams(): void {
  let told = false;
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || told) return;
    told = true;
    process.stderr.write(`guestwire: cannot print the result: ${error.message}\n`);
    process.once('exit', () => { process.exitCode ||= 1; });
  });
}

/** Returns the exit status: 0 done, 1 failed or differences found, 2 wrong usage. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === 'help' && rest[0] !== undefined) return main([rest[0], '--help'], io);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    io.print(help());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === '-V') {
    io.print(version());
    return 0;
  }
  const command = [...COMMANDS, watch].find((candidate) => candidate.name === name);
  if (command === undefined) {
    io.warn(`unknown command '${name}': 'guestwire --help' lists all commands`);
    return 2;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    io.print(command.help);
    return 0;
  }
  return run(command, rest, io);
}

async function run(command: Command, args: readonly string[], io: Io): Promise<number> {
  try {
    return await command.run(args, io);
  } catch (error) {
    if (error instanceof UsageError) {
      io.warn(`${error.message}: see 'guestwire ${command.name} --help'`);
      return 2;
    }
    if (!(error instanceof GuestwireError)) throw error;
    io.warn(error.message);
    return 1;
  }
}

function help(): string {
  const width = Math.max(...COMMANDS.map((command) => command.name.length));
  return [
    'guestwire wires libvirt guests to the network as their domain XML says.',
    'libvirt calls its hook when a guest starts and stops. This command installs the hook, shows what differs',
    'on the host, and repairs it.',
    '',
    'Usage: guestwire COMMAND [OPTION]...',
    '',
    ...COMMANDS.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    "  'guestwire COMMAND --help' explains a command, 'guestwire --version' prints the version.",
    '',
    'Environment: GUESTWIRE_CONFIG (default /etc/guestwire/config.toml), GUESTWIRE_STATE_DIR (default',
    '/run/guestwire), GUESTWIRE_LOCK (default: the state directory, with .lock appended),',
    'GUESTWIRE_QUARANTINE_DIR (default /var/lib/guestwire/quarantine), GUESTWIRE_ADDRESSES_DIR (default',
    '/var/lib/guestwire/addresses, or beside another state directory), GUESTWIRE_DEFINITIONS_DIR (default',
    '/etc/libvirt/qemu).',
    'GUEST is a name, a UUID or, while the guest runs, its id.',
    'Exit status: 0 done, 1 failed or differences found, 2 wrong usage or value, or check and explain cannot tell.',
  ].join('\n');
}

function version(): string {
  const { version: number } =
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  return number;
}
