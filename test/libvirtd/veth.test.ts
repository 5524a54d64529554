// @tier libvirt
/**
 * Links that guestwire makes, under a real libvirtd and with real guests: a veth pair that the guest joins through
 * macvtap passthrough, and a tap that libvirt is told not to make.
 */
import { resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { formatMetadata } from '../../lib/domain/metadata-writer.js';
import { domainXml } from '../lab/domain.js';
import { addOutside, guestImage, type Host, startHost, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';

const NEEDED = ['root', 'netns', 'libvirt'] as const;
const libvirtTest = testWith(...NEEDED);

const MAC = '52:54:00:00:00:10';
/** What the guest's kernel makes of its MAC. */
const LINK_LOCAL = 'fe80::5054:ff:fe00:10';
const DUAL = ['2001:db8:0:10::a', '192.0.2.10'];
const WHERE = `guest 'web1' NIC 0 (${MAC})`;

let host: Host;
let image: string;
let outside: Awaited<ReturnType<typeof addOutside>>;
let before: string;

beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  image = await guestImage();
  host = await startHost({ name: 'veth', sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 } });
  outside = await addOutside(host);
  await host.ok('sh', ['-c', 'cat > /etc/libvirt/hooks/qemu && chmod 755 /etc/libvirt/hooks/qemu'], { input: '#!/bin/sh\n[ ! -x /run/spoil ] || exec /run/spoil "$@"\n' });
  await host.ok('node', [resolve('dist/cli.js'), 'install', '--no-reload']);
  await host.restartLibvirtd();
  await waitFor(async () => (await host.ok('ip', ['-6', 'address', 'show', 'tentative'])) === '', {
    what: "the uplink's addresses",
  });
  before = await world();
});

afterAll(async () => { if (canRun(...NEEDED)) await host.stop(); });

afterEach(async () => {
  if (!canRun(...NEEDED)) return;
  await spoil(undefined);
  for (const command of ['destroy', 'undefine']) await host.virsh(command, 'web1');
});

/** Links, addresses, routes and guestwire's state, in no order. */
async function world(): Promise<string> {
  const text = await host.ok('sh', ['-c', `
    ip -br link
    ip -o address | sed 's/\\\\\\\\.*//; s/ tentative//'
    ip route show table all | grep -v '^multicast ff00' | sed 's/ expires [0-9]*sec//'
    ls -A /run/guestwire 2>/dev/null || true`]);
  return text.split('\n').sort().join('\n');
}

async function expectGone(): Promise<void> {
  await waitFor(async () => (await world()) === before, { what: 'the host to be as before', timeout: 15_000 })
    .catch(() => undefined);
  expect(await world()).toBe(before);
}

async function spoil(script: string | undefined): Promise<void> {
  if (script === undefined) await host.ok('rm', ['-f', '/run/spoil']);
  else await host.ok('sh', ['-c', 'cat > /run/spoil && chmod 755 /run/spoil'], { input: `#!/bin/sh\n${script}\n` });
}

interface Kind {
  readonly nic: string;
  readonly veth: { readonly dev: string; readonly mtu: string } | undefined;
}

const VETH: Kind = {
  nic: `<interface type='direct'><mac address='${MAC}'/><source dev='web1g' mode='passthrough'/></interface>`,
  veth: { dev: 'web1', mtu: '1400' },
};
const TAP: Kind = {
  nic: `<interface type='ethernet'><mac address='${MAC}'/><target dev='web1' managed='no'/><mtu size='1400'/></interface>`,
  veth: undefined,
};

function guest({ nic, veth }: Kind, { ips = DUAL, booted = false, name = 'web1' } = {}): string {
  const routed = { veth, ips: ips.map((address) => ({ address, prefix: undefined })), routes: [] };
  const hosts = ips.map((address) => `${address}/${address.includes(':') ? 128 : 32}`);
  const cmdline = [
    `gw.ip=eth0,${hosts.join(',')}`, ...ips.map((address) => `gw.route=eth0,default,${address.includes(':') ? 'fe80::1' : '169.254.0.1'}`),
    `gw.ping=${outside.addresses.filter((target) => ips.some((ip) => ip.includes(':') === target.includes(':'))).join(',')}`,
  ].join(' ');
  return domainXml({
    name, nics: [nic], metadata: formatMetadata([{ mac: MAC, vlan: undefined, isolated: undefined, routed }]),
    ...(booted ? { guest: { image, cmdline } } : {}),
  });
}

