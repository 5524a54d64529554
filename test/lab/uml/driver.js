// Boots User-Mode Linux with libvirt in it, outside: makes what is missing in the cache, starts one kernel for each libvirt,
// prints what the tests say while they say it, and leaves no process behind, even after kill -9.
import { execFileSync, spawn } from 'node:child_process';
import { accessSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const top = resolve(here, '../../..');
const cache = process.env['GUESTWIRE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'guestwire');

/** Minutes after which a kernel is ended. */
const DEADLINE = Number(process.env['GUESTWIRE_LAB_MINUTES'] ?? 18);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'libvirt': { type: 'string', multiple: true },
    'shell': { type: 'boolean', default: false },
    'tests': { type: 'string', short: 't' },
    'save': { type: 'string' },
    'one-by-one': { type: 'boolean', default: false },
  },
});

const files = positionals.length > 0
  ? positionals.map((file) => relative(top, resolve(file)))
  : readdirSync(here).filter((name) => name.endsWith('.test.js')).sort().map((name) => relative(top, join(here, name)));

main().then((good) => { process.exitCode = good ? 0 : 1; }, (/** @type {unknown} */ error) => {
  console.error(`run-lab: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});

async function main() {
  if (process.getuid?.() !== 0) throw new Error("only root can run the lab: it mounts the machine's files");
  accessSync(join(top, 'dist/hook.cjs'));
  const image = script('arm-image');
  const versions = values.libvirt ?? (values.shell ? ['9'] : ['9', '11']);
  const kernels = versions.map((version, index) => ({ version, tree: treeOf(version), cpu: cpus().at(-1 - (index % cpus().length)) ?? 0 }));
  const run = (/** @type {Kernel} */ kernel) => (values.shell ? shell(kernel, image) : runTests(kernel, image, kernels.length > 1));
  /** @type {boolean[]} */
  const results = [];
  if (values['one-by-one']) for (const kernel of kernels) results.push(await run(kernel));
  else results.push(...await Promise.all(kernels.map(run)));
  return results.every(Boolean);
}

/** @typedef {{version: string, tree: string, cpu: number}} Kernel */

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

/** Starts the kernel in a PID namespace, which ends with all in it when this process does. @param {Kernel} kernel @param {string} out @param {'inherit' | 'pipe'} output */
function boot({ cpu }, out, output) {
  const linux = ['linux.uml', 'mem=3G', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${join(here, 'uml-init')}`, `OUT=${out}`, 'con=null', 'con0=fd:0,fd:1', 'quiet'];
  // Pinned: on two CPUs the kernel takes five times as long.
  const command = ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', 'taskset', '-c', String(cpu), ...linux];
  const [file = '', ...args] = command;
  return spawn(file, args, { stdio: [output === 'inherit' ? 'inherit' : 'ignore', output, output], env: { ...process.env, HOME: out } });
}

/** @param {Kernel} kernel @param {string} image @param {Record<string, string>} job */
function makeOut({ tree }, image, job) {
  // Not TMPDIR: the kernel's command line is short.
  const out = mkdtempSync('/tmp/guestwire-lab-');
  const words = { tree, top, image, capabilities: capabilitiesOf(tree), ...job };
  writeFileSync(join(out, 'job'), Object.entries(words).map(([key, value]) => `${key}=${quote(value)}\n`).join(''));
  return out;
}

/** libvirt's knowledge of QEMU, which takes it 10 to 20 s to find out. It checks itself whether it is still true. @param {string} tree */
function capabilitiesOf(tree) {
  const dir = join(cache, tree === '/' ? 'uml-capabilities' : `uml-capabilities-${tree.replace(/.*\//, '')}`);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** @param {string} text */
function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {Kernel} kernel @param {string} image */
async function shell(kernel, image) {
  const out = makeOut(kernel, image, { shell: 'yes' });
  const child = boot(kernel, out, 'inherit');
  await new Promise((resolve) => child.on('close', resolve));
  rmSync(out, { recursive: true, force: true });
  return true;
}

/** @param {Kernel} kernel @param {string} image @param {boolean} several */
async function runTests(kernel, image, several) {
  const pattern = values.tests === undefined ? [] : ['-t', values.tests];
  const out = makeOut(kernel, image, { tests: ['node', 'test/lab/uml/run-tests.js', ...pattern, ...files].map(quote).join(' ') });
  const child = boot(kernel, out, 'pipe');
  let console_ = '';
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => (console_ += String(text)));
  const prefix = several ? `[libvirt ${kernel.version}] `.padEnd(13) : '';
  let shown = 0;
  const show = () => {
    const text = existsSync(join(out, 'results')) ? readFileSync(join(out, 'results'), 'utf8') : '';
    const end = text.lastIndexOf('\n') + 1;
    if (end > shown) process.stdout.write(text.slice(shown, end).replace(/^(?=.)/gm, prefix));
    shown = Math.max(shown, end);
  };
  const ticker = setInterval(show, 300);
  const began = performance.now();
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE * 60_000);
  await new Promise((resolve) => child.on('close', resolve));
  clearInterval(ticker);
  clearTimeout(deadline);
  show();
  const text = existsSync(join(out, 'results')) ? readFileSync(join(out, 'results'), 'utf8') : '';
  const status = existsSync(join(out, 'status')) ? readFileSync(join(out, 'status'), 'utf8').trim() : 'none';
  if (performance.now() - began > DEADLINE * 60_000) console.error(`${prefix}ended after ${DEADLINE} minutes`);
  // Tests that ran have said it themselves.
  if (status !== '0' && !/^# libvirt/m.test(text)) console.error(`${prefix}status ${status}; the kernel's console:\n${console_.slice(-6000)}`);
  if (values.save !== undefined && existsSync(join(out, 'files'))) cpSync(join(out, 'files'), values.save, { recursive: true });
  rmSync(out, { recursive: true, force: true });
  return status === '0';
}
