// @tier fast kernel
/** The accelerator beside the hook: whatever its cache holds, what runs is hook.cjs as it stands there. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync,
  truncateSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { testWith } from '../places/capability.js';

// Of one length, which is all of a source that V8 compares.
const A = "const say = () => 'this is A'; process.stdout.write(say());\n";
const B = A.replace('A', 'B');

let dir: string;
let dist: string;

beforeEach(() => {
  if (!existsSync('dist/hook-cached.cjs')) throw new Error("dist/hook-cached.cjs is missing: run 'npm run build' before this test");
  dir = mkdtempSync(join(tmpdir(), 'guestwire-hookcache-'));
  dist = join(dir, 'dist');
  mkdirSync(dist);
  copyFileSync('dist/hook-cached.cjs', join(dist, 'hook-cached.cjs'));
});
afterEach(() => { rmSync(dir, { recursive: true }); });

function node(args: readonly string[], { flags = [], input = '' }: { flags?: readonly string[]; input?: string } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, join(dist, 'hook-cached.cjs'), ...args], {
    encoding: 'utf8', input, env: {},
  });
  return { status, stdout, stderr };
}

function makeCache(source: string, flags: readonly string[] = []): Buffer {
  writeFileSync(join(dist, 'hook.cjs'), source);
  expect(node(['--make-cache'], { flags })).toEqual({ status: 0, stdout: '', stderr: '' });
  return readFileSync(join(dist, 'hook.cache'));
}

/** What stands before the code: the line about node, and the source. */
function lengthOfKey(cache: Buffer, source: string): number {
  return cache.indexOf('\n') + 1 + source.length;
}

const RUNS_A = { status: 0, stdout: 'this is A', stderr: '' };
const call = ['web1', 'start', 'begin', '-'];

