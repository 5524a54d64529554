// @tier libvirt
/**
 * The client against a real, private libvirtd: what it reads is what virsh reads, what it changes virsh sees, events
 * come in libvirt's order, and after kill -9 of the daemon everything goes on.
 */
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { connect, type ConnectOptions } from '../../lib/libvirt/connect.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import type { LibvirtEvent } from '../../lib/libvirt/events.js';
import type { DomainRef } from '../../lib/libvirt/refs.js';
import { connectVirsh } from '../../lib/libvirt/virsh-connection.js';
import { execAsync } from '../../lib/system/exec-async.js';
import { nic } from '../fakes/guest-xml.js';
import { domainXml } from '../lab/domain.js';
import { guestImage, type Host, startHost, waitFor } from '../lab/host.js';
import { canRun, testWith } from '../places/capability.js';

const libvirtTest = testWith('root', 'netns', 'libvirt');
const able = canRun('root', 'netns', 'libvirt');
const UUID = '11111111-2222-3333-4444-555555555555';
const NETWORK = "<network><name>lan</name><uuid>66666666-7777-8888-9999-aaaaaaaaaaaa</uuid><bridge name='virbr9'/></network>";
const MORE_NIC = "<interface type='ethernet'><mac address='52:54:00:00:00:11'/><model type='virtio'/><rom enabled='no'/></interface>";

let host: Host;
let libvirt: Connection;
let opened: Connection[] = [];

async function open(uri = host.uri, options: ConnectOptions = {}): Promise<Connection> {
  const connection = await connect(uri, { timeout: 20_000, directory: host.dir, ...options });
  opened.push(connection);
  return connection;
}

/** The events so far, in short; the array grows. */
function watch(connection: Connection): { readonly seen: string[]; readonly events: LibvirtEvent[] } {
  const [seen, events]: [string[], LibvirtEvent[]] = [[], []];
  void (async () => {
    for await (const event of connection.events()) {
      events.push(event);
      if (event.kind === 'resync') seen.push(`resync ${event.reason}`);
      else if (event.kind === 'domain-lifecycle') seen.push(`${event.domain.name} ${event.event} ${event.detail}`);
      else if (event.kind === 'network-lifecycle') seen.push(`${event.network.name} ${event.event}`);
      else if (event.kind === 'metadata-change') seen.push(`${event.domain.name} ${event.type} ${event.uri ?? ''}`);
      else if (event.kind === 'disconnected') seen.push('disconnected');
      else seen.push(`${event.domain.name} ${event.kind} ${event.alias}`);
    }
    seen.push('end');
  })();
  return { seen, events };
}

async function killLibvirtd(): Promise<void> {
  await host.ok('sh', ['-c', 'pid=$(cat /run/libvirtd.pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done']);
}

beforeAll(async () => {
  if (!able) return;
  host = await startHost({ name: 'rpc' });
  await host.define(domainXml({ name: 'web1', uuid: UUID, nics: [nic('52:54:00:00:00:10')] }));
  libvirt = await connect(host.uri);
});
afterEach(async () => {
  await Promise.all(opened.map((connection) => connection.close()));
  opened = [];
});
afterAll(async () => {
  if (!able) return;
  await libvirt.close();
  await host.stop();
});

const web1 = (): Promise<DomainRef> => libvirt.lookupDomain({ uuid: UUID });

