// @tier fast
/** lint/english.js: banned words are found where people read them, and their counts can only fall. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { checkEnglish, countsOf, findBanned, listBanned } from '../../lint/english.js';
import { countBanned } from '../../lint/words.js';
import { withTree } from './tree.js';

test.each([
  ['whoever asks, and who asks', ['who', 'whoever']],
  ['The link is no port. Of these nothing stays.', ['is no NOUN', 'opens with Of']],
  ['libvirt is not to be had, all the same', ['to be had', 'all the same']],
  ['Of course it is no longer there, and no more than one.', []],
  ['the whole of a guest, the method of what the kernel does', []],
])('%s', (text, names) => {
  expect([...countBanned(text).keys()]).toEqual(names);
});

describe('findBanned', () => {
  const counts = (files: Readonly<Record<string, string>>) => withTree(files, (root) => countsOf(findBanned(root)));

  test('literals of lib, with the text around a substitution', () => {
    const code = "import a from 'who';\nexport const b = ['nobody', `whoever ${a} nobody`, /who/];\n";
    expect(counts({ 'lib/a.ts': code })).toEqual({ literals: 3, comments: 0, docs: 0 });
  });

  test('comments of every form, across their lines', () => {
    const code = "/** A link is not to be\n * had. Who? */\n// by\n// now\nexport const a = '// who' + `/* who */`; // nobody\n";
    expect(counts({ 'lib/a.ts': code })).toMatchObject({ comments: 4 });
  });

  test('of tests the comments alone', () => {
    expect(counts({ 'test/a.test.ts': "// who\nexport const a = 'who';\n" })).toEqual({
      literals: 0, comments: 1, docs: 0,
    });
  });

  test('the launcher', () => {
    expect(counts({ 'hooks/qemu': '#!/bin/sh\n# who\nwhoami\necho "nobody"\n' })).toEqual({ literals: 1, comments: 1, docs: 0 });
  });

  test('prose of pages, and no code in it', () => {
    const page = '# Who\n\nA page, `who`, and\nnobody.\n\n```sh\nwho\n```\n\n- Of two links one.\n';
    expect(counts({ 'docs/a.md': page, 'README.md': 'whose' })).toEqual({ literals: 0, comments: 0, docs: 4 });
  });

  test('each place is listed with a better phrase', () => {
    const [line] = withTree({ 'lib/a.ts': '\n// anew\n' }, listBanned);
    expect(line).toBe("lib/a.ts:2 comments 1 × 'anew' (it is archaic; better: \"again\", \"a new …\"): anew");
  });
});

describe('checkEnglish', () => {
  const check = (allowed: number, update = false) => {
    const files = {
      'lib/a.ts': '// who\n// whose\n',
      'lint/english.json': JSON.stringify({ literals: 0, comments: allowed, docs: 0 }),
    };
    return withTree(files, (root) => ({
      ...checkEnglish({ root, update }),
      list: JSON.parse(readFileSync(join(root, 'lint/english.json'), 'utf8')) as object,
    }));
  };

  test('a count that rose fails, and is never written', () => {
    expect(check(1, true)).toMatchObject({ problems: [expect.stringMatching(/^2 banned words in comments, where lint\/english.json allows 1/)], list: { comments: 1 } });
  });

  test('a count that fell passes, says so, and is written on request', () => {
    expect(check(3)).toMatchObject({
      problems: [], notes: [expect.anything(), expect.stringContaining('"comments": 2')], list: { comments: 3 },
    });
    expect(check(3, true)).toMatchObject({ problems: [], list: { literals: 0, comments: 2, docs: 0 } });
  });
});
