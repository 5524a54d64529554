/**
 * The file `/etc/guestwire/config.toml`: reading it, and what can still be told from one that is broken. A file that
 * other users may write is rejected: its writer decides which VLANs guests are in. What the tables mean is
 * host-config.ts's.
 */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';
import { geteuid } from 'node:process';
import { ConfigError, locate, ValueError } from '../errors.js';
import { quote } from '../values/quote.js';
import { defaultConfig, type HostConfig, hostConfig } from './host-config.js';
import { readToml } from './toml.js';

export type { BridgeConfig, OneVlan } from './bridge-tables.js';
export type { HostConfig, RoutedConfig } from './host-config.js';
export { defaultConfig } from './host-config.js';
export { type NicConfig, parseVidList } from './guest-tables.js';

export const DEFAULT_CONFIG_PATH = '/etc/guestwire/config.toml';

const LONGEST = 1024 * 1024;

/** Returns the config that `text` writes; `path` is for messages. Throws ConfigError for the first thing wrong. */
export function parseConfig(text: string, path: string): HostConfig {
  try {
    return locate(ConfigError, `config ${quote(path)}`, () => withUplinksApart(hostConfig(readToml(text))));
  } catch (error) {
    throw error instanceof ConfigError ? new ConfigError(error.message, { cause: error.cause, text }) : error;
  }
}

/**
 * Returns the config in the file at `path`, or the default when it is missing. Symbolic links are followed, but one to
 * nothing is an error. The file must be root's or the effective user's, and not writable by others. Throws ConfigError.
 */
export function loadConfig(path: string): HostConfig {
  const where = `config ${quote(path)}`;
  const file = openFile(path, where);
  if (file === undefined) return defaultConfig();
  const { stats, bytes } = readAndClose(file, where);
  const text = bytes.toString('utf8');
  const fault = faultOf(stats, bytes);
  if (fault !== undefined) throw new ConfigError(`${where} ${fault}`, { text });
  return parseConfig(text, path);
}

/** One reading of a config, for a run that needs it in several places: they all see the same one. */
export interface ConfigReading {
  /** Returns the config, or throws why it cannot be believed; the file is read the first time. */
  readonly read: () => HostConfig;
  readonly isRead: () => boolean;
}

/** Returns the reading of the file at `path`, which is still to come. */
export function configReading(path: string): ConfigReading {
  let result: { readonly config: HostConfig } | { readonly error: unknown } | undefined;
  const first = (): NonNullable<typeof result> => {
    try {
      return { config: loadConfig(path) };
    } catch (error) {
      return { error };
    }
  };
  return {
    isRead: () => result !== undefined,
    read: () => {
      result ??= first();
      if ('error' in result) throw result.error;
      return result.config;
    },
  };
}

/**
 * Returns whether a rejected config may mention one of `names`: a guest's name, its MACs, its networks.
 * Errs towards yes: escapes may spell anything, and a name counts wherever it stands alone. Only lines that are wholly
 * comment are passed over, for in a broken text a later '#' may belong to a name.
 */
export function configMentions(text: string, names: readonly string[]): boolean {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line)).join('\n');
  if (/\\[uUx]|\0/.test(lines)) return true;
  return names.some((name) =>
    maySpell(lines, name) || holdsWord(lines, name) || holdsWord(lines.toLowerCase(), name.toLowerCase()));
}

/**
 * Returns whether a config that cannot be believed may have guestwire make one of these bridges: a table that has the
 * name of the bridge and says `vid`, or a name with a `{vid}` that fits. Other tables of bridges concern no guest that
 * says nothing itself.
 */
export function configMayMake(text: string, bridges: readonly string[]): boolean {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line));
  const tables = lines.join('\n').split(/\n(?=\s*\[)/);
  return bridges.some((bridge) => bridge !== '' &&
    tables.some((table) => (hasKey(table, bridge) && hasKey(table, 'vid')) || hasPattern(table, bridge)));
}

function hasKey(table: string, word: string): boolean {
  const exactly = word.replace(/[.+]/g, '\\$&');
  return /^[A-Za-z0-9_.+-]+$/.test(word) && new RegExp(`(?<![A-Za-z0-9_}-])${exactly}(?![A-Za-z0-9_{}-])`).test(table);
}

