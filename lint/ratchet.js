/** Counts that may only fall: a file of numbers, compared with what the tree has. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {Readonly<Record<string, number>>} Counts */

/**
 * What one check found.
 * @typedef {object} Report
 * @property {readonly string[]} problems Empty: the check passes.
 * @property {readonly string[]} notes
 */

/**
 * @param {string} path
 * @returns {unknown}
 */
export function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/**
 * Compares counts with those of `lint/FILE`. `update` writes lower numbers, and never a higher one.
 * @param {{ readonly root: string, readonly file: string, readonly update: boolean }} place
 * @param {Counts} counts
 * @param {(name: string, found: number, allowed: number) => string} rise Returns the sentence for a count that rose.
 * @returns {Report}
 */
export function ratchet({ root, file, update }, counts, rise) {
  const path = join(root, 'lint', file);
  const allowed = /** @type {Counts} */ (readJson(path));
  const names = Object.keys(counts);
  const problems = names.filter((name) => (counts[name] ?? 0) > (allowed[name] ?? 0)).map((name) =>
    rise(name, counts[name] ?? 0, allowed[name] ?? 0));
  const fallen = Object.keys(allowed).filter((name) => (counts[name] ?? 0) < (allowed[name] ?? 0));
  const lower = Object.fromEntries(Object.entries(allowed).map(([name, number]) =>
    [name, Math.min(number, counts[name] ?? 0)]));
  if (update && fallen.length > 0) writeFileSync(path, `${JSON.stringify(lower, undefined, 2)}\n`);
  const notes = fallen.map((name) => `lint/${file}: ${update ? 'now' : 'lower it with --update to'} "${name}": ${lower[name] ?? 0}`);
  return { problems, notes };
}
