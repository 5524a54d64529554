// The tier `long`: one part after the other, because what is timed shares the machine with nothing.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFigures } from './figures.js';
import { run } from './programs.js';

/** What root runs besides the test files. */
const PARTS = /** @type {const} */ ([
  ['Benchmarks', 'npm', 'run', '--silent', 'bench'],
  ['VLAN ports, under each libvirt', 'test/lab/run-lab', '--strict', '--whole'],
  ['VLAN ports beside routed links', 'test/lab/run-lab', '--strict', '--libvirt', '9', 'test/lab/uml/pace.js'],
  ['The emulated system', 'test/lab/run-lab', '--tcg'],
]);

/**
 * Runs every part, writes what they measured to docs/reliability.md, and returns whether all passed.
 *
 * @param {string} top the checkout
 * @param {(env: Record<string, string>) => Promise<boolean>} runFiles runs the test files
 */
export async function measureLong(top, runFiles) {
  const place = mkdtempSync(join(tmpdir(), 'guestwire-figures-'));
  const figures = join(place, 'figures');
  writeFileSync(figures, '');
  const parts = [await timed('Bounds of time and long fuzzing', async () => {
    const passed = await runFiles({ GUESTWIRE_FIGURES: figures });
    return { passed, lines: readFileSync(figures, 'utf8').split('\n').filter(Boolean) };
  })];
  for (const [title, ...command] of process.geteuid?.() === 0 ? PARTS : []) {
    parts.push(await timed(title, async () => {
      /** @type {string[]} */
      const lines = [];
      const passed = await run(command, { keep: (line) => lines.push(line) });
      // What a failure shows is indented.
      return { passed, lines: lines.filter((line) => !line.startsWith('    ')) };
    }));
  }
  rmSync(place, { recursive: true });
  writeFigures(top, parts);
  return parts.every(({ passed }) => passed);
}

/**
 * @param {string} title @param {() => Promise<{passed: boolean, lines: string[]}>} act
 * @returns {Promise<import('./figures.js').Part>}
 */
async function timed(title, act) {
  const began = performance.now();
  return { title, ...await act(), seconds: (performance.now() - began) / 1000 };
}