function hasPattern(table: string, bridge: string): boolean {
  return [...table.matchAll(/([A-Za-z0-9_.+-]*)\{vid\}([A-Za-z0-9_.+-]*)/g)].some(([, start = '', end = '']) =>
    bridge.startsWith(start) &&
      bridge.endsWith(end) &&
      /^[1-9][0-9]*$/.test(bridge.slice(start.length, bridge.length - end.length)));
}

/** TOML writes quotes, backslashes and control characters as escapes; bytes that are no UTF-8 may be any letter. */
function maySpell(text: string, name: string): boolean {
  return (/["\\\p{Cc}]/u.test(name) && text.includes('\\')) || (/[^\0-\x7f]/.test(name) && text.includes('\ufffd'));
}

/** A link is a port of one bridge: under two of them each would take the other's VLANs away. */
function withUplinksApart(config: HostConfig): HostConfig {
  const bridgeOf = new Map<string, string>();
  for (const [bridge, { uplinks }] of config.bridges) {
    for (const dev of uplinks) {
      const other = bridgeOf.get(dev);
      if (other !== undefined && other !== bridge) throw new ValueError(`uplink ${quote(dev)} is listed under [bridge.${other}] and [bridge.${bridge}]: it can be a port of only one of them`);
      bridgeOf.set(dev, bridge);
    }
  }
  return config;
}

/** A key ends where a bare key must end, or at its quotes: 'web1' is not in '[guest.web10]'. */
function holdsWord(text: string, word: string): boolean {
  for (let start = text.indexOf(word); start !== -1 && word !== ''; start = text.indexOf(word, start + 1)) {
    const [before, after] = [text.charAt(start - 1), text.charAt(start + word.length)];
    if (!/[A-Za-z0-9_-]/.test(before + after)) return true;
  }
  return false;
}

function openFile(path: string, where: string): number | undefined {
  try {
    // Without O_NONBLOCK a named pipe in the file's place would hold up every guest start.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code !== 'ENOENT') throw new ConfigError(`${where} cannot be opened: ${reasonOf(error)}`, { cause: error });
    // A link to nothing is a config that went missing, not a host without one: the default would permit everything.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
      throw new ConfigError(`${where} is a symbolic link to a missing file: restore the file or remove the link`, { cause: error });
    }
    return undefined;
  }
}

/** All is asked of the open file: the path may lead elsewhere by the next call. */
function readAndClose(file: number, where: string): { readonly stats: Stats; readonly bytes: Buffer } {
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new ConfigError(`${where} is not a regular file`);
    return { stats, bytes: readStart(file) };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ConfigError(`${where} cannot be read: ${reasonOf(error)}`, { cause: error });
  } finally {
    closeSync(file);
  }
}

/** Returns the file's bytes, of a file that is too long as many as show it; its size may have changed since fstat. */
function readStart(file: number): Buffer {
  const buffer = Buffer.alloc(LONGEST + 1);
  let length = 0;
  let got = -1;
  while (got !== 0 && length < buffer.length) {
    got = readSync(file, buffer, length, buffer.length - length, null);
    length += got;
  }
  return buffer.subarray(0, length);
}

function faultOf({ uid, mode }: Stats, bytes: Buffer): string | undefined {
  if (uid !== 0 && uid !== geteuid?.()) return `belongs to user ${uid}: chown it to root`;
  if ((mode & 0o022) !== 0) {
    const writers = [mode & 0o020 ? 'its group' : '', mode & 0o002 ? 'others' : ''].filter((writer) => writer !== '');
    return `is writable by ${writers.join(' and ')} (mode ${octal(mode)}): chmod it to ${octal(mode & ~0o022)}`;
  }
  if (bytes.length > LONGEST) return 'is longer than 1 MiB, too long for a host config: put the right file there';
  if (!isUtf8(bytes)) return 'is not UTF-8 text: save it as UTF-8';
  return undefined;
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return typeof error === 'object' && error !== null && 'errno' in error;
}

/** Returns 'EACCES: permission denied' of Node's 'EACCES: permission denied, open ...'. */
function reasonOf(error: NodeJS.ErrnoException): string {
  return error.message.split(',', 1)[0] ?? '';
}