/** Both ways and from nothing known: neither end has a neighbour entry when the first packet leaves. */
async function expectReached(ips: readonly string[]): Promise<void> {
  for (const address of ips) {
    await host.ok('sh', ['-c', 'ip -4 neigh flush dev web1; ip -6 neigh flush dev web1']);
    expect({ address, ...await outside.run('ping', ['-c', '1', '-W', '5', address]) })
      .toMatchObject({ address, code: 0 });
  }
}

async function answersLinkLocal(): Promise<boolean> {
  await host.ok('ip', ['-6', 'neigh', 'flush', 'dev', 'web1']);
  return (await host.run('ping', ['-c', '1', '-W', '5', `${LINK_LOCAL}%web1`])).code === 0;
}

/** Returns whether anybody answers neighbour solicitations for the guest's link-local. */
async function isResolved(): Promise<boolean> {
  await answersLinkLocal();
  return (await host.ok('ip', ['-6', 'neigh', 'show', LINK_LOCAL, 'dev', 'web1'])).includes('lladdr');
}

async function whenBooted(ips: readonly string[]): Promise<void> {
  const text = await waitFor(async () => {
    const console = await host.console('web1');
    return console.includes('guest: done') ? console : undefined;
  }, { what: 'the guest to have pinged', timeout: 60_000 });
  for (const address of outside.addresses) {
    if (ips.some((ip) => ip.includes(':') === address.includes(':')))
      expect(text).toContain(`guest: ping ${address} ok`);
  }
}

describe.each([['a veth pair through macvtap passthrough', VETH], ['an unmanaged tap', TAP]])('%s', (_, kind) => {
  for (const ips of [DUAL, DUAL.slice(0, 1)]) {
    libvirtTest(`reaches and is reached with ${ips.join(' and ')}, also after suspend and resume, and is gone after destroy`, async () => {
      await host.define(guest(kind, { ips, booted: true }));
      await host.ok('virsh', ['start', 'web1']);
      await whenBooted(ips);
      await expectReached(ips);
      expect(await answersLinkLocal()).toBe(true);
      for (const change of ['suspend', 'resume']) await host.ok('virsh', [change, 'web1']);
      await expectReached(ips);
      expect(await answersLinkLocal()).toBe(true);
      expect(await host.ok('ip', ['link', 'show', 'dev', 'web1'])).toContain(' mtu 1400 ');
      await host.ok('virsh', ['destroy', 'web1']);
      await expectGone();
      });
  }

  libvirtTest('is gone after kill -9 of QEMU, and made again by the next start', async () => {
    await host.define(guest(kind));
    for (let round = 0; round < 2; round += 1) {
      await host.ok('virsh', ['start', 'web1']);
      expect(await host.ok('sh', ['-c', 'ip route show proto 117; ip -6 route show proto 117'])).toMatch(/192\.0\.2\.10 dev web1 [^]*2001:db8:0:10::a dev web1 /);
      await host.ok('sh', ['-c', 'kill -9 $(cat /run/libvirt/qemu/web1.pid)']);
      await expectGone();
    }
  });

  libvirtTest('is gone after a start that failed, before and after guestwire had wired it', async () => {
    await host.define(guest(kind));
    for (const operation of ['start', 'started']) {
      await spoil(`[ "$2" != ${operation} ] || { echo spoilt >&2; exit 1; }`);
      const { code, stderr } = await host.virsh('start', 'web1');
      await spoil(undefined);
      expect(code).toBe(1);
      expect(stderr).toContain(`${operation} begin`);
      await expectGone();
    }
  });

  libvirtTest('whose addresses are taken between `prepare` and `start` is gone after the refusal', async () => {
    await host.define(guest(kind));
    await spoil('[ "$2" = start ] && ip route add 192.0.2.10/32 via 198.51.100.1 proto static\nexit 0');
    const { stderr } = await host.virsh('start', 'web1');
    await spoil(undefined);
    expect(stderr).toContain(`guestwire: ${WHERE}: '192.0.2.10' is already routed`);
    await host.ok('ip', ['route', 'del', '192.0.2.10/32']);
    await expectGone();
  });

  libvirtTest('is put right when libvirtd comes back, and shown by `plan` before a start', async () => {
    await host.define(guest(kind));
    await host.ok('virsh', ['start', 'web1']);
    // The kernel gives the link its own link-local when it has a carrier.
    await waitFor(
      async () => (await host.ok('ip', ['-6', 'address', 'show', 'dev', 'web1', 'scope', 'link', '-tentative']))
        .split('inet6').length === 3,
      { what: "the link's own address" },
    );
    // Nor does a macvtap have its carrier the moment the link below has.
    await waitFor(async () => !(await world()).includes('LOWERLAYERDOWN'), { what: 'the carrier' });
    const wired = await world();
    await host.stopLibvirtd();
    await host.ok('sh', ['-c', 'ip route del 192.0.2.10; ip address del fe80::1/64 dev web1']);
    await host.startLibvirtd();
    await waitFor(
      async () => (await host.ok('ip', ['route', 'show', 'proto', '117'])) !== '', { what: 'reconnect to have run' },
    );
    await waitFor(async () => (await world()) === wired, { what: 'the host to be wired again' }).catch(() => undefined);
    expect(await world()).toBe(wired);
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
    const plan = await host.ok('node', [resolve('dist/cli.js'), 'plan', 'web1']);
    expect(plan).toContain(kind.veth === undefined ? 'tuntap add dev web1 mode tap user 0\n' : 'link add name web1 type veth peer name web1g\n');
    expect(plan).toContain('route add 192.0.2.10/32 dev web1 table main proto 117');
    await expectGone();
  });
});

