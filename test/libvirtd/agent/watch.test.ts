// @tier libvirt long
/** The agent on a real libvirtd with QEMU guests: whatever no hook hears of is right within a second of the event. */
import { performance } from 'node:perf_hooks';
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import type { LibvirtEvent } from '../../../lib/libvirt/events.js';
import type { DomainRef } from '../../../lib/libvirt/refs.js';
import { metadata, nic } from '../../fakes/guest-xml.js';
import { domainXml } from '../../lab/domain.js';
import { waitFor } from '../../lab/host.js';
import { type Agent, type AgentPlace, isWatched, openAgentPlace, routesOf, until } from '../../places/agent.js';
import { canRun, testWith } from '../../places/capability.js';
import { bound, figure } from '../../tiers/bound.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const GW = { uri: 'urn:guestwire:1', key: 'gw' };
const uuidOf = (number: number): string => `11111111-2222-3333-4444-${String(number).padStart(12, '0')}`;
const macOf = (guest: number, index = 0): string => `52:54:00:00:${String(guest).padStart(2, '0')}:${String(index).padStart(2, '0')}`;
const addressOf = (guest: number, index = 0): string => `10.0.${guest}.${index}`;
const metadataOf = (...nics: readonly { mac: string; ips: readonly string[] }[]): string => metadata(...nics);
/** libvirt declares the prefix of a key itself. */
const element = (xml: string): string => xml.replace('xmlns:gw="urn:guestwire:1"', '').replaceAll('gw:', '');

let place: AgentPlace;
let agent: Agent;
/** Milliseconds. All is right within a second on a quiet machine, which the printed figures show. */
const SLOW = bound(5_000);
const latencies: string[] = [];
const note = (what: string, milliseconds: number): void => { latencies.push(`${what}: ${Math.round(milliseconds)} ms`); };

beforeAll(async () => {
  if (!able) return;
  place = await openAgentPlace('watch');
  agent = await place.startAgent();
});
afterEach(async () => {
  if (!able) return;
  for (const { uuid } of await place.libvirt.listDomains({ state: 'active' }))
    await place.host.ok('virsh', ['destroy', uuid]);
  for (const { uuid } of await place.libvirt.listDomains()) await place.host.ok('virsh', ['undefine', uuid]);
});
afterAll(async () => {
  if (!able) return;
  figure(`from event to exact:\n${latencies.join('\n')}`);
  await place.close();
});

async function startGuest(
  number: number, { nics = [nic(macOf(number))], metadata }: { nics?: string[]; metadata?: string | undefined } = {},
): Promise<DomainRef> {
  await place.host.define(domainXml({
    name: `web${number}`, uuid: uuidOf(number), nics, ...(metadata === undefined ? {} : { metadata: metadata }),
  }));
  await place.host.ok('virsh', ['start', `web${number}`]);
  return place.libvirt.lookupDomain({ uuid: uuidOf(number) });
}

const has = (address: string) =>
  async (): Promise<boolean> => (await routesOf(place.host)).some((route) => route.startsWith(`${address} `));
const hasNot = (address: string) => async (): Promise<boolean> => !await has(address)();

/** Resolves to the moment of the first event of a kind. */
function moment(kind: LibvirtEvent['kind'], count = 1): { ready: Promise<void>; at: Promise<number> } {
  const events = place.libvirt.events();
  let isReady = (): void => undefined;
  const ready = new Promise<void>((resolve) => { isReady = resolve; });
  const at = (async () => {
    let left = count;
    for await (const event of events) {
      if (event.kind === 'resync') isReady();
      if (event.kind === kind && --left === 0) return performance.now();
    }
    throw new Error('no such event');
  })();
  return { ready, at };
}

