// @tier libvirt
/**
 * The life of real guests under a real, private libvirtd: whatever happens to a guest, its routes and addresses are
 * right after it, and after the last stop the host is what it was before the first start.
 */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { type addOutside, guestImage, type Host, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';
import { ADDRESS, hasIpv4, MAC, NEIGHBOUR, only, PREFIX, startLife, WEB1, WIRED, worldOf } from '../places/life.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');

let host: Host;
let image: string;
let outside: Awaited<ReturnType<typeof addOutside>>;
let before: string;

beforeAll(async () => {
  if (!able) return;
  image = await guestImage();
  ({ host, outside } = await startLife());
  before = await world();
}, 180_000);

afterAll(async () => { if (able) await host.stop(); });

const world = (): Promise<string> => worldOf(host);

async function routes(): Promise<string[]> {
  const text = await host.ok('sh', ['-c', 'ip route show proto 117; ip -6 route show proto 117']);
  return text.trim().split('\n').filter(Boolean).map((line) =>
    line.trim().replace(/ linkdown/, '').replace(/vnet\d+/, 'vnet'));
}

async function expectWired(name = 'web1'): Promise<void> {
  expect(await routes()).toEqual(WIRED);
  const tap = (await host.ok('virsh', ['-q', 'domiflist', name])).trim().split(/\s+/)[0] ?? '';
  expect(await host.ok('ip', ['-br', 'address', 'show', 'dev', tap]))
    .toMatch(hasIpv4 ? /169\.254\.0\.1\/32 .*fe80::1\/64/ : /^\S+ +\S+ +fe80::1\/64/);
  expect(await host.ok('cat', [`/proc/sys/net/ipv6/conf/${tap}/accept_ra`])).toBe('0\n');
}

async function expectGone(): Promise<void> {
  await waitFor(async () => (await world()) === before, { what: 'the host to be as before', timeout: 15_000 })
    .catch(() => undefined);
  expect(await world()).toBe(before);
}

async function undefine(...names: readonly string[]): Promise<void> {
  for (const name of names) await host.ok('virsh', ['-q', 'undefine', name]);
}

describe('a guest without an operating system', () => {
  libvirtTest('is wired by virsh start and gone after virsh destroy', async () => {
    await host.define(domainXml(WEB1));
    await host.ok('virsh', ['start', 'web1']);
    await expectWired();
    const lines = (await host.syslog()).filter((line) => line.includes('guestwire:'));
    expect(lines.some((line) => line.includes(`guest 'web1' NIC 0 (${MAC}): add route ${PREFIX} on 'vnet`))).toBe(true);
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  }, 60_000);

  libvirtTest('is gone after kill -9 of QEMU', async () => {
    await host.ok('virsh', ['start', 'web1']);
    await expectWired();
    await host.ok('sh', ['-c', 'kill -9 $(cat /run/libvirt/qemu/web1.pid)']);
    await expectGone();
  }, 60_000);

  libvirtTest('stays wired through reset, suspend and resume', async () => {
    await host.ok('virsh', ['start', 'web1']);
    for (const change of ['reset', 'suspend', 'resume']) {
      await host.ok('virsh', [change, 'web1']);
      await expectWired();
    }
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  }, 60_000);

  libvirtTest('is gone after save and wired after restore', async () => {
    await host.ok('virsh', ['start', 'web1']);
    await host.ok('virsh', ['save', 'web1', '/run/web1.save']);
    await expectGone();
    await host.ok('virsh', ['restore', '/run/web1.save']);
    await expectWired();
    await host.ok('virsh', ['managedsave', 'web1']);
    await expectGone();
    await host.ok('virsh', ['start', 'web1']);
    await expectWired();
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  }, 90_000);

  libvirtTest('is put right by reconnect when libvirtd comes back', async () => {
    await host.ok('virsh', ['start', 'web1']);
    await host.stopLibvirtd();
    await host.ok('sh', ['-c', `ip route del ${ADDRESS}; ip -6 route del 2001:db8:0:20::/64; for tap in /sys/class/net/vnet*; do ip address del fe80::1/64 dev \${tap##*/}; done`]);
    await host.startLibvirtd();
    await waitFor(
      async () => (await routes()).length === WIRED.length, { what: 'reconnect to have run', timeout: 30_000 },
    );
    await expectWired();
    expect(await host.ok('virsh', ['domstate', 'web1'])).toContain('running');
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  }, 90_000);

  libvirtTest('is put right by reconnect though its state is gone, and survives a broken config', async () => {
    await host.ok('virsh', ['start', 'web1']);
    await host.stopLibvirtd();
    await host.ok('sh', ['-c', `rm -r /run/guestwire; ip route del ${ADDRESS}; mkdir -p /etc/guestwire; echo "[broken" > /etc/guestwire/config.toml`]);
    await host.startLibvirtd();
    await waitFor(async () => (await host.syslog()).some((line) => line.includes('guestwire: reconnect:')), {
      what: 'reconnect to have failed', timeout: 30_000,
    });
    expect(await host.ok('virsh', ['domstate', 'web1'])).toContain('running');
    await host.ok('rm', ['/etc/guestwire/config.toml']);
    await host.restartLibvirtd();
    await waitFor(
      async () => (await routes()).length === WIRED.length, { what: 'reconnect to have run', timeout: 30_000 },
    );
    await expectWired();
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  }, 120_000);
});

