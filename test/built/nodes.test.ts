// @tier node
/** The built hook, command and agent on each Node that guestwire promises to run on, and what an older one is told. */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml as realDomainXml } from '../lab/domain.js';
import { type AgentPlace, openAgentPlace, routesOf, until } from '../places/agent.js';
import { canRun, testWith } from '../places/capability.js';
import { DONE, domainXml, entriesOf, type HookHost, openHookHost, routedXml } from '../places/hook-run.js';
import { type InstallHost, openInstallHost } from '../places/install-host.js';
import { guestwire, nodeOf, NODES, OLD_NODE, type Outcome } from '../places/nodes.js';

const MAC = '52:54:00:aa:bb:02';
const ADDRESSES = ['192.0.2.10', '2001:db8::a'];
const COMMANDS = [
  [], ['--version'], ['nonsense'], ['completion', 'bash'], ['check', '--help'], ['status', '--no-such'],
  ...['demo/web1.xml', 'package.json', 'fixtures/xml/every-nic.xml'].flatMap((file) => [
    ['derive', '-f', file], ['derive', '-f', file, '--json'],
  ]),
];
const WEB1 = domainXml({ metadata: routedXml(ADDRESSES) });
const USE = (node: string): string => `mount --bind '${node}' /usr/bin/node; /usr/bin/node --version`;
const CURE = "needs 18.19 or newer: install a package 'nodejs' of version 18.19 or newer";

const kernelTest = testWith('root', 'netns', 'nft');
const libvirtTest = testWith('root', 'netns', 'libvirt');
const [hasKernel, hasLibvirt] = [canRun('root', 'netns', 'nft'), canRun('root', 'netns', 'libvirt')];

/** What the Node of the developer says. */
let usual: Outcome[];
beforeAll(() => { usual = COMMANDS.map((args) => guestwire(process.execPath, ...args)); });

