// @tier fast
/** How the real dist/hook.cjs ends: what it says comes whole, and its status is what libvirt goes by. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { domainXml, vlanXml } from '../places/hook-run.js';

const HOOK = resolve('dist/hook.cjs');
/** What `ip` complains of: four times what a pipe has room for. */
const COMPLAINT = 256 * 1024;

let dir: string;
beforeEach(() => {
  if (!existsSync(HOOK)) throw new Error("dist/hook.cjs is missing: run 'npm run build' before this test");
  dir = mkdtempSync(join(tmpdir(), 'guestwire-hookend-'));
  mkdirSync(join(dir, 'bin'));
  for (const [tool, script] of Object.entries({
    flock: 'exit 0', logger: 'exit 0', nft: 'exit 1', bridge: 'exit 1', ip: `head -c ${COMPLAINT} /dev/zero | tr '\\0' x >&2; exit 1`,
  })) {
    writeFileSync(join(dir, 'bin', tool), `#!/bin/sh\n${script}\n`);
    chmodSync(join(dir, 'bin', tool), 0o755);
  }
});
afterEach(() => { rmSync(dir, { recursive: true }); });

/** Runs the hook with its standard error a pipe into `reader`, of the shell. */
function start(reader: string): { said: string; status: number } {
  const { stdout } = spawnSync('sh', ['-c', `{ "$0" "$1" web1 start 2>&1 >/dev/null; echo $? >"$2"; } | ${reader}; cat "$2"`, process.execPath, HOOK, join(dir, 'status')], {
    input: domainXml({ metadata: vlanXml('<gw:tag id="10"/>') }), encoding: 'utf8', maxBuffer: 16 * COMPLAINT,
    env: {
      PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}`, GUESTWIRE_CONFIG: join(dir, 'none.toml'), GUESTWIRE_STATE_DIR: join(dir, 'state'),
      GUESTWIRE_LOCK: join(dir, 'lock'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
    },
  });
  const [, said = '', status] = /^(.*?)(\d+)\n$/s.exec(stdout) ?? [];
  return { said, status: Number(status) };
}

test('a refusal that is longer than a pipe comes whole to who reads late', () => {
  const { said, status } = start('{ sleep 1; cat; }');
  expect(status).toBe(3);
  expect(said).toMatch(/^guestwire: guest 'web1'/);
  expect(said.length).toBeGreaterThan(COMPLAINT);
  expect(said.endsWith('x\n')).toBe(true);
});

test('a refusal that nobody reads is one all the same', () => {
  expect(start('exec <&-')).toEqual({ said: '', status: 3 });
});