describe('a start that cannot be', () => {
  libvirtTest('fails at prepare, says why, and leaves the host as it was', async () => {
    await host.ok('ip', ['route', 'add', PREFIX, 'via', NEIGHBOUR, 'proto', 'static']);
    const spoilt = await world();
    const { code, stderr } = await host.virsh('start', 'web1');
    expect(code).toBe(1);
    expect(stderr).toContain(`guestwire: guest 'web1' NIC 0 (${MAC}): '${ADDRESS}' is already routed: '${ADDRESS}' via '${NEIGHBOUR}' on 'up0', protocol 'static': remove that route or give the guest another address`);
    expect(stderr).toContain('prepare begin');
    expect(await world()).toBe(spoilt);
    await host.ok('ip', ['route', 'del', PREFIX]);
    await expectGone();
  }, 60_000);

  libvirtTest('fails at start, undoes what it did, and the next start works', async () => {
    await spoil(`[ "$2" = start ] && ip route add ${PREFIX} via ${NEIGHBOUR} proto static\nexit 0`);
    const { code, stderr } = await host.virsh('start', 'web1');
    await spoil(undefined);
    expect(code).toBe(1);
    expect(stderr).toContain('start begin');
    expect(stderr).toContain(`guestwire: guest 'web1' NIC 0 (${MAC}): '${ADDRESS}' is already routed`);
    await host.ok('ip', ['route', 'del', PREFIX]);
    await expectGone();
    await host.ok('virsh', ['start', 'web1']);
    await expectWired();
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
    await undefine('web1');
  }, 60_000);

  libvirtTest('keeps no guest from starting that asks for nothing', async () => {
    await host.ok('sh', ['-c', 'mkdir -p /etc/guestwire; echo "[broken" > /etc/guestwire/config.toml']);
    await host.define(domainXml({ name: 'plain', nics: [nic('52:54:00:00:00:99')] }));
    await host.ok('virsh', ['start', 'plain']);
    expect(await routes()).toEqual([]);
    await host.ok('virsh', ['destroy', 'plain']);
    await host.ok('rm', ['/etc/guestwire/config.toml']);
    await undefine('plain');
    await expectGone();
  }, 60_000);
});

/** What the foreign hook does from now on, before guestwire's own. */
async function spoil(script: string | undefined): Promise<void> {
  if (script === undefined) await host.ok('rm', ['-f', '/run/spoil']);
  else await host.ok('sh', ['-c', 'cat > /run/spoil && chmod 755 /run/spoil'], { input: `#!/bin/sh\n${script}\n` });
}

describe('several guests', () => {
  libvirtTest('with two NICs each start in parallel ten times over: no error, no residue', async () => {
    const guests = [1, 2].map((n) => {
      const macs = [`52:54:00:00:${n}0:01`, `52:54:00:00:${n}0:02`];
      const intents = macs.map((mac, index) => ({
        mac, ips: only([`2001:db8:0:10::${n}${index}`, `192.0.2.${n}${index}`]),
      }));
      return { name: `pair${n}`, nics: macs.map((mac) => nic(mac)), metadata: metadata(...intents) };
    });
    for (const guest of guests) await host.define(domainXml(guest));
    for (let round = 0; round < 10; round += 1) {
      const started = await Promise.all(guests.map(({ name }) => host.virsh('start', name)));
      expect(started.map(({ code, stderr }) => ({ code, stderr })))
        .toEqual([{ code: 0, stderr: '' }, { code: 0, stderr: '' }]);
      expect(await routes()).toHaveLength(hasIpv4 ? 8 : 4);
      const ended = await Promise.all(guests.map(({ name }) => host.virsh('destroy', name)));
      expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    }
    await expectGone();
    await undefine('pair1', 'pair2');
  }, 180_000);

  libvirtTest('of one target name: what the second wired survives the slow stop of the first', async () => {
    const define = (name: string, mac: string, ips: string[]): ReturnType<Host['define']> =>
      host.define(domainXml({ name, nics: [nic(mac, 'same0')], metadata: metadata({ mac, ips }) }));
    await define('one', '52:54:00:00:00:31', [hasIpv4 ? '192.0.2.31' : '2001:db8:0:10::31']);
    await define('two', '52:54:00:00:00:32', only(['192.0.2.32', '2001:db8:0:10::32']));
    await host.ok('virsh', ['start', 'one']);
    await spoil(`[ "$1 $2" = 'one stopped' ] && sleep 5\nexit 0`);
    const stopping = host.ok('virsh', ['destroy', 'one']);
    await waitFor(async () => (await host.run('ip', ['link', 'show', 'dev', 'same0'])).code !== 0, {
      what: "the first guest's tap to go",
    });
    await host.ok('virsh', ['start', 'two']);
    const wired = await routes();
    expect(wired).toEqual(only(['192.0.2.32 dev same0 scope link', '2001:db8:0:10::32 dev same0 metric 1024 pref medium']));
    await stopping;
    await spoil(undefined);
    expect(await routes()).toEqual(wired);
    expect(await host.ok('ls', ['/run/guestwire'])).toMatch(/^[0-9a-f-]{36}\.json\n$/);
    await host.ok('virsh', ['destroy', 'two']);
    await expectGone();
    await undefine('one', 'two');
  }, 90_000);

  libvirtTest('that claim one address: the second is refused and the first named', async () => {
    await host.define(domainXml(WEB1));
    await host.define(domainXml({
      name: 'thief',
      nics: [nic('52:54:00:00:00:66')],
      metadata: metadata({ mac: '52:54:00:00:00:66', ips: ['2001:db8:0:20::5'] }),
    }));
    await host.ok('virsh', ['start', 'web1']);
    const { stderr } = await host.virsh('start', 'thief');
    expect(stderr).toContain(`guestwire: guest 'thief' NIC 0 (52:54:00:00:00:66): '2001:db8:0:20::5' is held by guest 'web1' NIC 0 (${MAC}) as '2001:db8:0:20::/64': give one of the two another address`);
    await expectWired();
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
    await undefine('web1', 'thief');
  }, 60_000);
});

