// @tier fast
/** Which way a URI goes, which socket it means, and what the command line of virsh is for those of other hosts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { connect } from '../../lib/libvirt/connect.js';
import { findSocket, type LocalUri, parseUri } from '../../lib/libvirt/uri.js';
import type { Exec, ExecRequest, ExecResult } from '../../lib/system/exec.js';

describe('a URI', () => {
  const local = {
    way: 'socket', driver: 'qemu', name: 'qemu:///system', session: false, socket: undefined, mode: 'auto',
  };
  test.each<[string, object]>([
    ['qemu:///system', local],
    ['QEMU+UNIX:///system', { ...local, name: 'QEMU:///system' }],
    ['qemu:///session', { ...local, name: 'qemu:///session', session: true }],
    ['qemu+unix:///system?socket=/run/my%20sock&no_verify=1', { ...local, name: 'qemu:///system?no_verify=1', socket: '/run/my sock' }],
    ['qemu:///system?mode=legacy', { ...local, mode: 'legacy' }],
    ['qemu:///system?name=qemu:///embed', { ...local, name: 'qemu:///embed' }],
    ['test:///default', { ...local, driver: 'test', name: 'test:///default' }],
    ['test+unix:///default', { ...local, driver: 'test', name: 'test:///default', session: true }],
    ['lxc:///', { ...local, driver: 'lxc', name: 'lxc:///' }],
    ['qemu+ssh://root@[2001:db8::1]:22/system', { way: 'virsh', uri: 'qemu+ssh://root@[2001:db8::1]:22/system' }],
    ['qemu+tls://host/system', { way: 'virsh', uri: 'qemu+tls://host/system' }],
    ['qemu://host/system', { way: 'virsh', uri: 'qemu://host/system' }],
  ])('%s', (uri, expected) => {
    expect(parseUri(uri)).toEqual(expected);
  });

  test.each([
    ['nonsense', "'nonsense' is not a libvirt URI such as 'qemu:///system'"],
    ['--version', "'--version' is not a libvirt URI such as 'qemu:///system'"],
    ['qemu:///system\n', "'qemu:///system\\n' is not a libvirt URI such as 'qemu:///system'"],
    ['../x:///system', "'../x:///system' is not a libvirt URI such as 'qemu:///system'"],
    ['qemu+unix://host/system', "'qemu+unix://host/system' names the host 'host', which is not reached by a unix socket: use qemu+ssh://"],
    ['qemu:///system?mode=fast', "'qemu:///system?mode=fast': mode must be one of auto, direct, legacy"],
    ['qemu:///system?socket=%', "'qemu:///system?socket=%' contains a '%' that does not start an encoded character"],
  ])('%j is refused', async (uri, says) => {
    await expect(connect(uri)).rejects.toMatchObject({ code: 'ERR_LIBVIRT_ARGUMENT', message: says });
  });
});

describe('the socket', () => {
  let directory: string;
  beforeEach(() => { directory = mkdtempSync(join(tmpdir(), 'guestwire-sockets-')); });
  afterEach(() => { rmSync(directory, { recursive: true }); });
  const find = (uri: string, present: readonly string[], readOnly = false): Promise<string> => {
    for (const name of present) writeFileSync(join(directory, name), '');
    return findSocket(parseUri(uri) as LocalUri, { readOnly, directory }).then((path) =>
      path.slice(directory.length + 1));
  };
  const BOTH = ['libvirt-sock', 'libvirt-sock-ro', 'virtqemud-sock', 'virtqemud-sock-ro', 'virtxend-sock'];

  test.each<[string, readonly string[], boolean, string]>([
    ['qemu:///system', ['libvirt-sock'], false, 'libvirt-sock'],
    ['qemu:///system', BOTH, false, 'virtqemud-sock'],
    ['qemu:///system', BOTH, true, 'virtqemud-sock-ro'],
    ['qemu:///system?mode=legacy', BOTH, false, 'libvirt-sock'],
    ['lxc:///', BOTH, false, 'libvirt-sock'],
    ['', BOTH, false, 'virtxend-sock'],
  ])('of %j among %j, read-only %j, is %s', async (uri, present, readOnly, expected) => {
    // Without a URI, whoever is not root has sessions.
    if (uri === '' && process.geteuid?.() !== 0) return;
    expect(await find(uri, present, readOnly)).toBe(expected);
  });

  test('that is not there is an error that begins with its cure', async () => {
    await expect(find('qemu:///system', [])).rejects.toMatchObject({
      code: 'ERR_LIBVIRT_CONNECTION', message: `libvirt does not run here: start it with 'systemctl start libvirtd', or 'systemctl start virtqemud' where libvirtd is not installed (it has no socket in '${directory}')`,
    });
  });
});

describe('another host', () => {
  const URI = 'qemu+ssh://host/system';
  const done: ExecResult = {
    exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: `${URI}\n`, stderr: '',
  };
  const answering = (results: readonly Partial<ExecResult>[]): { exec: Exec; asked: ExecRequest[] } => {
    const asked: ExecRequest[] = [];
    return {
      asked,
      exec: (request) => { asked.push(request); return Promise.resolve({ ...done, ...results[asked.length - 1] }); },
    };
  };

  test('is asked by virsh, with nothing that could be taken for an option', async () => {
    const { exec, asked } = answering([{}, {}]);
    const libvirt = await connect(URI, { exec, readOnly: true, timeout: 5000 });
    await libvirt.setMetadata({ name: '--all', uuid: '11111111-2222-3333-4444-55555555555A', id: 1 }, {
      uri: '--uri', key: '--key', xml: '--set', affect: 'both', timeout: 700,
    });
    expect(asked.map(({ tool, args, deadline }) => [tool, args.slice(0, 3), args.slice(3), deadline])).toEqual([
      ['virsh', ['--quiet', `--connect=${URI}`, '--readonly'], ['uri'], 5000],
      [
        'virsh', ['--quiet', `--connect=${URI}`, '--readonly'],
        ['metadata', '--domain=11111111-2222-3333-4444-55555555555a', '--uri=--uri', '--live', '--config', '--key=--key', '--set=--set'],
        700,
      ],
    ]);
    expect(Object.keys(asked[0]?.env ?? {})).not.toContain('NODE_OPTIONS');
  });

  test.each<[Partial<ExecResult>, Record<string, unknown>]>([
    [{ exitCode: 1, stderr: 'error: failed to connect to the hypervisor\nerror: no route\n' }, { code: 'ERR_LIBVIRT_CONNECTION', message: `virsh of '${URI}': hostname: failed to connect to the hypervisor: no route` }],
    [{ exitCode: 1, stderr: 'error: failed to get hostname\nerror: Requested operation is not valid: no\n' }, { code: 'ERR_LIBVIRT', refusal: { reason: 'VIR_ERR_OPERATION_INVALID' } }],
    [
      { exitCode: 1, stderr: 'error: something new\n' },
      {
        code: 'ERR_LIBVIRT', refusal: { reason: 'VIR_ERR_UNKNOWN', reasonNumber: undefined, message: 'something new' },
      },
    ],
    [{ exitCode: undefined, timedOut: true }, { code: 'ERR_LIBVIRT_TIMEOUT' }],
    [
      { exitCode: undefined, errno: 'ENOENT' },
      { code: 'ERR_LIBVIRT_CONNECTION', message: expect.stringContaining('install package libvirt-clients') },
    ],
    [{ exitCode: undefined, signal: 'SIGKILL' }, { code: 'ERR_LIBVIRT_CONNECTION' }],
  ])('that fails with %j is an error of a type', async (result, expected) => {
    const libvirt = await connect(URI, { exec: answering([{}, result]).exec });
    await expect(libvirt.hostname()).rejects.toMatchObject(expected);
  });

  test('whose lists are not as they should be is an error', async () => {
    const libvirt = await connect(
      URI, { exec: answering([{}, { stdout: 'nonsense\n' }, { stdout: 'nonsense\n' }]).exec },
    );
    await expect(libvirt.listDomains()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_PROTOCOL' });
    await expect(libvirt.version()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_PROTOCOL' });
  });

  test('that hangs is given up by its caller, and by close()', async () => {
    let calls = 0;
    const exec: Exec = () => { calls += 1; return calls === 1 ? Promise.resolve(done) : new Promise(() => undefined); };
    const libvirt = await connect(URI, { exec });
    await expect(libvirt.hostname({ signal: AbortSignal.timeout(20) }))
      .rejects.toMatchObject({ code: 'ERR_LIBVIRT_ABORTED' });
    const pending = expect(libvirt.hostname()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_CLOSED' });
    await libvirt.close();
    await pending;
  });

  test('is not sent what a command line cannot hold', async () => {
    const libvirt = await connect(URI, { exec: answering([{}]).exec });
    const web1 = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555', id: undefined };
    for (const xml of ['a\0b', 'x'.repeat(140_000)]) await expect(libvirt.setMetadata(web1, {
      uri: 'u', key: 'k', xml,
    })).rejects.toMatchObject({ code: 'ERR_LIBVIRT_ARGUMENT' });
  });
});
