// Programs that the runner starts, and the CPU time that they took.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const TICKS = 100;

/**
 * @typedef {object} Options
 * @property {Record<string, string>} [env] added to the environment
 * @property {boolean} [quiet] its output comes at its end, in one piece
 * @property {(line: string) => void} [keep] gets each line of its output
 */

/**
 * Returns whether the program ended with 0.
 *
 * @param {readonly string[]} command @param {Options} [options] @returns {Promise<boolean>}
 */
export function run([file = '', ...args], { env = {}, quiet = false, keep } = {}) {
  const output = quiet || keep !== undefined ? 'pipe' : 'inherit';
  const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', output, output] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => {
      said += String(text);
      if (!quiet) process.stdout.write(String(text));
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (quiet) process.stdout.write(said);
      if (keep !== undefined) said.split('\n').filter(Boolean).forEach(keep);
      resolve(code === 0);
    });
  });
}

/**
 * Returns the seconds of CPU time of all programs that this one started and that ended. Other load on the machine
 * changes them little.
 */
export function childrenCpu() {
  const fields = readFileSync('/proc/self/stat', 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS;
}

/** Milliseconds of CPU that `node -e 0` takes on the machine for which the budgets hold. */
const REFERENCE = 40;
const ROUNDS = 3;

/**
 * Returns how many times slower this machine is now than the one for which the budgets hold, at least 1: the median CPU
 * time of a start of Node. Shared machines differ by a factor of five from day to day.
 */
export function slowness() {
  const times = Array.from({ length: ROUNDS }, () => {
    const before = childrenCpu();
    // Several, because the kernel counts ticks of 10 ms.
    for (let run = 0; run < ROUNDS; run += 1) spawnSync(process.execPath, ['-e', '0']);
    return (childrenCpu() - before) * 1000 / ROUNDS;
  }).sort((a, b) => a - b);
  return Math.max(1, (times[Math.floor(ROUNDS / 2)] ?? 0) / REFERENCE);
}
