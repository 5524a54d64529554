// @tier fast long
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { nicLabel } from '../../lib/domain/guest.js';
import { oneLine, quote } from '../../lib/values/quote.js';
import { rounds } from '../tiers/bound.js';

describe('quote', () => {
  test.each([
    ['web1', "'web1'"],
    ['', "''"],
    ["it's", "'it\\'s'"],
    ['back\\slash', "'back\\\\slash'"],
    ['a\nb\tc\rd', "'a\\nb\\tc\\u{d}d'"],
    ['\u001b[31mred', "'\\u{1b}[31mred'"],
    ['\u202egpj.exe', "'\\u{202e}gpj.exe'"],
    ['a\u2028b\u2029c\u0085d', "'a\\u{2028}b\\u{2029}c\\u{85}d'"],
    ['caf\u00e9 \u{1f600}', "'caf\u00e9 \u{1f600}'"],
    ['\ud800', "'\\u{d800}'"],
  ])('%j reads %s', (value, shown) => {
    expect(quote(value)).toBe(shown);
  });

  test('what is too long is cut after 200 characters, never inside one', () => {
    expect(quote('x'.repeat(200))).toBe(`'${'x'.repeat(200)}'`);
    expect(quote('x'.repeat(201))).toBe(`'${'x'.repeat(200)}...'`);
    expect(quote(`${'x'.repeat(199)}\u{1f600}y`)).toBe(`'${'x'.repeat(199)}\u{1f600}...'`);
  });

  test('no value breaks the line, ends the quotes or reaches the terminal raw', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (value) => {
      const shown = quote(value);
      expect(shown).not.toMatch(/[\p{C}\u2028\u2029]/u);
      expect(shown).toMatch(/^'(?:[^'\\]|\\['\\nt]|\\u\{[0-9a-f]+\})*'$/);
    }));
  });

  test('different values read differently', () => {
    const tricky = fc.array(fc.constantFrom('\\', "'", 'n', '\n', 'u', '{', 'd', '}', '\r'), { maxLength: 6 })
      .map((parts) => parts.join(''));
    fc.assert(fc.property(tricky, tricky, (a, b) => {
      expect(quote(a) === quote(b)).toBe(a === b);
    }), { numRuns: rounds(2000) });
  });
});

describe('oneLine', () => {
  test.each([
    ['  Error: a\n  b\r\n', 'Error: a b'],
    ['a\tb\u2028c', 'a b c'],
    ['\u001b[1mbold', '\\u{1b}[1mbold'],
    ['', ''],
  ])('%j reads %j', (text, line) => {
    expect(oneLine(text)).toBe(line);
  });
});

describe('nicLabel', () => {
  test('names guest, position and MAC, as far as there is one', () => {
    expect(nicLabel('web1', { index: 1, mac: '52:54:00:12:34:56' })).toBe("guest 'web1' NIC 1 (52:54:00:12:34:56)");
    expect(nicLabel("a'b", { index: 0, mac: undefined })).toBe("guest 'a\\'b' NIC 0");
  });
});
