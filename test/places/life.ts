/**
 * A private libvirtd host for the life of guests, with a neighbour behind its uplink, and the guest that most of its
 * tests start.
 */
import { resolve } from 'node:path';
import { expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { addOutside, type Host, startHost, waitFor } from '../lab/host.js';

/** 'inet6': on a host without any IPv4 address, as libvirt-ipv6.test.ts asks for. */
export const hasIpv4 = process.env['GUESTWIRE_TEST_FAMILIES'] !== 'inet6';
export const only = (texts: readonly string[]): string[] => texts.filter((text) => hasIpv4 || text.includes(':'));
/** An address of the guest, and the host's neighbour of that family. */
export const [ADDRESS, NEIGHBOUR] = hasIpv4 ? ['192.0.2.10', '198.51.100.1'] : ['2001:db8:0:10::a', '2001:db8:ffff::1'];
export const PREFIX = `${ADDRESS}/${hasIpv4 ? 32 : 128}`;

export const MAC = '52:54:00:00:00:10';
export const WEB1 = {
  name: 'web1',
  nics: [nic(MAC)],
  metadata: metadata({ mac: MAC, ips: only(['2001:db8:0:10::a', '192.0.2.10']), routes: ['2001:db8:0:20::/64'] }),
};
export const WIRED = only([
  '192.0.2.10 dev vnet scope link', '2001:db8:0:10::a dev vnet metric 1024 pref medium',
  '2001:db8:0:20::/64 via 2001:db8:0:10::a dev vnet metric 1024 pref medium',
]);

/** Starts the host with guestwire installed, and waits until nothing of its own is still to come. */
export async function startLife(): Promise<{ host: Host; outside: Awaited<ReturnType<typeof addOutside>> }> {
  const host = await startHost({
    name: 'life', sysctls: { 'net.ipv4.ip_forward': hasIpv4 ? 1 : 0, 'net.ipv6.conf.all.forwarding': 1 },
  });
  const outside = await addOutside(host, {
    hostAddresses: only(['2001:db8:ffff::2/64', '198.51.100.2/24']),
    addresses: only(['2001:db8:ffff::1/64', '198.51.100.1/24']),
  });
  if (!hasIpv4) await host.ok('ip', ['-4', 'address', 'flush', 'dev', 'lo']);
  // A hook that was there before guestwire, which the tests use to slow things down and to spoil them.
  await host.ok('sh', ['-c', `cat > /etc/libvirt/hooks/qemu && chmod 755 /etc/libvirt/hooks/qemu`], { input: '#!/bin/sh\n[ ! -x /run/spoil ] || exec /run/spoil "$@"\n' });
  const installed = await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  expect(installed).toContain("wrote '/etc/libvirt/hooks/qemu.d/guestwire'");
  await host.restartLibvirtd();
  // Until duplicate address detection has ended, the uplink's own routes are still to come.
  await waitFor(async () => (await host.ok('ip', ['-6', 'address', 'show', 'tentative'])) === '', {
    what: "the uplink's addresses",
  });
  return { host, outside };
}

/** Links' addresses, routes of both families and guestwire's state, without ages and counters. */
export async function worldOf(host: Host): Promise<string> {
  return host.ok('sh', ['-c', `
    ip -o address | sed 's/\\\\\\\\.*//; s/ tentative//'
    ip route show table all | grep -v '^multicast ff00' | sed 's/ expires [0-9]*sec//'
    ls -A /run/guestwire 2>/dev/null || true`]);
}
