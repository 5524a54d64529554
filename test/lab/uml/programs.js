// Programs, run inside the lab's kernel and remembered for the report of a failure.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Tests say how long something takes on a quiet machine; on a busy one it may take so many times as long. */
export const SLACK = Number(process.env['GUESTWIRE_SLACK'] ?? 4);

/**
 * @typedef {{code: number | null, stdout: string, stderr: string}} Result
 * @typedef {{input?: string, timeout?: number}} RunOptions timeout in milliseconds, 60000 unless given
 */

/** What this test has run, for the report of its failure. @type {string[]} */
export let transcript = [];
export function forgetTranscript() {
  transcript = [];
}

/** @param {string} line */
export function note(line) {
  transcript.push(line);
}

/**
 * Runs a program to its end and remembers it in the transcript.
 * @param {string} file
 * @param {string[]} [args]
 * @param {RunOptions} [options]
 * @returns {Promise<Result>}
 */
export async function run(file, args = [], { input = '', timeout = 60_000 } = {}) {
  const began = performance.now();
  const child = spawn(file, args, { env: { ...process.env, LC_ALL: 'C' } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stderr += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), SLACK * timeout);
  /** @type {number | null} */
  let code = null;
  await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => { resolve(code = status); });
  });
  clearTimeout(timer);
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  note(`$ ${[file, ...args].join(' ')}   [${seconds} s, exit ${String(code)}]\n${indent(input === '' ? '' : `<<< ${input}`)}${indent(stdout)}${indent(stderr)}`);
  return { code, stdout, stderr };
}

/** @param {string} text */
export function indent(text) {
  const shown = text.length > 6000 ? `${text.slice(0, 6000)}… (${text.length} characters)` : text;
  return shown === '' ? '' : `${shown.replace(/\n$/, '').replace(/^/gm, '    ')}\n`;
}

/**
 * Like run, but returns standard output, and rejects unless the exit status is 0.
 * @param {string} file
 * @param {string[]} [args]
 * @param {RunOptions} [options]
 */
export async function ok(file, args = [], options = {}) {
  const { code, stdout, stderr } = await run(file, args, options);
  if (code !== 0) throw new Error(`'${[file, ...args].join(' ')}' exited ${String(code)}: ${stderr.trim() || stdout.trim()}`);
  return stdout;
}

/** @param {string} script @param {RunOptions} [options] */
export function sh(script, options = {}) {
  return ok('sh', ['-ec', script], options);
}

/** @param {string[]} args */
export function virsh(...args) {
  return run('virsh', ['-q', ...args]);
}

/** libvirt's version, e.g. 11.3. */
export const libvirt = Number.parseFloat(/\d+\.\d+/.exec(await ok('libvirtd', ['--version']))?.[0] ?? '0');

/**
 * Resolves to the first truthy value that fn returns.
 *
 * @template T
 * @param {() => T | Promise<T>} fn
 * @param {{timeout?: number, what: string}} options milliseconds, 30000 unless given
 * @returns {Promise<T>}
 */
export async function waitFor(fn, { timeout = 30_000, what }) {
  const end = performance.now() + SLACK * timeout;
  for (;;) {
    const value = await fn();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${SLACK * timeout} ms in vain for ${what}`);
    await sleep(100);
  }
}

/** @param {string} path */
export function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
