// @tier fast kernel
/**
 * `guestwire reconcile` where libvirt says what is hard to bring about: a guest on its way, one that ends meanwhile.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const kernelTest = testWith('root', 'netns');
const CLI = resolve('dist/cli.js');
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
const MAC = '52:54:00:aa:bb:02';
const XML = `<domain type='kvm' id='3'><name>web1</name><uuid>${UUID}</uuid><metadata>${metadata({ mac: MAC, ips: ['192.0.2.10'] })}</metadata><devices>${nic(MAC, 'vnet1')}</devices></domain>`;

let netns: Netns;
let dir: string;
const able = canRun('root', 'netns');
beforeAll(async () => {
  if (!able) return;
  netns = await openNetns();
  dir = mkdtempSync(join(tmpdir(), 'guestwire-reconcile-'));
});
afterAll(() => {
  if (!able) return;
  netns.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  if (!able) return;
  netns.sh('ip link del vnet1 2>/dev/null || true; sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1; ip tuntap add vnet1 mode tap; ip link set vnet1 up');
});

/**
 * Runs the command beside a virsh that says this; `ids` are what it calls the guest, one a time it is asked for its id.
 */
function reconcile(
  { state = 'running (booted)', xml = XML, ids = ['3'] }: { state?: string; xml?: string; ids?: readonly string[] },
  ...args: readonly string[]
) {
  writeFileSync(join(dir, 'xml'), xml);
  // The first is for the name that the command line gives.
  writeFileSync(join(dir, 'ids'), [ids[0], ...ids, ids.at(-1)].join('\n'));
  writeFileSync(join(dir, 'virsh'), `#!/bin/sh
case "$*" in
  *' uri') echo qemu+ssh:///system ;;
  *' list '*) echo "${UUID} $(head -n 1 ${dir}/ids) web1"; sed -i 1d ${dir}/ids ;;
  *' domstate '*) echo '${state}' ;;
  *' dumpxml '*) cat ${dir}/xml ;;
esac
`);
  chmodSync(join(dir, 'virsh'), 0o755);
  return netns.run(process.execPath, [CLI, 'reconcile', ...args], {
    env: {
      PATH: `${dir}:${process.env['PATH'] ?? ''}`, GUESTWIRE_STATE_DIR: join(dir, 'state'),
      GUESTWIRE_CONFIG: join(dir, 'none'), LIBVIRT_DEFAULT_URI: 'qemu+ssh:///system',
    },
  });
}

const entries = (): string[] => readdirSync(join(dir, 'state'));

describe('guestwire reconcile', () => {
  test.each([[[]], [['a', 'b']]])('%j is wrong usage', (args) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'reconcile', ...args], { encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: "guestwire: give the name of one guest: see 'guestwire reconcile --help'\n" });
  });

  kernelTest('needs root', () => {
    const { status, stderr } = netns.run(
      'setpriv', ['--reuid', '65534', '--clear-groups', process.execPath, CLI, 'reconcile', 'web1'],
    );
    expect({ status, stderr }).toEqual({ status: 1, stderr: "guestwire: 'guestwire reconcile' changes this host: run it as root\n" });
  });

  for (const state of [
    'paused (migrating)', 'paused (starting up)', 'paused (post-copy)', 'paused (post-copy failed)',
  ]) {
    kernelTest(`leaves a guest alone that is ${state}`, () => {
      const before = netns.dump();
      expect(reconcile({ state }, 'web1')).toEqual({ status: 1, stdout: '', stderr: `guestwire: guest 'web1' does not run here yet (${state}): reconcile it when its migration is done\n` });
      expect(netns.dump()).toBe(before);
    });
  }

  for (const state of ['running (migrated)', 'paused (user)', 'in shutdown (user)', 'pmsuspended (unknown)']) {
    kernelTest(`wires a guest that is ${state}, and releases it when it is shut off`, () => {
      const before = netns.dump();
      expect(reconcile({ state }, 'web1')).toMatchObject({ status: 0, stderr: '' });
      expect(netns.sh('ip route show proto 117')).toContain('192.0.2.10 dev vnet1');
      expect(reconcile({ state: 'shut off (destroyed)' }, 'web1')).toMatchObject({ status: 0, stderr: '' });
      expect(netns.dump()).toBe(before);
      expect(entries()).toEqual([]);
    });
  }

  kernelTest('takes back what it wired when the guest ended meanwhile', () => {
    const before = netns.dump();
    const { status, stderr } = reconcile({ ids: ['3', '-'] }, 'web1');
    expect({ status, stderr }).toEqual({ status: 1, stderr: "guestwire: guest 'web1': it ended during this command: its wiring is released\n" });
    expect(netns.dump()).toBe(before);
    expect(entries()).toEqual([]);
  });

  kernelTest('refuses what cannot be wired and changes nothing', () => {
    netns.sh('ip link del vnet1');
    const before = netns.dump();
    expect(reconcile({}, 'web1')).toEqual({ status: 1, stdout: '', stderr: `guestwire: guest 'web1' NIC 0 (${MAC}): link 'vnet1' does not exist: stop the guest and start it again\n` });
    expect(netns.dump()).toBe(before);
    expect(reconcile({ xml: XML.replace(/<uuid>.*<\/uuid>/, '') }, 'web1').stderr).toBe("guestwire: guest 'web1': the domain XML has no <uuid>: libvirt's own XML has one\n");
    expect(reconcile({ xml: '<network/>' }, 'web1').stderr).toMatch(/^guestwire: .*network/);
  });
});
