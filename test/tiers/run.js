// Runs tiers of the tests: `node test/tiers/run.js [TIER...]`, after test/prepare; those of `npm test` unless given.
// Prints what each took in one table at the end, and ends with 1 when one failed or took over twice its budget.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesByTier, readTiers, summary } from './tiers.js';

/** What `npm test` runs; `long` is for what does not fit. */
const USUAL = ['fast', 'kernel', 'libvirt', 'node', 'lab'];
const TICKS = 100;
/**
 * For a developer, who runs lint often: files that have not changed are not looked at again. A change of a type may make another
 * file wrong, and only a full run sees that.
 */
const LINT_CACHE = {
  LINT_TSC: '--incremental --tsBuildInfoFile node_modules/.cache/types.tsbuildinfo',
  LINT_ESLINT: '--cache --cache-strategy content --cache-location node_modules/.cache/eslint/',
};

/** Root without what makes it root: a test that needs more than its files fails here, as it does for a developer. */
const POWERLESS = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];

const top = join(dirname(fileURLToPath(import.meta.url)), '../..');
const isRoot = process.geteuid?.() === 0;

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
    const [began, cpu] = [performance.now(), childrenCpu()];
    const passed = await runTier(name, { files: files.get(name) ?? [], alone: wanted.length === 1 });
    outcomes.push({ name, passed, seconds: (performance.now() - began) / 1000, cpu: childrenCpu() - cpu });
  }
  const { text, good } = summary(outcomes, tiers);
  console.log(`\n${text}`);
  return good;
}

/** @param {string} name @param {{files: string[], alone: boolean}} options alone: it is all that runs @returns {Promise<boolean>} */
async function runTier(name, { files, alone }) {
  switch (name) {
    // Lint is one process, and jest's workers wait now and then: together they take as long as their CPU time.
    case 'fast': return every([run(['npm', 'run', '--silent', 'lint'], { quiet: true, env: alone ? LINT_CACHE : {} }), jest(name, files, { through: isRoot ? POWERLESS : [] })]);
    case 'lab': return lab();
    case 'long': return long(files);
    // Much of their time these wait, for guests to boot and for timers.
    default: return jest(name, files, { args: [`--maxWorkers=${2 * availableParallelism()}`] });
  }
}

/** @param {string} tier @param {string[]} files @param {{through?: string[], args?: string[]}} [options] */
function jest(tier, files, { through = [], args = ['--maxWorkers=100%'] } = {}) {
  const env = { NODE_OPTIONS: '--experimental-vm-modules', NODE_NO_WARNINGS: '1', GUESTWIRE_TIER: tier };
  return run([...through, 'node_modules/.bin/jest', ...args, '--runTestsByPath', ...files], { env });
}

async function lab() {
  if (isRoot || process.env['CI'] === 'true') return run(['test/lab/run-lab']);
  console.log('skipped: the tests of test/lab/uml, because only root can run them');
  return true;
}

/** One after the other: what is timed shares the machine with nothing. @param {string[]} files */
async function long(files) {
  const good = [await jest('long', files, { args: ['--runInBand'] })];
  if (isRoot) {
    good.push(await run(['npm', 'run', '--silent', 'bench']));
    good.push(await run(['test/lab/run-lab', '--libvirt', '9', 'test/lab/uml/pace.js']));
    good.push(await run(['test/lab/run-lab', '--tcg']));
  }
  return good.every(Boolean);
}

/** @param {Promise<boolean>[]} runs */
async function every(runs) {
  return (await Promise.all(runs)).every(Boolean);
}

/**
 * Returns whether the program ended with 0.
 *
 * @param {string[]} command
 * @param {{env?: Record<string, string>, quiet?: boolean}} [options] quiet: its output comes at its end, in one piece
 * @returns {Promise<boolean>}
 */
function run([file = '', ...args], { env = {}, quiet = false } = {}) {
  const child = spawn(file, args, { cwd: top, env: { ...process.env, ...env }, stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => { said += String(text); });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (said !== '') process.stdout.write(said);
      resolve(code === 0);
    });
  });
}

/** Seconds of CPU time of all programs that this one started and that ended: a machine that others use, too, makes no difference. */
function childrenCpu() {
  const fields = readFileSync('/proc/self/stat', 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS;
}
