/** Names of files in kebab-case: parts of lower-case letters and digits, joined by dashes. */
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
