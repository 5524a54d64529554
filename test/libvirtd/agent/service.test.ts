// @tier fast kernel
/**
 * The agent as a service: its unit is one systemd takes, comes and goes with install and uninstall, and systemd is
 * told.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { createSupervisor } from '../../../lib/agent/supervisor.js';
import { agentUnitText } from '../../../lib/install/agent-unit.js';
import { execAsync } from '../../../lib/system/exec-async.js';
import { waitFor } from '../../lab/host.js';
import { testWith } from '../../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../../places/install-host.js';

const hostTest = testWith('root', 'netns');
const systemdTest = testWith('systemd', 'python3');
const FILES = ['/usr/lib/guestwire/agent.mjs', '/etc/systemd/system/guestwire-agent.service'];

beforeAll(assertBuilt);

describe('guestwire install --agent', () => {
  let host: InstallHost;
  beforeEach(async () => {
    host = await openInstallHost();
    host.sh(`
      mkdir -p /etc/systemd/system /run/systemd/system
      printf '#!/bin/sh\\necho "$*" >>/run/told\\n' >/mnt/bin/systemctl; chmod 755 /mnt/bin/systemctl`);
  });
  afterEach(() => { host.close(); });
  const told = (): string => host.sh('cat /run/told 2>/dev/null || true; rm -f /run/told');

  hostTest('installs, enables and starts it; a later install keeps it, uninstall takes it away', () => {
    const before = host.listing();
    const first = host.guestwire('install', '--agent');
    expect(first).toMatchObject({ status: 0, stderr: '' });
    for (const file of FILES) expect(first.stdout).toContain(`wrote '${file}'\n`);
    expect(told()).toBe('daemon-reload\nenable guestwire-agent.service\n--no-block restart guestwire-agent.service\n');
    for (const file of FILES) expect(host.guestwire('install').stdout).toContain(`'${file}' is up to date\n`);
    expect(told()).toBe('enable guestwire-agent.service\n--no-block start guestwire-agent.service\n'.repeat(2));
    host.sh('touch /run/guestwire.agent; chmod 600 /run/guestwire.agent');
    const gone = host.guestwire('uninstall');
    expect(gone).toMatchObject({ status: 0, stderr: '' });
    for (const file of FILES) expect(gone.stdout).toContain(`removed '${file}'\n`);
    expect(told()).toBe('disable --now guestwire-agent.service\ndaemon-reload\n');
    expect(host.listing()).toBe(before);
  });

  hostTest('without the option touches no agent, and refuses a unit of somebody else', () => {
    expect(host.guestwire('install').stdout).not.toContain('agent');
    host.sh(`echo '[Unit]' >${FILES[1] ?? ''}`);
    expect(host.guestwire('install', '--agent')).toMatchObject({ status: 1, stderr: `guestwire: '${FILES[1] ?? ''}' is not guestwire's: move it away\n` });
    expect(host.guestwire('install')).toMatchObject({ status: 0 });
  });
});

describe('the unit', () => {
  let dir: string;
  let listener: ChildProcess | undefined;
  beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-unit-')); });
  afterEach(() => { listener?.kill(); });
  afterAll(() => { rmSync(dir, { recursive: true }); });

  systemdTest('is one that systemd takes without a word', () => {
    const path = join(dir, 'guestwire-agent.service');
    writeFileSync(
      path,
      agentUnitText({ stateDir: '/run/guestwire' }).replace('/usr/lib/guestwire/agent.mjs', resolve('dist/agent.mjs'))
        .replace('/usr/bin/node', process.execPath),
    );
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  systemdTest('gets what it waits for: ready, and a sign of life well within its time', async () => {
    const socket = join(dir, 'notify');
    const log = join(dir, 'heard');
    writeFileSync(log, '');
    // Descriptors that come with a message, systemd's barrier, are closed unseen.
    const script = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1])\nwhile True:\n  m=s.recv(4096)\n  open(sys.argv[2],'a').write(m.decode()+'\\n')";
    listener = spawn('python3', ['-c', script, socket, log]);
    await waitFor(() => execFileSync('ls', [dir], { encoding: 'utf8' }).includes('notify'), { what: 'the socket' });
    const warnings: string[] = [];
    const supervisor = createSupervisor(execAsync, { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '900000' }, (line) => {
      warnings.push(line);
    });
    await supervisor.tell('READY=1', 'STATUS=watching');
    await waitFor(() => readFileSync(log, 'utf8').includes('WATCHDOG=1'), { what: 'a sign of life', timeout: 900 });
    supervisor.stop();
    expect(readFileSync(log, 'utf8')).toContain('READY=1\nSTATUS=watching\n');
    expect(warnings).toEqual([]);
    const quiet = createSupervisor(execAsync, {}, (line) => { warnings.push(line); });
    await quiet.tell('READY=1');
    expect(warnings).toEqual([]);
  });
});
