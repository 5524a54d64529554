/**
 * A private libvirtd host that serves its guests, with a namespace behind its uplink. systemd is the one thing not
 * real: fixtures/tools/systemctl runs the installed units' ExecStart.
 */
import { resolve } from 'node:path';
import { expect } from '@jest/globals';
import { addOutside, type Host, startHost, waitFor } from '../lab/host.js';

export const MAC = '52:54:00:00:00:10';

export interface Place {
  readonly host: Host;
  readonly outside: Awaited<ReturnType<typeof addOutside>>;
  readonly before: string;
}

export interface PlaceOptions {
  /** Those that the host's uplink has. */
  readonly families?: readonly string[];
  readonly uplink?: string;
  /** More lines of `[routed]`. */
  readonly routed?: string;
}

/** Returns the place with guestwire installed and no guest yet. */
export async function openPlace(
  name: string, { families = ['inet', 'inet6'], uplink = 'up0', routed = '' }: PlaceOptions = {},
): Promise<Place> {
  const v4 = families.includes('inet');
  const host = await startHost({
    name, sysctls: { 'net.ipv6.conf.all.forwarding': 1, ...(v4 ? { 'net.ipv4.ip_forward': 1 } : {}) },
  });
  if (!v4) await host.ok('ip', ['-4', 'address', 'flush', 'dev', 'lo']);
  const outside = await addOutside(
    host, { uplink, ...(v4 ? {} : { hostAddresses: ['2001:db8:ffff::2/64'], addresses: ['2001:db8:ffff::1/64'] }) },
  );
  await host.ok('sh', ['-ec', 'mkdir -p /etc/guestwire /run/systemd/system /etc/systemd/system /usr/local/sbin; cat >/etc/guestwire/config.toml; cp "$0" /usr/local/sbin/systemctl', resolve('fixtures/tools/systemctl')], { input: configOf(routed) });
  const installed = await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  expect(installed).toContain("wrote '/etc/systemd/system/guestwire-dhcp@.service'\nwrote '/etc/systemd/system/guestwire-ra@.service'\n");
  await host.restartLibvirtd();
  await waitFor(async () => (await host.ok('ip', ['-6', 'address', 'show', 'tentative'])) === '', {
    what: "the uplink's addresses",
  });
  return { host, outside, before: await worldOf(host) };
}

function configOf(routed: string): string {
  return `
[routed]
prefixes = ["2001:db8:0:10::/60", "192.0.2.0/26"]
${routed}
[serve]
dns = ["2001:db8:ffff::1", "198.51.100.1"]
search = ["example.org"]
`;
}

async function worldOf(host: Host): Promise<string> {
  return host.ok('sh', ['-c', `
    ip -o address | sed 's/\\\\\\\\.*//; s/ tentative//'
    ip route show table all | grep -v '^multicast ff00' | sed 's/ expires [0-9]*sec//'
    ip neigh show proxy; nft list ruleset
    find /run/guestwire /run/guestwire.serve /run/units -type f 2>/dev/null
    pgrep -a 'dnsmasq|radvd' || true`]);
}

/** Ends the guest, and waits until the host is what it was before the first one. */
export async function expectGone({ host, before }: Place, name: string): Promise<void> {
  await host.ok('virsh', ['destroy', name]);
  await host.ok('virsh', ['undefine', name]);
  await waitFor(async () => (await worldOf(host)) === before, { what: 'the host to be as before', timeout: 15_000 })
    .catch(() => undefined);
  expect(await worldOf(host)).toBe(before);
}