describe('what runs', () => {
  test('is the code in the cache, when that is for this hook and this node', () => {
    const ofB = makeCache(B);
    const ofA = makeCache(A);
    expect(node(call)).toEqual(RUNS_A);
    // A forgery shows that the code is used: nothing else tells it from A's.
    writeFileSync(join(dist, 'hook.cache'), Buffer.concat([
      ofA.subarray(0, lengthOfKey(ofA, A)), ofB.subarray(lengthOfKey(ofB, B)),
    ]));
    expect(node(call).stdout).toBe('this is B');
  });

  test('is hook.cjs without a cache', () => {
    writeFileSync(join(dist, 'hook.cjs'), A);
    expect(node(call)).toEqual(RUNS_A);
    mkdirSync(join(dist, 'hook.cache'));
    expect(node(call)).toEqual(RUNS_A);
  });

  test('is hook.cjs where it was replaced since, by one of the same length', () => {
    makeCache(B);
    writeFileSync(join(dist, 'hook.cjs'), A);
    expect(node(call)).toEqual(RUNS_A);
  });

  test('is hook.cjs where another node made the cache', () => {
    const ofB = makeCache(B);
    const ofA = makeCache(A);
    const line = ofA.toString('latin1', 0, ofA.indexOf('\n'));
    for (const other of [line.replace('v', 'v1'), `${line}0`, line.replace(process.arch, 'mips')]) {
      writeFileSync(
        join(dist, 'hook.cache'), Buffer.concat([Buffer.from(`${other}\n${A}`), ofB.subarray(lengthOfKey(ofB, B))]),
      );
      expect(node(call)).toEqual(RUNS_A);
    }
  });

  test('is hook.cjs where node was given other flags for the cache', () => {
    makeCache(A);
    expect(node(call, { flags: ['--no-opt'] })).toEqual(RUNS_A);
    makeCache(A, ['--no-opt']);
    expect(node(call)).toEqual(RUNS_A);
  });

  test('is hook.cjs where the cache is cut short', () => {
    const cache = makeCache(A);
    const key = lengthOfKey(cache, A);
    for (const length of [
      0, 1, key - 1, key, key + 1, key + 2, (key + cache.length) / 2, cache.length - 2, cache.length - 1,
    ]) {
      truncateSync(join(dist, 'hook.cache'), length);
      expect(node(call)).toEqual(RUNS_A);
      writeFileSync(join(dist, 'hook.cache'), cache);
    }
  });

  test('is hook.cjs where the cache is garbage, all of it or one bit', () => {
    const cache = makeCache(A);
    const key = cache.subarray(0, lengthOfKey(cache, A));
    const garbage = [
      Buffer.from('garbage\n'), Buffer.alloc(cache.length), Buffer.concat([key, Buffer.alloc(512, 'x')]),
      Buffer.concat([cache, cache]),
    ];
    const damaged = Array.from({ length: 24 }, (_, index) => {
      const copy = Buffer.from(cache);
      const at = Math.floor((index / 24) * cache.length);
      copy.writeUInt8(copy.readUInt8(at) ^ (1 << (index % 8)), at);
      return copy;
    });
    for (const wrong of [...garbage, ...damaged]) {
      writeFileSync(join(dist, 'hook.cache'), wrong);
      expect(node(call)).toEqual(RUNS_A);
    }
  });

  test('has what a module has: arguments, standard input, require, an exit status', () => {
    makeCache(`
      const input = require('node:fs').readFileSync(0, 'utf8');
      process.stdout.write([...process.argv.slice(2), input, __filename, typeof module.exports].join(' '));
      process.exitCode = 3;`);
    expect(node(call, { input: '<domain/>' })).toEqual({ status: 3, stdout: `web1 start begin - <domain/> ${join(dist, 'hook.cjs')} object`, stderr: '' });
  });

  test('is the hook for a guest that is called like the option', () => {
    makeCache(B);
    const { mtimeMs } = statSync(join(dist, 'hook.cache'));
    expect(node(['--make-cache', 'start', 'begin', '-']).stdout).toBe('this is B');
    expect(statSync(join(dist, 'hook.cache')).mtimeMs).toBe(mtimeMs);
  });

  test('is the real hook, with and without a cache', () => {
    copyFileSync('dist/hook.cjs', join(dist, 'hook.cjs'));
    const settings = { GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'none'), PATH: dir };
    const run = (file: string) => spawnSync(process.execPath, [join(dist, file), 'web1', 'start', 'begin', '-'], {
      encoding: 'utf8', input: "<domain xmlns:g='urn:guestwire:1'>", env: settings,
    });
    const plain = run('hook.cjs');
    expect(plain.stderr).toMatch(/^guestwire: guest 'web1': domain XML line 1 /);
    for (const make of [false, true]) {
      if (make) expect(node(['--make-cache']).status).toBe(0);
      const { status, stdout, stderr } = run('hook-cached.cjs');
      expect({ status, stdout, stderr }).toEqual({ status: plain.status, stdout: '', stderr: plain.stderr });
    }
  });
});

describe('making the cache', () => {
  test('leaves one file, which only its owner may write', () => {
    const umask = process.umask(0);
    makeCache(A);
    process.umask(umask);
    expect(readdirSync(dist).sort()).toEqual(['hook-cached.cjs', 'hook.cache', 'hook.cjs']);
    expect(statSync(join(dist, 'hook.cache')).mode & 0o777).toBe(0o644);
  });

  test('fails where the file cannot be replaced, and leaves nothing behind', () => {
    writeFileSync(join(dist, 'hook.cjs'), A);
    mkdirSync(join(dist, 'hook.cache'));
    const { status, stderr } = node(['--make-cache']);
    expect(status).toBe(1);
    expect(stderr).toContain('EISDIR');
    expect(readdirSync(dist).sort()).toEqual(['hook-cached.cjs', 'hook.cache', 'hook.cjs']);
  });

  testWith('root', 'netns')('fails in a directory that is read-only, and the hook runs as before', () => {
    makeCache(B);
    writeFileSync(join(dist, 'hook.cjs'), A);
    const script = 'mount --bind -o ro "$1" "$1" && { "$0" "$1/hook-cached.cjs" --make-cache 2>/dev/null; echo $?; exec "$0" "$1/hook-cached.cjs" web1 start; }';
    const { stdout } = spawnSync(
      'unshare', ['--mount', 'sh', '-c', script, process.execPath, dist], { encoding: 'utf8' },
    );
    expect(stdout).toBe('1\nthis is A');
  });
});

