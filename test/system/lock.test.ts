// @tier fast long
/**
 * The lock, with the real flock(1): who has it, who waits, and that nothing but the death of all its holders frees it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { JournalError } from '../../lib/errors.js';
import { type Exec, exec } from '../../lib/system/exec.js';
import { acquireLock, type Lock } from '../../lib/system/lock.js';
import { bound } from '../tiers/bound.js';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-lock-'));
  path = join(dir, 'lock');
  writeFileSync(path, '', { mode: 0o600 });
});
afterEach(() => { rmSync(dir, { recursive: true }); });

const acquire = (holder = "start of guest 'web1'", by: Exec = exec): Promise<Lock> =>
  acquireLock(by, { path, wait: 1, holder });

/** Whether another process could have the lock now. */
const isFree = (): boolean => spawnSync('flock', ['--nonblock', path, 'true']).status === 0;

async function refusal(attempt: Promise<Lock>): Promise<string> {
  const error: unknown = await attempt.then(() => undefined, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(JournalError);
  return (error as Error).message;
}

describe('the lock', () => {
  test('is held until it is released, which may happen twice', async () => {
    const lock = await acquire();
    expect(isFree()).toBe(false);
    lock.release();
    lock.release();
    expect(isFree()).toBe(true);
  });

  test('says who has it, on one line, and nothing of who had it before', async () => {
    (await acquire(`start of guest '${'x'.repeat(100)}'`)).release();
    (await acquire("start of guest 'a\nb'")).release();
    expect(readFileSync(path, 'utf8').split('\n')).toEqual([`start of guest 'a b' (pid ${process.pid})`, expect.stringMatching(/^\d+ \d+$/), '']);
  });

  test('that somebody has is refused under his name after the time to wait', async () => {
    const lock = await acquire("start of guest 'db1'");
    const started = Date.now();
    expect(await refusal(acquire())).toBe(`could not get lock '${path}' within 1 s: held by start of guest 'db1' (pid ${process.pid})`);
    expect(Date.now() - started).toBeGreaterThanOrEqual(900);
    lock.release();
  });

  test('is taken anew when its file was removed while one waited', async () => {
    const removed: number[] = [];
    const lock = await acquire(undefined, async (request) => {
      const result = await exec(request);
      if (removed.length < 2) {
        removed.push(statSync(path).ino);
        rmSync(path);
        if (removed.length === 2) writeFileSync(path, '', { mode: 0o600 });
      }
      return result;
    });
    expect(removed).toHaveLength(2);
    expect(isFree()).toBe(false);
    lock.release();
    expect(isFree()).toBe(true);
  });

  describe('with a time for each holder', () => {
    /** Holds the lock, and every second writes what a new holder would write. */
    const hold = async (stamp: string, seconds: number): Promise<() => void> => {
      const script = `i=0; while [ $i -lt ${seconds} ]; do printf 'start of guest x (pid 1)\\n%s\\n' "${stamp}" >'${path}'; i=$((i + 1)); sleep 1; done`;
      const holder = spawn('flock', [path, 'sh', '-c', script], { detached: true, stdio: 'ignore' });
      while (isFree()) await new Promise((done) => { setTimeout(done, 20); });
      return () => { process.kill(-(holder.pid ?? 0), 'SIGKILL'); };
    };

    test('it is refused while one holder keeps it', async () => {
      const kill = await hold('1', 1000);
      expect(await refusal(acquireLock(exec, { path, wait: 2, most: 60, holder: 'x' }))).toBe(`could not get lock '${path}' within 2 s: held by start of guest x (pid 1)`);
      expect(isFree()).toBe(false);
      kill();
    });

    test('it comes where others hold it in turn for longer', async () => {
      await hold('$i', 5);
      const lock = await acquireLock(exec, { path, wait: 3, most: 60, holder: 'x' });
      expect(isFree()).toBe(false);
      lock.release();
      expect(isFree()).toBe(true);
    });

    test('it is refused at the end of the whole time', async () => {
      const kill = await hold('$i', 1000);
      expect(await refusal(acquireLock(exec, { path, wait: 3, most: 4, holder: 'x' }))).toBe(`could not get lock '${path}' within 4 s: others held it in turn, at last start of guest x (pid 1)`);
      kill();
    });
  });

  test('that somebody has who left no name is refused all the same', async () => {
    const holder = spawn('flock', [path, 'sleep', '1000'], { detached: true, stdio: 'ignore' });
    while (isFree()) await new Promise((done) => { setTimeout(done, 20); });
    const says = await refusal(acquire());
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
    expect(says).toBe(`could not get lock '${path}' within 1 s: held by an unknown process`);
  });

  test('comes as soon as it is free', async () => {
    spawn('flock', [path, 'sleep', '0.3'], { stdio: 'ignore' });
    while (isFree()) await new Promise((done) => { setTimeout(done, 20); });
    const started = Date.now();
    (await acquireLock(exec, { path, wait: 30, holder: 'x' })).release();
    expect(Date.now() - started).toBeLessThan(bound(10_000));
  });

  test('stays with a tool that outlives the run which started it', async () => {
    const lock = await acquire();
    const tool = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
    lock.release();
    expect(isFree()).toBe(false);
    const ended = new Promise((done) => tool.once('exit', done));
    tool.kill('SIGKILL');
    await ended;
    expect(isFree()).toBe(true);
  });

  test('is a file that only its owner can open', async () => {
    rmSync(path);
    (await acquire()).release();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    chmodSync(path, 0o640);
    expect(await refusal(acquire())).toBe(`lock '${path}' is open to other users (mode 0640): remove it`);
  });

  test('is never a link, and its target is left alone', async () => {
    writeFileSync(join(dir, 'target'), 'x');
    rmSync(path);
    symlinkSync('target', path);
    expect(await refusal(acquire())).toBe(`lock '${path}' cannot be opened: ELOOP: too many symbolic links encountered`);
    expect(readFileSync(join(dir, 'target'), 'utf8')).toBe('x');
  });

  test('cannot be where no directory is', async () => {
    path = join(dir, 'nowhere', 'lock');
    expect(await refusal(acquire())).toBe(`lock '${path}' cannot be opened: ENOENT: no such file or directory`);
  });

  const tool = (name: string): Exec =>
    (request) => exec({ ...request, tool: name === '' ? 'no-such-tool' : resolve('fixtures/tools', name) });
  test.each([
    ['', "flock is not installed: no 'flock' in PATH"],
    ['die', 'flock was killed by SIGKILL'],
    ['exit-with-3', 'no such luck'],
    ['../../package.json', 'flock could not be started (EACCES)'],
  ])('is not had without flock: %j', async (name, says) => {
    expect(await refusal(acquire('start', tool(name)))).toBe(`could not get lock '${path}': ${says}`);
    expect(isFree()).toBe(true);
  });

  test('is not had from a flock that ends without a word', async () => {
    const silent: Exec = () =>
      Promise.resolve({ exitCode: 1, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '\n' });
    expect(await refusal(acquire('start', silent))).toBe(`could not get lock '${path}': flock ended with 1`);
  });

  test('asks flock for 5 s less than it is given', async () => {
    const asked: unknown[] = [];
    const spy: Exec = (request) => {
      asked.push({ ...request, fd: typeof request.fd });
      return exec(request);
    };
    (await acquireLock(spy, { path, wait: 30, holder: 'x' })).release();
    expect(asked).toEqual([{
      tool: 'flock', args: ['--exclusive', '--timeout', '30', '--conflict-exit-code', '75', '3'], fd: 'number',
      deadline: 35_000,
    }]);
  });
});
