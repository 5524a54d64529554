/** The sources as the TypeScript compiler sees them: made once, and asked by every check that resolves types. */
import { readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import ts from 'typescript';

/**
 * Files below one root, as a program.
 * @typedef {object} Sources
 * @property {string} root
 * @property {ts.TypeChecker} checker
 * @property {readonly ts.SourceFile[]} files The files of the folders that were asked for, without declarations of
 * others.
 */

const SKIPPED = new Set(['node_modules', 'dist', 'dist.new', 'dist.old', 'coverage', '.git']);

/**
 * Returns the paths of all files below a folder of `root`, relative to `root`, sorted. A folder that is missing has
 * none.
 * @param {string} root
 * @param {string} folder
 * @returns {string[]}
 */
export function filesBelow(root, folder) {
  /** @type {import('node:fs').Dirent[]} */
  let entries;
  try {
    entries = readdirSync(join(root, folder), { withFileTypes: true });
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .filter(({ name }) => !SKIPPED.has(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = folder === '.' ? entry.name : `${folder}/${entry.name}`;
      return entry.isDirectory() ? filesBelow(root, path) : entry.isFile() ? [path] : [];
    });
}

/** @type {Map<string, ts.SourceFile>} */
const parsed = new Map();

/**
 * Returns a file parsed, once for all checks; undefined: there is no such file.
 * @param {string} path
 * @returns {ts.SourceFile | undefined}
 */
export function sourceFile(path) {
  const known = parsed.get(path);
  if (known !== undefined) return known;
  const text = ts.sys.readFile(path);
  if (text === undefined) return undefined;
  const source = ts.createSourceFile(
    path, text, { languageVersion: TARGET, impliedNodeFormat: ts.ModuleKind.ESNext }, true,
  );
  parsed.set(path, source);
  return source;
}

const TARGET = ts.ScriptTarget.ES2022;

/**
 * Returns the program of all TypeScript files below `folders`.
 * @param {string} root
 * @param {readonly string[]} folders
 * @returns {Sources}
 */
export function readSources(root, folders) {
  const names = folders.flatMap((folder) => filesBelow(root, folder)).filter((path) => /\.ts$/.test(path) &&
    !path.endsWith('.d.ts'));
  /** @type {ts.CompilerOptions} */
  const options = {
    target: TARGET, lib: ['lib.es2023.d.ts'], module: ts.ModuleKind.NodeNext, types: [], strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true, skipLibCheck: true, noEmit: true,
  };
  const host = ts.createCompilerHost(options, true);
  const read = host.getSourceFile.bind(host);
  const own = new Set(names.map((name) => join(root, name)));
  host.getSourceFile = (path, ...rest) => (own.has(path) ? sourceFile(path) : read(path, ...rest));
  const program = ts.createProgram([...own], options, host);
  return {
    root, checker: program.getTypeChecker(),
    files: program.getSourceFiles().filter(({ fileName }) => own.has(fileName)),
  };
}

/**
 * Returns a file's path relative to `root`, with slashes.
 * @param {string} root
 * @param {string} fileName
 * @returns {string}
 */
export function pathIn(root, fileName) {
  return relative(root, fileName).split(sep).join('/');
}