describe.each(NODES)('Node %s', (version) => {
  let node: string;
  beforeAll(() => { node = nodeOf(version); }, 300_000);

  test('runs the command, which says what it says on the Node that built it', () => {
    for (const [index, args] of COMMANDS.entries()) {
      expect({ args, ...guestwire(node, ...args) }).toEqual({ args, ...usual[index] });
    }
  });

  describe('runs the hook', () => {
    let host: HookHost;
    beforeAll(async () => {
      if (!hasKernel) return;
      host = await openHookHost();
      expect(host.sh(USE(node))).toBe(`v${version}\n`);
    });
    afterAll(() => { if (hasKernel) host.close(); });

    const wire = async (): Promise<void> => {
      const before = host.dump();
      expect(await host.hook({ operation: 'prepare', xml: WEB1 })).toEqual(DONE);
      expect(await host.hook({ operation: 'start', xml: WEB1 })).toEqual(DONE);
      const routes = host.sh('ip route show dev vnet1 proto 117; ip -6 route show dev vnet1 proto 117');
      expect(routes.match(/^\S+/gm)).toEqual(ADDRESSES);
      expect(await host.hook({ operation: 'reconnect', xml: WEB1 })).toEqual(DONE);
      expect(await host.hook({ operation: 'stopped', xml: WEB1 })).toEqual(DONE);
      expect(await host.hook({ operation: 'release', xml: WEB1 })).toEqual(DONE);
      expect([entriesOf(host), host.dump()]).toEqual([[], before]);
    };

    kernelTest('as it is', async () => {
      host.sh('rm -f /run/checkout/dist/hook.cache');
      await wire();
    });

    kernelTest('with the code of its own cache', async () => {
      host.sh('/usr/bin/node /run/checkout/dist/hook-cached.cjs --make-cache');
      const cache = host.outside('/run/checkout/dist/hook.cache');
      const made = readFileSync(cache);
      expect(made.toString('latin1')).toMatch(new RegExp(`^v${version} `));
      await wire();
      expect(readFileSync(cache).equals(made)).toBe(true);
    });

    kernelTest('which refuses a guest with the same sentence', async () => {
      const xml = domainXml({ metadata: routedXml(['203.0.113.2']) });
      const before = host.dump();
      const { status, stderr } = await host.hook({ operation: 'start', xml });
      expect(status).toBe(1);
      expect(stderr).toMatch(/^guestwire: guest 'web1' NIC 1 \(52:54:00:aa:bb:02\): .*'203\.0\.113\.2'.*\n$/);
      expect(host.dump()).toBe(before);
    });
  });

  describe('installs', () => {
    let host: InstallHost;
    beforeEach(async () => {
      if (!hasKernel) return;
      host = await openInstallHost();
      expect(host.sh(`ln -s '${node}' /mnt/bin/node; ${USE(node)}`)).toBe(`v${version}\n`);
    });
    afterEach(() => { if (hasKernel) host.close(); });

    kernelTest('and uninstalls: nothing is left', () => {
      const before = host.listing();
      expect(host.guestwire('install', '--no-reload')).toMatchObject({ status: 0, stderr: '' });
      expect(host.guestwire('install', '--no-reload').stdout).toContain('is up to date\n');
      expect(host.guestwire('uninstall')).toMatchObject({ status: 0, stderr: '' });
      expect(host.listing()).toBe(before);
    });

    kernelTest('not by halves: what fails is rolled back', () => {
      const before = host.listing();
      // Written before the launcher, whose place cannot be written to.
      host.sh('mount --bind /etc/libvirt/hooks /etc/libvirt/hooks; mount -o remount,bind,ro /etc/libvirt/hooks');
      const { status, stderr } = host.guestwire('install', '--no-reload');
      expect(status).toBe(1);
      expect(stderr).toMatch(/^guestwire: .*\/etc\/libvirt\/hooks.*\n$/);
      expect(stderr).not.toMatch(/undone|TypeError/);
      host.sh('umount /etc/libvirt/hooks');
      expect(host.listing()).toBe(before);
    });
  });

  describe('runs the agent', () => {
    let place: AgentPlace;
    beforeAll(async () => { if (hasLibvirt) place = await openAgentPlace('nodes', node); });
    afterAll(async () => { if (hasLibvirt) await place.close(); });

    libvirtTest('which wires a running guest as its metadata change, and ends when it is told to', async () => {
      expect(await place.host.ok('/usr/bin/node', ['--version'])).toBe(`v${version}\n`);
      const agent = await place.startAgent();
      const metadataOf = (...ips: string[]): string => metadata({ mac: MAC, ips });
      await place.host.define(realDomainXml({ name: 'web1', nics: [nic(MAC)], metadata: metadataOf('10.0.0.1') }));
      await place.host.ok('virsh', ['start', 'web1']);
      expect(await routesOf(place.host)).toEqual(['10.0.0.1 vnet0']);
      const guest = await place.libvirt.lookupDomain({ name: 'web1' });
      const xml = metadataOf('10.0.0.2').replace('xmlns:gw="urn:guestwire:1"', '').replaceAll('gw:', '');
      await place.libvirt.setMetadata(guest, { uri: 'urn:guestwire:1', key: 'gw', affect: 'live', xml });
      await until(async () => (await routesOf(place.host)).join() === '10.0.0.2 vnet0', { what: 'the route' });
      await place.host.ok('virsh', ['destroy', 'web1']);
      expect(await routesOf(place.host)).toEqual([]);
      agent.kill('SIGTERM');
      expect(await agent.result).toMatchObject({ code: 0 });
    });
  });
});

describe(`Node ${OLD_NODE}`, () => {
  let node: string;
  beforeAll(() => { node = nodeOf(OLD_NODE); }, 300_000);

  test('is told by every command that it is too old', () => {
    const stderr = `guestwire: '${node}' is version 'v${OLD_NODE}', and guestwire ${CURE}\n`;
    for (const args of [['--version'], ['install', '--no-reload'], ['doctor'], ['status', '--json']]) {
      expect({ args, ...guestwire(node, ...args) }).toEqual({ args, status: 1, stdout: '', stderr });
    }
  });

  describe('as the one that libvirt would run', () => {
    let host: InstallHost;
    beforeAll(async () => {
      if (!hasKernel) return;
      host = await openInstallHost();
      host.sh(`cp '${process.execPath}' /mnt/bin/node; ${USE(node)}`);
    });
    afterAll(() => { if (hasKernel) host.close(); });

    kernelTest('is refused by install and named by doctor', () => {
      const fault = `'/usr/bin/node' is version 'v${OLD_NODE}', and the hook ${CURE}`;
      const before = host.listing();
      const refused = { status: 1, stdout: '', stderr: `guestwire: ${fault}\n` };
      expect(host.guestwire('install', '--no-reload')).toEqual(refused);
      expect(host.listing()).toBe(before);
      expect(host.guestwire('doctor').stdout).toContain(fault);
    });
  });
});
