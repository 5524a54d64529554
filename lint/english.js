/** Plain English: counts of banned words in literals, comments and docs, which may only fall. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, sourceFile } from './program.js';
import { ratchet } from './ratchet.js';
import { textsOfCode, textsOfPage, textsOfShell } from './texts.js';
import { BANNED, countBanned } from './words.js';

/** @typedef {import('./texts.js').Text} Text */

/** Folders with code; literals count in the first two, which speak to users, comments in all. */
const SPEAKING = ['lib', 'hooks'];
const SILENT = ['test', 'bench', 'build.js'];
const PAGES = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'docs'];
/** What the checks themselves say and test is full of examples. */
const EXAMPLES = /^test\/lint\//;

/**
 * @typedef {object} Finding
 * @property {string} file
 * @property {Text} text
 * @property {ReadonlyMap<string, number>} words
 */

/**
 * Returns every text with a banned word.
 * @param {string} root
 * @returns {Finding[]}
 */
export function findBanned(root) {
  return [...SPEAKING, ...SILENT, ...PAGES].flatMap((folder) => pathsAt(root, folder).flatMap((file) =>
    textsOf(root, file)
      .map((text) => ({ file, text, words: countBanned(text.text) }))
      .filter(({ words }) => words.size > 0)));
}

/**
 * @param {string} root
 * @param {string} name A folder or a file.
 */
function pathsAt(root, name) {
  const paths = /\.\w+$/.test(name) ? (existsSync(join(root, name)) ? [name] : []) : filesBelow(root, name);
  return paths.filter((path) => !EXAMPLES.test(path));
}

/**
 * @param {string} root
 * @param {string} file
 * @returns {Text[]}
 */
function textsOf(root, file) {
  const speaks = SPEAKING.some((folder) => file.startsWith(`${folder}/`));
  const path = join(root, file);
  const source = /\.[jt]s$/.test(file) ? sourceFile(path) : undefined;
  if (source !== undefined) return textsOfCode(source).filter(({ category }) => speaks || category === 'comments');
  if (file.endsWith('.md')) return file.startsWith('test/') ? [] : textsOfPage(readFileSync(path, 'utf8'));
  return speaks ? textsOfShell(readFileSync(path, 'utf8')) : [];
}

/**
 * @param {readonly Finding[]} findings
 * @returns {{ literals: number, comments: number, docs: number }}
 */
export function countsOf(findings) {
  const counts = { literals: 0, comments: 0, docs: 0 };
  for (const { text: { category }, words } of findings) for (const count of words.values()) counts[category] += count;
  return counts;
}

/**
 * Checks that no count rose. The problem names the category; `node lint/run.js --list english` shows every place.
 * @param {{ readonly root: string, readonly update: boolean }} options
 * @returns {import('./ratchet.js').Report}
 */
export function checkEnglish({ root, update }) {
  const counts = countsOf(findBanned(root));
  const { problems, notes } = ratchet({ root, file: 'english.json', update }, counts, (name, found, allowed) =>
    `${found} banned words in ${name}, where lint/english.json allows ${allowed}: 'node lint/run.js --list english' shows each with a better phrase`);
  return { problems, notes: [`banned words: ${counts.literals} in literals, ${counts.comments} in comments, ${counts.docs} in docs`, ...notes] };
}

/**
 * Returns every place with a banned word, one a line.
 * @param {string} root
 * @returns {string[]}
 */
export function listBanned(root) {
  return findBanned(root).flatMap(({ file, text, words }) => [...words].map(([name, count]) => {
    const entry = BANNED.find((one) => one.name === name);
    return `${file}:${text.line} ${text.category} ${count} × '${name}' (${entry?.reason ?? ''}; better: ${entry?.better ?? ''}): ${text.text.slice(0, 160)}`;
  }));
}
