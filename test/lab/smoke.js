// Proves the lab: a private host, a hook of ten lines that routes a guest's tap, a real guest, and pings of both
// families both ways. Prints what each step took. `node test/lab/smoke.js`, as root.
import assert from 'node:assert/strict';
import console from 'node:console';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { domainXml } from './domain.js';
import { addOutside, guestImage, startHost, waitFor } from './host.js';

const hook = `#!/bin/sh
[ "$2 $3" = 'start begin' ] || exit 0
tap=$(sed -n "s/.*<target dev='\\([^']*\\)'.*/\\1/p")
echo 0 >/proc/sys/net/ipv6/conf/$tap/accept_ra
ip link set "$tap" up
ip address add fe80::1/64 dev "$tap" nodad
ip address add 169.254.0.1/32 dev "$tap"
ip route add 2001:db8:0:10::a/128 dev "$tap"
ip route add 192.0.2.10/32 dev "$tap"
logger -t smoke "$1 is wired to $tap"
`;
const forwarding = { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 };
const guest = ['2001:db8:0:10::a', '192.0.2.10'];
const nic = "<interface type='ethernet'><mac address='52:54:00:00:00:10'/></interface>";

let before = performance.now();
/** @param {string} what */
function took(what) {
  const now = performance.now();
  console.log(`${((now - before) / 1000).toFixed(2)} s  ${what}`);
  before = now;
}

const image = await guestImage();
took('guest image');
const scratch = await mkdtemp('/tmp/guestwire-smoke-');
await writeFile(join(scratch, 'qemu'), hook);
const host = await startHost({ name: 'smoke', hooks: { qemu: join(scratch, 'qemu') }, sysctls: forwarding });
try {
  took('host');
  const outside = await addOutside(host);
  took('outside');

  const cmdline = [
    `gw.ip=eth0,${guest.map((address) => address + (address.includes(':') ? '/128' : '/32')).join(',')}`,
    'gw.route=eth0,default,fe80::1 gw.route=eth0,default,169.254.0.1',
    `gw.ping=${outside.addresses.join(',')}`,
  ];
  await host.define(domainXml({ name: 'web1', nics: [nic], guest: { image, cmdline: cmdline.join(' ') } }));
  await host.ok('virsh', ['start', 'web1']);
  took('virsh start');
  await waitFor(async () => (await host.console('web1')).includes('guest: up'), { what: 'the guest to boot' });
  took('guest up');
  const console1 = await waitFor(async () => {
    const text = await host.console('web1');
    return text.includes('guest: done') && text;
  }, { what: 'the guest to have pinged' });
  for (const address of outside.addresses) assert.match(console1, new RegExp(`guest: ping ${address} ok`));
  took('guest has pinged the outside');

  for (const address of guest)
    assert.equal((await outside.run('ping', ['-c', '1', '-W', '2', address])).code, 0, address);
  took('the outside has pinged the guest');
  await waitFor(async () => (await host.syslog()).some((line) => line.endsWith('smoke: web1 is wired to vnet0')), {
    what: "the hook's line in syslog",
  });

  await host.ok('virsh', ['shutdown', 'web1']);
  await waitFor(
    async () => (await host.ok('virsh', ['domstate', 'web1'])).startsWith('shut off'), { what: 'shutdown' },
  );
  took('shutdown by the power button');
  await host.ok('virsh', ['start', 'web1']);
  await host.ok('virsh', ['destroy', 'web1']);
  took('start and destroy');
  assert.doesNotMatch(await host.ok('ip', ['-br', 'link']), /vnet/);
} finally {
  await host.stop();
  await rm(scratch, { recursive: true });
}
took('stop');
assert.ok(!(await readFile('/proc/self/mounts', 'utf8')).includes(host.dir));
await assert.rejects(access(host.dir));
await assert.rejects(access(`/proc/${host.pid}`));
