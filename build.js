// Builds dist/: the library with its types (tsc), the hook as one file that needs no node_modules (esbuild).
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import * as saxes from 'saxes';
import * as toml from 'smol-toml';
import * as zod from 'zod/mini';

const top = dirname(fileURLToPath(import.meta.url));
// Made beside dist/ and put in its place when it is whole: who runs from it meanwhile has the one before.
const made = join(top, 'dist.new');
const before = join(top, 'dist.old');
const sources = readdirSync(join(top, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(top, 'lib', name), 'utf8')).join('\n');
const remove = (/** @type {string} */ dir) => { rmSync(dir, { recursive: true, force: true }); };
remove(made);
execFileSync(process.execPath, [join(top, 'node_modules/typescript/bin/tsc'), '-p', join(top, 'tsconfig.build.json'), '--outDir', made], {
  stdio: 'inherit',
});

/** What the hook takes of other packages. */
const PACKAGES = { saxes, 'smol-toml': toml, 'zod/mini': zod };

/** esbuild's plugin that takes these packages from the block of vendorText(). */
const fromVendor = {
  name: 'from-vendor',
  setup(/** @type {import('esbuild').PluginBuild} */ building) {
    building.onResolve({ filter: new RegExp(`^(${Object.keys(PACKAGES).join('|')})$`) }, ({ path }) => ({ path, namespace: 'vendor' }));
    building.onLoad({ filter: /.*/, namespace: 'vendor' }, ({ path }) => ({ contents: `module.exports = vendor[${JSON.stringify(path)}];` }));
  },
};

/** Returns the block: minified, and of each package only what lib/ names. */
async function vendorText() {
  const contents = Object.entries(PACKAGES).map(([name, library], index) => {
    // lib/ takes only types of zod's core.
    const there = Object.keys(library).filter((word) => word !== 'core');
    const used = there.filter((word) => new RegExp(name === 'zod/mini' ? `\\bz\\.${word}\\b` : `\\b${word}\\b`).test(sources));
    return `import { ${used.map((word) => `${word} as v${index}_${word}`).join(', ')} } from '${name}';\nconst p${index} = { ${used.map((word) => `${word}: v${index}_${word}`).join(', ')} };`;
  });
  const exported = Object.keys(PACKAGES).map((name, index) => `p${index} as '${name}'`);
  const { outputFiles: [file] } = await build({
    ...shared, minify: true, format: 'iife', globalName: 'vendor', write: false,
    stdin: { contents: `${contents.join('\n')}\nexport { ${exported.join(', ')} };`, resolveDir: top },
  });
  return file?.text.trimEnd() ?? '';
}

const shared = {
  absWorkingDir: top,
  bundle: true,
  platform: /** @type {const} */ ('node'),
  target: 'node18',
  // Shorter expressions, whole names and lines: an operator can still read it.
  minifySyntax: true,
  legalComments: /** @type {const} */ ('eof'),
  logLevel: /** @type {const} */ ('warning'),
};
// CommonJS starts 5-10 ms sooner than ESM, and the hook is in the path of every guest start. guestwire's own code is not
// minified: an operator may have to read it. What other packages give is, in one block at the start.
const hookOptions = { ...shared, outdir: made, outExtension: { '.js': '.cjs' }, format: /** @type {const} */ ('cjs') };
await build({ ...hookOptions, entryPoints: ['hooks/hook-cached.ts'] });
await build({ ...hookOptions, entryPoints: ['hooks/hook.ts'], banner: { js: await vendorText() }, plugins: [fromVendor] });
// Notes for bundlers, which tell neither Node nor an operator anything.
const hook = join(made, 'hook.cjs');
writeFileSync(hook, readFileSync(hook, 'utf8').replaceAll('/* @__PURE__ */ ', ''));
// ESM, because it waits at its top level; what it bundles of CommonJS asks for node's own modules by require.
const esm = {
  ...shared, format: /** @type {const} */ ('esm'), banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
};
await build({ ...esm, entryPoints: ['hooks/agent.ts'], outfile: join(made, 'agent.mjs') });
// Over what tsc made of it: every command then loads one file, where it took 0.25 s of a CPU to load some hundred.
await build({ ...esm, entryPoints: ['lib/cli/main.ts'], outfile: join(made, 'cli/main.js'), allowOverwrite: true });
// What `install` gives to bash, made by the command itself.
writeFileSync(join(made, 'completion.bash'), execFileSync(process.execPath, [join(made, 'cli.js'), 'completion', 'bash']));
// For this node; where another runs the hook, it is made anew by `guestwire install`, or not used.
execFileSync(process.execPath, [join(made, 'hook-cached.cjs'), '--make-cache']);

chmodSync(join(made, 'cli.js'), 0o755);
remove(before);
try {
  renameSync(join(top, 'dist'), before);
} catch (error) {
  if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
}
renameSync(made, join(top, 'dist'));
remove(before);
