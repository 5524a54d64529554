/**
 * A LAN in throw-away namespaces: a host with an uplink `eno1`, a neighbour on its other side, and a guest behind the
 * host's `vnet1`. The guest's tap is one end of a veth pair, because nobody runs QEMU here; the hook makes no
 * difference.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Netns, openNetns } from './netns.js';

export interface Lan {
  readonly host: Netns;
  readonly neighbour: Netns;
  readonly guest: Netns;
  /** Runs the hook on the host for guest web1. */
  hook(
    operation: string, xml: string, env?: Record<string, string>,
  ): { status: number | null; stdout: string; stderr: string };
  /** Writes a file of the host's own /run. */
  write(path: string, text: string): void;
  close(): void;
}

export const GUEST = { inet: '192.0.2.10', inet6: '2001:db8::a' };
const MAC = '52:54:00:aa:bb:02';
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';

/** Duplicate address detection would only make the tests wait. */
const NO_DAD = 'for each in all default; do echo 0 >/proc/sys/net/ipv6/conf/$each/accept_dad; done';

/**
 * Returns the LAN with nothing wired yet; `uplink` makes the host's eno1 out of its end `wire0`, by default by
 * renaming.
 */
export async function openLan(uplink = 'ip link set wire0 name eno1'): Promise<Lan> {
  const [host, neighbour, guest] = await Promise.all([openNetns(), openNetns(), openNetns()]);
  for (const each of [host, neighbour, guest]) each.sh(NO_DAD);
  host.sh(`
    mount -t tmpfs -o mode=755 tmpfs /run
    echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    ip link add wire0 type veth peer name eth0 netns ${neighbour.target}
    ip link add vnet1 type veth peer name eth0 netns ${guest.target}
    ${uplink}
    ip link set eno1 up; ip link set vnet1 up
    ip address add 192.0.2.1/24 dev eno1; ip address add 2001:db8::1/64 dev eno1`);
  neighbour.sh('ip link set eth0 up; ip address add 192.0.2.50/24 dev eth0; ip address add 2001:db8::50/64 dev eth0');
  guest.sh(`ip link set eth0 address ${MAC} up; ip address add ${GUEST.inet}/32 dev eth0; ip address add ${GUEST.inet6}/128 dev eth0
    ip route add default via 169.254.0.1 dev eth0 onlink; ip route add default via fe80::1 dev eth0`);
  const outside = (path: string): string => `/proc/${host.target}/root${path}`;
  const write: Lan['write'] = (path, text) => {
    mkdirSync(dirname(outside(path)), { recursive: true });
    rmSync(outside(path), { force: true });
    writeFileSync(outside(path), text, { mode: 0o600 });
  };
  write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\n');
  return {
    host, neighbour, guest, write,
    hook: (operation, xml, env = {}) => host.run(resolve('hooks/qemu'), ['web1', operation, 'begin', '-'], {
      input: xml,
      env: { GUESTWIRE_CONFIG: '/run/config.toml', GUESTWIRE_ADDRESSES_DIR: '/run/addresses', ...env },
    }),
    close: () => { for (const each of [host, neighbour, guest]) each.close(); },
  };
}

/** Returns the XML of guest web1 with these addresses on vnet1. */
export function guestXml(
  addresses: readonly string[] = Object.values(GUEST), { dev = 'vnet1', name = 'web1', uuid = UUID } = {},
): string {
  const ips = addresses.map((address) => `<gw:ip address='${address}'/>`).join('');
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${MAC}'><gw:routed>${ips}</gw:routed></gw:interface></gw:guestwire></metadata>`
    + `<devices><interface type='ethernet'><mac address='${MAC}'/><target dev='${dev}'/></interface></devices></domain>`;
}
