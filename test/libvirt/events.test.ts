// @tier fast
/**
 * Events and reconnecting, against a daemon that misbehaves at will: nothing is lost without a 'resync' that says so.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { connect, type ConnectOptions } from '../../lib/libvirt/connect.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import type { LibvirtEvent } from '../../lib/libvirt/events.js';
import {
  type Answers, type FakeDaemon, lifecycle, type Peer, startFakeDaemon, WEB1, WEB1_REF,
} from '../fakes/daemon.js';
import { waitFor } from '../lab/host.js';

let daemon: FakeDaemon;
let connection: Connection;
afterEach(async () => {
  await connection.close();
  await daemon.close();
});

async function open(answers: Answers = {}, options: ConnectOptions = {}): Promise<Connection> {
  daemon = await startFakeDaemon(answers);
  connection = await connect(daemon.uri, { timeout: 500, reconnect: { first: 20, most: 80 }, ...options });
  return connection;
}

const last = (): Peer => {
  const peer = daemon.peers.at(-1);
  if (peer === undefined) throw new Error('nobody has connected');
  return peer;
};

/** What an event is, in short. */
function brief(event: LibvirtEvent): string {
  switch (event.kind) {
    case 'resync': return `resync ${event.reason}`;
    case 'disconnected': return 'disconnected';
    case 'domain-lifecycle': return `${event.domain.name} ${event.event} ${event.detail}`;
    case 'network-lifecycle': return `${event.network.name} ${event.event}`;
    case 'metadata-change': return `${event.domain.name} metadata ${event.uri ?? ''}`;
    case 'device-added': case 'device-removed': case 'device-removal-failed': return `${event.domain.name} ${event.kind} ${event.alias}`;
  }
}

async function take(events: AsyncIterator<LibvirtEvent>, count: number): Promise<string[]> {
  const taken: string[] = [];
  while (taken.length < count) {
    const result = await events.next();
    if (result.done === true) break;
    taken.push(brief(result.value));
  }
  return taken;
}

