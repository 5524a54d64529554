/**
 * The file `/etc/guestwire/config.toml`, read once for each run. A file that other users may write is rejected: its
 * writer decides which VLANs guests are in. host-config.ts has what the tables mean.
 */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';
import { geteuid } from 'node:process';
import { ConfigError, locate, ValueError } from '../errors.js';
import { quote, systemReason } from '../values/quote.js';
import { defaultConfig, type HostConfig, hostConfig } from './host-config.js';
import { readToml } from './toml.js';

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
  return configReading(path).read();
}

/** One reading of a config, for a run that needs it in several places: the file is read once, when it first matters. */
export interface ConfigReading {
  /** Returns the config. Throws ConfigError. */
  readonly read: () => HostConfig;
  /** Returns the file's text, also of a config that is rejected. Throws ConfigError for a file that cannot be read. */
  readonly text: () => string;
}

/** Returns the reading of the file at `path`, which is still to come. */
export function configReading(path: string): ConfigReading {
  const file = remembered(() => readText(path));
  const config = remembered(() => configIn(path, file()));
  return { read: config, text: () => file()?.text ?? '' };
}

/** Returns `act` with one result: what it returned or threw the first time. */
function remembered<T>(act: () => T): () => T {
  let result: (() => T) | undefined;
  return () => {
    if (result !== undefined) return result();
    try {
      const value = act();
      result = () => value;
    } catch (error) {
      result = () => { throw error; };
    }
    return result();
  };
}

interface FileText {
  readonly text: string;
  /** Why the text cannot be believed. */
  readonly fault: string | undefined;
}

/** Returns undefined for a missing file. */
function readText(path: string): FileText | undefined {
  const where = `config ${quote(path)}`;
  const file = openFile(path, where);
  if (file === undefined) return undefined;
  const { stats, bytes } = readAndClose(file, where);
  return { text: bytes.toString('utf8'), fault: fileFault(stats, bytes) };
}

function configIn(path: string, file: FileText | undefined): HostConfig {
  if (file === undefined) return defaultConfig();
  if (file.fault !== undefined) throw new ConfigError(`config ${quote(path)} ${file.fault}`, { text: file.text });
  return parseConfig(file.text, path);
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

function openFile(path: string, where: string): number | undefined {
  try {
    // Without O_NONBLOCK a named pipe in the file's place would hold up every guest start.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code !== 'ENOENT') throw new ConfigError(`${where} cannot be opened: ${systemReason(error)}`, { cause: error });
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
    throw new ConfigError(`${where} cannot be read: ${systemReason(error)}`, { cause: error });
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

function fileFault({ uid, mode }: Stats, bytes: Buffer): string | undefined {
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
