// @tier fast
/** Neighbour proxies on a fake kernel: what guests share on an uplink, and what is not guestwire's there. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RoutedLink } from '../../../lib/attachments/routed-link/routed-link.js';
import type { Stored } from '../../../lib/attachments/schema.js';
import { createJournal } from '../../../lib/journal/journal.js';
import type { Host } from '../../../lib/reconcile/host.js';
import { release, unwire, wire } from '../../../lib/reconcile/reconcile.js';
import type { WireRequest } from '../../../lib/reconcile/request.js';
import { attachmentOf } from '../../fakes/attachments.js';
import { type FakeHost, type FakeKernel, fakeKernel } from '../../fakes/kernel.js';
import { POLICY } from '../../fakes/policies.js';

const NDP = 'net/ipv6/conf/eno1/proxy_ndp';
const DELAY = { inet: 'net/ipv4/neigh/eno1/proxy_delay', inet6: 'net/ipv6/neigh/eno1/proxy_delay' };
const HOST: FakeHost = {
  links: {
    eno1: { ifindex: 2, mac: '02:00:00:00:00:02', addresses: ['198.51.100.1/24', 'fe80::2/64'] },
    vnet0: { ifindex: 10 },
    vnet1: { ifindex: 11 },
  },
  sysctls: {
    'net/ipv4/conf/all/forwarding': '1', 'net/ipv6/conf/all/forwarding': '1',
    'net/ipv4/conf/eno1/forwarding': '1', 'net/ipv6/conf/eno1/forwarding': '1',
    [NDP]: '0', [DELAY.inet]: '80', [DELAY.inet6]: '80',
  },
};
let dir: string;
let kernel: FakeKernel;
let host: Host;
let log: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-proxies-'));
  log = [];
  use(HOST);
});
afterEach(() => { rmSync(dir, { recursive: true }); });

function use(start: FakeHost): void {
  kernel = fakeKernel(start);
  const journal = createJournal(dir, (message) => { throw new Error(message); });
  host = { kernel, journal, log: (line) => log.push(line), protectedOn: () => new Set(), isQuarantined: () => false };
}

function start(
  n: number, addresses = [`192.0.2.1${n}`, `2001:db8::a${n}`], link: Partial<Stored<RoutedLink>> = {},
): WireRequest {
  const attachment = attachmentOf({
    kind: 'routed-link', nic: 0, mac: `52:54:00:aa:bb:0${n}`, link: `vnet${n}`, addresses,
    routes: [], gateways: ['169.254.0.1', 'fe80::1'], table: 'main', protocol: 117, policy: POLICY,
    proxy: ['eno1'], ...link,
  });
  return { guest: { name: `g${n}`, uuid: uuid(n) }, attachments: [attachment], fresh: true, incoming: false };
}

function uuid(n: number): string {
  return `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c0${n}`;
}

/** What libvirt does before it calls `stopped`. */
function dropTap(n: number): void {
  Reflect.deleteProperty(kernel.host.links, `vnet${n}`);
  kernel.host.routes = kernel.host.routes.filter(({ dev }) => dev !== `vnet${n}`);
}

const proxies = (): string[] =>
  kernel.host.proxies.map(({ dev, address, protocol = '0' }) => `${address} ${dev} ${protocol}`);
const settings = (): (string | undefined)[] => [NDP, DELAY.inet, DELAY.inet6].map((path) => kernel.host.sysctls[path]);
const lines = async (request: WireRequest): Promise<string[]> =>
  (await wire(host, request)).batches.flatMap((batch) => batch.lines.map(({ text }) => text));

