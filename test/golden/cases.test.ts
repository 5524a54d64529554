// @tier fast
/**
 * Golden folders: fixtures/cases/<behaviour>/ holds domain.xml, and optionally config.toml and host.json (what the fake
 * kernel holds before). Beside them stands what must come of it: plan.txt (attachments, batches, the host afterwards)
 * or error.txt. UPDATE_FIXTURES=1 rewrites those; read the diff before you commit it.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { parseConfig } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { GuestwireError } from '../../lib/errors.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { Plan } from '../../lib/reconcile/plan.js';
import { make, release, unwire, wire } from '../../lib/reconcile/reconcile.js';
import { type FakeHost, fakeKernel } from '../fakes/kernel.js';

const CASES = 'fixtures/cases';
const state = mkdtempSync(join(tmpdir(), 'guestwire-cases-'));
afterAll(() => { rmSync(state, { recursive: true }); });

describe('golden cases', () => {
  test.each(readdirSync(CASES))('%s', async (name) => {
    const dir = join(CASES, name);
    const outcome = await run(dir, name);
    for (const file of ['plan.txt', 'error.txt'] as const) {
      const path = join(dir, file);
      if (process.env['UPDATE_FIXTURES'] === '1') {
        rmSync(path, { force: true });
        if (outcome.file === file) writeFileSync(path, outcome.text);
      }
      expect(existsSync(path)).toBe(outcome.file === file);
    }
    expect(outcome.text).toBe(readFileSync(join(dir, outcome.file), 'utf8'));
  });
});

async function run(dir: string, name: string): Promise<{ file: 'plan.txt' | 'error.txt'; text: string }> {
  const kernel = fakeKernel(JSON.parse(readOr(join(dir, 'host.json'), '{}')) as FakeHost);
  const before = kernel.print();
  // libvirt calls `release` after every start that failed.
  let undo = (): Promise<void> => Promise.resolve();
  try {
    const toml = readOr(join(dir, 'config.toml'), '');
    const config = toml === '' ? defaultConfig() : parseConfig(toml, '/etc/guestwire/config.toml');
    const domain = parseDomain(readFileSync(join(dir, 'domain.xml'), 'utf8'));
    const attachments = deriveAttachments(domain, config);
    const journal = createJournal(join(state, name), (message) => { throw new Error(message); });
    const host = {
      kernel, journal, log: () => undefined,
      protectedOn: (bridge: string) => config.bridges.get(bridge)?.protected ?? new Set<number>(),
      isQuarantined: () => false,
    };
    const guest = { name: domain.name, uuid: domain.uuid ?? '' };
    undo = () => release(host, guest.uuid);
    const prepared = await make(host, { guest, attachments, incoming: false });
    const plan = await wire(host, { guest, attachments, fresh: true, incoming: false });
    const after = kernel.print();
    const again = await wire(host, { guest, attachments, fresh: false, incoming: false });
    expect(again.operations).toEqual([]);
    await unwire(host, guest.uuid);
    await release(host, guest.uuid);
    expect(kernel.print()).toBe(before);
    expect(journal.list()).toEqual([]);
    expect(journal.readLedger().uplinks).toEqual([]);
    expect(journal.readLedger().proxies).toEqual([]);
    const batches = [...textOf('prepare: ', prepared), ...textOf('', plan)];
    return {
      file: 'plan.txt', text: [JSON.stringify(attachments, null, 1), ...batches, '# host', after, ''].join('\n'),
    };
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    await undo();
    expect(kernel.print()).toBe(before);
    return { file: 'error.txt', text: `${error.code}: ${error.message}\n` };
  }
}

function textOf(step: string, plan: Plan | undefined): string[] {
  return (plan?.batches ?? []).map(({ tool, lines }) =>
    [`# ${step}${tool}`, ...lines.map(({ text }) => (tool === 'nft' ? shortened(text) : text))].join('\n'));
}

/**
 * Forty rules a NIC, and what they do is test/attack/attack.test.ts's matter: here their chain tells how many there
 * are.
 */
function shortened(text: string): string {
  const lines = text.split('\n');
  const rules = (chain: string): string[] => lines.filter((line) => line.startsWith(`add rule ${chain} `));
  return lines.filter((line) => !line.startsWith('add rule ')).map((line) => {
    const [, chain = ''] = /^(?:add|create) chain (\S+ \S+ \S+)/.exec(line) ?? [];
    return chain === '' ? line : `${line}  # ${rules(chain).length} rules`;
  }).join('\n');
}

function readOr(path: string, otherwise: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : otherwise;
}
