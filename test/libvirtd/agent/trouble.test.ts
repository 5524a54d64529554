// @tier libvirt long
/** The agent when things end under it: its daemon, itself, its children; and `guestwire set` beside it. */
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../../fakes/guest-xml.js';
import { domainXml } from '../../lab/domain.js';
import { guestImage, waitFor } from '../../lab/host.js';
import { type Agent, type AgentPlace, isWatched, openAgentPlace, routesOf, until } from '../../places/agent.js';
import { canRun, testWith } from '../../places/capability.js';
import { bound, figure } from '../../tiers/bound.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const UUID = '11111111-2222-3333-4444-555555555555';
const [MAC, MORE] = ['52:54:00:00:00:10', '52:54:00:00:00:11'];
const ADDRESS = '192.0.2.10';
const MORE_NIC = nic(MORE).replace('</interface>', "<model type='virtio'/><rom enabled='no'/></interface>");

let place: AgentPlace;
let agent: Agent;

beforeAll(async () => {
  if (!able) return;
  place = await openAgentPlace('trouble');
  agent = await place.startAgent();
  // A guest that answers when a device is to go.
  await place.host.define(domainXml({
    name: 'web1', uuid: UUID, nics: [nic(MAC)], guest: { image: await guestImage(), cmdline: 'gw.wait=1' },
    metadata: metadata({ mac: MAC, ips: [ADDRESS] }),
  }));
  await place.host.ok('virsh', ['start', 'web1']);
});
afterAll(async () => {
  if (able) await place.close();
});

const guestwire = (...args: string[]): ReturnType<AgentPlace['host']['run']> =>
  place.host.run('node', [resolve('dist/cli.js'), ...args]);
const destinations = async (): Promise<string[]> =>
  (await routesOf(place.host)).map((route) => route.split(' ')[0] ?? '');
const tapOf = async (address: string): Promise<string> =>
  (await routesOf(place.host)).find((route) => route.startsWith(address))?.split(' ')[1] ?? '';
const holds = (...addresses: readonly string[]) =>
  async (): Promise<boolean> => JSON.stringify(await destinations()) === JSON.stringify([...addresses].sort());

