/** The launcher alone: what ends without node, and what a broken node may do to a guest. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { testWith } from './capability.js';
import { type Netns, openNetns } from './netns.js';

const launcherTest = testWith('root', 'netns');
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
let netns: Netns;
let dir: string;

beforeAll(async () => {
  netns = await openNetns();
  dir = mkdtempSync(join(tmpdir(), 'guestwire-launcher-'));
  // Whatever reaches node is seen by its status: it crashes.
  writeFileSync(join(dir, 'node'), '#!/bin/sh\necho "node was run" >&2\nexit 9\n', { mode: 0o755 });
  netns.sh(`mount --bind ${join(dir, 'node')} /usr/bin/node`);
  mkdirSync(join(dir, 'state'));
});
afterAll(() => {
  netns.close();
  rmSync(dir, { recursive: true });
});

function launch(operation: string, xml: string, { config = '', shell = 'dash' } = {}): { status: number | null; stdout: string; stderr: string } {
  writeFileSync(join(dir, 'config.toml'), config, { mode: 0o600 });
  return netns.run(shell.split(' ')[0] ?? 'sh', [...shell.split(' ').slice(1), resolve('hooks/qemu'), 'web1', operation, 'begin', '-'], {
    input: xml, env: { GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml') },
  });
}

function xml(nics: string, metadata = ''): string {
  return `<domain type='kvm'>\n  <name>web1</name>\n  <uuid>${UUID}</uuid>\n${metadata}  <devices>\n${nics}  </devices>\n</domain>\n`;
}
const TAG = "      <vlan>\n        <tag id='42'/>\n      </vlan>\n";
const nic = (type: string, inner: string): string => `    <interface type='${type}'>\n      <source network='lan' bridge='br0'/>\n${inner}    </interface>\n`;
const PLAIN = xml(nic('bridge', ''));
const WIRED = xml(nic('bridge', ''), "  <metadata><gw:guestwire xmlns:gw='urn:guestwire:1'/></metadata>\n");
const DONE = { status: 0, stdout: '', stderr: '' };
const CRASHED = { status: 1, stdout: '', stderr: "guestwire: guest 'web1': guestwire crashed, please report it: node was run\n" };

describe('the launcher', () => {
  launcherTest('ends without node for every operation that is no work', () => {
    for (const operation of ['started', 'restore', 'attach', 'whatever']) expect(launch(operation, WIRED)).toEqual(DONE);
    for (const operation of ['stopped', 'release']) expect(launch(operation, WIRED)).toEqual(DONE);
  });

  launcherTest('runs node for a guest that asks, and refuses it when node crashes', () => {
    for (const operation of ['migrate', 'prepare', 'start']) expect(launch(operation, WIRED)).toEqual(CRASHED);
    expect(launch('reconnect', WIRED)).toEqual(DONE);
    expect(launch('start', xml(nic('bridge', TAG)))).toEqual(CRASHED);
    expect(launch('start', xml(nic('network', TAG)))).toEqual(CRASHED);
  });

  launcherTest('never runs node for a guest that asks for nothing, nor for VLANs that libvirt hands to others', () => {
    for (const operation of ['migrate', 'prepare', 'start', 'reconnect']) expect(launch(operation, PLAIN)).toEqual(DONE);
    expect(launch('start', xml(nic('bridge', `      <virtualport type='openvswitch'/>\n${TAG}`)))).toEqual(DONE);
    expect(launch('start', xml(nic('bridge', `${TAG}      <virtualport type='openvswitch'/>\n`)))).toEqual(DONE);
    expect(launch('start', xml(nic('hostdev', TAG)))).toEqual(DONE);
    expect(launch('start', xml(nic('direct', TAG)))).toEqual(DONE);
    expect(launch('start', xml(nic('direct', TAG) + nic('bridge', TAG)))).toEqual(CRASHED);
  });

  launcherTest('runs node where the config speaks of guests or networks, and refuses only those it names when node crashes', () => {
    expect(launch('start', PLAIN, { config: '[guest.web1."52:54:00:00:00:01"]\nvlan = { tags = [1] }\n' })).toEqual(CRASHED);
    expect(launch('start', PLAIN, { config: '[network.lan.portgroup.dmz]\nvlan = { tags = [1] }\n' })).toEqual(CRASHED);
    expect(launch('start', PLAIN, { config: '[guest.other."52:54:00:00:00:01"]\nvlan = { tags = [1] }\n' })).toEqual(DONE);
    expect(launch('start', PLAIN, { config: '# guest and network in a comment\n[routed]\nprotocol = 118\n' })).toEqual(DONE);
  });

  launcherTest('runs node at the end of a guest only when the state directory has its entry, and never fails then', () => {
    writeFileSync(join(dir, 'state', `${UUID}.json`), '{}');
    for (const operation of ['stopped', 'release', 'reconnect']) expect(launch(operation, PLAIN)).toEqual(DONE);
    rmSync(join(dir, 'state', `${UUID}.json`));
  });

  launcherTest('says how it is called when it is called otherwise', () => {
    const { status, stderr } = netns.run(resolve('hooks/qemu'), []);
    expect({ status, stderr }).toEqual({ status: 2, stderr: 'guestwire: libvirt calls this hook as: qemu GUEST OPERATION SUB-OPERATION EXTRA, with the domain XML on standard input\n' });
  });

  launcherTest('behaves alike in dash, bash and busybox', () => {
    for (const shell of ['dash', 'bash --posix', 'busybox sh']) {
      expect(launch('start', WIRED, { shell })).toEqual(CRASHED);
      expect(launch('start', PLAIN, { shell })).toEqual(DONE);
    }
  });
});
