// @tier libvirt long
/**
 * A guest with a routed link that migrates between two real libvirts, agents on both: it is let in, its destination has
 * its routes when it runs there and not before, and whoever pings it from the LAN of both hosts hardly notices.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { metadata, nic } from '../../fakes/guest-xml.js';
import { domainXml } from '../../lab/domain.js';
import { addOutside, guestImage, joinHosts, waitFor } from '../../lab/host.js';
import { type Agent, type AgentPlace, openAgentPlace, routesOf, until } from '../../places/agent.js';
import { canRun, testWith } from '../../places/capability.js';
import { bound, figure } from '../../tiers/bound.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const MAC = '52:54:00:00:00:10';
const UUID = '11111111-2222-3333-4444-555555555555';
const ADDRESSES = ['198.51.100.10', '2001:db8:ffff::a'];

let here: AgentPlace;
let there: AgentPlace;
let agent: Agent;
let outside: Awaited<ReturnType<typeof addOutside>>;

/** One LAN: the network namespace `outside`, whose bridge both hosts are on. The hosts answer for the guest there. */
async function joinLan(): Promise<void> {
  outside = await addOutside(here.host);
  await joinHosts([here.host, there.host], { link: 'lan0', addresses: ['192.0.2.254/32', '198.51.100.3/24'] });
  await here.host.ok('sh', ['-ec', `
    ip link set lan0 netns outside
    ip -n outside link add br0 type bridge
    ip -n outside address flush dev eth0
    for dev in eth0 lan0; do ip -n outside link set $dev up master br0; done
    ip -n outside address add 198.51.100.1/24 dev br0
    ip -n outside address add 2001:db8:ffff::1/64 dev br0 nodad
    ip -n outside link set br0 up`]);
  await there.host.ok('ip', ['address', 'add', '2001:db8:ffff::3/64', 'dev', 'lan0', 'nodad']);
  for (const [{ host }, uplink] of [[here, 'up0'], [there, 'lan0']] as const) {
    await host.ok('sh', ['-c', 'mkdir -p /etc/guestwire; cat >/etc/guestwire/config.toml; chmod 600 /etc/guestwire/config.toml'], { input: `[routed]\nprefixes = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]\nproxy = ["${uplink}"]\n` });
  }
}

beforeAll(async () => {
  if (!able) return;
  here = await openAgentPlace('here');
  there = await openAgentPlace('there');
  await joinHosts([here.host, there.host]);
  await joinLan();
  await here.startAgent();
  agent = await there.startAgent();
  const cmdline = `gw.ip=eth0,${ADDRESSES.map((address) => `${address}/${address.includes(':') ? 128 : 32}`).join(',')} gw.route=eth0,default,fe80::1 gw.route=eth0,default,169.254.0.1`;
  await here.host.define(domainXml({
    name: 'web1', uuid: UUID, nics: [nic(MAC)],
    metadata: metadata({ mac: MAC, ips: ADDRESSES }), guest: { image: await guestImage(), cmdline },
  }));
  await here.host.ok('virsh', ['start', 'web1']);
  for (const address of ADDRESSES) {
    await waitFor(async () => (await outside.run('ping', ['-c1', '-W1', address])).code === 0, {
      what: `an answer from ${address}`, timeout: 60_000,
    });
  }
});
afterAll(async () => {
  if (!able) return;
  await here.close();
  await there.close();
});

const migrate = (...more: string[]): ReturnType<AgentPlace['host']['run']> =>
  here.host.run('virsh', [
    '-q', 'migrate', '--live', '--undefinesource', '--persistent', ...more, 'web1', there.host.uri, '--migrateuri',
    'tcp://203.0.113.2',
  ]);
const stateOf = ({ host }: AgentPlace): Promise<string> => host.ok('sh', ['-c', 'ls -A /run/guestwire 2>/dev/null || true']);

/**
 * Pings each address ten times a second. Returns how many seconds in a row were silent at most, each by its address.
 */
function pinging(): { stop: () => Promise<Map<string, number>> } {
  const programs = ADDRESSES.map((address) => ({
    address, program: here.host.start('ip', ['netns', 'exec', 'outside', 'ping', '-D', '-i', '0.1', address]),
  }));
  return {
    stop: async () => {
      const silences = new Map<string, number>();
      for (const { address, program } of programs) {
        program.kill('SIGINT');
        await program.result;
        const heard = [...program.output().matchAll(/^\[([\d.]+)\] .*icmp_seq=/gm)].map(([, at]) => Number(at));
        expect(heard.length).toBeGreaterThan(10);
        silences.set(address, Math.max(...heard.slice(1).map((at, index) => at - (heard[index] ?? at))));
      }
      return silences;
    },
  };
}

