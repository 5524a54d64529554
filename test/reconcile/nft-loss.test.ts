// @tier fast
/** The nftables tables when somebody broke or flushed them: on a fake kernel, whatever fails at whatever step. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import { CommandError, VerifyError } from '../../lib/errors.js';
import { createJournal } from '../../lib/journal/journal.js';
import type { Host } from '../../lib/reconcile/host.js';
import { refilter, release, releaseRunning, wire } from '../../lib/reconcile/reconcile.js';
import type { WireRequest } from '../../lib/reconcile/request.js';
import { attachmentOf } from '../fakes/attachments.js';
import { type FakeKernel, fakeKernel, type FakeLink } from '../fakes/kernel.js';
import { type FakeNft, filtered } from '../fakes/nft.js';
import { POLICY } from '../fakes/policies.js';

/** Guest 0 has ifindexes 10 and 20, guest 1 has 11 and 21. */
function start(number: number, vid = 10): WireRequest {
  const mac = `52:54:00:aa:bb:0${number}`;
  const port: VlanPort = {
    kind: 'vlan-port', nic: 0, mac, link: `port${number}`, bridge: 'br0', isolated: undefined, uplinks: [],
    vlans: [{ vid, pvid: true, untagged: true }],
  };
  const link = attachmentOf({
    kind: 'routed-link', nic: 1, mac, link: `link${number}`, addresses: [`192.0.2.1${number}`], routes: [],
    gateways: ['169.254.0.1'], table: 'main', protocol: 117, policy: POLICY,
  });
  return {
    guest: { name: `web${number}`, uuid: uuid(number) }, attachments: [port, link], fresh: true, incoming: false,
  };
}

function uuid(number: number): string {
  return `11111111-2222-3333-4444-55555555555${number}`;
}

let dir: string;
let kernel: FakeKernel;
let host: Host;

beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-nftloss-')); });
afterEach(() => { rmSync(dir, { recursive: true, force: true }); });

async function useTwoGuests(): Promise<void> {
  rmSync(dir, { recursive: true, force: true });
  const links = [0, 1].flatMap((number) => [
    [`port${number}`, { ifindex: 10 + number, master: 'br0', vlans: { 1: 'pvid untagged' } }] as const,
    [`link${number}`, { ifindex: 20 + number, up: false }] as const,
  ]);
  kernel = fakeKernel({
    links: { br0: { ifindex: 2, bridge: {} }, ...Object.fromEntries<FakeLink>(links) },
    sysctls: { 'net/ipv4/conf/all/forwarding': '1' },
  });
  host = {
    kernel, journal: createJournal(dir, () => undefined), log: () => undefined, protectedOn: () => new Set(),
    isQuarantined: () => false,
  };
  for (const number of [0, 1]) await wire(host, start(number));
}

const FAMILIES = ['bridge', 'netdev', 'inet'] as const;
const held = (): unknown[] => FAMILIES.map((family) => filtered(kernel.host.nft, family));
const broken = (): void => {
  for (const family of FAMILIES) Object.assign(kernel.host.nft[family] ?? {}, { sets: {} });
};
const flushed = (): void => { kernel.host.nft = {} satisfies FakeNft; };

describe.each<[string, () => void]>([
  ['broken', broken],
  ['flushed', flushed],
])('tables that somebody has %s', (_, harm) => {
  beforeEach(async () => {
    await useTwoGuests();
    harm();
  });

  test('are whole for all guests after any of them is wired again', async () => {
    await wire(host, { ...start(0), fresh: false });
    expect(held()).toEqual([[10, 11], [20, 21], [20, 21]]);
  });

  test('are whole for those that stay after one is released, and gone with the last', async () => {
    await release(host, uuid(0));
    expect(held()).toEqual([[11], [21], [21]]);
    await release(host, uuid(1));
    expect(kernel.host.nft).toEqual({});
  });

  test('are whole for all guests when a change of one fails at any line', async () => {
    const { batches } = await wire(host, { ...start(0, 30), fresh: false });
    // nft carries out a file whole or not at all.
    const tools = batches.flatMap(({ tool, lines }) =>
      lines.map((_line, index) => (tool === 'nft' && index > 0 ? undefined : tool)));
    for (let line = 1; line <= tools.length; line += 1) {
      if (tools[line - 1] === undefined) continue;
      await useTwoGuests();
      const before = kernel.print();
      harm();
      kernel.failAt = kernel.done.length + line;
      await expect(wire(host, { ...start(0, 30), fresh: false })).rejects.toThrow('told to fail');
      expect(kernel.print()).toBe(before);
    }
  });
});

test('tables that are made anew leave out a guest whose link died unseen', async () => {
  await useTwoGuests();
  Reflect.deleteProperty(kernel.host.links, 'link1');
  flushed();
  await wire(host, { ...start(0), fresh: false });
  expect(held()).toEqual([[10, 11], [20], [20]]);
});

test('a guest whose entry is lost has its rules once, not behind the old ones', async () => {
  await useTwoGuests();
  const rules = (): unknown => kernel.host.nft.inet?.chains['in_20'];
  const before = rules();
  host.journal.remove(uuid(0));
  await wire(host, start(0));
  expect(rules()).toEqual(before);
});

test('a running guest that nobody speaks of any more is left without filter, and so its link is down', async () => {
  await useTwoGuests();
  await releaseRunning(host, uuid(0));
  expect(held()).toEqual([[11], [21], [21]]);
  expect([kernel.host.links['link0']?.up, kernel.host.links['link1']?.up]).toEqual([false, true]);
});

test('where nft does not run, a release takes the rest away all the same, and tells', async () => {
  await useTwoGuests();
  const failure = {
    tool: 'nft', args: [], exitCode: undefined, signal: undefined, stderr: '', timedOut: false, errno: 'ENOENT',
    line: undefined,
  };
  const blind: Host = { ...host, kernel: { ...kernel, observe: (scope) =>
    (scope.filters.length > 0 ? Promise.reject(new CommandError('nft is gone', failure)) : kernel.observe(scope)) } };
  await expect(release(blind, uuid(0))).rejects.toThrow('nft is gone');
  expect(kernel.print()).not.toContain('link0 table main proto 117');
  await release(host, uuid(0));
  expect(held()).toEqual([[11], [21], [21]]);
});

describe('an nft that ends well and changes nothing', () => {
  /** The same host with a kernel that carries out no batch. */
  const idle = (): Host => ({
    ...host, isQuarantined: () => true,
    kernel: {
      ...kernel, run: async (_, __, scope) => ({ observation: await kernel.observe(scope), failure: undefined }),
    },
  });

  test('puts no guest into quarantine, and the journal does not say so', async () => {
    await useTwoGuests();
    const before = host.journal.read(uuid(0));
    await expect(refilter(idle(), uuid(0))).rejects.toThrow(
      new VerifyError("guest 'web0': the kernel differs from what guestwire set: nft reported success and changed no filter"),
    );
    expect(host.journal.read(uuid(0))).toEqual(before);
    expect(await refilter({ ...host, isQuarantined: () => true }, uuid(0))).toBeDefined();
  });
});
