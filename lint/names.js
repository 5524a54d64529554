/** Names of files in kebab-case: parts of lower-case letters and digits, joined by dashes; and exported names. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow } from './program.js';

const FOLDERS = ['lib', 'hooks', 'test', 'bench', 'lint'];
/** `address.ts`, `exec-async.ts`, `xml.test.ts`, and programs without an extension. */
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?(\.[a-z0-9]+)?$/;
const FOLDER = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const ALLOWED = new Set(['README.md', '.gitignore']);

/**
 * Returns a sentence for each file or folder with another name.
 * @param {string} root
 * @returns {string[]}
 */
export function wrongNames(root) {
  const paths = FOLDERS.flatMap((folder) => filesBelow(root, folder));
  return paths.flatMap((path) => {
    const [file = '', ...folders] = path.split('/').reverse();
    const isRight = (KEBAB.test(file) || ALLOWED.has(file)) && folders.every((folder) => FOLDER.test(folder));
    return isRight ? [] : [`${path}: write the name in kebab-case, as in 'host-config.ts'`];
  });
}

const DECLARATION = /^export (?:async )?(?:function|const|class|interface|type) (\w+)/gm;

/**
 * Returns a sentence for each name that two files of lib/ or hooks/ export: one word means one thing.
 * @param {string} root
 * @returns {string[]}
 */
export function doubleNames(root) {
  /** @type {Map<string, string[]>} */
  const places = new Map();
  const files = ['lib', 'hooks'].flatMap((folder) => filesBelow(root, folder));
  for (const path of files.filter((name) => name.endsWith('.ts'))) {
    for (const [, name = ''] of readFileSync(join(root, path), 'utf8').matchAll(DECLARATION)) {
      places.set(name, [...places.get(name) ?? [], path]);
    }
  }
  return [...places].filter(([, owners]) => owners.length > 1)
    .map(([name, owners]) => `'${name}' is exported by ${owners.join(' and ')}: give each thing its own name`);
}