describe('guestwire set and unset', () => {
  libvirtTest('write metadata, and the running guest follows at once', async () => {
    const since = performance.now();
    expect(await guestwire(
      'set', 'web1', '--nic', MAC, '--ip', ADDRESS, '--ip', '192.0.2.11', '--route', '198.51.100.0/28,192.0.2.11',
    )).toEqual({
      code: 0, stderr: '', stdout: "guest 'web1': its config is changed\nguest 'web1': the running guest is changed\n",
    });
    await until(holds(ADDRESS, '192.0.2.11', '198.51.100.0/28'), { what: 'the new routes', since });
    const libvirt = place.libvirt;
    const web1 = await libvirt.lookupDomain({ uuid: UUID });
    for (const from of ['live', 'inactive'] as const) expect(await libvirt.domainXml(web1, { from })).toContain('address="198.51.100.0" prefix="28" gateway="192.0.2.11"');
    expect((await guestwire('set', 'web1', '--nic', MAC, '--ip', ADDRESS)).stderr).toContain("'192.0.2.11'");
    expect((await guestwire('set', 'web1', '--nic', MAC, '--route', '198.51.100.0/28')).code).toBe(0);
    expect((await guestwire('set', 'web1', '--nic', MAC, '--ip', ADDRESS)).code).toBe(0);
    await until(holds(ADDRESS, '198.51.100.0/28'), { what: 'one address and its route' });
    expect((await guestwire('unset', 'web1', '--nic', MAC, '--live')).stdout).toBe("guest 'web1': the running guest has no guestwire metadata now\n");
    await until(holds(), { what: 'nothing' });
    expect(await libvirt.domainXml(web1, { from: 'inactive' })).toContain('address="192.0.2.10"');
    expect((await guestwire('set', 'web1', '--nic', MAC, '--ip', ADDRESS)).code).toBe(0);
    await until(holds(ADDRESS), { what: 'the address again' });
  });

  libvirtTest('write nothing that the guest may not have', async () => {
    const web1 = await place.libvirt.lookupDomain({ uuid: UUID });
    const before = [await place.libvirt.domainXml(web1), await place.libvirt.domainXml(web1, { from: 'inactive' })];
    for (const [args, code, says] of [
      [['--nic', MAC, '--vlan', '10'], 1, "guestwire: guest 'web1' NIC 0 (52:54:00:00:00:10): interface type 'ethernet' joins no bridge, so it cannot be in a VLAN: use type 'bridge', or make it a routed link\n"],
      [['--nic', MAC, '--ip', 'nowhere'], 2, "address 'nowhere' is not an IPv4 or IPv6 address: see 'guestwire set --help'"],
      [['--nic', '52:54', '--ip', ADDRESS], 2, "--nic: '52:54' is not a MAC address"],
      [['--nic', MORE, '--ip', '192.0.2.20'], 1, "guestwire: guest 'web1': no NIC has the MAC '52:54:00:00:00:11', the guest has '52:54:00:00:00:10'\n"],
      [['--nic', MAC, '--vlan', '10', '--ip', ADDRESS], 2, 'a NIC is a VLAN port or a routed link'],
      [['--nic', MAC], 2, 'no option says what the NIC becomes'],
      [['--vlan', '10'], 2, "'--nic' is missing"],
    ] as const) {
      const result = await guestwire('set', 'web1', ...args);
      expect([result.code, result.stdout]).toEqual([code, '']);
      expect(result.stderr).toContain(says);
    }
    expect([await place.libvirt.domainXml(web1), await place.libvirt.domainXml(web1, { from: 'inactive' })])
      .toEqual(before);
  });

  libvirtTest('write nothing when the config cannot be saved', async () => {
    const web1 = await place.libvirt.lookupDomain({ uuid: UUID });
    const before = await place.libvirt.domainXml(web1);
    await place.host.ok('sh', ['-ec', 'mount --bind /etc/libvirt/qemu /etc/libvirt/qemu; mount -o remount,ro,bind /etc/libvirt/qemu']);
    const { code, stdout, stderr } = await guestwire('set', 'web1', '--nic', MAC, '--ip', '192.0.2.77');
    await place.host.ok('umount', ['/etc/libvirt/qemu']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('Read-only file system');
    expect(await place.libvirt.domainXml(web1)).toBe(before);
    expect(await destinations()).toEqual([ADDRESS]);
  });
});

describe('a NIC that goes', () => {
  libvirtTest('is released at once, and what others have stays', async () => {
    const web1 = await place.libvirt.lookupDomain({ uuid: UUID });
    await place.libvirt.attachDevice(web1, MORE_NIC, { affect: 'live' });
    expect((await guestwire('set', 'web1', '--nic', MORE, '--ip', '192.0.2.20', '--live')).code).toBe(0);
    await until(holds(ADDRESS, '192.0.2.20'), { what: 'both' });
    let at = 0;
    void (async () => {
      for await (const event of place.libvirt.events({ kinds: ['device-removed'] }))
        if (event.kind === 'device-removed') at = performance.now();
    })();
    await waitFor(async () => {
      await place.libvirt.detachDevice(web1, MORE_NIC, { affect: 'live' }).catch(() => undefined);
      return at > 0;
    }, { what: 'the device to go', timeout: 60_000 });
    const entry = async (): Promise<string> => place.host.ok('sh', ['-c', 'cat /run/guestwire/*.json']);
    const took = await until(async () => !(await entry()).includes('192.0.2.20'), { what: 'the release', since: at });
    figure(`detach, from event to exact: ${Math.round(took)} ms`);
    // A second on a quiet machine, which the printed figure shows.
    expect(took).toBeLessThan(bound(5_000));
    expect(await destinations()).toEqual([ADDRESS]);
  });
});

describe('the agent', () => {
  libvirtTest('lives through kill -9 of libvirtd, and mends what was disturbed meanwhile', async () => {
    await place.host.ok('sh', ['-c', 'pid=$(cat /run/libvirtd.pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done']);
    await place.host.ok('ip', ['route', 'del', ADDRESS, 'dev', await tapOf(ADDRESS)]);
    expect(await destinations()).toEqual([]);
    await place.host.startLibvirtd();
    await until(holds(ADDRESS), { what: 'the route', timeout: 30_000 });
  });

  libvirtTest('makes altered rules as they were when it looks at all guests', async () => {
    const tap = await tapOf(ADDRESS);
    const chain = `nic_${(await place.host.ok('cat', [`/sys/class/net/${tap}/ifindex`])).trim()}`;
    const list = (): Promise<string> =>
      place.host.ok('nft', ['--stateless', 'list', 'chain', 'netdev', 'guestwire', chain]);
    const before = await list();
    // With a rule's own comment: by comments alone all is well.
    const open = [...before.matchAll(/comment "[^"]*"/g)].map(([comment]) => `add rule netdev guestwire ${chain} accept ${comment}`);
    await place.host.ok('sh', ['-ec', `nft -f - <<'EOF'
${[`flush chain netdev guestwire ${chain}`, ...open].join('\n')}\nEOF\n`]);
    expect(await list()).not.toBe(before);
    agent.kill('SIGHUP');
    await until(async () => (await list().catch(() => '')) === before, { what: 'the rules' });
  });

  libvirtTest('adopts its guest when the state directory is lost, and changes nothing of what it has', async () => {
    const marks = async (): Promise<string> =>
      (await place.host.ok('sh', ['-c', 'ip route show proto 117; nft --stateless list ruleset; ip -o addr']));
    const before = await marks();
    await place.host.ok('rm', ['-r', '/run/guestwire']);
    agent.kill('SIGHUP');
    const entry = async (): Promise<string> =>
      (await place.host.run('cat', [`/run/guestwire/${UUID}.json`])).stdout;
    await until(async () => (await entry()).includes(ADDRESS), { what: 'the entry' });
    await until(async () => (await guestwire('check')).code === 0, { what: 'check to be content' });
    expect(await marks()).toBe(before);
  });

  libvirtTest('starts its monitors again when they end', async () => {
    const tap = await tapOf(ADDRESS);
    const pid = async (): Promise<string> =>
      (await place.host.run('pgrep', ['-o', '-f', '^ip -o -d monitor link'])).stdout.trim();
    const first = await pid();
    await place.host.ok('kill', ['-9', first]);
    await waitFor(async () => !['', first].includes(await pid()), { what: 'another monitor' });
    await sleep(200);
    await place.host.ok('sh', ['-c', `ip link set ${tap} down; ip link set ${tap} up`]);
    await until(holds(ADDRESS), { what: 'the route' });
  });

  libvirtTest('killed at any moment leaves nothing behind, and its next run makes all exact', async () => {
    for (let round = 0; round < 8; round += 1) {
      const address = `192.0.2.${30 + round}`;
      expect((await guestwire('set', 'web1', '--nic', MAC, '--ip', address, '--live')).code).toBe(0);
      await sleep(40 * round);
      agent.kill('SIGKILL');
      await agent.result;
      await waitFor(async () => !await isWatched(place.host), { what: 'the lock to be free', timeout: 5_000 });
      await waitFor(async () => (await place.host.run('pgrep', ['-f', '^(ip -o -d|bridge) monitor'])).stdout === '', {
        what: 'its children to end', timeout: 5_000,
      });
      if (round === 0) expect((await guestwire('set', 'web1', '--nic', MAC, '--ip', address, '--live')).stdout)
        .toContain("no agent runs here: run 'guestwire reconcile web1' to rewire it");
      agent = await place.startAgent();
      await until(holds(address), { what: `the route of round ${round}` });
    }
  });

  libvirtTest('is one at a time', async () => {
    const other = await guestwire('agent');
    expect(other).toMatchObject({ code: 1, stdout: '' });
    expect(other.stderr).toMatch(/^guestwire: could not get lock '\/run\/guestwire\.agent' within 5 s: held by guestwire agent \(pid \d+\)\n$/);
  });

  libvirtTest('forgets a guest that ended', async () => {
    await place.host.ok('virsh', ['destroy', 'web1']);
    await sleep(500);
    expect(await destinations()).toEqual([]);
    expect((await place.host.run('ls', ['-A', '/run/guestwire'])).stdout).toBe('');
    agent.kill('SIGTERM');
    const { code, stderr } = await agent.result;
    expect(code).toBe(0);
    expect(stderr).not.toContain('bug');
  });
});
