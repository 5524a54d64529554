// @tier fast
/** The turns of guests: those that cannot be wired together do not keep the lock from a guest that starts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createTurns } from '../../lib/guests/turns.js';
import { settingsFrom } from '../../lib/config/paths.js';
import { forOneRun } from '../../lib/guests/io.js';
import { attachmentOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';

const LINK = attachmentOf({
  kind: 'routed-link', nic: 0, mac: '52:54:00:00:01:01', link: 'tap1', addresses: ['192.0.2.1'], routes: [],
  gateways: ['169.254.0.1'], table: 'main', protocol: 117, policy: POLICY, proxy: [],
});

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-turns-')); });
afterEach(() => { rmSync(dir, { recursive: true }); });

test('guests that must be wired one by one have the lock one by one', async () => {
  const tools: string[] = [];
  const io = forOneRun({
    settings: settingsFrom({
      GUESTWIRE_STATE_DIR: join(dir, 'state'),
      GUESTWIRE_CONFIG: join(dir, 'none.toml'),
      GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
    }),
    print: () => undefined, warn: () => undefined,
    exec: ({ tool }) => {
      tools.push(tool);
      return Promise.resolve({
        exitCode: tool === 'flock' ? 0 : 1, signal: undefined, errno: undefined, timedOut: false, stdout: '',
        stderr: 'no',
      });
    },
  });
  const turns = createTurns(io, 'guestwire agent');
  // All claim the same address.
  const results = await Promise.allSettled([1, 2, 3].map((number) => turns({ io, isThorough: false }).wire(
    { guest: { name: `web${number}`, uuid: `11111111-2222-3333-4444-00000000000${number}` }, nics: [], attachments: [LINK], stamp: undefined },
  )));
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  const holders = tools.join(' ').split('flock').slice(1);
  expect(holders).toHaveLength(3);
  for (const holder of holders) expect(holder).toContain('ip');
});
