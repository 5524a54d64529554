// @tier fast
import { expect, test } from '@jest/globals';
import { assertAtMost, repeated } from '../../lib/values/lists.js';

test('repeated returns the first item that comes a second time', () => {
  expect(repeated([])).toBeUndefined();
  expect(repeated(['a', 'b'])).toBeUndefined();
  expect(repeated(['a', 'b', 'b', 'a'])).toBe('b');
  expect(repeated(['', ''])).toBe('');
});

test('repeated is linear: 200,000 items take no minute', () => {
  const items = Array.from({ length: 200_000 }, (_, index) => String(index));
  expect(repeated([...items, '7'])).toBe('7');
}, 60_000);

test('assertAtMost names the count and the limit', () => {
  expect(() => { assertAtMost(2, 'addresses', 2); }).not.toThrow();
  expect(() => { assertAtMost(2, 'addresses', 3); }).toThrow('one NIC has at most 2 addresses, and 3 are listed: remove some');
});
