// @tier fast
/** What one hook call does for other guests is bounded: the rest is left to later calls. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { runHook } from '../../lib/hook/contract.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { ExecRequest } from '../../lib/system/exec.js';
import { OK, pretend } from '../fakes/tools.js';
import { domainXml, UUID, vlanXml } from '../places/hook-run.js';

const WIRED = domainXml({ metadata: vlanXml('<gw:tag id="10"/>') });
const ENDED = [1, 2, 3, 4, 5, 6].map((number) => UUID.replace(/^1/, String(number + 1)));

let top: string;
beforeEach(() => { top = mkdtempSync(join(tmpdir(), 'guestwire-hook-')); });
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(top, { recursive: true });
});

test('guests that ended are released for five seconds, and the others by the next calls', async () => {
  const settings = {
    config: join(top, 'config.toml'), stateDir: join(top, 'state'), lock: join(top, 'lock'),
    quarantine: join(top, 'quarantine'), addresses: join(top, 'addresses'), definitions: join(top, 'definitions'),
  };
  const journal = createJournal(settings.stateDir, () => undefined);
  for (const uuid of ENDED) {
    journal.write({ version: 1, guest: { name: uuid, uuid }, since: '', incoming: false, wired: [], original: [] });
    journal.markEnded(uuid);
  }
  let seconds = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => (seconds += 2) * 1000);
  const logged: string[] = [];
  const call = async (): Promise<string[]> => {
    expect(await runHook({
      guest: 'web1', operation: 'prepare', stdin: WIRED, settings,
      exec: (request: ExecRequest) => {
        if (request.tool === 'logger') logged.push(request.input ?? '');
        return Promise.resolve(request.tool === 'logger' ? OK : pretend(request));
      },
    })).toEqual({ exitCode: 0, stderr: '' });
    return readdirSync(settings.stateDir).filter((name) => name.endsWith('.ended'));
  };
  expect(await call()).toHaveLength(4);
  expect(logged.join('')).toContain('4 guests that ended are not released yet: later calls of the hook release them');
  expect(await call()).toHaveLength(2);
  expect(await call()).toHaveLength(0);
});
