/**
 * Entry point of dist/hook-cached.cjs: runs dist/hook.cjs beside it with the code that V8 made of it before, kept in
 * dist/hook.cache, which saves a guest start 20 ms (Node 20). It decides nothing: where the cache is not for exactly
 * this node and this hook.cjs, that is compiled as ever. `node hook-cached.cjs --make-cache` makes the cache for that
 * node.
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type * as v8 from 'node:v8';
import { Script } from 'node:vm';

const HOOK = join(__dirname, 'hook.cjs');
const CACHE = join(__dirname, 'hook.cache');

// libvirt gives a guest's name and more: a guest called '--make-cache' is not taken for the option.
if (process.argv.length === 3 && process.argv[2] === '--make-cache') makeCache();
else runHook();

function runHook(): void {
  const source = readFileSync(HOOK);
  const run = compile(source, codeFor(source)).runInThisContext() as (...scope: readonly unknown[]) => void;
  run(module.exports, require, module, HOOK, __dirname);
}

/** Replaces the cache, or leaves it as it is and throws. */
function makeCache(): void {
  const source = readFileSync(HOOK);
  // An import would load it at every start of a guest. Node 18 has no process.getBuiltinModule.
  const { setFlagsFromString } = module.require('node:v8') as typeof v8;
  // Code of every function, not only of the outermost. V8 takes only code made with its own flags, so back at once.
  setFlagsFromString('--no-lazy');
  const script = compile(source);
  setFlagsFromString('--lazy');
  const code = script.createCachedData();
  const draft = `${CACHE}.draft`;
  try {
    writeFileSync(draft, Buffer.concat([label(), source, code, code]), { mode: 0o644 });
    renameSync(draft, CACHE);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

function compile(source: Buffer, cachedData?: Buffer): Script {
  const wrapped = `(function (exports, require, module, __filename, __dirname) {${source.toString()}\n})`;
  return new Script(wrapped, { filename: HOOK, ...(cachedData && { cachedData }) });
}

/**
 * Returns the code for `source`; undefined when there is no valid one. V8 itself compares no more of the source
 * than its length and runs damaged code without a check sum (Node 20 to 24), hence the source and two copies of the
 * code in the cache: comparing them takes 0.2 ms, node:crypto 3.
 */
function codeFor(source: Buffer): Buffer | undefined {
  try {
    let rest = readFileSync(CACHE);
    for (const expected of [label(), source]) {
      if (!rest.subarray(0, expected.length).equals(expected)) return undefined;
      rest = rest.subarray(expected.length);
    }
    const code = rest.subarray(0, rest.length / 2);
    return code.length > 0 && code.equals(rest.subarray(code.length)) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** This very node: a build of the same version by another distributor may lay out its code otherwise. */
function label(): Buffer {
  const { size, mtimeMs } = statSync(process.execPath);
  return Buffer.from(`${process.version} ${process.arch} ${size} ${mtimeMs}\n`);
}
