// Runs tiers of the tests: `node test/tiers/run.js [TIER...]`, after test/prepare; those of `npm test` unless given.
// Prints the time of each in one table at the end, and ends with 1 when one failed or took over twice its budget. On a
// machine that is slower than the budgets assume, the budgets grow with it.
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measureLong } from './long.js';
import { childrenCpu, run, slowness } from './programs.js';
import { filesByTier, readTiers, summary } from './tiers.js';

/** What `npm test` runs; `long` is for what does not fit. */
const USUAL = ['fast', 'kernel', 'libvirt', 'node', 'lab'];

/**
 * For a developer, who runs lint often: it does not look again at a file that has not changed. A changed type may make
 * another file wrong, and only a full run sees that.
 */
const LINT_CACHE = {
  LINT_TSC: '--incremental --tsBuildInfoFile node_modules/.cache/types.tsbuildinfo',
  LINT_ESLINT: '--cache --cache-strategy content --cache-location node_modules/.cache/eslint/',
};

/** Root without root's powers: a test that needs more than its files fails here, as it does for a developer. */
const POWERLESS = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];

const top = join(dirname(fileURLToPath(import.meta.url)), '../..');
const isRoot = process.geteuid?.() === 0;

process.chdir(top);
main(process.argv.slice(2)).then((good) => { process.exitCode = good ? 0 : 1; }, (/** @type {unknown} */ error) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
});

/** @param {string[]} wanted */
async function main(wanted) {
  const tiers = readTiers(top);
  const names = tiers.map(({ name }) => name);
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`there is no tier '${unknown}': ${names.join(', ')} are`);
  const files = filesByTier(top, names);
  const outcomes = [];
  for (const name of wanted.length > 0 ? wanted : USUAL) {
    console.log(`\n== ${name}`);
    const before = slowness();
    const [began, cpu] = [performance.now(), childrenCpu()];
    const alone = wanted.length === 1;
    const passed = await runTier(name, { files: files.get(name) ?? [], alone });
    const took = { seconds: (performance.now() - began) / 1000, cpu: childrenCpu() - cpu };
    outcomes.push({ name, passed, ...took, slowness: Math.max(before, slowness()) });
  }
  const { text, good } = summary(outcomes, tiers);
  console.log(`\n${text}`);
  return good;
}

/**
 * @param {string} name
 * @param {{files: string[], alone: boolean}} options alone: no other tier runs
 * @returns {Promise<boolean>}
 */
async function runTier(name, { files, alone }) {
  switch (name) {
    case 'fast': {
      // Lint is one process, and jest's workers wait now and then: together they use two CPUs well.
      const lint = run(['npm', 'run', '--silent', 'lint'], { quiet: true, env: alone ? LINT_CACHE : {} });
      const tests = jest(name, files, { through: isRoot ? POWERLESS : [] });
      return (await Promise.all([lint, tests])).every(Boolean);
    }
    case 'lab': return lab();
    case 'long': return measureLong(top, (env) => jest(name, files, { args: ['--runInBand'], env }));
    // Much of their time these wait, for guests to boot and for timers.
    default: return jest(name, files, { args: [`--maxWorkers=${2 * availableParallelism()}`] });
  }
}

/**
 * @param {string} tier @param {string[]} files
 * @param {{through?: string[], args?: string[], env?: Record<string, string>}} [options]
 */
function jest(tier, files, { through = [], args = ['--maxWorkers=100%'], env = {} } = {}) {
  const settings = { NODE_OPTIONS: '--experimental-vm-modules', NODE_NO_WARNINGS: '1', GUESTWIRE_TIER: tier };
  const command = [...through, 'node_modules/.bin/jest', ...args, '--runTestsByPath', ...files];
  return run(command, { env: { ...settings, ...env } });
}

/** Minutes of the short lab below which `npm test` has time for the whole lab, which takes over three times as long. */
const QUICK_LAB = 5;

/**
 * The short lab, which has a test of each promise, and the whole lab where the short one was quick: User-Mode Linux
 * starts a process by thousands of traps, so on a slow machine the whole lab takes an hour.
 */
async function lab() {
  if (!isRoot && process.env['CI'] !== 'true') {
    console.log('skipped: the tests of test/lab/uml, because only root can run them');
    return true;
  }
  const began = performance.now();
  if (!await run(['test/lab/run-lab'])) return false;
  const minutes = (performance.now() - began) / 60_000;
  if (minutes < QUICK_LAB) return run(['test/lab/run-lab', '--whole']);
  console.log(`one test of each promise took ${minutes.toFixed(1)} minutes, so the others do not run: 'test/lab/run-lab --whole' runs all`);
  return true;
}
