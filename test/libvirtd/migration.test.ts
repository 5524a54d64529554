// @tier libvirt
/**
 * A guest with a routed link that migrates between two real libvirts, and what `guestwire reconcile` does on either.
 */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { type Host, joinHosts, startHost, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const MAC = '52:54:00:00:00:10';
const LABEL = `guest 'web1' NIC 0 (${MAC})`;
const WISHES = metadata({ mac: MAC, ips: ['2001:db8:0:10::a', '192.0.2.10'] });
const ROUTES = ['192.0.2.10 dev vnet0 proto 117', '2001:db8:0:10::a dev vnet0 proto 117'];

let here: Host;
let there: Host;

async function open(name: string): Promise<Host> {
  const host = await startHost({ name, sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 } });
  await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  await host.restartLibvirtd();
  return host;
}

beforeAll(async () => {
  if (!able) return;
  here = await open('here');
  there = await open('there');
  await joinHosts([here, there]);
  await here.define(domainXml({ name: 'web1', nics: [nic(MAC)], metadata: WISHES }));
});
afterAll(async () => {
  if (!able) return;
  await here.stop();
  await there.stop();
});

async function routes(host: Host): Promise<string[]> {
  const text = await host.ok('sh', ['-c', 'ip route show table all proto 117']);
  return text.trim().split('\n').filter(Boolean).map((line) =>
    line.replace(/ (scope|metric|linkdown).*/, ' proto 117'));
}

function reconcile(host: Host, ...args: string[]): ReturnType<Host['run']> {
  return host.run('node', [resolve('dist/cli.js'), 'reconcile', ...args]);
}

async function config(host: Host, text: string): Promise<void> {
  await host.ok('sh', ['-c', 'mkdir -p /etc/guestwire; cat >/etc/guestwire/config.toml; chmod 600 /etc/guestwire/config.toml'], { input: text });
}

const state = async (host: Host): Promise<string> => host.ok('sh', ['-c', 'ls -A /run/guestwire 2>/dev/null || true']);
const migrate = (): ReturnType<Host['run']> =>
  here.run('virsh', [
    '-q', 'migrate', '--live', '--undefinesource', '--persistent', 'web1', there.uri, '--migrateuri',
    'tcp://203.0.113.2',
  ]);

