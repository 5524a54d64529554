// Builds dist/: the library with its types (tsc), the hook as one file that needs no node_modules (esbuild).
import { execFileSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const top = dirname(fileURLToPath(import.meta.url));
rmSync(join(top, 'dist'), { recursive: true, force: true });
execFileSync(process.execPath, [join(top, 'node_modules/typescript/bin/tsc'), '-p', join(top, 'tsconfig.build.json')], {
  stdio: 'inherit',
});

const shared = {
  absWorkingDir: top,
  bundle: true,
  platform: /** @type {const} */ ('node'),
  target: 'node20',
  legalComments: /** @type {const} */ ('eof'),
  logLevel: /** @type {const} */ ('warning'),
};
// CommonJS starts 5-10 ms sooner than ESM, and the hook is in the path of every guest start. Not minified: an
// operator may have to read it.
await build({ ...shared, entryPoints: ['hooks/hook.ts', 'hooks/hook-cached.ts'], outdir: 'dist', outExtension: { '.js': '.cjs' }, format: 'cjs' });
// For this node; where another runs the hook, it is made anew by `guestwire install`, or not used.
execFileSync(process.execPath, [join(top, 'dist/hook-cached.cjs'), '--make-cache']);

chmodSync(join(top, 'dist/cli.js'), 0o755);
