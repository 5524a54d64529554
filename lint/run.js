/**
 * `node lint/run.js`: the checks that are neither types nor eslint's, in one process. `--update` writes lower numbers
 * into the lists, `--list CHECK` prints every place that a check counts.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkBranches, findBranches } from './branches.js';
import { checkEnglish, listBanned } from './english.js';
import { doubleNames, wrongNames } from './names.js';
import { checkWidth, findWide } from './width.js';

const top = dirname(dirname(fileURLToPath(import.meta.url)));

/** @type {Readonly<Record<string, (root: string) => readonly string[]>>} */
const LISTS = {
  branches: (root) => findBranches(root).map(({ file, line, family, form }) => `${file}:${line} ${family} ${form}`),
  english: listBanned,
  width: (root) => [...findWide(root).values()].flat(),
  names: (root) => [...wrongNames(root), ...doubleNames(root)],
};

const [option, name = ''] = process.argv.slice(2);
const list = LISTS[name];
if (option === undefined || option === '--update') {
  const place = { root: top, update: option === '--update' };
  const reports = [checkBranches(place), checkEnglish(place), checkWidth(place)];
  const problems = [...reports.flatMap((report) => report.problems), ...wrongNames(top), ...doubleNames(top)];
  for (const note of reports.flatMap((report) => report.notes)) console.log(note);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
} else if (option === '--list' && list !== undefined) {
  for (const line of list(top)) console.log(line);
} else {
  console.error(`usage: node lint/run.js [--update | --list ${Object.keys(LISTS).join(' | ')}]`);
  process.exitCode = 2;
}