describe('events', () => {
  test('begin with a resync and come in order, of every kind', async () => {
    const events = (await open()).events();
    expect(await take(events, 1)).toEqual(['resync start']);
    const peer = last();
    lifecycle(peer, 2);
    peer.event('domain_event_callback_device_added', { callbackId: 1, domain: WEB1, alias: 'net1' });
    peer.event('domain_event_callback_device_removal_failed', { callbackId: 1, domain: WEB1, alias: 'net1' });
    peer.event('domain_event_callback_device_removed', { callbackId: 1, message: { domain: WEB1, alias: 'net1' } });
    peer.event(
      'domain_event_callback_metadata_change', { callbackId: 1, domain: WEB1, type: 2, uri: 'urn:guestwire:1' },
    );
    peer.event('network_event_lifecycle', { callbackId: 1, network: WEB1, event: 3, detail: 0 });
    lifecycle(peer, 5, 1);
    expect(await take(events, 7)).toEqual([
      'web1 started booted', 'web1 device-added net1', 'web1 device-removal-failed net1', 'web1 device-removed net1',
      'web1 metadata urn:guestwire:1', 'web1 stopped', 'web1 stopped destroyed',
    ]);
  });

  test('are registered once for several consumers, and given back by the last', async () => {
    const libvirt = await open();
    const [one, two] = [
      libvirt.events({ kinds: ['domain-lifecycle'] }),
      libvirt.events({ kinds: ['domain-lifecycle', 'network-lifecycle'] }),
    ];
    expect([...await take(one, 1), ...await take(two, 1)]).toEqual(['resync start', 'resync start']);
    lifecycle(last(), 2);
    expect([...await take(one, 1), ...await take(two, 1)]).toEqual(['web1 started booted', 'web1 started booted']);
    await one.return?.();
    lifecycle(last(), 5);
    for await (const event of two) if (event.kind === 'domain-lifecycle') break;
    await waitFor(() => daemon.called.length >= 4, { what: 'both to be given back' });
    expect(daemon.called).toEqual([
      'connect_domain_event_callback_register_any', 'connect_network_event_register_any',
      'connect_domain_event_callback_deregister_any', 'connect_network_event_deregister_any',
    ]);
  });

  test('that nobody takes are replaced by one resync', async () => {
    const libvirt = await open();
    const events = libvirt.events({ most: 7 });
    expect(await take(events, 1)).toEqual(['resync start']);
    for (let n = 0; n < 20_000; n += 1) lifecycle(last(), 2);
    lifecycle(last(), 5, 3);
    // When the answer is here, so is all that was sent before it.
    await libvirt.hostname({ timeout: 10_000 });
    const rest = await take(events, 1);
    while (rest.at(-1) !== 'web1 stopped migrated') rest.push(...await take(events, 1));
    expect(rest[0]).toBe('resync overflow');
    expect(rest.length).toBeLessThanOrEqual(7);
  }, 30_000);

  test('with names of megabytes are replaced likewise', async () => {
    const libvirt = await open({}, { timeout: 30_000 });
    const events = libvirt.events();
    expect(await take(events, 1)).toEqual(['resync start']);
    const alias = 'x'.repeat(1_000_000);
    for (let n = 0; n < 20; n += 1)
      last().event('domain_event_callback_device_added', { callbackId: 1, domain: WEB1, alias });
    await libvirt.hostname({ timeout: 10_000 });
    lifecycle(last(), 2);
    expect(await take(events, 1)).toEqual(['resync overflow']);
  }, 30_000);

  test('end with the signal and with the connection', async () => {
    const libvirt = await open();
    const aborter = new AbortController();
    const [aborted, closed] = [libvirt.events({ signal: aborter.signal }), libvirt.events()];
    expect([...await take(aborted, 1), ...await take(closed, 1)]).toEqual(['resync start', 'resync start']);
    aborter.abort();
    expect(await aborted.next()).toEqual({ done: true, value: undefined });
    const pending = closed.next();
    await libvirt.close();
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(await libvirt.events().next()).toEqual({ done: true, value: undefined });
  });

  test('that the driver does not have are an error that says so, for those who want them', async () => {
    const libvirt = await open({ connect_network_event_register_any: (peer, call) => { peer.refuse(call, 3, 'this function is not supported by the connection driver'); } });
    const [all, domains] = [libvirt.events(), libvirt.events({ kinds: ['domain-lifecycle'] })];
    await expect(all.next()).rejects.toMatchObject({ code: 'ERR_LIBVIRT', refusal: { reason: 'VIR_ERR_NO_SUPPORT' } });
    expect(await all.next()).toEqual({ done: true, value: undefined });
    expect(await take(domains, 1)).toEqual(['resync start']);
  });

  test('whose body is none end the session', async () => {
    const libvirt = await open();
    const events = libvirt.events();
    expect(await take(events, 1)).toEqual(['resync start']);
    last().send({
      header: { program: 0x2000_8086, version: 1, procedure: 318, type: 2, serial: 1, status: 0 },
      payload: new Uint8Array(3),
    });
    expect(await take(events, 2)).toEqual(['disconnected', 'resync reconnected']);
  });

  test('of a newer libvirt are passed over', async () => {
    const libvirt = await open();
    last().send({
      header: { program: 0x2000_8086, version: 1, procedure: 999, type: 2, serial: 1, status: 0 },
      payload: new Uint8Array(8),
    });
    expect(await libvirt.hostname()).toBe('fake');
    expect(daemon.peers).toHaveLength(1);
  });
});