describe('the launcher', () => {
  const XML = "<domain><metadata><g xmlns='urn:guestwire:1'/></metadata></domain>";
  // Tells which file node was started with, which is the accelerator's where that runs the hook.
  const HOOK = "require('node:fs').appendFileSync(process.env.RAN, require('node:path').basename(process.argv[1]) + '\\n');\n";
  let ran: string;

  beforeEach(() => {
    ran = join(dir, 'ran');
    writeFileSync(ran, '');
    mkdirSync(join(dir, 'hooks'));
    copyFileSync('hooks/qemu', join(dir, 'hooks/qemu'));
    mkdirSync(join(dir, 'bin'));
    // Nothing of these tests belongs in the machine's journal.
    writeFileSync(join(dir, 'bin/logger'), '#!/bin/sh\n');
    for (const file of ['hooks/qemu', 'bin/logger']) chmodSync(join(dir, file), 0o755);
  });

  function launch(hook: string, accelerator?: string) {
    writeFileSync(join(dist, 'hook.cjs'), HOOK + hook);
    if (accelerator !== undefined) writeFileSync(join(dist, 'hook-cached.cjs'), accelerator);
    const { status, stdout, stderr } = spawnSync(join(dir, 'hooks/qemu'), ['web1', 'start', 'begin', '-'], {
      encoding: 'utf8', input: XML,
      env: { PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}`, RAN: ran, GUESTWIRE_CONFIG: join(dir, 'none'), GUESTWIRE_STATE_DIR: join(dir, 'state') },
    });
    return { status, stdout, stderr, ran: readFileSync(ran, 'utf8') };
  }

  const started = (file: string) => ({ status: 0, stdout: '', stderr: '', ran: `${file}\n` });

  test('goes through the accelerator only where there is a cache', () => {
    expect(launch('')).toEqual(started('hook.cjs'));
    writeFileSync(ran, '');
    makeCache(HOOK);
    expect(launch('')).toEqual(started('hook-cached.cjs'));
  });

  test('refuses once, with the sentence of the hook', () => {
    const hook = "process.stderr.write('guestwire: no\\n'); process.exitCode = 3;";
    makeCache(HOOK + hook);
    expect(launch(hook)).toEqual({ status: 1, stdout: '', stderr: 'guestwire: no\n', ran: 'hook-cached.cjs\n' });
  });

  test.each([
    'process.abort();', "process.kill(process.pid, 'SIGSEGV');", "throw new Error('broken');", 'process.exit(9);', ')',
  ])(
    'runs the hook itself where the accelerator breaks down: %s', (broken) => {
      writeFileSync(join(dist, 'hook.cache'), '');
      expect(launch('', broken)).toEqual(started('hook.cjs'));
    });

  test('does not start again what was killed', () => {
    writeFileSync(join(dist, 'hook.cache'), '');
    expect(launch('', "process.kill(process.pid, 'SIGKILL');")).toEqual({
      status: 1, stdout: '', stderr: "guestwire: guest 'web1': guestwire was killed by signal 9 before it was done\n", ran: '',
    });
  });

  test('says what it says without an accelerator where the hook itself breaks down', () => {
    makeCache(HOOK);
    const { status, stderr, ran: files } = launch("throw new Error('broken');");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^guestwire: guest 'web1': guestwire crashed, please report it: .*Error: broken .*\n$/);
    expect(files).toBe('hook-cached.cjs\nhook.cjs\n');
  });
});