describe('guestwire reconcile', () => {
  libvirtTest('puts a running guest right, and has nothing to do the second time', async () => {
    await here.ok('virsh', ['start', 'web1']);
    await here.ok('sh', ['-c', 'ip route del 192.0.2.10 dev vnet0; ip -6 address del fe80::1/64 dev vnet0']);
    expect(await reconcile(here, 'web1')).toEqual({ code: 0, stderr: '', stdout: `${LABEL}: add address fe80::1/64 on 'vnet0'\n${LABEL}: add route 192.0.2.10/32 on 'vnet0'\n` });
    expect(await routes(here)).toEqual(ROUTES);
    expect(await reconcile(here, 'web1')).toEqual({ code: 0, stderr: '', stdout: "guest 'web1': as its XML says, nothing changed\n" });
    await waitFor(async () => (await here.syslog()).some((line) => line.includes(`guestwire: ${LABEL}: add route 192.0.2.10/32 on 'vnet0'`)), { what: 'the log' });
  });

  libvirtTest('follows metadata that was edited while the guest runs, also to nothing', async () => {
    // libvirt declares the prefix of --key itself, on the outermost element only.
    const set = (xml: string): Promise<string> => here.ok('virsh', [
      'metadata', 'web1', 'urn:guestwire:1', '--live', '--key', 'gw', '--set',
      xml.replace('xmlns:gw', 'xmlns').replaceAll('gw:', ''),
    ]);
    await set(WISHES.replace('192.0.2.10', '192.0.2.11'));
    expect((await reconcile(here, 'web1')).stdout).toBe(`${LABEL}: renew filter of 'vnet0' (nftables table netdev guestwire)\n${LABEL}: add route 192.0.2.11/32 on 'vnet0'\n${LABEL}: remove route 192.0.2.10/32 on 'vnet0'\n`);
    await here.ok('virsh', ['metadata', 'web1', 'urn:guestwire:1', '--live', '--remove']);
    expect((await reconcile(here, 'web1')).stdout).toContain(`remove route 192.0.2.11/32 on 'vnet0'\n`);
    expect(await routes(here)).toEqual([]);
    expect(await reconcile(here, 'web1')).toEqual({ code: 0, stderr: '', stdout: "guest 'web1': its XML has nothing to wire\n" });
    await set(WISHES);
    expect((await reconcile(here, 'web1')).code).toBe(0);
    expect(await routes(here)).toEqual(ROUTES);
  });

  libvirtTest('releases what is left of a guest that does not run', async () => {
    await here.ok('sh', ['-c', 'cp -a /run/guestwire /run/kept']);
    await here.ok('virsh', ['destroy', 'web1']);
    await waitFor(async () => (await state(here)) === '', { what: 'the release' });
    await here.ok('sh', ['-c', 'cp -a /run/kept/. /run/guestwire/; rm -r /run/kept']);
    expect(await state(here)).not.toBe('');
    expect(await reconcile(here, 'web1')).toEqual({ code: 0, stderr: '', stdout: "guest 'web1': it does not run, and none of its wiring is left\n" });
    expect(await state(here)).toBe('');
  });

  libvirtTest('and other commands know a guest that does not run by its name, UUID and id', async () => {
    const guestwire = (...args: string[]): ReturnType<Host['run']> =>
      here.run('node', [resolve('dist/cli.js'), ...args]);
    const uuid = (await here.ok('virsh', ['domuuid', 'web1'])).trim();
    for (const by of ['web1', uuid, uuid.toUpperCase()]) {
      expect(await guestwire('quarantine', by))
        .toMatchObject({ code: 0, stdout: expect.stringContaining("guest 'web1': now in quarantine") });
      expect(await guestwire('quarantine', by, '--lift')).toMatchObject({ code: 0 });
    }
    await here.ok('virsh', ['start', 'web1']);
    const id = (await here.ok('virsh', ['domid', 'web1'])).trim();
    for (const by of ['web1', uuid, id]) {
      expect(await guestwire('reconcile', by)).toEqual({ code: 0, stderr: '', stdout: "guest 'web1': as its XML says, nothing changed\n" });
      expect(await guestwire('check', by)).toEqual({ code: 0, stderr: '', stdout: '' });
      expect((await guestwire('status', by)).stdout).toMatch(/^web1 +0 +vnet\d+ +routed: .* wired /m);
    }
    await here.ok('virsh', ['destroy', 'web1']);
    await waitFor(async () => (await state(here)) === '', { what: 'the release' });
  });

  libvirtTest('of a guest that libvirt does not know says so', async () => {
    const { code, stderr } = await reconcile(here, 'web9');
    expect(code).toBe(1);
    expect(stderr).toBe("guestwire: guest 'web9' does not exist: 'virsh list --all' lists all guests\n");
  });
});

describe('a guest with a routed link that migrates', () => {
  libvirtTest('is refused where nobody completes it, and stays where it is with all it has', async () => {
    await here.ok('virsh', ['start', 'web1']);
    const refused = await migrate();
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`${LABEL}: a guest with routed links cannot migrate here without an agent: run 'guestwire install --agent', or set 'migration = "manual"' in [routed] and reconcile after its arrival`);
    expect((await routes(here)).map((line) => line.replace(/vnet\d+/, 'vnet0'))).toEqual(ROUTES);
    expect(await routes(there)).toEqual([]);
    expect(await state(there)).toBe('');
  });

  libvirtTest('has no route at its destination until it is reconciled there, and nothing is left behind', async () => {
    await config(there, '[routed]\nmigration = "manual"\n');
    const seen: string[][] = [];
    const watch = { on: true };
    const watching = (async () => { while (watch.on) seen.push(await routes(there)); })();
    const { code, stderr } = await migrate();
    watch.on = false;
    await watching;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(seen.length).toBeGreaterThan(2);
    expect(seen.flat()).toEqual([]);
    expect(await there.ok('ip', ['-br', 'address', 'show', 'dev', 'vnet0']))
      .toMatch(/169\.254\.0\.1\/32 .*fe80::1\/64/);
    await waitFor(async () => (await state(here)) === '', { what: 'the release at the source' });
    expect(await routes(here)).toEqual([]);
    const done = await reconcile(there, 'web1');
    expect(done).toEqual({ code: 0, stderr: '', stdout: `${LABEL}: add route 192.0.2.10/32 on 'vnet0'\n${LABEL}: add route 2001:db8:0:10::a/128 on 'vnet0'\n` });
    expect(await routes(there)).toEqual(ROUTES);
    await there.ok('virsh', ['destroy', 'web1']);
    await waitFor(async () => (await state(there)) === '', { what: 'the release at the destination' });
    expect(await routes(there)).toEqual([]);
  });
});
