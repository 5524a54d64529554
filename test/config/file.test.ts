// @tier fast kernel long
import { execFileSync } from 'node:child_process';
import {
  accessSync, chmodSync, chownSync, constants, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { umask } from 'node:process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { configMayMake, configMentions, loadConfig, parseConfig } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { ConfigError } from '../../lib/errors.js';
import { testWith } from '../places/capability.js';
import { rounds } from '../tiers/bound.js';

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
    expect(error.message).toBe(`config '${path}': [bridge.br0]: unknown key 'uplink': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent'`);
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

describe('configMentions', () => {
  test.each([
    ['[guest.web1."52:54:00:aa:bb:03"]', 'web1', true],
    ['[guest.web1', 'web1', true],
    ['[ guest . web1 ]', 'web1', true],
    ['guest.web1={', 'web1', true],
    ['[guest."web1"', 'web1', true],
    ["[guest.'web1'", 'web1', true],
    ['web1', 'web1', true],
    ['[guest."www.example.org"]', 'www.example.org', true],
    ['[guest."web 1"]', 'web 1', true],
    ['[guest."web#1"]', 'web#1', true],
    ['x = "a # b" # web1', 'web1', true],
    ['[guest.web10]\n[guest.web1]', 'web1', true],
    ['[guest.web10]', 'web1', false],
    ['[guest.old-web1]', 'web1', false],
    ['[guest.db1]', 'web1', false],
    ['# [guest.web1]\n \t# web1\r\n[guest.db1]', 'web1', false],
    ['[guest.db1]\r\n#web1', 'web1', false],
    ['[guest.db1."52:54:00:AA:BB:03"]', '52:54:00:aa:bb:03', true],
    ['[guest.db1."52:54:00:aa:bb:03"]', '52:54:00:AA:BB:03', true],
    ['[guest.db1."52:54:00:aa:bb:03"]', '52:54:00:aa:bb:04', false],
    ['[network.lan.portgroup.dmz]', 'lan', true],
    ['[network.lan.portgroup.dmz]', 'default', false],
    ['[guest."w\\u0065b1"]', 'web1', true],
    ['[guest."w\\U00000065b1"]', 'web1', true],
    ['[guest."w\\x65b1"]', 'web1', true],
    ['# \\u0065', 'web1', false],
    ['[guest."a\\"b"]', 'a"b', true],
    ['[guest."a\\tb"]', 'a\tb', true],
    ["[guest.'a\\b']", 'a\\b', true],
    ['[guest."\\t"]', 'web1', false],
    ["[guest.'a\"b']", 'a"b', true],
    ['[guest.web1]', 'a"b', false],
    ['[guest."caf\ufffd"]', 'caf\u00e9', true],
    ['[guest."caf\ufffd"]', 'web1', false],
    ['[\0g\0u\0e\0s\0t\0', 'web1', true],
    ["'\u039f\u0394\u039f\u03a3'.a", '\u039f\u0394\u039f\u03a3', true],
    ['', 'web1', false],
    ['[guest.""]', '', false],
  ])('%j, %j: %s', (text, name, mentioned) => {
    expect(configMentions(text, [name])).toBe(mentioned);
    expect(configMentions(text, ['nobody', name])).toBe(mentioned);
  });

  test('no names are not mentioned', () => {
    expect(configMentions('[guest.web1]', [])).toBe(false);
  });

  test('whatever a good config speaks of is mentioned, however TOML lets it be written', () => {
    const awkward = fc.array(
      fc.constantFrom('a', 'B', '1', '-', '_', '.', ' ', '#', '"', "'", '\\', '\n', '\t', '\u00e9', '\u03a3', ']'),
      { minLength: 1, maxLength: 6 },
    )
      .map((parts) => parts.join(''));
    const style = fc.constantFrom(bare, basic, literal);
    fc.assert(fc.property(awkward, style, fc.boolean(), (name, written, upper) => {
      const mac = upper ? '52:54:00:AA:BB:03' : '52:54:00:aa:bb:03';
      const text = `[guest.${written(name)}."${mac}"]\nisolated = true\n[network.${written(name)}]`;
      expect([...parseConfig(text, '/x').guests.keys()]).toEqual([name]);
      expect(configMentions(text, [name])).toBe(true);
      expect(configMentions(`${text}\nbroken`, ['52:54:00:aa:bb:03'])).toBe(true);
    }), { numRuns: rounds(2000) });
  });
});

describe('configMayMake', () => {
  test.each([
    ['[bridge.br30]\nvid = 30', 'br30', true],
    ['[bridge.br30\nvid', 'br30', true],
    ['[bridge.br30]\nvid = 30\n[bridge.br0]\nuplinks = []', 'br0', false],
    ['[bridge.br0]\nuplinks = []\n[bridge.br30]\nvid = 30', 'br0', false],
    ['[bridge.br30]\nuplinks = []', 'br30', false],
    ['[bridge.br300]\nvid = 30', 'br30', false],
    ['[bridge.br30]\nvid = 30', 'br3', false],
    ['bridge={br30={vid=30,parent="x"}}', 'br30', true],
    ['[bridge]\nbr30.vid = 30', 'br30', true],
    ['[bridge."br{vid}"]', 'br30', true],
    ['[bridge."br{vid}x"]', 'br30x', true],
    ['[bridge."br{vid}"]', 'br030', false],
    ['[bridge."br{vid}"]', 'br', false],
    ['[bridge."br{vid}"]', 'br30x', false],
    ['[bridge."{vid}x"]', 'x', false],
    ['[bridge]\n"br{vid}".parent = "x"\nbr0.uplinks = []', 'br0', false],
    ['# [bridge.br30]\n# vid = 30', 'br30', false],
    ['[bridge."b.*"]\nvid = 30', 'br0', false],
    ['[bridge."br0.30"]\nvid = 30', 'br0.30', true],
    ['[bridge."br0x30"]\nvid = 30', 'br0.30', false],
    ['[bridge.""]\nvid = 30', '', false],
    ['[bridge."a b"]\nvid = 30', 'a b', false],
  ])('%j, %j: %s', (text, bridge, may) => {
    expect(configMayMake(text, [bridge])).toBe(may);
    expect(configMayMake(text, ['none', bridge])).toBe(may);
    expect(configMayMake(text, [])).toBe(false);
  });
});

function bare(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : basic(name);
}

function basic(name: string): string {
  return JSON.stringify(name);
}

function literal(name: string): string {
  return /['\n]/.test(name) ? basic(name) : `'${name}'`;
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