describe('what is read', () => {
  libvirtTest('is what virsh reads', async () => {
    expect(libvirt.uri).toBe('qemu:///system');
    expect(await libvirt.hostname()).toBe((await host.ok('virsh', ['hostname'])).trim());
    const { major, minor, release } = await libvirt.version();
    expect(await host.ok('virsh', ['version', '--daemon'])).toContain(`Running against daemon: ${major}.${minor}.${release}\n`);
    expect(await libvirt.listDomains()).toEqual([{ name: 'web1', uuid: UUID, id: undefined }]);
    expect(await libvirt.listDomains({ state: 'active' })).toEqual([]);
    expect(await libvirt.lookupDomain({ name: 'web1' })).toEqual({ name: 'web1', uuid: UUID, id: undefined });
    expect(await libvirt.domainState(await web1())).toBe('shutoff');
    expect(await libvirt.domainXml(await web1()))
      .toBe((await host.ok('virsh', ['dumpxml', 'web1'])).replace(/\n\n$/, '\n'));
  });

  libvirtTest('that is not there is an error with its name', async () => {
    await expect(libvirt.lookupDomain({ name: 'nobody' })).rejects.toMatchObject({
      code: 'ERR_LIBVIRT',
      refusal: { reason: 'VIR_ERR_NO_DOMAIN', reasonNumber: 42, origin: 'VIR_FROM_QEMU', message: "Domain not found: no domain with matching name 'nobody'" },
    });
    await expect(libvirt.lookupNetwork({ uuid: UUID }))
      .rejects.toMatchObject({ refusal: { reason: 'VIR_ERR_NO_NETWORK', origin: 'VIR_FROM_NETWORK' } });
    await expect(libvirt.attachDevice(await web1(), '<interface'))
      .rejects.toMatchObject({ refusal: { reason: 'VIR_ERR_XML_DETAIL', origin: 'VIR_FROM_DOMAIN' } });
    await expect(libvirt.attachDevice(await web1(), MORE_NIC, { affect: 'live' }))
      .rejects.toMatchObject({ refusal: { reason: 'VIR_ERR_OPERATION_INVALID' } });
  });

  libvirtTest('a hundred times at once, in one go', async () => {
    const domain = await web1();
    const texts = await Promise.all(Array.from({ length: 100 }, () => libvirt.domainXml(domain)));
    expect(new Set(texts).size).toBe(1);
  });

  libvirtTest('of networks, whose events come too', async () => {
    const { seen } = watch(await open());
    await waitFor(() => seen.length === 1, { what: 'the first resync' });
    expect(await libvirt.listNetworks()).toEqual([]);
    await host.ok('sh', ['-c', 'cat >/run/lan.xml; virsh -q net-define /run/lan.xml'], { input: NETWORK });
    const lan = { name: 'lan', uuid: '66666666-7777-8888-9999-aaaaaaaaaaaa' };
    expect(await libvirt.listNetworks()).toEqual([lan]);
    expect(await libvirt.listNetworks({ state: 'active' })).toEqual([]);
    expect([await libvirt.lookupNetwork({ name: 'lan' }), await libvirt.lookupNetwork({ uuid: lan.uuid })])
      .toEqual([lan, lan]);
    expect(await libvirt.networkXml(lan)).toContain("<bridge name='virbr9'");
    await host.ok('virsh', ['net-start', 'lan']);
    expect(await libvirt.listNetworks({ state: 'active' })).toEqual([lan]);
    await host.ok('virsh', ['net-destroy', 'lan']);
    await host.ok('virsh', ['net-undefine', 'lan']);
    await waitFor(() => seen.length === 5, { what: 'the events' });
    expect(seen).toEqual(['resync start', 'lan defined', 'lan started', 'lan stopped', 'lan undefined']);
  });
});

