// @tier fast
/** The page about the architecture says what the code is: its picture, its rooms and the files it names. */
import { describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { picture } from '../../lint/picture.js';
import { STOREYS } from '../../lint/rooms.js';

const PAGE = readFileSync('docs/architecture.md', 'utf8');

describe('docs/architecture.md', () => {
  test('has the picture that the table of rooms makes', () => {
    expect(readFileSync('docs/architecture.svg', 'utf8')).toBe(picture());
  });

  test('lists every room with its storey and its charter', () => {
    const rows = [...PAGE.matchAll(/^\| (\d+) \| `(\w+)\/` \| (.*) \|$/gm)]
      .map(([, storey, room, subject]) => [Number(storey), room, subject]);
    const rooms = STOREYS.flatMap((storey, index) =>
      Object.entries(storey).map(([room, subject]) => [index + 1, room, subject]));
    expect(new Set(rows.map(String))).toEqual(new Set(rooms.map(String)));
  });

  test('knows every folder of lib/', () => {
    const folders = readdirSync('lib', { withFileTypes: true }).filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
    expect(folders.sort()).toEqual(STOREYS.flatMap((storey) => Object.keys(storey)).sort());
  });

  test.each([...new Set(PAGE.match(/\b(?:lib|hooks|lint|test|fixtures)\/[\w/.-]*[\w/]/g) ?? [])].filter((path) =>
    !path.includes('NAME')))('names %s, which exists', (path) => {
    expect(existsSync(path)).toBe(true);
  });
});
