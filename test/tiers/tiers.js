// The tiers of the tests. CONTRIBUTING.md has their budgets; a test file names its tiers in its first line.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {{name: string, budget: number}} Tier budget in seconds */

/** Tiers of which no jest file is: the lab has a runner of its own. */
const WITHOUT_FILES = ['lab'];

/**
 * Returns the rows of the table of tiers: the only place where the budgets stand.
 *
 * @param {string} text CONTRIBUTING.md
 * @returns {Tier[]}
 */
export function tiersOf(text) {
  const rows = [...text.matchAll(/^\| `(\w+)` \| (\d+) (s|min) \|/gm)];
  if (rows.length === 0) throw new Error("CONTRIBUTING.md has no table of tiers: a row begins as '| `fast` | 90 s |'");
  return rows.map(([, name = '', count, unit]) => ({ name, budget: Number(count) * (unit === 'min' ? 60 : 1) }));
}

/** @param {string} top the checkout */
export function readTiers(top) {
  return tiersOf(readFileSync(join(top, 'CONTRIBUTING.md'), 'utf8'));
}

/**
 * Returns the tiers that a test file is in. A file that names none would run in no tier, and nothing would say so.
 *
 * @param {string} file @param {string} text @param {readonly string[]} known
 */
export function tiersOfFile(file, text, known) {
  const names = /^\/\/ @tier ((?:\w+ )*\w+)\n/.exec(text)?.[1]?.split(' ');
  const allowed = known.filter((name) => !WITHOUT_FILES.includes(name));
  if (names === undefined) {
    const example = `as '// @tier fast' (of ${allowed.join(', ')})`;
    throw new Error(`${file}: its first line must name its tiers, ${example}: see CONTRIBUTING.md`);
  }
  const wrong = names.find((name) => !allowed.includes(name));
  if (wrong !== undefined) throw new Error(`${file}: '${wrong}' is no tier of a test file: ${allowed.join(', ')} are`);
  return names;
}

/**
 * Returns the jest files of each tier. Throws for all files without a tier at once.
 *
 * @param {string} top the checkout @param {readonly string[]} known
 * @returns {Map<string, string[]>}
 */
export function filesByTier(top, known) {
  /** @type {Map<string, string[]>} */
  const files = new Map(known.map((name) => [name, []]));
  /** @type {string[]} */
  const faults = [];
  for (const name of readdirSync(join(top, 'test'), { recursive: true, encoding: 'utf8' }).sort()) {
    if (!name.endsWith('.test.ts')) continue;
    const file = join('test', name);
    try {
      for (const tier of tiersOfFile(file, readFileSync(join(top, file), 'utf8'), known)) files.get(tier)?.push(file);
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return files;
}

/**
 * @typedef {{name: string, passed: boolean, seconds: number, cpu: number, slowness: number}} Outcome
 * slowness: of the machine, at least 1
 */

/**
 * Returns the table that ends a run, and whether all is well: each tier passed, and within twice its budget. The budget
 * is that of this machine: a slow one has more.
 *
 * @param {readonly Outcome[]} outcomes @param {readonly Tier[]} tiers
 */
export function summary(outcomes, tiers) {
  const rows = outcomes.map(({ name, passed, seconds, cpu, slowness }) => {
    const budget = (tiers.find((tier) => tier.name === name)?.budget ?? 0) * slowness;
    const cells = [name, clock(seconds), clock(cpu), clock(budget), passed ? verdictOf(seconds / budget) : 'FAILED'];
    return { good: passed && seconds <= 2 * budget, cells };
  });
  const all = (/** @type {'seconds' | 'cpu'} */ key) => clock(outcomes.reduce((sum, outcome) => sum + outcome[key], 0));
  const total = rows.length > 1 ? [['total', all('seconds'), all('cpu')]] : [];
  const table = [['tier', 'time', 'CPU', 'budget'], ...rows.map(({ cells }) => cells), ...total];
  const text = table.map(([name = '', time = '', cpu = '', budget = '', verdict = '']) =>
    `${name.padEnd(8)}${time.padStart(11)}${cpu.padStart(11)}${budget.padStart(11)}  ${verdict}`.trimEnd()).join('\n');
  const slowest = Math.max(...outcomes.map(({ slowness }) => slowness));
  const note = slowest < 1.1 ? '' : `\nthis machine is up to ${slowest.toFixed(1)} times slower than CONTRIBUTING.md assumes: the budgets grow with it`;
  return { text: `${text}${note}`, good: rows.every(({ good }) => good) };
}

/** @param {number} share of the budget */
function verdictOf(share) {
  if (share > 2) return 'TOO SLOW: over twice its budget';
  return share > 1 ? 'passed, over its budget' : 'passed';
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')} min`;
}
