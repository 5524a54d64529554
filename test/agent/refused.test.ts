// @tier fast
/** The agent and a libvirt that takes connections and gives no events. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { runAgent } from '../../lib/agent/agent.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { forOneRun } from '../../lib/guests/io.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { LibvirtError } from '../../lib/libvirt/errors.js';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-refused-')); });
afterEach(() => { rmSync(dir, { recursive: true }); });

test('a libvirt that refuses its events is told of once, however often it is asked', async () => {
  const warnings: string[] = [];
  let asked = 0;
  const ending = new AbortController();
  const io = forOneRun({
    settings: settingsFrom({ GUESTWIRE_STATE_DIR: join(dir, 'state') }), print: () => undefined,
    warn: (line) => warnings.push(line),
    exec: () =>
      Promise.resolve({ exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '' }),
  });
  const refusal = {
    reason: 'VIR_ERR_ACCESS_DENIED', reasonNumber: 88, origin: 'VIR_FROM_ACCESS', originNumber: 55, level: 'error',
    message: 'access denied',
  } as const;
  // eslint-disable-next-line require-yield -- it refuses
  const events = async function* (): ReturnType<Connection['events']> {
    await Promise.resolve();
    throw new LibvirtError("events of kind 'domain-lifecycle'", refusal);
  };
  await runAgent({
    io, signal: ending.signal,
    onReload: () => undefined, supervisor: { tell: () => Promise.resolve(), stop: () => undefined },
    follow: () => {
      let stop = (): void => undefined;
      return { ended: new Promise((resolve) => { stop = () => { resolve('stopped'); }; }), stop: () => { stop(); } };
    },
    connect: () => {
      asked += 1;
      if (asked === 4) ending.abort();
      return Promise.resolve({ events, close: () => Promise.resolve() } as unknown as Connection);
    },
  });
  expect(warnings.filter((line) => line.startsWith('cannot connect to libvirt'))).toHaveLength(1);
});