describe('the life of a guest', () => {
  libvirtTest('is changed and told in order', async () => {
    const { seen } = watch(await open());
    await waitFor(() => seen.length === 1, { what: 'the first resync' });
    const off = await web1();
    const gw = { uri: 'urn:guestwire:1', key: 'gw' };
    expect(await libvirt.getMetadata(off, gw)).toBeUndefined();
    await libvirt.setMetadata(off, { ...gw, xml: '<guestwire a="config"/>' });
    await host.ok('virsh', ['start', 'web1']);
    // libvirt finds it by its UUID, whatever id the caller knows.
    expect(await libvirt.domainState(off)).toBe('running');
    await libvirt.setMetadata(off, { ...gw, xml: '<guestwire a="live"/>', affect: 'live' });
    expect(await libvirt.getMetadata(off, gw)).toBe('<guestwire a="live"/>');
    expect(await libvirt.getMetadata(off, { ...gw, affect: 'config' })).toBe('<guestwire a="config"/>');
    expect(await libvirt.domainXml(off)).toContain('<gw:guestwire xmlns:gw="urn:guestwire:1" a="live"/>');
    expect(await libvirt.domainXml(off, { from: 'inactive' })).toContain('<gw:guestwire xmlns:gw="urn:guestwire:1" a="config"/>');
    await libvirt.setMetadata(off, { ...gw, xml: undefined, affect: 'both' });
    expect(await libvirt.getMetadata(off, { ...gw, affect: 'config' })).toBeUndefined();

    await libvirt.attachDevice(off, MORE_NIC, { affect: 'both' });
    expect(await libvirt.domainXml(off)).toContain("<alias name='net1'/>");
    await libvirt.updateDevice(off, MORE_NIC.replace('<model', "<link state='down'/><model"), { affect: 'live' });
    expect(await libvirt.domainXml(off)).toContain("<link state='down'/>");
    await libvirt.detachDevice(off, MORE_NIC, { affect: 'config' });
    expect(await libvirt.domainXml(off, { from: 'inactive' })).not.toContain('52:54:00:00:00:11');
    await host.ok('virsh', ['suspend', 'web1']);
    await host.ok('virsh', ['resume', 'web1']);
    await host.ok('virsh', ['destroy', 'web1']);
    await waitFor(() => seen.at(-1) === 'web1 stopped destroyed', { what: 'the last event' });
    // QEMU tells of its shutdown, or is dead before it can.
    expect(seen.filter((event) => event !== 'web1 shutdown host')).toEqual([
      'resync start', 'web1 element urn:guestwire:1', 'web1 resumed unpaused',
      'web1 started booted', 'web1 element urn:guestwire:1', 'web1 element urn:guestwire:1',
      'web1 device-added net1', 'web1 suspended paused', 'web1 resumed unpaused', 'web1 stopped destroyed',
    ]);
  });

  libvirtTest('with a device that the guest lets go', async () => {
    const { seen } = watch(await open());
    const uuid = '22222222-2222-3333-4444-555555555555';
    await host.define(domainXml({
      name: 'live', uuid, nics: [nic('52:54:00:00:00:20')], guest: { image: await guestImage(), cmdline: 'gw.wait=1' },
    }));
    await host.ok('virsh', ['start', 'live']);
    const live = await libvirt.lookupDomain({ uuid });
    await libvirt.attachDevice(live, MORE_NIC, { affect: 'live' });
    await waitFor(() => seen.includes('live device-added net1'), { what: 'the device' });
    // The guest answers when its kernel has come that far.
    await waitFor(async () => {
      await libvirt.detachDevice(live, MORE_NIC, { affect: 'live' }).catch(() => undefined);
      return seen.includes('live device-removed net1');
    }, { what: 'the device to go', timeout: 60_000 });
    await host.ok('virsh', ['destroy', 'live']);
    await host.ok('virsh', ['undefine', 'live']);
  });
});

describe('the daemon', () => {
  libvirtTest('may be killed and come back: calls go on, consumers are told to list again, and events follow', async () => {
    const connection = await open();
    const { seen } = watch(connection);
    await waitFor(() => seen.length === 1, { what: 'the first resync' });
    await host.ok('virsh', ['start', 'web1']);
    await waitFor(() => seen.length === 3, { what: 'the start' });
    for (let round = 0; round < 2; round += 1) {
      const before = seen.length;
      await killLibvirtd();
      await waitFor(() => seen.at(-1) === 'disconnected', { what: 'the loss' });
      const waiting = connection.domainState(await web1Ref());
      await host.startLibvirtd();
      expect(await waiting).toBe('running');
      await waitFor(() => seen.at(-1) === 'resync reconnected', { what: 'the resync' });
      expect(await connection.listDomains({ state: 'active' }))
        .toEqual([{ name: 'web1', uuid: UUID, id: expect.any(Number) }]);
      await connection.setMetadata(await web1Ref(), { uri: 'urn:x', key: 'x', xml: '<x/>', affect: 'live' });
      await waitFor(() => seen.length === before + 3, { what: 'an event of the new daemon' });
      expect(seen.slice(before)).toEqual(['disconnected', 'resync reconnected', 'web1 element urn:x']);
    }
    await host.ok('virsh', ['destroy', 'web1']);
    await waitFor(() => seen.at(-1) === 'web1 stopped destroyed', { what: 'the end' });
  });

  libvirtTest('that is stopped is noticed by its silence, and had again when it goes on', async () => {
    const connection = await open(host.uri, { keepalive: { interval: 200, count: 2 } });
    const { seen } = watch(connection);
    await waitFor(() => seen.length === 1, { what: 'the first resync' });
    await host.ok('sh', ['-c', 'kill -STOP $(cat /run/libvirtd.pid)']);
    await waitFor(() => seen.at(-1) === 'disconnected', { what: 'the silence to be noticed' });
    await host.ok('sh', ['-c', 'kill -CONT $(cat /run/libvirtd.pid)']);
    await waitFor(() => seen.at(-1) === 'resync reconnected', { what: 'the resync' });
    expect(await connection.hostname()).toBe('rpc');
  });

  libvirtTest("finds nothing to complain of in this client's keepalive and goodbye", async () => {
    const logged = (await host.log()).length;
    const connection = await open(host.uri, { keepalive: { interval: 50, count: 2 } });
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    expect(await connection.hostname()).toBe('rpc');
    await connection.close();
    expect((await host.log()).slice(logged)).toBe('');
  });

  libvirtTest('has a test driver, and refuses changes on a read-only connection', async () => {
    const connection = await open('test:///default');
    expect(connection.uri).toBe('test:///default');
    const [domain] = await connection.listDomains();
    expect(domain).toMatchObject({ name: 'test', id: 1 });
    expect(await connection.listNetworks()).toMatchObject([{ name: 'default' }]);
    const readOnly = await open('qemu:///system', { readOnly: true });
    await expect(readOnly.setMetadata(await web1Ref(), { uri: 'urn:x', key: 'x', xml: '<x/>' }))
      .rejects.toMatchObject({ refusal: { reason: 'VIR_ERR_OPERATION_DENIED' } });
    const wherever = await open('');
    expect(wherever.uri).toBe('qemu:///system');
  });
});

