// @tier libvirt
/** The programs in examples/, run as they stand, against a real libvirtd. */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../../fakes/guest-xml.js';
import { domainXml } from '../../lab/domain.js';
import { type Host, startHost, waitFor } from '../../lab/host.js';
import { routesOf, SYSCTLS } from '../../places/agent.js';
import { canRun, testWith } from '../../places/capability.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const MAC = '52:54:00:00:00:10';
const PORT = `<interface type='bridge'><mac address='${MAC}'/><source bridge='br0'/></interface>`;
const VLANS = `<gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${MAC}'><gw:vlan><gw:tag id='10' nativeMode='untagged'/><gw:tag id='20-22'/></gw:vlan></gw:interface></gw:guestwire>`;

let host: Host;

beforeAll(async () => {
  if (!able) return;
  host = await startHost({ name: 'examples', sysctls: SYSCTLS });
  await host.define(domainXml({ name: 'lan1', nics: [PORT], metadata: VLANS }));
  await host.define(
    domainXml({ name: 'web1', nics: [nic(MAC)], metadata: metadata({ mac: MAC, ips: ['192.0.2.1'] }) }),
  );
  await host.define(domainXml({ name: 'bare1', nics: [nic('52:54:00:00:00:20')] }));
  for (const name of ['web1', 'bare1']) await host.ok('virsh', ['start', name]);
}, 60_000);
afterAll(async () => { if (able) await host.stop(); });

const file = (name: string): string => resolve('examples', name);

describe('examples/', () => {
  libvirtTest('has three programs', () => {
    expect(readdirSync('examples')).toEqual(['list-vlans.js', 'watch-drift.js', 'wire-guest.js']);
  });

  libvirtTest('list-vlans lists the VLANs of each guest', async () => {
    expect(await host.run('node', [file('list-vlans.js')]))
      .toEqual({ code: 0, stderr: '', stdout: `lan1 ${MAC} trunk 20-22 native 10\n` });
  });

  libvirtTest('wire-guest wires a guest that says nothing itself', async () => {
    const { code, stderr, stdout } = await host.run('node', [file('wire-guest.js'), 'bare1', '192.0.2.7']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain("guest 'bare1' NIC 0 (52:54:00:00:00:20): add route 192.0.2.7/32");
    expect((await routesOf(host)).map((route) => route.split(' ')[0])).toEqual(['192.0.2.7']);
  });

  libvirtTest('watch-drift says what is missing, and when it is there', async () => {
    const program = host.start('node', [file('watch-drift.js')]);
    await waitFor(() => /^web1 lacks: .*add route 192\.0\.2\.1\/32/m.test(program.output()), { what: 'the drift' });
    await host.ok('node', [resolve('dist/cli.js'), 'reconcile', 'web1']);
    await host.ok('virsh', ['suspend', 'web1']);
    await host.ok('virsh', ['resume', 'web1']);
    await waitFor(() => program.output().includes('web1 is exact'), { what: 'the end of it' });
    program.kill();
    await program.result;
  }, 60_000);
});