describe('proxies', () => {
  test('are the last thing at start and the first at stop, one for each address, none for a prefix', async () => {
    const done = await lines(start(0, undefined, { routes: [{ to: '2001:db8:9::/64', via: '2001:db8::a0' }] }));
    expect(done.slice(-2)).toEqual(['neigh add proxy 192.0.2.10 dev eno1 protocol 117', 'neigh add proxy 2001:db8::a0 dev eno1 protocol 117']);
    expect(done.filter((line) => line.includes('proxy') && line.includes('2001:db8:9'))).toEqual([]);
    kernel.done.length = 0;
    await release(host, uuid(0));
    expect(kernel.done.filter((line) => !line.includes('=')).slice(0, 2))
      .toEqual(['neigh del proxy 192.0.2.10 dev eno1', 'neigh del proxy 2001:db8::a0 dev eno1']);
  });

  test('cost no run of a tool besides', async () => {
    const { batches } = await wire(host, start(0));
    expect(batches.map(({ tool }) => tool)).toEqual(['nft', 'sysctl', 'ip']);
  });

  test('are made nowhere unless the host config says where', async () => {
    const before = kernel.print();
    await wire(host, start(0, undefined, { proxy: undefined }));
    expect([proxies(), settings()]).toEqual([[], ['0', '80', '80']]);
    expect(kernel.done.filter((line) => line.includes('eno1'))).toEqual([]);
    await release(host, uuid(0));
    expect(kernel.print()).toContain(before.split('\n')[0] ?? '');
  });

  test('share settings that come with the first guest that needs them and go with the last', async () => {
    await wire(host, start(0, ['192.0.2.10']));
    expect(settings()).toEqual(['0', '0', '80']);
    await wire(host, start(1));
    expect(settings()).toEqual(['1', '0', '0']);
    dropTap(1);
    await unwire(host, uuid(1));
    await release(host, uuid(1));
    expect([proxies(), settings()]).toEqual([['192.0.2.10 eno1 117'], ['0', '0', '80']]);
    dropTap(0);
    await unwire(host, uuid(0));
    expect([proxies(), settings()]).toEqual([[], ['0', '80', '80']]);
    await release(host, uuid(0));
    expect(readdirSync(dir)).toEqual([]);
  });

  test('leave a setting that was so before, and one that somebody changed meanwhile', async () => {
    use({ ...HOST, sysctls: { ...HOST.sysctls, [NDP]: '1' } });
    await wire(host, start(0));
    kernel.host.sysctls[DELAY.inet] = '20';
    await release(host, uuid(0));
    expect(settings()).toEqual(['1', '20', '80']);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('of somebody else stay, and are not made ours', async () => {
    use({ ...HOST, proxies: [
      { dev: 'eno1', address: '192.0.2.10' },
      { dev: 'eno1', address: '2001:db8::a0', protocol: 'static' },
      { dev: 'eno1', address: '192.0.2.99', protocol: '117' },
    ] });
    const before = proxies();
    await wire(host, start(0));
    expect(proxies()).toEqual(before);
    expect(kernel.done.filter((line) => line.startsWith('neigh'))).toEqual([]);
    await wire(host, { ...start(0), fresh: false });
    await release(host, uuid(0));
    expect(proxies()).toEqual(before);
  });

  test('follow a guest whose addresses, links or protocol change', async () => {
    use({ ...HOST, links: { ...HOST.links, eno2: { ifindex: 3, mac: '02:00:00:00:00:03' } } });
    await wire(host, start(0));
    await wire(host, { ...start(0, ['192.0.2.20'], { proxy: ['eno2'] }), fresh: false });
    expect([proxies(), settings()]).toEqual([['192.0.2.20 eno2 117'], ['0', '80', '80']]);
    await wire(host, { ...start(0, ['192.0.2.20'], { proxy: ['eno2'], protocol: 118 }), fresh: false });
    expect(proxies()).toEqual(['192.0.2.20 eno2 118']);
    await release(host, uuid(0));
    expect(proxies()).toEqual([]);
  });

  test('and the settings are gone from a link that came back with another ifindex', async () => {
    await wire(host, start(0));
    kernel.host.links['eno1'] = { ifindex: 22, mac: '02:00:00:00:00:02' };
    kernel.host.proxies = [];
    Object.assign(kernel.host.sysctls, { [NDP]: '1', [DELAY.inet]: '0', [DELAY.inet6]: '0' });
    await release(host, uuid(0));
    expect(settings()).toEqual(['1', '0', '0']);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('wait while a guest comes by migration', async () => {
    await wire(host, { ...start(0), incoming: true });
    expect([proxies(), settings()]).toEqual([[], ['0', '80', '80']]);
    const { operations } = await wire(host, { ...start(0), fresh: false });
    expect(operations.filter(({ after }) => after?.kind === 'neighbour-proxy')).toHaveLength(2);
    expect(settings()).toEqual(['1', '0', '0']);
  });

  test('of a guest that ended unseen go before another guest gets its address', async () => {
    await wire(host, start(0, ['192.0.2.10']));
    dropTap(0);
    await wire(host, start(1, ['192.0.2.10']));
    expect(proxies()).toEqual(['192.0.2.10 eno1 117']);
    await release(host, uuid(1));
    expect([proxies(), settings()]).toEqual([[], ['0', '80', '80']]);
  });

  test('are gone, and every setting is back, after a failure at any line', async () => {
    await wire(host, start(0));
    const wired = kernel.print();
    const records = host.journal.readLedger().proxies;
    const count = (await lines(start(1))).length;
    for (let line = 1; line <= count; line += 1) {
      rmSync(dir, { recursive: true });
      use(HOST);
      await wire(host, start(0));
      expect(kernel.print()).toBe(wired);
      kernel.done.length = 0;
      kernel.failAt = line;
      await expect(wire(host, start(1))).rejects.toThrow('told to fail');
      expect(kernel.print()).toBe(wired);
      expect(host.journal.readLedger().proxies).toEqual(records);
    }
  });

  test('are found again by the release of a guest whose start was cut short', async () => {
    const before = kernel.print();
    const count = (await lines(start(0))).length;
    rmSync(dir, { recursive: true });
    for (let line = 1; line <= count; line += 1) {
      use(HOST);
      kernel.failAt = line;
      // The hook is killed there: no rollback, so the kernel stays as it is and the journal, too.
      const killed = (): Promise<never> => Promise.reject(new Error('killed'));
      const { journal } = host;
      host = { ...host, journal: { ...journal, remove: () => undefined },
        kernel: {
          ...kernel, run: (batches, mode, scope) => (mode === 'carry-on' ? killed() : kernel.run(batches, mode, scope)),
        } };
      await expect(wire(host, start(0))).rejects.toThrow();
      host = { ...host, kernel, journal };
      await release(host, uuid(0));
      expect(kernel.print()).toBe(before);
      expect(readdirSync(dir)).toEqual([]);
    }
  });

  test('of a damaged record are taken away all the same', async () => {
    await wire(host, start(0));
    writeFileSync(join(dir, 'proxies.json'), '[{"dev":"eno1"}]');
    const journal = createJournal(dir, (line) => log.push(line));
    await release({ ...host, journal }, uuid(0));
    expect(proxies()).toEqual([]);
    expect(log).toContain(`journal '${join(dir, 'proxies.json')}' is damaged and is treated as empty: the wiring that it recorded stays`);
  });
});

describe('a proxy link that cannot answer is warned of, and the guest starts', () => {
  test.each<[string, (fake: FakeHost) => void, string]>([
    ['is missing', ({ links }) => { Reflect.deleteProperty(links ?? {}, 'eno1'); },
      "guest 'g0': proxy link 'eno1' of the host config does not exist: no neighbour on it finds the guest"],
    ['is a bridge port', ({ links }) => {
      Object.assign(links ?? {}, { br0: { ifindex: 4, bridge: {} }, eno1: { ifindex: 2, master: 'br0' } });
    },
      "guest 'g0': proxy link 'eno1' of the host config is a port of 'br0', which takes its frames: name 'br0' instead: no neighbour on it finds the guest"],
  ])('that %s', async (_, change, warning) => {
    const fake = structuredClone(HOST);
    change(fake);
    use(fake);
    await wire(host, start(0));
    expect(log).toContain(warning);
    expect([proxies(), settings()]).toEqual([[], ['0', '80', '80']]);
    kernel.host.links['eno1'] = { ifindex: 33, mac: '02:00:00:00:00:02' };
    await wire(host, { ...start(0), fresh: false });
    expect(proxies()).toEqual(['192.0.2.10 eno1 117', '2001:db8::a0 eno1 117']);
  });

  test('that does not forward, for each family by itself', async () => {
    use({
      ...HOST, sysctls: { ...HOST.sysctls, 'net/ipv4/conf/eno1/forwarding': '0', 'net/ipv6/conf/eno1/forwarding': '0' },
    });
    await wire(host, start(0));
    expect(log.slice(0, 2)).toEqual([
      "guest 'g0': proxy link 'eno1' of the host config does not forward IPv4, so the kernel does not answer for the guest there: set 'net.ipv4.conf.eno1.forwarding' to 1",
      "guest 'g0': proxy link 'eno1' of the host config does not forward IPv6, so the kernel does not answer for the guest there: set 'net.ipv6.conf.eno1.forwarding' to 1",
    ]);
    log.length = 0;
    await wire(host, start(1, ['192.0.2.11']));
    expect(log.filter((line) => line.includes('does not forward'))).toHaveLength(1);
  });

  test('that does not forward is not, where guestwire turns on forwarding for the guest', async () => {
    const off = {
      'net/ipv4/conf/all/forwarding': '0',
      'net/ipv6/conf/all/forwarding': '0',
      'net/ipv4/conf/eno1/forwarding': '0',
      'net/ipv6/conf/eno1/forwarding': '0',
    };
    use({ ...HOST, sysctls: { ...HOST.sysctls, ...off } });
    const request = start(0);
    await wire(host, {
      ...request, attachments: request.attachments.map((one) => ({ ...one, managesSysctls: true }) as typeof one),
    });
    expect(kernel.host.sysctls['net/ipv6/conf/all/forwarding']).toBe('1');
    expect(log.filter((line) => line.includes('does not forward'))).toEqual([]);
  });
});
