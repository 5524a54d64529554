/** A guest with a routed link that migrates to a host with an agent: it is let in, and has its routes when it runs there. */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { performance } from 'node:perf_hooks';
import { canRun, testWith } from '../capability.js';
import { metadata, nic } from '../guestxml.js';
import { domainXml } from '../lab/domain.js';
import { joinHosts, waitFor } from '../lab/host.js';
import { type Agent, type AgentPlace, openAgentPlace, routesOf, until } from './place.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const MAC = '52:54:00:00:00:10';
const UUID = '11111111-2222-3333-4444-555555555555';

let here: AgentPlace;
let there: AgentPlace;
let agent: Agent;

beforeAll(async () => {
  if (!able) return;
  here = await openAgentPlace('here');
  there = await openAgentPlace('there');
  await joinHosts([here.host, there.host]);
  await here.startAgent();
  agent = await there.startAgent();
  await here.host.define(domainXml({ name: 'web1', uuid: UUID, nics: [nic(MAC)], metadata: metadata({ mac: MAC, ips: ['192.0.2.10'] }) }));
  await here.host.ok('virsh', ['start', 'web1']);
}, 180_000);
afterAll(async () => {
  if (!able) return;
  await here.close();
  await there.close();
});

const migrate = (): ReturnType<AgentPlace['host']['run']> =>
  here.host.run('virsh', ['-q', 'migrate', '--live', '--undefinesource', '--persistent', 'web1', there.host.uri, '--migrateuri', 'tcp://203.0.113.2']);

describe('a guest that migrates', () => {
  libvirtTest('is refused when the agent there is dead, even by kill -9', async () => {
    agent.kill('SIGKILL');
    await agent.result;
    const { code, stderr } = await migrate();
    expect(code).toBe(1);
    expect(stderr).toContain("a guest with routed links cannot migrate here, because nothing would tell when it runs here: start guestwire's agent here");
    expect(await routesOf(here.host)).toHaveLength(1);
    agent = await there.startAgent();
  }, 60_000);

  libvirtTest('has its routes there when it runs there, and not before', async () => {
    let at = 0;
    const early: string[] = [];
    void (async () => {
      for await (const event of there.libvirt.events({ kinds: ['domain-lifecycle'] })) {
        if (event.kind !== 'domain-lifecycle') continue;
        if (event.event === 'resumed') at = performance.now();
        else if (at === 0) early.push(...await routesOf(there.host));
      }
    })();
    const { code, stderr } = await migrate();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await waitFor(() => at > 0, { what: 'the switch-over' });
    const took = await until(async () => (await routesOf(there.host)).length === 1, { what: 'the route there', since: at });
    console.log(`migration, from event to exact: ${Math.round(took)} ms`);
    expect(took).toBeLessThan(1000);
    expect(early).toEqual([]);
    await until(async () => (await routesOf(here.host)).length === 0, { what: 'no route at the source' });
    await there.host.ok('virsh', ['destroy', 'web1']);
    await until(async () => (await routesOf(there.host)).length === 0, { what: 'no route at all' });
  }, 120_000);
});
