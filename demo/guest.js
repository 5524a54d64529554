// The demo with real parts: a private libvirtd in its own namespaces, guestwire installed as its hook, and a guest that
// boots a kernel. Only the outside world is a namespace.
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { formatMetadata } from '../dist/index.js';
import { domainXml } from '../test/lab/domain.js';
import { addOutside, guestImage, startHost, waitFor } from '../test/lab/host.js';

const MAC = '52:54:00:aa:bb:02';
const ADDRESSES = ['2001:db8:0:10::a', '192.0.2.10'];
const began = performance.now();

/** @param {string} text */
const say = (text) => {
  console.log(`\n${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s  ${text}`);
};
/** @param {string} command @param {string} output */
const show = (command, output) => {
  console.log([`         $ ${command}`, ...output.trimEnd().split('\n').map((line) => `           ${line}`)].join('\n'));
};

say('Starting a private libvirtd in its own namespaces. This does not touch your network or your libvirt.');
const image = await guestImage();
const host = await startHost({ name: 'demo', sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 } });
try {
  const outside = await addOutside(host);
  /** @param {string} command */
  const run = async (command) => {
    const { code, stdout, stderr } = await host.run('sh', ['-c', command]);
    show(command, stdout + stderr || '(nothing)');
    if (code !== 0) throw new Error(`'${command}' ended with ${String(code)}`);
    return stdout;
  };
  const listRoutes = () => run('ip -6 route show proto 117; ip route show proto 117');

  say('Installing guestwire as its hook, as on your own host.');
  show('guestwire install --yes', await host.ok(process.execPath, [resolve('dist/cli.js'), 'install', '--yes']));

  say(`Defining a guest that asks for a routed link with ${ADDRESSES.join(' and ')} in its metadata.`);
  const metadata = formatMetadata([{
    mac: MAC, vlan: undefined, isolated: undefined,
    routed: { ips: ADDRESSES.map((address) => ({ address, prefix: undefined })), routes: [] },
  }]);
  console.log(metadata.trimEnd().replace(/^/gm, '           '));
  const cmdline = [
    `gw.ip=eth0,${ADDRESSES.map((address) => address + (address.includes(':') ? '/128' : '/32')).join(',')}`,
    'gw.route=eth0,default,fe80::1 gw.route=eth0,default,169.254.0.1', `gw.ping=${outside.addresses.join(',')}`,
  ].join(' ');
  await host.define(domainXml({ name: 'web1', metadata, guest: { image, cmdline }, nics: [`<interface type='ethernet'><mac address='${MAC}'/></interface>`] }));

  say("Before the start, the host's routing table has no route of guestwire's (protocol 117).");
  await listRoutes();

  say('virsh start: libvirt calls the hook. The hook wires the tap before the guest runs its first instruction.');
  await run('virsh start web1');
  await listRoutes();
  await run('ip -br address show dev vnet0');

  say('The guest boots a Linux kernel and pings the outside through the host.');
  const text = await waitFor(async () => {
    const said = await host.console('web1');
    return said.includes('guest: done') ? said : '';
  }, { what: 'the guest to have booted and pinged', timeout: 45_000 });
  show('guest console', text.split('\n').filter((line) => line.startsWith('guest:')).join('\n'));
  for (const address of outside.addresses) if (!text.includes(`ping ${address} ok`)) throw new Error(`the guest did not reach ${address}`);

  say('The outside pings the guest.');
  for (const address of ADDRESSES) await run(`ip netns exec ${outside.name} ping -c 1 -W 5 ${address} | grep 'bytes from'`);

  say('virsh destroy: guestwire removes everything. Routing table and state directory are empty again.');
  await run('virsh destroy web1');
  if ((await listRoutes()) !== '') throw new Error('routes are left');
  if ((await run('ls -A /run/guestwire')) !== '') throw new Error('state is left');

  say('This is what guestwire wrote to the system journal (journalctl -t guestwire).');
  show('journalctl -t guestwire', (await host.syslog()).flatMap((line) => line.split(' guestwire: ')[1] ?? []).join('\n'));
} finally {
  await host.stop();
}
say('Done. The private libvirtd and everything in its namespaces are gone.');
