// @tier libvirt
/**
 * A real guest under a real libvirtd that configures itself with addresses of others: nothing of it leaves the host.
 */
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { addOutside, guestImage, type Host, startHost, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';

const NEEDED = ['root', 'netns', 'libvirt', 'nft'] as const;
const able = canRun(...NEEDED);
const libvirtTest = testWith(...NEEDED);
const MAC = '52:54:00:00:00:10';

let host: Host;
let image: string;
let outside: Awaited<ReturnType<typeof addOutside>>;

beforeAll(async () => {
  if (!able) return;
  image = await guestImage();
  host = await startHost({
    name: 'spoof',
    sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1, 'net.ipv4.conf.all.rp_filter': 0 },
  });
  outside = await addOutside(host);
  await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  await host.restartLibvirtd();
}, 180_000);

afterAll(async () => { if (able) await host.stop(); });

libvirtTest('a guest with forged addresses reaches nobody, until the filter is taken away', async () => {
  const seen = async (): Promise<number[]> => {
    const { stdout } = await outside.run('nft', ['list', 'chain', 'inet', 'probe', 'seen']);
    return [...stdout.matchAll(/packets (\d+)/g)].map(([, packets]) => Number(packets));
  };
  for (const line of ['table inet probe', 'chain inet probe seen { type filter hook prerouting priority 0; }', 'rule inet probe seen ip6 saddr 2001:db8:bad::1 counter', 'rule inet probe seen ip saddr 198.18.0.66 counter']) {
    expect((await outside.run('nft', ['add', ...line.split(' ')])).stderr).toBe('');
  }
  const cmdline = [
    'gw.ip=eth0,2001:db8:bad::1/128,198.18.0.66/32', 'gw.route=eth0,default,fe80::1', 'gw.route=eth0,default,169.254.0.1',
    `gw.ping=${[...outside.addresses, ...outside.addresses, ...outside.addresses].join(',')}`, 'gw.tries=8',
  ].join(' ');
  await host.define(domainXml({
    name: 'bad', nics: [nic(MAC)], metadata: metadata({ mac: MAC, ips: ['2001:db8:0:10::a', '192.0.2.10'] }),
    guest: { image, cmdline },
  }));
  await host.ok('virsh', ['start', 'bad']);
  await waitFor(
    async () => (await host.console('bad')).includes(`guest: ping ${outside.addresses[1] ?? ''} failed`) || undefined,
    { what: 'the guest to have pinged in vain', timeout: 120_000 },
  );
  const ingress = `netdev guestwire nic_${(await host.ok('sh', ['-c', 'cat /sys/class/net/vnet*/ifindex'])).trim()}`;
  const filter = await host.ok('nft', ['list', 'table', 'netdev', 'guestwire']);
  // It never gets to send IPv4: nobody answers its ARP.
  for (const rule of [/ip6 saddr != .* counter packets [1-9]\d* .* drop comment "source address"/, /arp saddr ip != .* counter packets [1-9]\d* .* drop comment "ARP sender address"/]) expect(filter).toMatch(rule);
  expect(await seen()).toEqual([0, 0]);
  // rp_filter of the link would still stop IPv4: all of it is taken away, to see that the frames were there.
  await host.ok('sh', ['-c', `nft flush chain ${ingress}; nft flush chain inet guestwire from_guests; for tap in /proc/sys/net/ipv4/conf/vnet*; do echo 0 >$tap/rp_filter; done`]);
  await waitFor(async () => (await seen()).every((packets) => packets > 0) || undefined, {
    what: 'the forged packets outside', timeout: 120_000,
  });
  await host.ok('virsh', ['destroy', 'bad']);
  await waitFor(async () => !(await host.ok('nft', ['list', 'tables'])).includes('guestwire') || undefined, {
    what: 'the filter to be gone', timeout: 15_000,
  });
}, 300_000);
