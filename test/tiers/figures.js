// docs/reliability.md: what the last run of the tier `long` measured, with its commit and date.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

const [BEGIN, END] = ['<!-- Written by `npm run test:long`. -->\n', '<!-- The end of what it writes. -->\n'];

/** @typedef {{title: string, passed: boolean, seconds: number, lines: readonly string[]}} Part */

/**
 * Returns the page with these figures in the place of those before.
 *
 * @param {string} page @param {string} head what they are of: commit, date, machine @param {readonly Part[]} parts
 */
export function withFigures(page, head, parts) {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error('docs/reliability.md has no place for figures');
  const chapters = parts.map(({ title, passed, seconds, lines }) => [
    `### ${title}`, '', `${passed ? 'Passed' : '**Failed**'} in ${Math.round(seconds)} s.`, '',
    ...(lines.length === 0 ? [] : ['```', ...lines.map((line) => line.trimEnd()), '```', '']),
  ].join('\n'));
  return `${page.slice(0, begin)}${BEGIN}\n${head}\n\n${chapters.join('\n')}\n${page.slice(end)}`;
}

/** @param {string} top the checkout @param {readonly Part[]} parts */
export function writeFigures(top, parts) {
  const git = (/** @type {string[]} */ ...args) => execFileSync('git', args, { cwd: top, encoding: 'utf8' }).trim();
  const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
  const machine = `${cpus().length} CPUs (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}`;
  const commit = `Commit ${git('rev-parse', '--short=12', 'HEAD')}${changed}`;
  const head = `${commit}, ${new Date().toISOString().slice(0, 10)}, ${machine}.`;
  const path = join(top, 'docs/reliability.md');
  writeFileSync(path, withFigures(readFileSync(path, 'utf8'), head, parts));
}
