// @tier fast
/**
 * What `npm pack` ships: installs, its types resolve, its hook runs with nothing but Node, and nothing else is in it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

let dir: string;
let installed: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-package-'));
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', dir], {
    encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'],
  })) as { filename: string }[];
  installed = join(dir, 'node_modules/guestwire');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(dir, packed?.filename ?? ''), '-C', installed, '--strip-components=1']);
  // Its dependencies, as npm would put them beside it.
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: Record<string, string> };
  for (const name of readdirSync('node_modules')) {
    if (name in dependencies || !['typescript', 'jest'].includes(name))
      cpSync(join('node_modules', name), join(dir, 'node_modules', name), {
        recursive: true, filter: (path) => !path.includes('/.bin/'),
      });
  }
});
afterAll(() => { rmSync(dir, { recursive: true }); });

describe('the package', () => {
  test('ships the library, the command, the hook and its launcher, and no source, test or fixture', () => {
    const top = readdirSync(installed).sort();
    expect(top).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'docs', 'examples', 'hooks', 'package.json']);
    expect(readdirSync(join(installed, 'hooks'))).toEqual(['qemu']);
    // A hook that asks libvirt anything waits for ever.
    expect(readFileSync(join(installed, 'dist/hook.cjs'), 'utf8')).not.toMatch(/lib\/(libvirt|agent)\//);
    expect(readdirSync(join(installed, 'dist')))
      .toEqual(expect.arrayContaining(['index.js', 'index.d.ts', 'cli.js', 'hook.cjs', 'agent.mjs']));
  });

  // Each guest start loads it.
  test('has a hook of under 470 kB', () => {
    expect(statSync(join(installed, 'dist/hook.cjs')).size).toBeLessThan(470_000);
  });

  test('imports as a library, with types', () => {
    writeFileSync(join(dir, 'use.ts'), `import { parseDomain, deriveAttachments, defaultConfig, type Attachment } from 'guestwire';
const attachments: Attachment[] = deriveAttachments(parseDomain('<domain><name>a</name></domain>'), defaultConfig());
export const count: number = attachments.length;

import { connect, LibvirtError, type Connection, type LibvirtEvent } from 'guestwire/libvirt';
export async function names(): Promise<string[]> {
  const libvirt: Connection = await connect('qemu:///system', { timeout: 1000, signal: AbortSignal.timeout(1000) });
  for await (const event of libvirt.events({ kinds: ['domain-lifecycle'] })) if (event.kind === 'resync') break;
  return (await libvirt.listDomains({ state: 'active' })).map(({ name }) => name);
}
export const reason = (error: unknown): string => (error instanceof LibvirtError ? error.refusal.reason : '');
export const kind = (event: LibvirtEvent): string => event.kind;
`);
    const compilerOptions = { noEmit: true, strict: true, module: 'nodenext', target: 'es2023', types: [] };
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
    const types = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', dir], { encoding: 'utf8' });
    expect(types.stdout).toBe('');
    const script = "import('guestwire').then((g) => console.log(g.deriveAttachments(g.parseDomain('<domain><name>a</name></domain>'), g.defaultConfig()).length))";
    expect(execFileSync(process.execPath, ['-e', script], { cwd: dir, encoding: 'utf8' })).toBe('0\n');
  });

  test('imports as a libvirt client, which needs no other package for a local socket', () => {
    const script = "import('guestwire/libvirt').then(({ connect }) => connect('qemu+unix:///system?socket=/nonexistent')).catch(({ code }) => console.log(code))";
    renameSync(join(dir, 'node_modules/execa'), join(dir, 'execa'));
    expect(execFileSync(process.execPath, ['-e', script], { cwd: dir, encoding: 'utf8' }))
      .toBe('ERR_LIBVIRT_CONNECTION\n');
    renameSync(join(dir, 'execa'), join(dir, 'node_modules/execa'));
  });

  test('has a command that knows its version', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(execFileSync(process.execPath, [join(installed, 'dist/cli.js'), '--version'], { encoding: 'utf8' }))
      .toBe(`${version}\n`);
  });

  test('has a hook that runs alone, in a bare environment, and writes nothing to standard output', () => {
    const alone = join(dir, 'alone');
    mkdirSync(join(alone, 'dist'), { recursive: true });
    mkdirSync(join(alone, 'hooks'));
    cpSync(join(installed, 'dist/hook.cjs'), join(alone, 'dist/hook.cjs'));
    cpSync(join(installed, 'hooks/qemu'), join(alone, 'hooks/qemu'));
    const run = (operation: string, input: string): object => {
      const { status, stdout, stderr } = spawnSync(join(alone, 'hooks/qemu'), ['web1', operation, 'begin', '-'], {
        input, encoding: 'utf8',
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', GUESTWIRE_STATE_DIR: join(dir, 'state') },
      });
      return { status, stdout, stderr };
    };
    const xml = readFileSync('fixtures/cases/vlan-id-0/domain.xml', 'utf8');
    expect(run('migrate', xml)).toEqual({ status: 1, stdout: '', stderr: "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:01): VLAN ID '0' is outside 1-4094\n" });
    expect(run('restore', xml)).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(run('prepare', '<domain><name>web1</name></domain>')).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});
