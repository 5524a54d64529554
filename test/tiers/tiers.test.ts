// @tier fast
/** The tiers: every test file is in one, the budgets are those of CONTRIBUTING.md, and a slow tier fails. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { withFigures } from './figures.js';
import { slowness } from './programs.js';
import { filesByTier, readTiers, summary, tiersOf, tiersOfFile } from './tiers.js';

const TIERS = [{ name: 'fast', budget: 90 }, { name: 'lab', budget: 600 }];
const NAMES = TIERS.map(({ name }) => name);

describe('the table of CONTRIBUTING.md', () => {
  test('has the tiers and budgets that the runner goes by', () => {
    expect(readTiers('.').map(({ name }) => name)).toEqual(['fast', 'kernel', 'libvirt', 'node', 'lab', 'long']);
    expect(readTiers('.')[0]).toEqual({ name: 'fast', budget: 90 });
  });

  test('gives all of `npm test` half an hour', () => {
    const usual = readTiers('.').filter(({ name }) => name !== 'long');
    expect(usual.reduce((sum, { budget }) => sum + budget, 0)).toBeLessThanOrEqual(30 * 60);
  });

  test('is read in seconds and minutes, and must be there', () => {
    const table = '| tier | budget |\n|---|---|\n| `a` | 5 s | x |\n| `b` | 2 min | y |\n';
    expect(tiersOf(table)).toEqual([{ name: 'a', budget: 5 }, { name: 'b', budget: 120 }]);
    expect(() => tiersOf('| tier | budget |\n|---|---|\n')).toThrow(/no table of tiers/);
  });
});

describe('a test file', () => {
  test('names its tiers in its first line, every one of them', () => {
    const files = filesByTier('.', readTiers('.').map(({ name }) => name));
    expect(files.get('fast')).toContain('test/tiers/tiers.test.ts');
    expect(files.get('lab')).toEqual([]);
    for (const name of ['kernel', 'libvirt', 'node', 'long']) expect(files.get(name)?.length).toBeGreaterThan(0);
  });

  test.each([
    ['/** x */\n', /^x: its first line must name its tiers, as '\/\/ @tier fast' \(of fast\): see CONTRIBUTING.md$/],
    ['\n// @tier fast\n', /^x: its first line must name its tiers/],
    ['// @tier\n', /^x: its first line must name its tiers/],
    ['// @tier fast quick\n', /^x: 'quick' is no tier of a test file: fast are$/],
    ['// @tier lab\n', /^x: 'lab' is no tier of a test file/],
  ])('%j is refused', (text, says) => { expect(() => tiersOfFile('x', text, NAMES)).toThrow(says); });

  test('may be in several', () => {
    expect(tiersOfFile('x', '// @tier fast long\n', ['fast', 'long'])).toEqual(['fast', 'long']);
  });

  test('of the tier fast alone asks for nothing that this tier lacks', () => {
    const asking = (filesByTier('.', readTiers('.').map(({ name }) => name)).get('fast') ?? []).filter((file) => {
      const text = readFileSync(file, 'utf8');
      return /\btestWith\(/.test(text) && text.startsWith('// @tier fast\n');
    });
    // Its tests would run nowhere.
    expect(asking).toEqual([]);
  });
});

describe('the table at the end', () => {
  const outcome = (name: string, seconds: number, passed = true) =>
    ({ name, passed, seconds, cpu: seconds * 1.5, slowness: 1 });

  test('has a row for each tier, with its time', () => {
    expect(summary([outcome('fast', 80), outcome('lab', 601)], TIERS)).toEqual({
      good: true,
      text: [
        'tier           time        CPU     budget',
        'fast       1:20 min   2:00 min   1:30 min  passed',
        'lab       10:01 min  15:02 min  10:00 min  passed, over its budget',
        'total     11:21 min  17:02 min',
      ].join('\n'),
    });
  });

  test.each([
    ['passes at twice its budget', outcome('fast', 180), true, 'passed, over its budget'],
    ['fails over it', outcome('fast', 181), false, 'TOO SLOW: over twice its budget'],
    ['fails when its tests do', outcome('fast', 1, false), false, 'FAILED'],
  ])('a tier %s', (_, row, good, verdict) => {
    const told = summary([row], TIERS);
    expect(told.good).toBe(good);
    expect(told.text.split('\n')[1]).toMatch(new RegExp(`${verdict}$`));
  });

  test('has the budgets of a slow machine, and says so', () => {
    const { text, good } = summary([{ ...outcome('fast', 500), slowness: 3 }], TIERS);
    expect(good).toBe(true);
    expect(text).toMatch(/4:30 min {2}passed, over its budget\nthis machine is up to 3\.0 times slower than CONTRIBUTING\.md assumes/);
    expect(summary([{ ...outcome('fast', 541), slowness: 3 }], TIERS).good).toBe(false);
  });

  test('takes no machine for a faster one', () => { expect(slowness()).toBeGreaterThanOrEqual(1); });
});

describe('docs/reliability.md', () => {
  const page = readFileSync('docs/reliability.md', 'utf8');
  const parts = [
    { title: 'Fuzzing', passed: true, seconds: 61.4, lines: ['seed 1 '] },
    { title: 'Pace', passed: false, seconds: 2, lines: [] },
  ];

  test('gets the figures of a run in the place of those before', () => {
    const once = withFigures(page, 'Commit abc, 2026-01-01.', parts);
    const chapters = '### Fuzzing\n\nPassed in 61 s.\n\n```\nseed 1\n```\n\n### Pace\n\n**Failed** in 2 s.\n';
    expect(once).toContain(`\n\nCommit abc, 2026-01-01.\n\n${chapters}`);
    expect(withFigures(once, 'Commit abc, 2026-01-01.', parts)).toBe(once);
    expect(once.split('### ').length).toBe(3);
  });

  test('must have a place for them', () => {
    expect(() => withFigures('# Reliability\n', '', parts)).toThrow(/no place/);
  });
});