describe('a NIC of a running guest', () => {
  libvirtTest('that is plugged in is wired, and one that is gone is released', async () => {
    const guest = await startGuest(1, { metadata: metadataOf({ mac: macOf(1), ips: [addressOf(1)] }) });
    expect(await routesOf(place.host)).toHaveLength(1);
    await place.libvirt.setMetadata(guest, {
      ...GW,
      affect: 'live',
      xml: element(metadataOf({ mac: macOf(1), ips: [addressOf(1)] }, { mac: macOf(1, 1), ips: [addressOf(1, 1)] })),
    });
    const added = moment('device-added');
    await added.ready;
    await place.libvirt.attachDevice(guest, nic(macOf(1, 1)).replace('</interface>', "<model type='virtio'/><rom enabled='no'/></interface>"), { affect: 'live' });
    const took = await until(has(addressOf(1, 1)), { what: 'the route', since: await added.at });
    note('attach', took);
    expect(took).toBeLessThan(SLOW);
    expect(await routesOf(place.host)).toHaveLength(2);
  });

  libvirtTest('whose metadata change has what they say at once, and nothing when they are gone', async () => {
    const guest = await startGuest(2, { metadata: metadataOf({ mac: macOf(2), ips: [addressOf(2)] }) });
    let since = performance.now();
    await place.libvirt.setMetadata(
      guest, { ...GW, affect: 'live', xml: element(metadataOf({ mac: macOf(2), ips: [addressOf(2, 9)] })) },
    );
    const took = await until(
      async () => await has(addressOf(2, 9))() && await hasNot(addressOf(2))(), { what: 'the other route', since },
    );
    note('metadata', took);
    expect(took).toBeLessThan(SLOW);
    since = performance.now();
    await place.libvirt.setMetadata(guest, { ...GW, affect: 'live', xml: undefined });
    const gone = await until(hasNot(addressOf(2, 9)), { what: 'no route', since });
    note('metadata removed', gone);
    expect(gone).toBeLessThan(SLOW);
  });

  libvirtTest('whose tap went down and up has its addresses and routes again', async () => {
    await startGuest(3, { metadata: metadataOf({ mac: macOf(3), ips: [addressOf(3), '2001:db8::3'] }) });
    const [route = ''] = await routesOf(place.host);
    const tap = route.split(' ')[1] ?? '';
    await waitFor(
      async () => { await place.host.ok('ip', ['link', 'set', tap, 'down']); return true; }, { what: 'the tap' },
    );
    await place.host.ok('ip', ['link', 'set', tap, 'up']);
    const took = await until(
      async () => (await routesOf(place.host)).length === 2
        && (await place.host.ok('ip', ['-br', 'address', 'show', 'dev', tap])).includes('fe80::1/64'),
      { what: 'all of it' },
    );
    note('tap down and up', took);
    expect(took).toBeLessThan(SLOW);
  });

  libvirtTest('whose tap is renamed is filtered under its new name at once, and looked after there', async () => {
    const guest = await startGuest(4, { metadata: metadataOf({ mac: macOf(4), ips: [addressOf(4)] }) });
    const tap = (await routesOf(place.host)).find((route) => route.startsWith(addressOf(4)))?.split(' ')[1] ?? '';
    const since = performance.now();
    await place.host.ok('sh', ['-ec', `ip link set ${tap} down; ip link set ${tap} name foo4; ip link set foo4 up`]);
    const isRight = async (): Promise<boolean> => (await routesOf(place.host)).some((route) =>
      route.startsWith(`${addressOf(4)} foo4`)) &&
      (await place.host.ok('nft', ['list', 'table', 'netdev', 'guestwire'])).includes('hook ingress device "foo4"');
    note('renamed', await until(isRight, { what: 'route and filter under the new name', since }));
    await place.host.ok('ip', ['route', 'flush', 'dev', 'foo4', 'proto', '117']);
    await place.host.ok('sh', ['-c', 'ip link set foo4 down; ip link set foo4 up']);
    await until(isRight, { what: 'the route again' });
    await place.host.virsh('destroy', guest.name);
    await until(hasNot(addressOf(4)), { what: 'no route' });
  });
});

describe('twenty guests', () => {
  libvirtTest('whose metadata change at once are all right at once', async () => {
    const numbers = Array.from({ length: 20 }, (_, index) => index + 20);
    const guests: DomainRef[] = [];
    for (const number of numbers)
      guests.push(await startGuest(number, { metadata: metadataOf({ mac: macOf(number), ips: [addressOf(number)] }) }));
    await waitFor(async () => (await routesOf(place.host)).length === 20, { what: 'twenty routes' });
    const since = performance.now();
    await Promise.all(guests.map((guest, index) => place.libvirt.setMetadata(guest, {
      ...GW, affect: 'live', xml: element(metadataOf({ mac: macOf(index + 20), ips: [addressOf(index + 20, 7)] })),
    })));
    note('twenty metadata calls', performance.now() - since);
    const took = await until(async () => {
      const routes = await routesOf(place.host);
      return routes.length === 20 && routes.every((route) => /\.7 /.test(route));
    }, { pause: 50, what: 'twenty other routes', since });
    note('twenty guests at once', took);
    expect(took).toBeLessThan(SLOW);
  });
});

describe('the agent', () => {
  libvirtTest('ends cleanly when told, with its children', async () => {
    agent.kill('SIGTERM');
    const { code, stderr } = await agent.result;
    // Of metadata that came before their NIC.
    const unexpected = stderr.split('\n').filter((line) => line !== '' && !line.endsWith('no NIC has this MAC'));
    expect({ code, unexpected }).toEqual({ code: 0, unexpected: [] });
    expect((await place.host.run('pgrep', ['-fa', '^(ip -o -d|bridge) monitor'])).stdout).toBe('');
    expect(await isWatched(place.host)).toBe(false);
  });
});
