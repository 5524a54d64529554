// @tier fast
/** What is said and asked on a LAN, with a stand-in for the sender: who is told when it fails, and with which words. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { ConflictError, HostError } from '../../lib/errors.js';
import { announce } from '../../lib/lan/announce.js';
import { announcementFrames } from '../../lib/lan/frames.js';
import { probeNeighbours } from '../../lib/lan/probe.js';
import type { Plan } from '../../lib/reconcile/plan.js';
import type { Exec, ExecRequest, ExecResult } from '../../lib/system/exec.js';
import { exchange } from '../../lib/system/raw-socket.js';
import { parseAddress } from '../../lib/values/address.js';
import { attachmentOf } from '../fakes/attachments.js';
import { type FakeHost, fakeKernel } from '../fakes/kernel.js';
import { POLICY } from '../fakes/policies.js';

const GOOD: ExecResult = { exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '' };
const MISSING: ExecResult = { ...GOOD, exitCode: undefined, errno: 'ENOENT' };
const HOST: FakeHost = { links: {
  eno1: { ifindex: 2, mac: '02:00:00:00:00:01', addresses: ['198.51.100.1/24', '192.0.2.1/24'] },
  eno2: { ifindex: 3, mac: '02:00:00:00:00:02' },
} };
const LINK = attachmentOf({
  kind: 'routed-link', nic: 1, mac: '52:54:00:aa:bb:02', link: undefined, addresses: ['2001:db8::a', '192.0.2.10'],
  routes: [], gateways: [], table: 'main', protocol: 117, policy: POLICY,
  proxy: ['eno1', 'eno2'],
});

let asked: ExecRequest[];
let told: string[];
const log = {
  info: (line: string) => { told.push(`info ${line}`); }, warn: (line: string) => { told.push(`warn ${line}`); },
};
const answering = (result: ExecResult): Exec => (request) => {
  asked.push(request);
  return Promise.resolve(result);
};

beforeEach(() => {
  asked = [];
  told = [];
});

describe('announcing', () => {
  const presence = [
    {
      dev: 'eno1',
      speaker: { mac: '02:00:00:00:00:01', linkLocal: parseAddress('fe80::1') },
      addresses: ['192.0.2.10', '2001:db8::a'].map(parseAddress),
    },
    {
      dev: 'eno2',
      speaker: { mac: '02:00:00:00:00:02', linkLocal: undefined },
      addresses: ['192.0.2.10', '2001:db8::a'].map(parseAddress),
    },
  ];
  const added: Plan['operations'] = [{
    key: '', before: undefined, after: { kind: 'neighbour-proxy', dev: 'eno2', address: '192.0.2.10', protocol: 117 },
  }];
  const plan = (operations: Plan['operations'] = []): Pick<Plan, 'operations' | 'presence'> => ({
    operations, presence,
  });

  test('is one run for all addresses and links', async () => {
    await announce(answering(GOOD), log, { guest: 'web1', plan: plan(), fresh: true });
    expect(asked.map(({ tool, args, deadline }) => [tool, args.slice(2), deadline])).toEqual([['perl', ['0'], 3000]]);
    expect(asked[0]?.input?.split('\n').map((line) => line.split(' ')[0]))
      .toEqual(['eno1', 'eno1', 'eno1', 'eno2', 'eno2', 'eno2', '']);
    expect(told).toEqual(["info guest 'web1': announced 192.0.2.10, 2001:db8::a on 'eno1'", "info guest 'web1': announced 192.0.2.10, 2001:db8::a on 'eno2'"]);
  });

  test('of a guest that runs is of what is new', async () => {
    await announce(answering(GOOD), log, { guest: 'web1', plan: plan(), fresh: false });
    expect([asked, told]).toEqual([[], []]);
    await announce(answering(GOOD), log, { guest: 'web1', plan: plan(added), fresh: false });
    expect(told).toEqual(["info guest 'web1': announced 192.0.2.10 on 'eno2'"]);
  });

  test('on a link that is down is a warning for that link', async () => {
    await announce(
      answering({ ...GOOD, stdout: '! eno1 Network is down\n' }), log, { guest: 'web1', plan: plan(), fresh: true },
    );
    expect(told).toEqual(["warn guest 'web1' is not announced on 'eno1': Network is down: neighbours that knew it on another host notice the move late", "info guest 'web1': announced 192.0.2.10, 2001:db8::a on 'eno2'"]);
  });

  const CURE = "install perl (package perl-base), or set 'announce = false' in [routed] of the host config";
  test.each([
    [MISSING, "perl is not installed: no 'perl' in PATH"],
    [{ ...GOOD, exitCode: undefined, signal: 'SIGKILL', timedOut: true }, 'perl did not end within 3 s and was killed (sending on raw sockets)'],
    [{ ...GOOD, exitCode: 255, stderr: 'Operation not permitted' }, 'perl failed (sending on raw sockets): Operation not permitted'],
  ])('never throws (%#)', async (result, reason) => {
    await announce(answering(result), log, { guest: 'web1', plan: plan(), fresh: true });
    expect(told).toEqual([expect.stringContaining(`warn guest 'web1' is not announced: ${reason.split(' (')[0] ?? ''}`)]);
    expect(told[0]).toContain(CURE);
  });
});

describe('asking neighbours', () => {
  const probe = (result: ExecResult, { host = HOST, link = LINK } = {}): Promise<void> =>
    probeNeighbours({ exec: answering(result), kernel: fakeKernel(host), log }, 'web1', [link]);
  const heard = (dev: string, mac: string, address: string): ExecResult => ({
    ...GOOD, stdout: announcementFrames({ mac, linkLocal: undefined }, parseAddress(address)).map((bytes) => `${dev} ${Buffer.from(bytes).toString('hex')}\n`).join(''),
  });

  test('is one run of less than a second for all addresses and links, from the address nearest to the one asked for', async () => {
    await probe(GOOD);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.args.slice(2).map(Number).reduce((sum, wait) => sum + wait)).toBeLessThan(1000);
    const lines = asked[0]?.input?.split('\n') ?? [];
    expect(lines.map((line) => line.split(' ')[0])).toEqual(['eno1', 'eno1', 'eno2', 'eno2', '']);
    expect(lines[1]).toContain('c0000201' + '000000000000' + 'c000020a');
    expect(lines[3]).toContain('00000000' + '000000000000' + 'c000020a');
    expect(told).toEqual([]);
  });

  test('asks nobody for a guest without proxy links', async () => {
    await probe(MISSING, { link: { ...LINK, proxy: undefined } });
    expect(asked).toEqual([]);
  });

  test('refuses a guest whose address is answered for', async () => {
    await expect(probe(heard('eno2', '02:00:00:00:00:99', '2001:db8::a'))).rejects.toThrow(new ConflictError(
      "guest 'web1' NIC 1 (52:54:00:aa:bb:02): '2001:db8::a' is in use on 'eno2' by MAC '02:00:00:00:00:99': give the guest another address, or remove it there"));
  });

  test('passes over what others say of others, and what this host says', async () => {
    await probe(heard('eno1', '02:00:00:00:00:99', '192.0.2.11'));
    await probe(heard('eno3', '02:00:00:00:00:99', '192.0.2.10'));
    await probe(heard('eno1', '02:00:00:00:00:02', '192.0.2.10'));
  });

  test('a link that cannot be asked on is a warning', async () => {
    await probe({ ...GOOD, stdout: '! eno2 Network is down\n' }, {
      host: { links: { eno2: { ifindex: 3, mac: '02:00:00:00:00:02' } } },
    });
    expect(told).toEqual([
      "warn guest 'web1': cannot probe the neighbours on 'eno1' for its addresses: it does not exist",
      "warn guest 'web1': cannot probe the neighbours on 'eno2' for its addresses: Network is down",
    ]);
    told = [];
    asked = [];
    await probe(GOOD, {
      host: { links: { eno1: { ifindex: 2, master: 'br0', mac: '02:00:00:00:00:01' }, eno2: { ifindex: 3 } } },
    });
    expect(told).toEqual([
      "warn guest 'web1': cannot probe the neighbours on 'eno1' for its addresses: it is a port of 'br0', which takes its frames: name 'br0' instead",
      "warn guest 'web1': cannot probe the neighbours on 'eno2' for its addresses: it has no Ethernet address",
    ]);
    expect(asked).toEqual([]);
  });

  test('without the tool the guest is refused: who set `probe` relies on it', async () => {
    await expect(probe(MISSING)).rejects.toThrow(HostError);
    await expect(probe(MISSING)).rejects.toThrow(
      "guest 'web1': cannot probe its neighbours for its addresses: perl is not installed: no 'perl' in PATH");
    await expect(probe(MISSING)).rejects.toThrow(": install perl (package perl-base), or set 'probe = false' in [routed] of the host config");
  });
});

test('what the sender prints is read line by line, and words that are no frames are none', async () => {
  expect(await exchange(answering({ ...GOOD, stdout: 'eno1 0102\n! eno2 No such device or address\n\n' }), [], [1])).toEqual({
    heard: [{ dev: 'eno1', bytes: Buffer.from([1, 2]) }],
    faults: [{ dev: 'eno2', reason: 'No such device or address' }],
  });
});
