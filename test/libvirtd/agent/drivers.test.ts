// @tier libvirt
/** Guests of another driver than the libvirt that is asked: what it does not know is not taken for gone. */
import { existsSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { metadata, nic } from '../../fakes/guest-xml.js';
import { domainXml } from '../../lab/domain.js';
import { type AgentPlace, openAgentPlace, routesOf, until } from '../../places/agent.js';
import { canRun, testWith } from '../../places/capability.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const UUID = '11111111-2222-3333-4444-555555555555';
const MAC = '52:54:00:00:00:10';
const ENTRY = `/run/guestwire/${UUID}.json`;
/** libvirt's own driver without a hypervisor: another one, through the same daemon. */
const OTHER = { LIBVIRT_DEFAULT_URI: 'test+unix:///default?socket=/run/libvirt/libvirt-sock' };

let place: AgentPlace;

beforeAll(async () => {
  if (!canRun('root', 'netns', 'libvirt')) return;
  place = await openAgentPlace('drivers');
  await place.host.define(
    domainXml({ name: 'web1', uuid: UUID, nics: [nic(MAC)], metadata: metadata({ mac: MAC, ips: ['192.0.2.10'] }) }),
  );
});
beforeEach(async () => { if (canRun('root', 'netns', 'libvirt')) await place.host.ok('virsh', ['start', 'web1']); });
afterEach(async () => { if (canRun('root', 'netns', 'libvirt')) await place.host.ok('virsh', ['destroy', 'web1']); });
afterAll(async () => { if (canRun('root', 'netns', 'libvirt')) await place.close(); });

const guestwire = (args: readonly string[], env: Record<string, string> = {}): ReturnType<AgentPlace['host']['run']> =>
  place.host.run('node', [resolve('dist/cli.js'), ...args], { env });
const routes = async (): Promise<number> => (await routesOf(place.host)).length;
/** Makes the guest's entry that of a guest of another driver, as its hook would write it. */
const belongTo = (driver: string): Promise<unknown> => place.host.ok('sed', ['-i', `s/"uuid": "${UUID}"/&, "driver": "${driver}"/`, ENTRY]);

describe('a guest that runs', () => {
  libvirtTest('outlives a check and a reconcile of another driver', async () => {
    expect(await guestwire(['check'], OTHER)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await guestwire(['reconcile', '--all'], OTHER)).toEqual({ code: 0, stdout: 'all wiring is as the XML says, nothing changed\n', stderr: '' });
    expect(await routes()).toBe(1);
  });

  libvirtTest('of a driver that is asked, and does not know it, is gone', async () => {
    await belongTo('test');
    expect((await guestwire(['check'], OTHER)).stdout).toContain("guest 'web1': it does not run");
    expect((await guestwire(['reconcile', '--all'])).stdout).toBe('all wiring is as the XML says, nothing changed\n');
    expect(await routes()).toBe(1);
    expect((await guestwire(['reconcile', '--all'], OTHER)).stdout).toContain("guest 'web1': its record is removed");
    expect(await routes()).toBe(0);
  });

  libvirtTest("is none of the agent's, when it is of another driver", async () => {
    const entryOf = (name: string, more: object): string => {
      const uuid = `11111111-2222-3333-4444-${name.padStart(12, '0')}`;
      const file = `/run/guestwire/${uuid}.json`;
      writeFileSync(place.host.path(file), JSON.stringify({
        version: 1, guest: { name, uuid, ...more }, since: '2026-01-01T00:00:00.000Z', incoming: false, wired: [],
        original: [],
      }), { mode: 0o600 });
      return file;
    };
    const [mine, theirs] = [entryOf('abc1', {}), entryOf('abc2', { driver: 'lxc' })];
    const agent = await place.startAgent();
    await until(() => Promise.resolve(!existsSync(place.host.path(mine))), { what: 'the entry of the guest that is gone to go' });
    expect(existsSync(place.host.path(theirs))).toBe(true);
    expect(await routes()).toBe(1);
    agent.kill();
    await agent.result;
  });
});

describe('a libvirt that calls no hook of this host', () => {
  for (const [whose, uri] of [
    ["another host's", 'qemu+ssh://elsewhere.invalid/system'],
    ["a user's own", 'qemu:///session'],
  ] as const) {
    libvirtTest(`${whose}, is not asked which guests run`, async () => {
      for (const args of [['reconcile', 'web1'], ['agent']]) {
        const { code, stderr } = await guestwire(args, { LIBVIRT_DEFAULT_URI: uri });
        expect({ args, code }).toEqual({ args, code: 1 });
        expect(stderr).toContain(`'${uri}' is ${whose} libvirt`);
      }
    });
  }
});
