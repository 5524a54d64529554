// @tier fast kernel
import { execFileSync } from 'node:child_process';
import {
  accessSync, chmodSync, chownSync, constants, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { umask } from 'node:process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { configReading, loadConfig, parseConfig } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { ConfigError } from '../../lib/errors.js';
import { testWith } from '../places/capability.js';

const WORLD = '[guest.web1."52:54:00:aa:bb:03"]\nisolated = true\n';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'guestwire-config-'));
  path = join(folder, 'config.toml');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(content: string | Uint8Array, mode = 0o644): void {
  writeFileSync(path, content);
  chmodSync(path, mode);
}

function refusal(from: string): ConfigError {
  try {
    loadConfig(from);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the config was taken');
}

describe('configReading', () => {
  test('reads the file once, when it first matters, and gives one config to all', () => {
    const reading = configReading(path);
    write(WORLD);
    expect(reading.text()).toBe(WORLD);
    write('[guest.web2."52:54:00:aa:bb:03"]\nisolated = true\n');
    expect([...reading.read().guests.keys()]).toEqual(['web1']);
    expect(reading.read()).toBe(reading.read());
    expect(reading.text()).toBe(WORLD);
  });

  test('a missing file stays missing', () => {
    const reading = configReading(path);
    expect([reading.text(), reading.read()]).toEqual(['', defaultConfig()]);
    write(WORLD);
    expect(reading.read()).toEqual(defaultConfig());
  });

  test('a rejected config is rejected each time, and still has its text', () => {
    write(WORLD, 0o646);
    const reading = configReading(path);
    expect(() => reading.read()).toThrow(ConfigError);
    write(WORLD);
    expect(() => reading.read()).toThrow(`config '${path}' is writable by others`);
    expect(reading.text()).toBe(WORLD);
  });

  test('a file that cannot be read has neither', () => {
    execFileSync('mkfifo', [path]);
    const reading = configReading(path);
    expect(() => reading.text()).toThrow(`config '${path}' is not a regular file`);
    expect(() => reading.read()).toThrow(`config '${path}' is not a regular file`);
  });
});

describe('loadConfig', () => {
  test('no file, or no folder, is the default', () => {
    expect(loadConfig(path)).toEqual(defaultConfig());
    expect(loadConfig(join(folder, 'none', 'config.toml'))).toEqual(defaultConfig());
  });

  test.each([0o644, 0o600, 0o400, 0o444, 0o755])('a file of mode %i that only its owner may write is read', (mode) => {
    write(WORLD, mode);
    expect(loadConfig(path)).toEqual(parseConfig(WORLD, path));
  });

  test('symbolic links are followed', () => {
    write(WORLD);
    symlinkSync(path, join(folder, 'link'));
    expect(loadConfig(join(folder, 'link')).guests.size).toBe(1);
  });

  test('a symbolic link to a file that others may write is refused like the file', () => {
    write(WORLD, 0o666);
    const link = join(folder, 'link');
    symlinkSync(path, link);
    expect(refusal(link).message).toBe(`config '${link}' is writable by its group and others (mode 0666): chmod it to 0644`);
  });

  test('a symbolic link to nothing is a config that went missing, not a host without one', () => {
    symlinkSync(join(folder, 'gone'), path);
    expect(refusal(path).message).toBe(`config '${path}' is a symbolic link to a missing file: restore the file or remove the link`);
  });

  test.each([
    [0o666, 'its group and others (mode 0666): chmod it to 0644'],
    [0o664, 'its group (mode 0664): chmod it to 0644'],
    [0o642, 'others (mode 0642): chmod it to 0640'],
    [0o4777, 'its group and others (mode 4777): chmod it to 4755'],
  ])('what others may write is not believed, mode %i', (mode, words) => {
    write(WORLD, mode);
    const error = refusal(path);
    expect(error.message).toBe(`config '${path}' is writable by ${words}`);
    expect(error.text).toBe(WORLD);
  });

  testWith('root')('a file of another user is not believed', () => {
    write(WORLD);
    chownSync(path, 12345, 0);
    const error = refusal(path);
    expect(error.message).toBe(`config '${path}' belongs to user 12345: chown it to root`);
    expect(error.text).toBe(WORLD);
  });

  test('a folder and a named pipe are refused, at once', () => {
    mkdirSync(path);
    expect(refusal(path).message).toBe(`config '${path}' is not a regular file`);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect(refusal(pipe).message).toBe(`config '${pipe}' is not a regular file`);
  });

  test('what cannot be opened says why', () => {
    write(WORLD);
    expect(refusal(join(path, 'x')).message).toBe(`config '${path}/x' cannot be opened: ENOTDIR: not a directory`);
    const loop = join(folder, 'loop');
    symlinkSync(loop, loop);
    expect(refusal(loop).message).toBe(`config '${loop}' cannot be opened: ELOOP: too many symbolic links encountered`);
    const name = 'x'.repeat(300);
    expect(refusal(join(folder, name)).message).toMatch(/^config '.*\.\.\.' cannot be opened: ENAMETOOLONG: name too long$/);
  });

  test('a file that may not be read is no absent one', () => {
    write(WORLD, 0o000);
    // Root may read everything, unless it runs without its capabilities, as in the tier fast.
    const mayRead = isReadable(path);
    if (mayRead) process.seteuid?.(65534);
    try {
      expect(refusal(path).message).toBe(`config '${path}' cannot be opened: EACCES: permission denied`);
    } finally {
      if (mayRead) process.seteuid?.(0);
    }
  });

  test('a file that cannot be read is refused with the reason', () => {
    expect(refusal('/proc/self/mem').message).toMatch(/^config '\/proc\/self\/mem' cannot be read: EIO: i\/o error$/);
  });

  test('1 MiB is read, one byte more is not, and the text is kept as far as it was read', () => {
    write(`${WORLD}${'#'.repeat(1024 * 1024 - WORLD.length)}`);
    expect(loadConfig(path).guests.size).toBe(1);
    truncateSync(path, 1024 * 1024 + 1);
    const error = refusal(path);
    expect(error.message).toBe(`config '${path}' is longer than 1 MiB, too long for a host config: put the right file there`);
    expect(error.text?.startsWith(WORLD)).toBe(true);
  });

  test('what is not UTF-8 is refused', () => {
    write(Uint8Array.from([...Buffer.from('# caf'), 0xe9, 0x0a, ...Buffer.from(WORLD)]));
    const error = refusal(path);
    expect(error.message).toBe(`config '${path}' is not UTF-8 text: save it as UTF-8`);
    expect(error.text).toBe(`# caf\ufffd\n${WORLD}`);
  });

  test('an uplink of two bridges is refused', () => {
    expect(() => parseConfig('[bridge.br0]\nuplinks = ["eno1"]\n[bridge.br1]\nuplinks = ["eno2", "eno1"]\n', '/x'))
      .toThrow("config '/x': uplink 'eno1' is listed under [bridge.br0] and [bridge.br1]: it can be a port of only one of them");
  });

  test('a text that is wrong is told as from parseConfig, with the text', () => {
    write('[bridge.br0]\nuplink = []');
    const error = refusal(path);
    expect(error.message).toBe(`config '${path}': [bridge.br0]: unknown key 'uplink': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'`);
    expect([error.code, error.retryable, error.text]).toEqual(['ERR_CONFIG', false, '[bridge.br0]\nuplink = []']);
    expect(() => parseConfig('[', '/x')).toThrow(expect.objectContaining({ text: '[' }));
  });

  test('a file made without thought of its mode, by the usual umask, is believed', () => {
    const before = umask(0o022);
    writeFileSync(path, WORLD);
    umask(before);
    expect(loadConfig(path).guests.size).toBe(1);
  });

  test('odd paths do not break the message', () => {
    const odd = join(folder, "a\nb'");
    writeFileSync(odd, 'x = 1');
    chmodSync(odd, 0o644);
    expect(refusal(odd).message).toBe(
      `config '${folder}/a\\nb\\'': top level: unknown key 'x': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'`);
  });
});

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