describe('uninstall', () => {
  libvirtTest('refuses while a guest is wired, unwires it when told, and leaves no trace', async () => {
    await host.define(domainXml(WEB1));
    await host.ok('virsh', ['start', 'web1']);
    const refused = await host.run('node', [resolve('dist/cli.js'), 'uninstall']);
    expect(refused).toEqual({ code: 1, stdout: '', stderr: "guestwire: nothing was removed, because guests are wired: guest 'web1': stop them, or choose --unwire or --keep-wiring\n" });
    await expectWired();
    await host.ok('node', [resolve('dist/cli.js'), 'uninstall', '--unwire']);
    expect(await routes()).toEqual([]);
    expect(await host.ok('sh', ['-c', 'ls -d /usr/lib/guestwire /etc/libvirt/hooks/qemu.d /run/guestwire* 2>/dev/null || true'])).toBe('');
    await host.ok('virsh', ['destroy', 'web1']);
    await host.ok('node', [resolve('dist/cli.js'), 'install', '--yes']);
    await host.ok('virsh', ['start', 'web1']);
    await expectWired();
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
    await undefine('web1');
  }, 60_000);
});

describe('a guest with an operating system', () => {
  libvirtTest('reaches the outside and is reached, is wired through a reboot, and is gone after its own shutdown', async () => {
    const cmdline = [
      `gw.ip=eth0,${only(['2001:db8:0:10::a/128', '192.0.2.10/32']).join(',')}`, 'gw.route=eth0,default,fe80::1', ...(hasIpv4 ? ['gw.route=eth0,default,169.254.0.1'] : []),
      `gw.ping=${outside.addresses.join(',')}`,
    ].join(' ');
    // The metadata by virsh, as the README has it.
    await host.define(domainXml({ ...WEB1, metadata: '', guest: { image, cmdline } }));
    const inner = `<guestwire><interface mac='${MAC}'><routed><ip address='2001:db8:0:10::a'/>${hasIpv4 ? "<ip address='192.0.2.10'/>" : ''}<route address='2001:db8:0:20::' prefix='64'/></routed></interface></guestwire>`;
    await host.ok('virsh', ['metadata', 'web1', 'urn:guestwire:1', '--config', '--key', 'gw', '--set', inner]);
    await host.ok('virsh', ['start', 'web1']);
    const text = await waitFor(async () => {
      const console = await host.console('web1');
      return console.includes('guest: done') ? console : undefined;
    }, { what: 'the guest to have pinged', timeout: 60_000 });
    for (const address of outside.addresses) expect(text).toContain(`guest: ping ${address} ok`);
    for (const address of only(['2001:db8:0:10::a', '192.0.2.10']))
      expect((await outside.run('ping', ['-c', '1', '-W', '5', address])).code).toBe(0);
    await expectWired();
    // libvirt lets the guest shut down and then resets it: QEMU, and so the tap, stays.
    await host.ok('virsh', ['reboot', 'web1', '--mode', 'acpi']);
    await waitFor(async () => (await host.console('web1')).split('guest: done').length === 3, {
      what: 'the guest to be back', timeout: 60_000,
    });
    await expectWired();
    expect((await outside.run('ping', ['-c', '1', '-W', '5', ADDRESS])).code).toBe(0);
    await host.ok('virsh', ['shutdown', 'web1']);
    await waitFor(async () => (await host.ok('virsh', ['domstate', 'web1'])).includes('shut off'), {
      what: 'the guest to shut down', timeout: 30_000,
    });
    await expectGone();
    await undefine('web1');
  }, 180_000);
});
