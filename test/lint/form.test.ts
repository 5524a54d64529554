// @tier fast
/** lint/width.js and lint/names.js: lines of 120 columns, but for long literals, and names of files and exports. */
import { describe, expect, test } from '@jest/globals';
import { doubleNames, wrongNames } from '../../lint/names.js';
import { checkWidth, findWide } from '../../lint/width.js';
import { withTree } from './tree.js';

const wide = (code: string) => withTree({ 'lib/a.ts': code }, (root) => findWide(root).get('lib'));

describe('findWide', () => {
  test.each([
    ['code of 121 columns', `export const ${'a'.repeat(104)} = 1;\n`, ['lib/a.ts:1']],
    ['code of 120 columns', `export const ${'a'.repeat(102)} = 1;\n`, []],
    ['a long message', `export const a = '${'text '.repeat(40)}';\n`, []],
    ['a long message, and as much code', `export const ${'a'.repeat(130)} = '${'text '.repeat(40)}';\n`, ['lib/a.ts:1']],
    ['many short literals', `export const a = [${"'text', ".repeat(20)}];\n`, ['lib/a.ts:1']],
    ['lines within a template', `export const a = \`\n${'text '.repeat(40)}\n\`;\n`, []],
    ['a comment', `// ${'text '.repeat(40)}\n`, ['lib/a.ts:1']],
    ['an address in a comment', `// https://${'a'.repeat(130)}\n`, []],
  ])('%s', (_name, code, lines) => {
    expect(wide(code)).toEqual(lines);
  });
});

test('more wide lines than listed fail', () => {
  const files = { 'lib/a.ts': `// ${'text '.repeat(40)}\n`, 'lint/width.json': '{"lib": 0}' };
  expect(withTree(files, (root) => checkWidth({ root, update: false }).problems)).toEqual([expect.stringContaining(
    '1 lines of lib have over 120 columns',
  )]);
});

test('names in kebab-case', () => {
  const right = [
    'lib/host-config.ts', 'lib/vlan-port/state.ts', 'test/xml.test.ts', 'hooks/qemu', 'test/lab/README.md',
  ];
  const wrong = ['lib/hostConfig.ts', 'lib/Vlan/state.ts', 'test/host_config.test.ts'];
  const found = withTree(Object.fromEntries([...right, ...wrong].map((path) => [path, ''])), wrongNames);
  expect(found.map((line) => line.split(':')[0]).sort()).toEqual([...wrong].sort());
});

test('one exported name for one thing', () => {
  const files = {
    'lib/a.ts': 'export function nameOf(): void {}\nconst local = 1;\n',
    'lib/b/c.ts': 'export async function nameOf(): Promise<void> {}\nconst local = 2;\nexport type Other = string;\n',
    'test/d.ts': 'export type Other = number;\n',
  };
  expect(withTree(files, doubleNames)).toEqual([
    "'nameOf' is exported by lib/a.ts and lib/b/c.ts: give each thing its own name",
  ]);
});
