/**
 * Branches on a kind outside the kinds' own rooms: as many as `branches.json` lists, file by file, and a reason for
 * each file.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAMILY_RULES, familiesIn } from './families.js';
import { readSources } from './program.js';
import { readJson } from './ratchet.js';
import { sitesIn } from './sites.js';

/** @typedef {import('./sites.js').Site} Site */
/**
 * One entry of the list.
 * @typedef {object} Allowed
 * @property {string} file
 * @property {string} family
 * @property {number} count
 * @property {string} reason
 */

const FOLDERS = ['lib', 'hooks'];

/**
 * Returns every site of the tree.
 * @param {string} root
 * @returns {Site[]}
 */
export function findBranches(root) {
  const sources = readSources(root, FOLDERS);
  return sitesIn(sources, familiesIn(sources));
}

/**
 * Checks the tree against `lint/branches.json`. `update` writes the numbers of today, and refuses when a family's total
 * rises.
 * @param {{ readonly root: string, readonly update: boolean }} options
 * @returns {import('./ratchet.js').Report}
 */
export function checkBranches({ root, update }) {
  const path = join(root, 'lint/branches.json');
  const allowed = /** @type {readonly Allowed[]} */ (readJson(path));
  const found = grouped(findBranches(root));
  const totals = FAMILY_RULES.map(({ name: family }) => ({
    family, ...totalOf(found, family), was: totalOf(allowed, family).count,
  }));
  const notes = totals.map(({ family, count, files }) => `branches on an ${family} kind outside its rooms: ${count} in ${files} files`);
  const risen = totals.filter(({ count, was }) => count > was);
  if (update && risen.length === 0) {
    writeFileSync(path, written(found.map((one) => ({ ...one, reason: reasonFor(one, allowed) }))));
    return { problems: [], notes };
  }
  const wrong = differences(found, allowed);
  const rises = risen.map(({ family, count, was }) => `${count} branches on an ${family} kind, where lint/branches.json allows ${was}: give the kind a member that answers`);
  return { problems: [...wrong, ...rises, ...withoutReason(allowed)], notes };
}

/**
 * @param {readonly Site[]} sites
 * @returns {{ file: string, family: string, count: number, lines: number[] }[]}
 */
function grouped(sites) {
  /** @type {Map<string, { file: string, family: string, count: number, lines: number[] }>} */
  const groups = new Map();
  for (const { file, family, line } of sites) {
    const group = groups.get(`${file} ${family}`) ?? { file, family, count: 0, lines: [] };
    groups.set(`${file} ${family}`, { ...group, count: group.count + 1, lines: [...new Set([...group.lines, line])] });
  }
  return [...groups.values()].sort((a, b) => (`${a.file} ${a.family}` < `${b.file} ${b.family}` ? -1 : 1));
}

/**
 * @param {readonly { readonly family: string, readonly count: number }[]} all
 * @param {string} family
 */
function totalOf(all, family) {
  const counts = all.filter((one) => one.family === family).map(({ count }) => count);
  return { count: counts.reduce((sum, count) => sum + count, 0), files: counts.length };
}

/**
 * @param {ReturnType<typeof grouped>} found
 * @param {readonly Allowed[]} allowed
 * @returns {string[]}
 */
function differences(found, allowed) {
  const more = found.flatMap(({ file, family, count, lines }) => {
    const may = allowed.find((one) => one.file === file && one.family === family)?.count ?? 0;
    return count > may ? [`${file}: ${count} branches on an ${family} kind, where lint/branches.json allows ${may} (lines ${lines.join(', ')})`] : [];
  });
  const fewer = allowed.flatMap(({ file, family, count }) => {
    const now = found.find((one) => one.file === file && one.family === family)?.count ?? 0;
    return now < count ? [`${file}: ${now} branches on an ${family} kind, and lint/branches.json still allows ${count}: run 'node lint/run.js --update'`] : [];
  });
  return [...more, ...fewer];
}

/** What `update` writes for a file that the list does not know; it is not accepted as a reason. */
const NO_REASON = '';

/**
 * @param {readonly Allowed[]} allowed
 * @returns {string[]}
 */
function withoutReason(allowed) {
  return allowed.filter(({ reason }) => reason.trim() === NO_REASON).map(({ file }) => `lint/branches.json gives no reason for ${file}: say why the kind cannot answer itself`);
}

/**
 * A file that moved keeps its reason: its last name without dashes is the same.
 * @param {{ readonly file: string, readonly family: string }} one
 * @param {readonly Allowed[]} allowed
 */
function reasonFor({ file, family }, allowed) {
  const same = allowed.filter((old) => old.family === family);
  return (same.find((old) => old.file === file) ?? same.find((old) => nameOf(old.file) === nameOf(file)))?.reason ??
    NO_REASON;
}

/** @param {string} file */
function nameOf(file) {
  return file.replace(/^.*\//, '').replaceAll('-', '');
}

/** @param {readonly Allowed[]} allowed */
function written(allowed) {
  const lines = allowed.map(({ file, family, count, reason }) => `  ${JSON.stringify({ file, family, count, reason })}`);
  return `[\n${lines.join(',\n')}\n]\n`;
}
