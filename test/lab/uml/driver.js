// Boots User-Mode Linux with libvirt in it, and the emulated system of ../tcg, outside: makes what is missing in the
// cache, starts one kernel for each libvirt and the emulated one, prints what the tests say while they say it, and
// leaves no process behind, even after kill -9.
import { execFileSync, spawn } from 'node:child_process';
import {
  accessSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildSync } from 'esbuild';
import { deal, shareCpus } from '../../tiers/queue.js';
import { emulator, writeJob } from '../tcg/boot.js';

const here = dirname(fileURLToPath(import.meta.url));
const top = resolve(here, '../../..');
const cache = process.env['GUESTWIRE_CACHE']
  ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'guestwire');

/** Minutes after which a kernel is ended. */
const DEADLINE = Number(process.env['GUESTWIRE_LAB_MINUTES'] ?? 60);
/** Kernels that the tests of one libvirt are in. */
const PARTS = 2;
/** Milliseconds from the end of the tests to the end of the kernel. */
const POWER_OFF = 5_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'libvirt': { type: 'string', multiple: true },
    'tcg': { type: 'boolean', default: false },
    'shell': { type: 'boolean', default: false },
    'tests': { type: 'string', short: 't' },
    'save': { type: 'string' },
    'one-by-one': { type: 'boolean', default: false },
    'strict': { type: 'boolean', default: false },
    'whole': { type: 'boolean', default: false },
  },
});

/** The places where tests run: by the directory that a test file is in. */
const places = { uml: here, tcg: join(here, '../tcg') };

/** @param {string} dir */
function testsIn(dir) {
  return (positionals.length > 0
    ? positionals.map((file) => resolve(file))
    : readdirSync(dir).sort().map((name) => join(dir, name)))
    .filter((file) =>
      file.startsWith(`${dir}/`) && file.endsWith('.js') && (positionals.length > 0 || file.endsWith('.test.js')))
    .map((file) => relative(top, file));
}