describe('through virsh', () => {
  libvirtTest('the same is read and changed, and events are refused by a typed error', async () => {
    const remote = await connectVirsh({ exec: execAsync, uri: host.uri, readOnly: false, timeout: 20_000 }, {});
    expect([remote.uri, remote.transport, await remote.hostname(), await remote.version()])
      .toEqual([host.uri, 'virsh', 'rpc', await libvirt.version()]);
    expect(await remote.listDomains()).toEqual(await libvirt.listDomains());
    await host.ok('virsh', ['start', 'web1']);
    const domain = await remote.lookupDomain({ name: 'web1' });
    expect([domain]).toEqual(await libvirt.listDomains());
    expect(await remote.lookupDomain({ uuid: UUID.toUpperCase() })).toEqual(domain);
    expect(await remote.domainState(domain)).toBe('running');
    expect((await remote.domainXml(domain)).trim()).toBe((await libvirt.domainXml(domain)).trim());
    const gw = { uri: 'urn:guestwire:1', key: 'gw' };
    expect(await remote.getMetadata(domain, gw)).toBeUndefined();
    await remote.setMetadata(domain, { ...gw, xml: '<guestwire a="1"/>', affect: 'both' });
    expect([await remote.getMetadata(domain, gw), await libvirt.getMetadata(domain, { ...gw, affect: 'config' })])
      .toEqual(['<guestwire a="1"/>', '<guestwire a="1"/>']);
    await remote.setMetadata(domain, { ...gw, xml: undefined, affect: 'both' });
    await remote.attachDevice(domain, MORE_NIC, { affect: 'live' });
    await remote.updateDevice(domain, MORE_NIC.replace('<model', "<link state='down'/><model"), { affect: 'live' });
    expect(await libvirt.domainXml(domain)).toContain("<link state='down'/>");
    await host.ok('sh', ['-c', 'virsh -q net-define /run/lan.xml']);
    expect(await remote.listNetworks()).toEqual(await libvirt.listNetworks());
    const lan = await remote.lookupNetwork({ name: 'lan' });
    expect((await remote.networkXml(lan)).trim()).toBe((await libvirt.networkXml(lan)).trim());
    await host.ok('virsh', ['net-undefine', 'lan']);
    await host.ok('virsh', ['destroy', 'web1']);
    for (const [attempt, expected] of [
      [() => remote.lookupDomain({ name: '1' }), { code: 'ERR_LIBVIRT', refusal: { reason: 'VIR_ERR_NO_DOMAIN' } }],
      [() => remote.attachDevice(domain, '<interface'), { code: 'ERR_LIBVIRT' }],
      [() => remote.domainXml({ ...domain, uuid: '--help' }), { code: 'ERR_LIBVIRT_ARGUMENT' }],
      [
        () => remote.attachDevice(domain, MORE_NIC, { affect: 'live' }),
        { code: 'ERR_LIBVIRT', refusal: { reason: 'VIR_ERR_OPERATION_INVALID', reasonNumber: 55 } },
      ],
    ] as const) await expect(attempt()).rejects.toMatchObject(expected);
    expect(() => remote.events()).toThrow(expect.objectContaining({ code: 'ERR_LIBVIRT_UNSUPPORTED' }));
    await Promise.all([remote.close(), remote.close()]);
    await expect(remote.hostname()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_CLOSED' });
  });
});

function web1Ref(): Promise<DomainRef> {
  return Promise.resolve({ name: 'web1', uuid: UUID, id: undefined });
}
