// @tier fast
/** The host that settings say: what it protects, whom it keeps cut off, which tools hold the lock. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ConfigReading, configReading } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { ConfigError } from '../../lib/errors.js';
import { EMPTY_SCOPE } from '../../lib/kernel/observation.js';
import { hostFrom } from '../../lib/reconcile/host.js';
import type { Exec, ExecRequest } from '../../lib/system/exec.js';

const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
const asked: ExecRequest[] = [];
const exec: Exec = (request) => {
  asked.push(request);
  return Promise.resolve({
    exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '[]', stderr: '',
  });
};
const warn = (text: string): void => { throw new Error(text); };

let dir: string;
beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-host-')); });
afterAll(() => { rmSync(dir, { recursive: true }); });
const settings = () => settingsFrom({
  GUESTWIRE_CONFIG: join(dir, 'config.toml'),
  GUESTWIRE_STATE_DIR: join(dir, 'state'),
  GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
});

const reading = (): ConfigReading => configReading(settings().config);

test('a host protects the VIDs of its config, which is read when it matters', () => {
  const host = hostFrom({ settings: settings(), exec, warn, config: reading() });
  writeFileSync(join(dir, 'config.toml'), '[bridge.br0]\nprotected = [1, 5]\n', { mode: 0o600 });
  expect([...host.protectedOn('br0')]).toEqual([1, 5]);
  expect([...host.protectedOn('br1')]).toEqual([]);
  writeFileSync(join(dir, 'config.toml'), 'nonsense', { mode: 0o600 });
  expect([...host.protectedOn('br0')]).toEqual([1, 5]);
  const other = hostFrom({ settings: settings(), exec, warn, config: reading() });
  expect(() => other.protectedOn('br0')).toThrow(ConfigError);
  const plain = hostFrom({ settings: settings(), exec, warn, config: { read: defaultConfig } });
  expect([...plain.protectedOn('br0')]).toEqual([]);
});

test('a host keeps guests in quarantine that are put there', () => {
  const host = hostFrom({ settings: settings(), exec, warn, config: reading() });
  expect(host.isQuarantined(UUID)).toBe(false);
  mkdirSync(join(dir, 'quarantine'));
  writeFileSync(join(dir, 'quarantine', UUID), 'web1\n');
  expect(host.isQuarantined(UUID)).toBe(true);
});

test('tools hold the lock of whoever changes the host', async () => {
  await hostFrom({ settings: settings(), exec, warn, lock: { fd: 7 }, config: reading() })
    .kernel.observe({ ...EMPTY_SCOPE, links: ['eth0'] });
  await hostFrom({ settings: settings(), exec, warn, config: reading() })
    .kernel.observe({ ...EMPTY_SCOPE, links: ['eth0'] });
  expect(asked.map(({ fd }) => fd)).toEqual([7, undefined]);
});
