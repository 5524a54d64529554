/**
 * Lines of at most 120 columns. Long literals are left out of account: a message stays whole, so that it can be found.
 */
import { join } from 'node:path';
import ts from 'typescript';
import { filesBelow, sourceFile } from './program.js';
import { ratchet } from './ratchet.js';

export const COLUMNS = 120;
/** From this length on a literal is a message, an address or a pattern, and does not count. */
const LONG_LITERAL = 40;
const FOLDERS = ['lib', 'hooks', 'test', 'bench', 'lint'];

/**
 * Returns the numbers of the lines that are too wide.
 * @param {ts.SourceFile | undefined} source
 * @returns {number[]}
 */
export function wideLines(source) {
  if (source === undefined) return [];
  const wide = source.text.split('\n').flatMap((line, index) => (line.length > COLUMNS ? [{ line, index }] : []));
  if (wide.length === 0) return [];
  const literals = literalsIn(source).filter(([start, end]) => end - start >= LONG_LITERAL);
  const starts = source.getLineStarts();
  return wide.flatMap(({ line, index }) => {
    const from = starts[index] ?? 0;
    const to = from + line.length;
    const excused = literals.reduce(
      (sum, [start, end]) => sum + Math.max(0, Math.min(end, to) - Math.max(start, from)), 0,
    );
    return line.length - excused > COLUMNS && !isOnlyWord(line) ? [index + 1] : [];
  });
}

/**
 * An address in a comment has no place to break.
 * @param {string} line
 */
function isOnlyWord(line) {
  return /^\s*(\/\/|\*)\s*\S+$/.test(line);
}

/**
 * @param {ts.SourceFile} source
 * @returns {[number, number][]}
 */
function literalsIn(source) {
  /** @type {[number, number][]} */
  const found = [];
  const visit = (/** @type {ts.Node} */ node) => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node) || ts.isRegularExpressionLiteral(
      node,
    )) found.push([
      node.getStart(source), node.end,
    ]);
    else ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/**
 * Returns the wide lines of every folder, as `FILE:LINE`.
 * @param {string} root
 * @returns {Map<string, string[]>}
 */
export function findWide(root) {
  return new Map(FOLDERS.map((folder) =>
    [folder, filesBelow(root, folder).filter((path) => /\.[jt]s$/.test(path)).flatMap((path) =>
      wideLines(sourceFile(join(root, path))).map((line) => `${path}:${line}`))]));
}

/**
 * Checks that no folder has more wide lines than `lint/width.json` allows.
 * @param {{ readonly root: string, readonly update: boolean }} options
 * @returns {import('./ratchet.js').Report}
 */
export function checkWidth({ root, update }) {
  const found = findWide(root);
  const counts = Object.fromEntries([...found].map(([folder, lines]) => [folder, lines.length]));
  const { problems, notes } = ratchet({ root, file: 'width.json', update }, counts, (folder, now, allowed) =>
    `${now} lines of ${folder} have over ${COLUMNS} columns, where lint/width.json allows ${allowed}: 'node lint/run.js --list width' shows them`);
  return { problems, notes: [`lines over ${COLUMNS} columns: ${Object.entries(counts).map(([folder, count]) => `${count} in ${folder}`).join(', ')}`, ...notes] };
}
