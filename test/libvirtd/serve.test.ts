// @tier libvirt long
/**
 * Guests that configure themselves, under a real libvirtd: real systems with nothing but DHCP clients and the kernel's
 * own handling of router advertisements are reachable from behind the uplink soon after their link came up, and after
 * the last stop nothing is left.
 */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { guestImage, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';
import { expectGone, MAC, openPlace, type Place } from '../places/serve-place.js';
import { figure } from '../tiers/bound.js';

const serveTest = testWith('root', 'netns', 'libvirt', 'serve');
const able = canRun('root', 'netns', 'libvirt', 'serve');

const PLACE = { what: 'the guest to have pinged', timeout: 90_000 };

/** As udhcpc6 spells it. */
const DHCP6 = 'guest: dhcp 2001:0db8:0000:0010:0000:0000:0000:000a/128 dns 2001:0db8:ffff:0000:0000:0000:0000:0001 search example.org';

interface Guest {
  readonly name: string;
  readonly ips: readonly string[];
  readonly routes?: readonly string[];
  /** More words for guest-init. */
  readonly words?: string;
}

/** Boots the guest, prints how long it took, and returns what its console says. */
async function boot({ host, outside }: Place, { name, ips, routes = [], words = '' }: Guest): Promise<string> {
  const image = await guestImage();
  const targets = outside.addresses.filter((address) => ips.some((ip) => ip.includes(':') === address.includes(':')));
  const cmdline = `gw.auto=eth0 ${words} gw.ping=${targets.join(',')}`;
  await host.define(
    domainXml({ name, nics: [nic(MAC)], metadata: metadata({ mac: MAC, ips, routes }), guest: { image, cmdline } }),
  );
  await host.ok('virsh', ['start', name]);
  const text = await waitFor(async () => {
    const console = await host.console(name);
    return console.includes('guest: done') && console;
  }, PLACE).catch(async (error: unknown) => {
    throw new Error(`${await host.console(name)}\n${await host.ok('cat', ['/run/units.log', '/run/systemctl.log'])}\n${(await host.syslog()).filter((line) => line.includes('guestwire')).join('\n')}`, { cause: error });
  });
  for (const target of targets) expect(text).toContain(`guest: ping ${target} ok`);
  figure(`${name}: ${(text.match(/ping .* after link up/g) ?? []).join(', ')}`);
  return text;
}

async function expectReachable({ outside }: Place, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    await waitFor(async () => (await outside.run('ping', ['-c', '1', '-W', '1', address])).code === 0, {
      what: `an answer from ${address}`,
    });
  }
}

for (const [title, families] of [
  ['a host with both families', ['inet', 'inet6']],
  ['a host without any IPv4 address', ['inet6']],
] as const) {
  describe(title, () => {
    let place: Place;
    beforeAll(async () => { if (able) place = await openPlace(`serve${families.length}`, { families }); }, 180_000);
    afterAll(async () => { if (able) await place.host.stop(); });

    serveTest('makes an IPv6-only guest reachable', async () => {
      const console = await boot(place, { name: 'six', ips: ['2001:db8:0:10::a'] });
      expect(console).toContain(DHCP6);
      await expectReachable(place, ['2001:db8:0:10::a']);
      if (families.length === 1) expect(await place.host.ok('ip', ['-4', 'address'])).toBe('');
      await expectGone(place, 'six');
    }, 180_000);

    serveTest('makes an IPv6-only guest that leaves out duplicate address detection reachable sooner', async () => {
      await boot(place, { name: 'quick', ips: ['2001:db8:0:10::a'], words: 'gw.dad=0' });
      await expectGone(place, 'quick');
    }, 180_000);

    serveTest('makes a guest with a /64 of its own reachable in it', async () => {
      await boot(place, {
        name: 'net', ips: ['2001:db8:0:10::a', '2001:db8:0:10::b'], routes: ['2001:db8:0:1a::/64'],
        words: 'gw.dhcp6=dhclient',
      });
      await expectReachable(place, ['2001:db8:0:10::a', '2001:db8:0:10::b', '2001:db8:0:1a:5054:ff:fe00:10']);
      const tap = (await place.host.ok('virsh', ['-q', 'domiflist', 'net'])).trim().split(/\s+/)[0] ?? '';
      expect(
        (await place.host.ok('ip', ['-6', 'route', 'show', 'proto', '117'])).replaceAll(tap, 'TAP').trim().split('\n')
          .map((line) => line.trim()),
      ).toEqual([
        '2001:db8:0:10::a dev TAP metric 1024 pref medium', '2001:db8:0:10::b dev TAP metric 1024 pref medium',
        '2001:db8:0:1a::/64 via 2001:db8:0:10::a dev TAP metric 1024 pref medium',
      ]);
      expect(await place.host.ok('ip', ['-br', '-6', 'address', 'show', 'dev', tap]))
        .toMatch(/fd6a:92c1:7e05::1\/128 fe80::1\/64/);
      await expectGone(place, 'net');
    }, 180_000);

    if (families.length === 1) return;
    serveTest('makes a dual-stack guest reachable, and goes on when libvirtd comes back', async () => {
      const console = await boot(place, { name: 'dual', ips: ['2001:db8:0:10::a', '192.0.2.10'] });
      expect(console).toContain('guest: dhcp 192.0.2.10/32 dns 198.51.100.1 search example.org');
      expect(console).toContain(DHCP6);
      await expectReachable(place, ['2001:db8:0:10::a', '192.0.2.10']);
      const running = await place.host.ok('pgrep', ['-a', 'dnsmasq|radvd']);
      await place.host.ok('sh', ['-c', ': >/run/systemctl.log']);
      await place.host.restartLibvirtd();
      await waitFor(async () => (await place.host.ok('cat', ['/run/systemctl.log'])) !== '', { what: 'reconnect' });
      expect(await place.host.ok('cat', ['/run/systemctl.log'])).toMatch(/^--no-block start guestwire-dhcp@vnet\d+\.service guestwire-ra@vnet\d+\.service\n$/);
      expect(await place.host.ok('pgrep', ['-a', 'dnsmasq|radvd'])).toBe(running);
      await expectGone(place, 'dual');
    }, 180_000);
  });
}