/** The kernel's own word on when routes of guestwire came and went. */
function watchRoutes({ host }: AgentPlace): {
  came: (address: string) => number | undefined;
  went: (address: string) => number | undefined;
  stop: () => Promise<void>;
} {
  const programs = [['-4', 'route'], ['-6', 'route'], ['-4', 'link']].map(([family = '', what = '']) =>
    host.start('ip', [family, '-N', '-ts', '-o', 'monitor', what]));
  const at = (line: string): number | undefined => {
    const lines = programs.flatMap((program) => program.output().split('\n'));
    const stamp = lines.map((text) => new RegExp(`^\\[(\\S+)\\] ${line}`).exec(text)?.[1]).find((text) =>
      text !== undefined);
    return stamp === undefined ? undefined : Date.parse(`${stamp}Z`);
  };
  const route = (address: string): string => `${address.replaceAll('.', '\\.')} dev \\S+ (?:table main )?proto 117 `;
  return {
    came: (address) => at(route(address)),
    // Of a link that goes IPv4 tells no routes.
    went: (address) => at(`Deleted ${route(address)}`) ?? at('Deleted \\d+: vnet\\d+'),
    stop: async () => { for (const program of programs) { program.kill(); await program.result; } },
  };
}

/** Returns when a libvirt told something of the guest first, in milliseconds since 1970. */
function moments({ libvirt }: AgentPlace): Map<string, number> {
  const seen = new Map<string, number>();
  void (async () => {
    for await (const event of libvirt.events({ kinds: ['domain-lifecycle'] })) {
      if (event.kind === 'domain-lifecycle' && !seen.has(event.event)) seen.set(event.event, Date.now());
    }
  })();
  return seen;
}

describe('a guest that migrates', () => {
  libvirtTest('is refused when the agent there is dead, even by kill -9', async () => {
    agent.kill('SIGKILL');
    await agent.result;
    const { code, stderr } = await migrate();
    expect(code).toBe(1);
    expect(stderr).toContain("a guest with routed links cannot migrate here without an agent: run 'guestwire install --agent'");
    expect(await routesOf(here.host)).toHaveLength(2);
    expect(await stateOf(there)).toBe('');
    agent = await there.startAgent();
  });

  libvirtTest('and fails on its way keeps all it has, and leaves nothing at the destination', async () => {
    const [routes, entry] = [await routesOf(here.host), await here.host.ok('sh', ['-c', 'cat /run/guestwire/*.json'])];
    const pings = pinging();
    const going = migrate('--bandwidth', '1');
    await waitFor(
      async () => (await there.host.run('virsh', ['domstate', '--reason', 'web1'])).stdout.includes('paused'),
      { what: 'the guest on its way' },
    );
    await sleep(1000);
    expect(await routesOf(there.host)).toEqual([]);
    expect(await stateOf(there)).toContain('.json');
    await here.host.ok('virsh', ['domjobabort', 'web1']);
    expect((await going).code).not.toBe(0);
    await until(async () => await stateOf(there) === '', { what: 'nothing at the destination' });
    expect(await routesOf(there.host)).toEqual([]);
    expect(await there.host.ok('ip', ['neigh', 'show', 'proxy'])).toBe('');
    await sleep(500);
    expect(await routesOf(here.host)).toEqual(routes);
    expect(await here.host.ok('sh', ['-c', 'cat /run/guestwire/*.json'])).toBe(entry);
    const silences = await pings.stop();
    for (const silence of silences.values()) expect(silence).toBeLessThan(bound(3));
  });

  libvirtTest('has its routes there when it runs there and not before, and is hardly silent for longer than its own pause', async () => {
    const [source, destination, left, came] = [watchRoutes(here), watchRoutes(there), moments(here), moments(there)];
    await sleep(300);
    const pings = pinging();
    await sleep(1000);
    const { code, stderr } = await migrate();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await until(async () => (await routesOf(there.host)).length === 2 && (await routesOf(here.host)).length === 0, {
      what: 'the routes there, and none here',
    });
    await sleep(1500);
    const silences = await pings.stop();
    const [suspended, resumed] = [left.get('suspended') ?? NaN, came.get('resumed') ?? NaN];
    const told = ADDRESSES.map((address) => {
      const [added, removed] = [destination.came(address) ?? NaN, source.went(address) ?? NaN];
      expect(added).toBeGreaterThan(suspended);
      // What the test hears of libvirt and of the kernel comes by two ways.
      expect(added).toBeGreaterThan(resumed - 50);
      // Both within a second on a quiet machine, which the printed figures show.
      expect(removed - added).toBeLessThan(bound(3_000));
      expect(silences.get(address)).toBeLessThan((resumed - suspended) / 1000 + bound(4));
      return `${address}: route ${Math.round(added - resumed)} ms after the guest resumed, ${Math.round(removed - added)} ms in both hosts, silent for ${silences.get(address)?.toFixed(2)} s`;
    });
    figure(`migration, its own pause ${Math.round(resumed - suspended)} ms\n${told.join('\n')}`);
    await Promise.all([source.stop(), destination.stop()]);
    await there.host.ok('virsh', ['destroy', 'web1']);
    await until(
      async () => (await routesOf(there.host)).length === 0, { what: 'no route at all', since: performance.now() },
    );
    expect(await there.host.ok('ip', ['neigh', 'show', 'proxy'])).toBe('');
  });
});
