// A real guest of libvirt's lxc driver on a veth pair that guestwire makes: libvirt calls the launcher as hooks/lxc.
import assert from 'node:assert/strict';
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { note, ok, run, sh, waitFor } from '../uml/lab.js';
import { test } from '../uml/testing.js';
import { worldState } from './spaces.js';

const HOOK = '/etc/libvirt/hooks/lxc';
const IPS = ['192.0.2.20', '2001:db8:0:10::20'];
const SETUP = `ip link set eth0 up; ${IPS.map((address) => `ip address add ${address} dev eth0`).join('; ')};
  ip route add default via 169.254.0.1 dev eth0 onlink; ip route add default via fe80::1 dev eth0; exec sleep 1000`;
const XML = `<domain type='lxc'><name>box</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c20</uuid>
  <metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='52:54:00:aa:bb:20'><gw:routed><gw:veth dev='box'/>${
  IPS.map((address) => `<gw:ip address='${address}'/>`).join('')}</gw:routed></gw:interface></gw:guestwire></metadata>
  <memory unit='MiB'>64</memory><os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${SETUP}</initarg></os>
  <devices><emulator>/usr/lib/libvirt/libvirt_lxc</emulator><filesystem type='mount'><source dir='/'/><target dir='/'/></filesystem>
    <interface type='direct'><mac address='52:54:00:aa:bb:20'/><source dev='boxg' mode='passthrough'/></interface><console type='pty'/></devices></domain>`;

/** Without keep-alive: libvirt's lxc driver answers nobody while it runs the hooks of a guest's end, which takes long here. @param {...string} args */
const lxc = (...args) => ok('virsh', ['-q', '-k0', '-c', 'lxc:///', ...args], { timeout: 120_000 });

async function restartDaemon() {
  await ok('systemctl', ['restart', 'libvirtd.service']);
  await lxc('list');
}

test('a guest of lxc is wired from its start to its end, and over a restart of libvirtd', async () => {
  await sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0');
  symlinkSync(`${process.cwd()}/hooks/qemu`, HOOK);
  writeFileSync('/run/box.xml', XML);
  try {
    await restartDaemon();
    // The first guest makes it, and it stays.
    await sh('mkdir -p -m 700 /run/guestwire');
    const before = await worldState();
    await lxc('define', '/run/box.xml');
    await lxc('start', 'box');
    const reached = async () => {
      for (const address of IPS) await waitFor(async () => (await run('ping', ['-c', '1', '-W', '1', address])).code === 0, { what: `an answer from ${address}`, timeout: 15_000 });
    };
    await reached();
    note(await worldState());
    assert.match(await sh('ip route show proto 117; ip -6 route show proto 117; ip -d link show box'), /192\.0\.2\.20 dev box [^]*2001:db8:0:10::20 dev box [^]*alias guestwire:4dea22b3/);
    await restartDaemon();
    await waitFor(async () => (await lxc('domstate', 'box')).trim() === 'running', { what: 'libvirtd to know its guest' });
    await reached();
    await lxc('destroy', 'box');
    await waitFor(async () => (await worldState()) === before, { what: 'nothing to be left', timeout: 15_000 }).catch(() => undefined);
    assert.equal(await worldState(), before);
  } finally {
    await run('virsh', ['-q', '-c', 'lxc:///', 'destroy', 'box']);
    await run('virsh', ['-q', '-c', 'lxc:///', 'undefine', 'box']);
    rmSync(HOOK, { force: true });
  }
}, { timeout: 300_000 });
