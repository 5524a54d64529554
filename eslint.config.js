import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  { ignores: ['dist/', 'dist.new/', 'dist.old/', 'node_modules/', 'coverage/'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: dirname(fileURLToPath(import.meta.url)) } },
    rules: {
      'max-lines': ['error', { max: 300, skipBlankLines: false }],
      'max-lines-per-function': ['error', { max: 40, skipComments: true, skipBlankLines: true }],
      'max-depth': ['error', 3],
      'max-params': ['error', 3],
      'no-console': 'error',
      // tsc knows the globals of Node, in .js files, too.
      'no-undef': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // One door to other programs: lib/system/exec.ts.
      'no-restricted-imports': ['error', {
        paths: ['node:child_process', 'child_process', 'execa'],
        patterns: [{ regex: 'config/file\\.js$', importNames: ['loadConfig'], message: 'A run reads the config once: take the ConfigReading of its Io.' }],
      }],
    },
  },
  { files: ['lint/**'], rules: { 'no-console': 'off' } },
  { files: ['lib/index.ts', 'lib/system/exec.ts', 'lib/system/exec-async.ts', 'lib/system/follow.ts'], rules: { 'no-restricted-imports': 'off' } },
  {
    files: ['test/**', 'bench/**', 'demo/**', 'examples/**', '*.js'],
    rules: { 'no-console': 'off', 'no-restricted-imports': 'off', 'max-lines-per-function': 'off', 'max-params': 'off' },
  },
);
