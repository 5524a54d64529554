import { describe, expect, test } from '@jest/globals';
import { parseXml } from '../lib/xml.js';
test('x', () => { expect(parseXml('<a b="c"/>').attributes.get('b')).toBe('c'); });
describe('y', () => { test('z', () => { expect(() => parseXml('<a>')).toThrow(/unclosed/); }); });