describe('a veth pair through macvtap passthrough', () => {
  libvirtTest('lets nobody but the guest answer for the guest', async () => {
    // No operating system, so whoever answers a neighbour solicitation for its link-local is the host.
    await host.define(guest(VETH));
    await host.ok('virsh', ['start', 'web1']);
    expect(await isResolved()).toBe(false);
    await host.ok('sh', ['-c', 'echo 0 >/proc/sys/net/ipv6/conf/web1g/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/web1g/disable_ipv6']);
    expect(await isResolved()).toBe(true);
    await host.ok('node', [resolve('dist/cli.js'), 'reconcile', 'web1']);
    expect(await isResolved()).toBe(false);
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  });

  libvirtTest('is deaf to neighbour solicitations without allmulticast on the macvtap', async () => {
    await host.define(guest(VETH, { booted: true }));
    await host.ok('virsh', ['start', 'web1']);
    await whenBooted(DUAL);
    const macvtap = (await host.ok('virsh', ['-q', 'domiflist', 'web1'])).trim().split(/\s+/)[0] ?? '';
    await host.ok('ip', ['link', 'set', 'dev', macvtap, 'allmulticast', 'off']);
    // A guest that probes its gateway tells the host its MAC, so one answer proves nothing.
    await waitFor(async () => (await answersLinkLocal() ? undefined : true), {
      what: 'no answer to a solicitation', timeout: 60_000,
    });
    await host.ok('node', [resolve('dist/cli.js'), 'reconcile', 'web1']);
    expect(await answersLinkLocal()).toBe(true);
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  });
});

describe('taps', () => {
  libvirtTest('an unmanaged one for two queues is one that libvirt can open', async () => {
    await host.define(guest({ ...TAP, nic: TAP.nic.replace('</interface>', "<model type='virtio'/><driver queues='2'/></interface>") }));
    await host.ok('virsh', ['start', 'web1']);
    expect(await host.ok('ip', ['-details', 'link', 'show', 'dev', 'web1']))
      .toMatch(/multi_queue numqueues .*user root/);
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  });

  libvirtTest('a managed one has the MTU of its <mtu>, by libvirt and by `reconcile`', async () => {
    await host.define(guest({ veth: undefined, nic: `<interface type='ethernet'><mac address='${MAC}'/><target dev='web1'/><mtu size='1400'/></interface>` }));
    await host.ok('virsh', ['start', 'web1']);
    expect(await host.ok('ip', ['link', 'show', 'dev', 'web1'])).toContain(' mtu 1400 ');
    await host.ok('ip', ['link', 'set', 'dev', 'web1', 'mtu', '1500']);
    await host.ok('node', [resolve('dist/cli.js'), 'reconcile', 'web1']);
    expect(await host.ok('ip', ['link', 'show', 'dev', 'web1'])).toContain(' mtu 1400 ');
    await host.ok('virsh', ['destroy', 'web1']);
    await expectGone();
  });

  libvirtTest('an unmanaged one that nothing speaks of is not made', async () => {
    await host.define(domainXml({ name: 'plain', nics: [TAP.nic] }));
    expect((await host.virsh('start', 'plain')).stderr).toContain("target managed='no' but specified dev doesn't exist");
    await expectGone();
    await host.ok('virsh', ['-q', 'undefine', 'plain']);
  });
});
