// Runs the lab's test files, inside the lab's kernel: `node run-tests.js [-t PATTERN] FILE...`. With GUESTWIRE_EACH=1
// each libvirt runs all of its tests. One line a test goes to /out/results, a failure with all it takes to find the
// fault: what was run, the ports, guestwire's log, the consoles.
import { appendFileSync, existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cleanUp, evidence, forgetTranscript, libvirt, transcript } from './lab.js';
import { SLACK } from './programs.js';
import { figures, isWhole, tests } from './testing.js';

const args = process.argv.slice(2);
const pattern = args[0] === '-t' ? new RegExp(args.splice(0, 2)[1] ?? '') : /(?:)/;
const out = existsSync('/out') ? '/out/results' : '/dev/stdout';

/** @param {string} text */
function report(text) {
  appendFileSync(out, `${text}\n`);
}

/** @param {() => Promise<void>} fn @param {number} timeout */
async function within(fn, timeout) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => { reject(new Error(`took longer than ${timeout / 1000} s`)); }, timeout);
  });
  await Promise.race([fn(), late]).finally(() => { clearTimeout(timer); });
}

/** @param {unknown} error */
function describe(error) {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** @param {import('./testing.js').Options} options */
function isDue({ when = () => true, usually = Math.floor(libvirt), isLong = false }) {
  const runsAll = isWhole || process.env['GUESTWIRE_EACH'] === '1';
  return when(libvirt) && (runsAll || (!isLong && usually === Math.floor(libvirt)));
}

process.on('unhandledRejection', (error) => { report(`# unhandled: ${describe(error)}`); });
let [passed, failed] = [0, 0];
for (const file of args) await import(pathToFileURL(resolve(file)).href);
for (const { name, fn, options } of tests) {
  if (!pattern.test(name) || !isDue(options)) continue;
  forgetTranscript();
  figures.length = 0;
  const began = performance.now();
  /** @type {string[]} */
  const problems = [];
  await within(fn, SLACK * (options.timeout ?? 120_000)).catch((/** @type {unknown} */ error) =>
    problems.push(describe(error)));
  const told = transcript.slice();
  const seen = problems.length > 0 ? await evidence() : '';
  await cleanUp().catch((/** @type {unknown} */ error) => problems.push(`afterwards: ${describe(error)}`));
  const seconds = [`${((performance.now() - began) / 1000).toFixed(1)} s`, ...figures].join(', ');
  if (problems.length === 0) {
    passed += 1;
    report(`ok ${passed + failed} - ${name} (${seconds})`);
  } else {
    failed += 1;
    report(`not ok ${passed + failed} - ${name} (${seconds})\n${[...problems, '--- what was run', ...told, seen].join('\n').replace(/^/gm, '    ')}`);
  }
}
report(`# libvirt ${libvirt.toFixed(1)}: ${passed} passed, ${failed} failed, ${process.uptime().toFixed(0)} s`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