main().then((good) => { process.exitCode = good ? 0 : 1; }, (/** @type {unknown} */ error) => {
  console.error(`run-lab: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});

async function main() {
  if (process.getuid?.() !== 0) throw new Error("only root can run the lab: it mounts the machine's files");
  accessSync(join(top, 'dist/hook.cjs'));
  const slots = values['one-by-one'] ? cpus().slice(-1) : cpus().reverse();
  if (values.shell) return shareCpus([values.tcg ? tcg([]) : uml(values.libvirt?.[0] ?? '9', [])], slots, shell);
  const kernels = kernelsFor(testsIn(places.uml), testsIn(places.tcg));
  return shareCpus(kernels, slots, (kernel, cpu) => runTests(kernel, { cpu, several: kernels.length > 1 }));
}

/**
 * @typedef {object} Kernel
 * @property {string} name
 * @property {string[]} files the tests that run in it
 * @property {boolean} [wide] it uses all CPUs
 * @property {(out: string, words: Record<string, string>, cpu: number) => string[]} prepare writes what it is told to
 *   do to `out`, and returns the command that boots it
 */

/**
 * Without --libvirt and --tcg both libvirts. The tests of each are in several kernels,
 * because a CPU that waits for the end of the other libvirt would be idle.
 *
 * @param {string[]} inUml @param {string[]} inTcg
 */
function kernelsFor(inUml, inTcg) {
  const versions = values.libvirt ?? (values.tcg || inUml.length === 0 ? [] : ['9', '11']);
  // A pattern may fit one test, and a kernel without a test is a failure.
  const hands = deal(inUml, values.tests === undefined && values.save === undefined ? PARTS : 1);
  const kernels = hands.flatMap((files) => versions.map((version) => uml(version, files)));
  return values.tcg ? [...kernels, tcg(inTcg)] : kernels;
}

/** @param {string} version @param {string[]} files @returns {Kernel} */
function uml(version, files) {
  const [tree, library] = [treeOf(version), script('tree', 'trixie')];
  const [kernel, image] = [script('kernel'), script('arm-image')];
  /** @type {Kernel['prepare']} */
  const prepare = (out, job, cpu) => {
    writeFileSync(join(out, 'job'), jobText({ tree, top, image, capabilities: capabilitiesOf(tree), ...job }));
    buildSync({
      entryPoints: [join(here, 'attack-tables.ts')], outfile: join(out, 'attack-tables.mjs'),
      bundle: true, platform: 'node', format: 'esm', logLevel: 'warning',
    });
    const words = [`init=${join(here, 'uml-init')}`, `OUT=${out}`, `KERNEL=${kernel}`];
    // Pinned: on two CPUs the kernel takes five times as long.
    return ['taskset', '-c', String(cpu), join(here, 'uml-boot'), kernel, library, ...words];
  };
  return { name: `libvirt ${version}`, files, prepare };
}

/** @param {string[]} files @returns {Kernel} */
function tcg(files) {
  const image = script('../tcg/image');
  const prepare = (/** @type {string} */ out, /** @type {Record<string, string>} */ words) => {
    writeFileSync(join(out, 'job'), jobText({ top, ...words }));
    writeJob(top, out);
    return emulator(image, out);
  };
  return { name: 'systemd', files, prepare, wide: true };
}

/** The machine's own tree has its own libvirt; any other is built. @param {string} version */
function treeOf(version) {
  const releases = /** @type {Record<string, string>} */ ({ 9: 'bookworm', 11: 'trixie' });
  const release = releases[version];
  if (release === undefined) throw new Error(`no libvirt '${version}' here: --libvirt is 9 or 11`);
  const own = /libvirt\) (\d+)/.exec(execFileSync('libvirtd', ['--version'], { encoding: 'utf8' }))?.[1];
  return own === version ? '/' : script('tree', release);
}

/** @param {string} name @param {string[]} args */
function script(name, ...args) {
  const env = { ...process.env, GUESTWIRE_CACHE: cache };
  return execFileSync(join(here, name), args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** The CPUs this process may use. */
function cpus() {
  const list = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/**
 * Starts the kernel in a PID namespace, which ends with all in it when this process does.
 * @param {string[]} kernel
 * @param {string} out
 * @param {'inherit' | 'pipe'} output
 */
function boot(kernel, out, output) {
  const command = ['--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', ...kernel];
  return spawn('setpriv', command, {
    stdio: [output === 'inherit' ? 'inherit' : 'ignore', output, output], env: { ...process.env, HOME: out },
  });
}

function makeOut() {
  // Not TMPDIR: the kernel's command line is short.
  return mkdtempSync('/tmp/guestwire-lab-');
}

/** @param {Record<string, string>} words */
function jobText(words) {
  return Object.entries(words).map(([key, value]) => `${key}=${quote(value)}\n`).join('');
}

/**
 * libvirt's knowledge of QEMU, which takes it 10 to 20 s to find out. It checks itself whether it is still true.
 * @param {string} tree
 */
function capabilitiesOf(tree) {
  const dir = join(cache, tree === '/' ? 'uml-capabilities' : `uml-capabilities-${tree.replace(/.*\//, '')}`);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** @param {string} text */
function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {Kernel} kernel @param {number} cpu */
async function shell(kernel, cpu) {
  const out = makeOut();
  const child = boot(kernel.prepare(out, { shell: 'yes' }, cpu), out, 'inherit');
  await new Promise((resolve) => child.on('close', resolve));
  rmSync(out, { recursive: true, force: true });
  return true;
}

/** @param {Kernel} kernel @param {{cpu: number, several: boolean}} options */
async function runTests(kernel, { cpu, several }) {
  const pattern = values.tests === undefined ? [] : ['-t', values.tests];
  const out = makeOut();
  const env = [
    ...(values.strict ? ['GUESTWIRE_SLACK=1'] : []), ...(values.whole ? ['GUESTWIRE_WHOLE=1'] : []),
    // A developer that names tests wants them.
    ...(positionals.length > 0 || values.tests !== undefined ? ['GUESTWIRE_EACH=1'] : []),
  ];
  const tests = ['env', ...env, 'node', 'test/lab/uml/run-tests.js', ...pattern, ...kernel.files].map(quote).join(' ');
  const child = boot(kernel.prepare(out, { tests }, cpu), out, 'pipe');
  let console_ = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => {
      console_ += String(text);
      // User-Mode Linux then runs on, and does nothing, until its time is over.
      if (console_.includes('Kernel panic')) child.kill('SIGKILL');
    });
  }
  const prefix = several ? `[${kernel.name}] `.padEnd(13) : '';
  let shown = 0;
  /** @type {NodeJS.Timeout | undefined} */
  let ending;
  const show = () => {
    const text = existsSync(join(out, 'results')) ? readFileSync(join(out, 'results'), 'utf8') : '';
    const end = text.lastIndexOf('\n') + 1;
    if (end > shown) process.stdout.write(text.slice(shown, end).replace(/^(?=.)/gm, prefix));
    shown = Math.max(shown, end);
    // Its tests are done. User-Mode Linux may crash while it powers off, and then tries for ever.
    if (existsSync(join(out, 'status'))) ending ??= setTimeout(() => child.kill('SIGKILL'), POWER_OFF);
  };
  const ticker = setInterval(show, 300);
  const began = performance.now();
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE * 60_000);
  await new Promise((resolve) => child.on('close', resolve));
  clearInterval(ticker);
  clearTimeout(deadline);
  clearTimeout(ending);
  show();
  const text = existsSync(join(out, 'results')) ? readFileSync(join(out, 'results'), 'utf8') : '';
  const status = existsSync(join(out, 'status')) ? readFileSync(join(out, 'status'), 'utf8').trim() : 'none';
  if (performance.now() - began > DEADLINE * 60_000) console.error(`${prefix}ended after ${DEADLINE} minutes`);
  // Tests that ran have said it themselves.
  if (status !== '0' && !/^# libvirt/m.test(text)) console.error(`${prefix}status ${status}; the kernel's console:\n${console_.slice(-6000)}`);
  if (values.save !== undefined && existsSync(join(out, 'files')))
    cpSync(join(out, 'files'), values.save, { recursive: true });
  rmSync(out, { recursive: true, force: true });
  return status === '0';
}