describe('a connection that breaks', () => {
  test('is made anew, and consumers are told: events go on after a resync', async () => {
    const libvirt = await open();
    const events = libvirt.events({ kinds: ['domain-lifecycle'] });
    expect(await take(events, 1)).toEqual(['resync start']);
    for (let round = 0; round < 3; round += 1) {
      last().socket.destroy();
      expect(await take(events, 2)).toEqual(['disconnected', 'resync reconnected']);
      lifecycle(last(), 2);
      expect(await take(events, 1)).toEqual(['web1 started booted']);
    }
    expect(await libvirt.hostname()).toBe('fake');
  });

  test('fails what was under way, and never repeats it', async () => {
    const libvirt = await open({ domain_attach_device_flags: ({ socket }) => { socket.destroy(); } });
    await expect(libvirt.attachDevice(WEB1_REF, '<interface/>'))
      .rejects.toMatchObject({ code: 'ERR_LIBVIRT_CONNECTION', retryable: true });
    expect(await libvirt.hostname()).toBe('fake');
    expect(daemon.called.filter((name) => name === 'domain_attach_device_flags')).toHaveLength(1);
  });

  test('lets calls wait for the next one within their time', async () => {
    const libvirt = await open();
    daemon.answer({ connect_open: () => undefined });
    last().socket.destroy();
    await waitFor(() => daemon.peers.length > 1, { what: 'another attempt' });
    await expect(libvirt.hostname({ timeout: 50 })).rejects.toMatchObject({
      code: 'ERR_LIBVIRT_TIMEOUT', message: expect.stringContaining('connect_get_hostname waited 50 ms for a connection'),
    });
    await expect(libvirt.hostname({ signal: AbortSignal.timeout(50) }))
      .rejects.toMatchObject({ code: 'ERR_LIBVIRT_ABORTED' });
    const patient = libvirt.hostname({ timeout: 10_000 });
    daemon.answer({ connect_open: (peer, call) => { peer.reply('connect_open', call, undefined); } });
    expect(await patient).toBe('fake');
  }, 20_000);

  test('is not made anew with the daemon of another driver, which knows none of the guests', async () => {
    const libvirt = await open();
    const answerAs = (uri: string): void => {
      daemon.answer({ connect_get_uri: (peer, call) => { peer.reply('connect_get_uri', call, { uri }); } });
    };
    answerAs('other:///system');
    const attempts = daemon.peers.length;
    last().socket.destroy();
    await waitFor(() => daemon.peers.length > attempts + 1, { what: 'two more attempts' });
    await expect(libvirt.hostname({ timeout: 300 })).rejects.toMatchObject({
      code: 'ERR_LIBVIRT_TIMEOUT', message: expect.stringContaining("'other:///system' answers instead of 'fake:///system', to which this connection was made"),
    });
    answerAs('fake:///system');
    expect(await libvirt.hostname({ timeout: 10_000 })).toBe('fake');
  }, 20_000);

  test('is not asked again in a hurry by a daemon that drops every client', async () => {
    await open();
    daemon.answer({ connect_get_uri: (peer, call) => {
      peer.reply('connect_get_uri', call, { uri: 'fake:///system' });
      peer.socket.end();
    } });
    last().socket.destroy();
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    // 20, 40, 80, 80, ... with a quarter less each at most.
    expect(daemon.peers.length).toBeGreaterThan(3);
    expect(daemon.peers.length).toBeLessThan(13);
  });

  test('for good, when that is asked for, ends the iteration with the reason', async () => {
    const libvirt = await open({}, { reconnect: false });
    const events = libvirt.events();
    expect(await take(events, 1)).toEqual(['resync start']);
    last().socket.destroy();
    await expect(events.next()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_CONNECTION' });
    expect(await events.next()).toEqual({ done: true, value: undefined });
    await expect(libvirt.hostname()).rejects.toMatchObject({ code: 'ERR_LIBVIRT_CONNECTION' });
  });

  test('can be closed while it is being made anew', async () => {
    const libvirt = await open();
    daemon.answer({ connect_open: () => undefined });
    last().socket.destroy();
    await waitFor(() => daemon.peers.length > 1, { what: 'another attempt' });
    const waiting = libvirt.hostname({ timeout: 10_000 }).catch((error: unknown) => (error as { code: string }).code);
    await libvirt.close();
    expect(await waiting).toBe('ERR_LIBVIRT_CLOSED');
  });
});
