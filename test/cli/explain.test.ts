// @tier fast kernel
/** `guestwire explain` as its users run it, beside links of guests that the journal knows. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Stored } from '../../lib/attachments/schema.js';
import { NO_TRUST, type Policy, type Trust } from '../../lib/intent/policy.js';
import { createJournal } from '../../lib/journal/journal.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const kernelTest = testWith('root', 'netns');
const CLI = resolve('dist/cli.js');
const uuidOf = (n: number): string => `00000000-0000-0000-0000-00000000000${n}`;

let netns: Netns | undefined;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-explain-'));
  if (!canRun('root', 'netns')) return;
  const ns = await openNetns();
  netns = ns;
  const journal = createJournal(join(dir, 'state'), (message) => { throw new Error(message); });
  const run = (
    name: string, n: number,
    { policy = {}, trust, live = true }: { policy?: Partial<Stored<Policy>>; trust?: Trust; live?: boolean },
  ): void => {
    if (live) ns.sh(`ip tuntap add vnet${n} mode tap`);
    const wired = wiredOf({
      kind: 'routed-link', nic: 0, mac: `52:54:00:aa:bb:0${n}`, link: `vnet${n}`,
      ifindex: live ? Number(ns.sh(`cat /sys/class/net/vnet${n}/ifindex`)) : 999,
      addresses: [`2001:db8::${n}`, `192.0.2.${n}`], routes: [], gateways: ['169.254.0.1', 'fe80::1'], table: 'main',
      protocol: 117, policy: { ...POLICY, guest: name, ...policy }, ...(trust && { trust }),
    });
    journal.write({
      version: 1, guest: { name, uuid: uuidOf(n) }, since: '2026-01-01T00:00:00.000Z', incoming: false, wired: [wired],
      original: [],
    });
  };
  ns.sh('ip address add 198.51.100.1/24 dev lo');
  run('web1', 1, { policy: { allows: [{
    direction: 'in', proto: 'tcp', ports: [{ first: 443, last: 443 }], peers: [],
    origin: '<gw:allow> 1 in its metadata',
  }] } });
  run('db1', 2, { policy: { profile: 'closed', profileOrigin: '[filter] in the host config' } });
  run('fw1', 3, { trust: { ...NO_TRUST, ip: true } });
  run('gone', 4, { live: false });
});
afterAll(() => {
  netns?.close();
  rmSync(dir, { recursive: true });
});

function explain(...args: readonly string[]): object {
  const { status, stdout, stderr } = netns?.run(process.execPath, [
    CLI, 'explain', ...args,
  ], { env: { GUESTWIRE_STATE_DIR: join(dir, 'state') } }) ?? { status: null, stdout: '', stderr: '' };
  return { status, stdout, stderr };
}

describe('guestwire explain', () => {
  for (const [title, args, status, lines] of [
    ['a flow that passes', [
      'web1', '--from', '2001:DB8:ffff::1', '--to', '2001:db8::1', '--proto', 'tcp', '--port', '443',
    ], 0, [
      "passes: from 2001:db8:ffff::1 (the world: no guest of this host has it) to 2001:db8::1 (guest 'web1' NIC 0)",
      "  in guest 'web1' NIC 0 (52:54:00:aa:bb:01) passes: allows tcp 443 (<gw:allow> 1 in its metadata)",
    ]],
    ['a flow between guests, by UUID', [uuidOf(2), '--from', '192.0.2.1', '--to', '192.0.2.2'], 1, [
      "dropped: from 192.0.2.1 (guest 'web1' NIC 0) to 192.0.2.2 (guest 'db1' NIC 0)",
      "  out guest 'web1' NIC 0 (52:54:00:aa:bb:01) passes: profile 'isolated' leaves the decision to the receiver (the default)",
      "  in guest 'db1' NIC 0 (52:54:00:aa:bb:02) dropped: profile 'closed' lets in only what a permission names ([filter] in the host config)",
    ]],
    ['a flow to this host', ['web1', '--from', '192.0.2.1', '--to', '198.51.100.1', '--proto', 'icmp'], 0, [
      "passes: from 192.0.2.1 (guest 'web1' NIC 0) to 198.51.100.1 (this host)",
      "  out guest 'web1' NIC 0 (52:54:00:aa:bb:01) passes: echo to this host",
    ]],
    ['what a trusted guest sends from an address of its LAN', ['fw1', '--from', '203.0.113.9', '--to', '203.0.113.1'], 0, [
      "passes: from 203.0.113.9 (guest 'fw1' NIC 0) to 203.0.113.1 (the world: no guest of this host has it)",
      "  out guest 'fw1' NIC 0 (52:54:00:aa:bb:03) passes: profile 'isolated' lets it reach the world (the default)",
    ]],
  ] as const) kernelTest(`says what decides on ${title}`, () => {
    expect(explain(...args)).toEqual({ status, stdout: `${lines.join('\n')}\n`, stderr: '' });
  });

  kernelTest('prints JSON in its documented shape', () => {
    const { status, stdout } = explain(
      'db1', '--from', '192.0.2.9', '--to', '192.0.2.2', '--proto', 'tcp', '--port', '5432', '--json',
    ) as { status: number; stdout: string };
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      version: 1, flow: { from: '192.0.2.9', to: '192.0.2.2', proto: 'tcp', port: 5432 }, verdict: 'dropped',
      from: { kind: 'world', address: '192.0.2.9' },
      to: {
        kind: 'routed-link', address: '192.0.2.2', guest: { name: 'db1', uuid: uuidOf(2) }, nic: 0,
        mac: '52:54:00:aa:bb:02',
      },
      rulings: [{
        guest: 'db1', nic: 0, mac: '52:54:00:aa:bb:02', direction: 'in', verdict: 'dropped', rule: "profile 'closed' lets in only what a permission names",
        origin: '[filter] in the host config',
      }],
    });
  });

  for (const name of ['gone', 'none']) kernelTest(`cannot tell of guest '${name}', which does not run`, () => {
    expect(explain(name, '--from', '192.0.2.4', '--to', '192.0.2.1')).toEqual({ status: 2, stdout: '', stderr: `guestwire: guest '${name}' does not run here, or nothing is wired for it: only the rules of a running guest are in force\n` });
  });

  kernelTest('is told one end of the guest', () => {
    expect(explain('web1', '--from', '192.0.2.2', '--to', '192.0.2.9')).toEqual({ status: 2, stdout: '', stderr:
      "guestwire: neither '192.0.2.2' nor '192.0.2.9' is an address of guest 'web1', it has '2001:db8::1', '192.0.2.1', and packets that it sends from others are dropped as forged: see 'guestwire explain --help'\n" });
  });

  test.each<[string[], string]>([
    [[], 'give the name of one guest'],
    [['a', 'b'], 'give the name of one guest'],
    [['a', '--to', '192.0.2.1'], '--from is missing'],
    [['a', '--from', '192.0.2.1'], '--to is missing'],
    [['a', '--from', '192.0.2.1', '--to', 'web1'], "--to: address 'web1' is not an IPv4 or IPv6 address"],
    [['a', '--from', '192.0.2.1', '--to', '::1'], "'192.0.2.1' and '::1' are of different address families: no packet has both"],
    [['a', '--from', '192.0.2.1', '--to', '192.0.2.2', '--proto', 'http'], "--proto 'http' is not one of 'tcp', 'udp', 'sctp', 'icmp', 'icmpv6'"],
    [['a', '--from', '192.0.2.1', '--to', '192.0.2.2', '--proto', 'icmpv6'], "--proto 'icmpv6' does not fit the address family of '192.0.2.1': write 'icmp'"],
    [['a', '--from', '192.0.2.1', '--to', '192.0.2.2', '--port', '443'], "--port needs --proto 'tcp', 'udp' or 'sctp'"],
    [['a', '--from', '192.0.2.1', '--to', '192.0.2.2', '--proto', 'tcp', '--port', '0x50'], "--port '0x50' is not a number from 1 to 65535"],
  ])('%j is wrong usage', (args, message) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'explain', ...args], { encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: `guestwire: ${message}: see 'guestwire explain --help'\n` });
  });
});
