// @tier fast long
/** One contract for both doors to other programs: the hook's, on node:child_process, and the command's, on execa. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { CommandError } from '../../lib/errors.js';
import { execAsync as commandExec } from '../../lib/system/exec-async.js';
import {
  assertSuccess, type Exec, exec as hookExec, type ExecRequest, type ExecResult, lineOf,
} from '../../lib/system/exec.js';
import { waitFor } from '../lab/host.js';
import { bound } from '../tiers/bound.js';

const tool = (name: string): string => resolve('fixtures/tools', name);
const dir = mkdtempSync(join(tmpdir(), 'guestwire-exec-'));
afterAll(() => { rmSync(dir, { recursive: true }); });

const SUCCESS: ExecResult = {
  exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '',
};

function isAlive(pid: number): boolean {
  try {
    // Only the kernel's own word counts: a process that was killed may wait for whoever adopted it.
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

const DOORS: readonly (readonly [string, Exec])[] = [['the hook', hookExec], ['the command', commandExec]];

describe.each(DOORS)('exec of %s', (_door, exec) => {
  test('feeds the input and returns the output', async () => {
    const input = 'é'.repeat(200_000);
    expect(await exec({ tool: tool('echo-input'), args: [], input })).toEqual({ ...SUCCESS, stdout: input });
  });

  test('gives an empty input unless there is one', async () => {
    expect(await exec({ tool: tool('echo-input'), args: [] })).toEqual(SUCCESS);
  });

  test('passes arguments as they are', async () => {
    const args = ['a b', '$(reboot)', '-f', "'", '', 'é\n'];
    expect((await exec({ tool: 'printf', args: ['%s|', ...args] })).stdout).toBe(`${args.join('|')}|`);
  });

  test('returns the status and what was said of a failure', async () => {
    expect(await exec({ tool: tool('exit-with-3'), args: [] }))
      .toEqual({ ...SUCCESS, exitCode: 3, stderr: 'no such luck\n' });
  });

  test('returns the signal of a tool that was killed', async () => {
    expect(await exec({ tool: tool('die'), args: [] })).toEqual({ ...SUCCESS, exitCode: undefined, signal: 'SIGKILL' });
  });

  test('returns ENOENT for a tool that is not there', async () => {
    expect(await exec({ tool: 'no-such-tool', args: [] }))
      .toEqual({ ...SUCCESS, exitCode: undefined, errno: 'ENOENT' });
  });

  test('returns EACCES for a tool that may not be run', async () => {
    expect(await exec({ tool: resolve('package.json'), args: [] }))
      .toEqual({ ...SUCCESS, exitCode: undefined, errno: 'EACCES' });
  });

  test.each(['hang', 'leave-child'])('is free at the deadline, and all that "%s" started is dead', async (name) => {
    const started = Date.now();
    const result = await exec({ tool: tool(name), args: [], deadline: 1_000 });
    expect(Date.now() - started).toBeLessThan(bound(4_000));
    expect(result).toMatchObject({ exitCode: undefined, signal: 'SIGKILL', timedOut: true, errno: undefined });
    const child = Number(result.stdout);
    expect(child).toBeGreaterThan(1);
    // A process that was killed ends when it next gets a CPU.
    await waitFor(() => !isAlive(child), { what: 'the end of the child' });
  });

  test('takes a tool that does not read its input for what its status says', async () => {
    expect(await exec({ tool: tool('ignore-input'), args: [], input: 'x'.repeat(4_000_000) })).toEqual(SUCCESS);
  });

  test('survives a tool that prints 80 MB', async () => {
    const { stdout, ...rest } = await exec({ tool: tool('print-much'), args: [] });
    // The hook ends such a tool, the command hears it out; neither hangs, and neither keeps less than was said.
    expect([SUCCESS, { ...SUCCESS, exitCode: undefined, signal: 'SIGKILL' }]).toContainEqual({ ...rest, stdout: '' });
    expect(stdout.length).toBeGreaterThan(60_000_000);
  });

  test('gives a clean environment, and what is asked for on top', async () => {
    process.env['GUESTWIRE_SECRET'] = 'x';
    const { stdout } = await exec({ tool: '/usr/bin/env', args: [], env: { LIBVIRT_DEFAULT_URI: 'test:///default' } });
    Reflect.deleteProperty(process.env, 'GUESTWIRE_SECRET');
    expect(stdout.trim().split('\n').sort())
      .toEqual(['HOME=/', 'LC_ALL=C', 'LIBVIRT_DEFAULT_URI=test:///default', `PATH=${process.env['PATH'] ?? ''}`]);
    expect((await exec({ tool: '/bin/pwd', args: [] })).stdout).toBe('/\n');
  });

  test('passes a descriptor on as number 3', async () => {
    const path = join(dir, 'three');
    const fd = openSync(path, 'w');
    expect(await exec({ tool: tool('write-to-3'), args: [], fd })).toEqual(SUCCESS);
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toBe('from the tool\n');
  });
});

describe('assertSuccess', () => {
  const failed: ExecResult = { ...SUCCESS, exitCode: 1 };
  const rows: readonly (readonly [ExecResult, Partial<ExecRequest>, string])[] = [
    [{ ...failed, exitCode: undefined, errno: 'ENOENT' }, {}, "ip is not installed: no 'ip' in PATH, install package iproute2 (adding a route)"],
    [{ ...failed, exitCode: undefined, errno: 'EACCES' }, {}, 'ip could not be started (EACCES) (adding a route)'],
    [{ ...failed, exitCode: undefined, signal: 'SIGKILL', timedOut: true }, {}, 'ip did not end within 10 s and was killed (adding a route)'],
    [{ ...failed, exitCode: undefined, signal: 'SIGKILL', timedOut: true }, { deadline: 1_500 }, 'ip did not end within 1.5 s and was killed (adding a route)'],
    [{ ...failed, exitCode: undefined, signal: 'SIGSEGV' }, {}, 'ip was killed by SIGSEGV (adding a route)'],
    [failed, {}, 'ip failed (adding a route)'],
    [{ ...failed, stderr: 'RTNETLINK answers: File exists\nCommand failed -:4\n' }, {}, 'ip failed at line 4 (adding a route): RTNETLINK answers: File exists Command failed -:4'],
    [{ ...failed, stderr: 'a\u001b[31m\n\n\tb\n' }, {}, 'ip failed (adding a route): a\\u{1b}[31m b'],
  ];
  test.each(rows)('%j: %j', (result, request, message) => {
    const call = (): void => { assertSuccess({ tool: 'ip', args: ['route'], ...request }, result, 'adding a route'); };
    expect(call).toThrow(CommandError);
    expect(call).toThrow(expect.objectContaining({ message }));
  });

  test('a tool that was killed may do better the next time, one that failed will not', () => {
    const thrown = (result: ExecResult): CommandError => {
      try {
        assertSuccess({ tool: 'ip', args: [] }, result);
      } catch (error) {
        return error as CommandError;
      }
      throw new Error('nothing was thrown');
    };
    expect(thrown({ ...failed, exitCode: undefined, signal: 'SIGKILL' }))
      .toMatchObject({ retryable: true, failure: { tool: 'ip', args: [], signal: 'SIGKILL', line: undefined } });
    expect(thrown(failed)).toMatchObject({ retryable: false, message: 'ip failed' });
  });

  test('success is no error', () => {
    expect(() => { assertSuccess({ tool: 'ip', args: [] }, SUCCESS); }).not.toThrow();
  });
});

describe('lineOf', () => {
  test.each([
    ['Command failed -:4', 4],
    ['Error: x\nCommand failed -:17\n', 17],
    ['Command failed /tmp/batch:4', undefined],
    ['', undefined],
  ])('%j is line %j', (stderr, line) => {
    expect(lineOf(stderr)).toBe(line);
  });
});
