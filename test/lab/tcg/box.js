// A real guest of libvirt's lxc driver, on a veth pair that guestwire makes: libvirt calls the launcher as hooks/lxc.
import { symlinkSync, writeFileSync } from 'node:fs';
import { ok, run, sh, waitFor } from '../uml/lab.js';

const HOOK = '/etc/libvirt/hooks/lxc';
export const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c20';
export const MAC = '52:54:00:aa:bb:20';
export const IPS = ['192.0.2.20', '2001:db8:0:10::20'];
const SETUP = `ip link set eth0 up; ${IPS.map((address) => `ip address add ${address} dev eth0`).join('; ')};
  ip route add default via 169.254.0.1 dev eth0 onlink; ip route add default via fe80::1 dev eth0; exec sleep 1000`;
const XML = `<domain type='lxc'><name>box</name><uuid>${UUID}</uuid>
  <metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${MAC}'><gw:routed><gw:veth dev='box'/>${
  IPS.map((address) => `<gw:ip address='${address}'/>`).join('')}</gw:routed></gw:interface></gw:guestwire></metadata>
  <memory unit='MiB'>64</memory><os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${SETUP}</initarg></os>
  <devices><emulator>/usr/lib/libvirt/libvirt_lxc</emulator><filesystem type='mount'><source dir='/'/><target dir='/'/></filesystem>
    <interface type='direct'><mac address='${MAC}'/><source dev='boxg' mode='passthrough'/></interface><console type='pty'/></devices></domain>`;

/**
 * Without keep-alive: libvirt's lxc driver answers nobody while it runs the hooks of a guest's end, which takes long
 * here.
 * @param {...string} args
 */
export const lxc = (...args) => ok('virsh', ['-q', '-k0', '-c', 'lxc:///', ...args], { timeout: 120_000 });

export async function restartDaemon() {
  await ok('systemctl', ['restart', 'libvirtd.service']);
  await lxc('list');
}

/** Defines the guest, with `launcher` as the hook of libvirt's driver. @param {string} launcher */
export async function addBox(launcher) {
  await sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0');
  symlinkSync(launcher, HOOK);
  writeFileSync('/run/box.xml', XML);
  await restartDaemon();
  await lxc('define', '/run/box.xml');
}

export async function removeBox() {
  await run('virsh', ['-q', '-c', 'lxc:///', 'destroy', 'box']);
  await run('virsh', ['-q', '-c', 'lxc:///', 'undefine', 'box']);
  await sh(`rm -f ${HOOK}`);
}

/** Waits until the guest answers. @param {string[]} [addresses] */
export async function reached(addresses = IPS) {
  for (const address of addresses) await waitFor(
    async () => (await run('ping', ['-c', '1', '-W', '1', address])).code === 0,
    { what: `an answer from ${address}`, timeout: 15_000 },
  );
}
