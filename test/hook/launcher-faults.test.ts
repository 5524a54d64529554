// @tier kernel long
/**
 * hooks/qemu where a program that it runs fails, is killed or is missing, and where the host has no process or open
 * file left for it. A guest that asks for wiring gets to node or is refused, any other guest starts, and no operation
 * that may not fail fails: libvirt would kill a running guest.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type Call, type Ended, hookAll } from '../places/hook-batch.js';
import {
  bridgeNic, domainXml, DONE, entriesOf, type HookArgs, type Outcome, PLAIN, routedXml,
  UUID,
} from '../places/hook-run.js';
import { type NodelessHost, openNodelessHost } from '../places/nodeless-host.js';
import { bound, isLong } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: NodelessHost;
let usual: string;
beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  host = await openNodelessHost();
  usual = host.tools({});
});
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  host.sh('rm -rf /run/guestwire /run/node.*');
  host.write('/run/node.exit', '0');
  host.write('/run/config.toml', CONFIG);
});

const CONFIG = '[guest.named."52:54:00:aa:bb:01"]\nisolated = true\n[bridge.br30]\nvid = 30\nparent = "eno1"\n[bridge.br9]\nuplinks = ["eno1"]\n';
/**
 * Guests that ask for wiring: in their metadata, in the host config, by their bridge, by libvirt's own <vlan> on a
 * bridge of the host config.
 */
const ASKING: readonly (readonly [guest: string, xml: string])[] = [
  ['web1', domainXml({ metadata: routedXml(['192.0.2.1']) })],
  ['named', domainXml({ name: 'named' })],
  ['joined', domainXml({ name: 'joined', nics: [bridgeNic({ bridge: 'br30' })] })],
  ['tagged', domainXml({ name: 'tagged', nics: [bridgeNic({ bridge: 'br9', more: "<vlan><tag id='42'/></vlan>" })] })],
];
const STARTS = ['migrate', 'prepare', 'start'] as const;
const MAY_NOT_FAIL = ['started', 'reconnect', 'stopped', 'release'] as const;
const OPERATIONS = [...STARTS, ...MAY_NOT_FAIL];
const EXITS = ['0', '1', 'kill'] as const;

type Fault = Pick<HookArgs, 'path' | 'through'>;

/** The tier `long` has every operation of every guest under every fault, with every end of node. */
function allCalls(exits: readonly string[]): Call[] {
  return OPERATIONS.flatMap((operation) => [...ASKING, ['plain', PLAIN] as const].flatMap(([guest, xml]) =>
    exits.map((exit) => ({ operation, guest, xml, exit }))));
}

/**
 * The other tiers have each operation of one guest that asks and of the plain one, under every fault. The faults take
 * turns with the guests and the ends of node, so that each pair of a fault, an operation, a guest and an end is there.
 */
function sampledCalls(exits: readonly string[], fault: number): Call[] {
  return OPERATIONS.flatMap((operation, at) => {
    const [guest, xml] = turn(ASKING, at + fault);
    const round = at + Math.floor(fault / ASKING.length);
    return [
      { operation, guest, xml, exit: turn(exits, round) },
      { operation, guest: 'plain', xml: PLAIN, exit: turn(exits, round + 1) },
    ];
  });
}

function turn<T>(list: readonly T[], at: number): T {
  const found = list[at % list.length];
  if (found === undefined) throw new Error('there is nothing to take turns with');
  return found;
}

const callsFor = isLong ? allCalls : sampledCalls;

/** Expects of a guest that asks for wiring that node has it, or that the guest does not start. */
function expectClosed({ guest, operation, exit }: Call, { gotToNode, ...outcome }: Ended): void {
  const says = outcome.stderr.split('\n').some((line) => line.startsWith(`guestwire: guest '${guest}': `));
  if (exit === '0' && gotToNode && outcome.status === 0) return;
  expect({ guest, operation, exit, ...outcome, says })
    .toMatchObject({ guest, operation, exit, status: 1, stdout: '', says: true });
}

const isStart = ({ operation }: Call): boolean => STARTS.some((start) => start === operation);

/** Expects it of these calls of starts, and of the others that they do not fail. */
async function expectRules({ path = usual, through = [] }: Fault, calls: readonly Call[]): Promise<void> {
  const starts = calls.filter(isStart);
  const ended = await hookAll(host, path, starts.map((call) => ({ ...call, through })));
  for (const [at, call] of starts.entries()) {
    const outcome = turn(ended, at);
    if (call.guest === 'plain') expectSuccess(call, outcome);
    else expectClosed(call, outcome);
  }
  await expectNoFailure({ path, through }, calls);
}

async function expectNoFailure({ path = usual, through = [] }: Fault, calls: readonly Call[]): Promise<void> {
  host.write(`/run/guestwire/${UUID}.json`, '{}', 0o600);
  const others = calls.filter((call) => !isStart(call));
  const ended = await hookAll(host, path, others.map((call) => ({ ...call, through })));
  for (const [at, call] of others.entries()) expectSuccess(call, turn(ended, at));
}

function expectSuccess({ guest, operation, exit }: Call, { status, stdout }: Ended): void {
  expect({ guest, operation, exit, status, stdout }).toEqual({ guest, operation, exit, status: 0, stdout: '' });
}

describe('a program of the launcher', () => {
  const programs = ['head', 'grep', 'awk', 'timeout', 'logger', 'tr'];
  const faults: Readonly<Record<string, string | null>> = {
    'is killed': 'die', 'fails': 'exit-with-3', 'is missing': null, 'passes nothing on': 'ignore-input',
  };
  const pairs = programs
    .flatMap((program) => Object.entries(faults).map(([title, standIn]) => ({ program, title, standIn })))
    .filter(({ program, standIn }) => program !== 'timeout' || standIn !== 'ignore-input');
  for (const [at, { program, title, standIn }] of pairs.entries()) {
    hookTest(`that ${title}: ${program}`, async () => {
      await expectRules({ path: host.tools({ [program]: standIn }) }, callsFor(EXITS, at));
    });
  }

  test('is tried with each operation, guest and end of node', () => {
    const calls = pairs.flatMap((_, at) =>
      sampledCalls(EXITS, at).map(({ operation, guest, exit }) => [at, operation, guest, exit]));
    const counts = [pairs.length, OPERATIONS.length, ASKING.length + 1, EXITS.length];
    for (const [one, other] of [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] as const) {
      const seen = new Set(calls.map((call) => `${call[one]} ${call[other]}`));
      expect(seen.size).toBe((counts[one] ?? 0) * (counts[other] ?? 0));
    }
  });

  hookTest('that is killed when it has read a part of the XML: the guest is judged by what libvirt keeps of it', async () => {
    const fault = { path: host.tools({ head: 'die-after' }) };
    const refusal = (says: string): Outcome =>
      ({ status: 1, stdout: '', stderr: `guestwire: guest 'plain': ${says}\n` });
    const start = { guest: 'plain', xml: PLAIN, operation: 'start' };
    host.sh('mkdir -p /etc/libvirt /run/etc/qemu; mount --bind /run/etc /etc/libvirt');
    try {
      host.write('/etc/libvirt/qemu/plain.xml', PLAIN);
      await expectRules(fault, callsFor(['0'], 0));
      expect(await host.hook({ ...start, xml: '' })).toEqual(DONE);
      host.write('/etc/libvirt/qemu/plain.xml', ASKING[0]?.[1] ?? '');
      expect(await host.hook({ ...start, ...fault }))
        .toEqual(refusal("its XML could not be read, because 'head' was killed: start it again"));
      expect(await host.hook({ ...start, xml: '' })).toEqual(refusal('its XML is empty: start it again'));
    } finally {
      host.sh('umount /etc/libvirt');
    }
  });
});

describe('the XML', () => {
  hookTest('that loses its end on the way to node is judged by the launcher, which has all of it', async () => {
    await host.withNode(() => {
      const [, xml = ''] = ASKING[3] ?? [];
      const run = (length: number): Outcome => host.run('/usr/bin/node', [
        '-e', `const { spawnSync } = require('node:child_process'); const { status, stderr } = spawnSync('/usr/bin/node', ['/run/checkout/dist/hook.cjs', 'tagged', 'start'],
          { input: ${JSON.stringify(xml)}.slice(0, ${length}), env: { GUESTWIRE_XML_LENGTH: '${xml.length}' } }); process.stderr.write(String(stderr)); process.exit(status)`,
      ]);
      expect(run(xml.length - 1)).toEqual({ status: 4, stdout: '', stderr: '' });
      return Promise.resolve();
    });
    host.write('/run/node.exit', '4');
    expect(await host.hook({ guest: 'tagged', xml: ASKING[3]?.[1] ?? '', operation: 'start' })).toEqual({
      status: 1, stdout: '', stderr: "guestwire: guest 'tagged': a part of its XML was lost on the way to guestwire: start it again\n",
    });
    expect(await host.hook({ guest: 'plain', xml: PLAIN, operation: 'start' })).toEqual(DONE);
  });
});

/** Returns a directory of the pids controller; undefined: this machine lacks the controller. */
function pidsGroup(): string | undefined {
  const root = '/sys/fs/cgroup';
  const parent = existsSync(`${root}/pids`) ? `${root}/pids` : root;
  const dir = `${parent}/guestwire-test-${process.pid}`;
  try {
    const control = `${root}/cgroup.subtree_control`;
    if (parent === root && !readFileSync(control, 'utf8').includes('pids')) writeFileSync(control, '+pids');
    mkdirSync(dir, { recursive: true });
    return existsSync(`${dir}/pids.max`) ? dir : undefined;
  } catch {
    return undefined;
  }
}

describe('without a process left', () => {
  let group: string | undefined;
  beforeAll(() => { group = canRun('root') ? pidsGroup() : undefined; });
  afterAll(() => { if (group !== undefined) rmdirSync(group); });

  /** The mount namespace of the host has no control groups; that of jest has. */
  const within = (): Fault => ({ through: ['/bin/sh', '-c', `echo $$ >/proc/${process.pid}/root${group ?? ''}/cgroup.procs && exec "$@"`, 'sh'] });

  for (const most of [1, 2, 3, 4, 5, 6]) {
    hookTest(`beside ${most - 1}`, async () => {
      if (group === undefined) throw new Error('no pids controller here');
      writeFileSync(`${group}/pids.max`, String(most));
      await expectRules(within(), callsFor(['0', '1'], most));
    });
  }

  hookTest('node hangs, and the launcher ends it', async () => {
    if (group === undefined) throw new Error('no pids controller here');
    await host.withNode(async () => {
      for (const most of [4, 5, 6, 8]) {
        writeFileSync(`${group}/pids.max`, String(most));
        const started = Date.now();
        const fault = { ...within(), env: { GUESTWIRE_DEADLINE: '2' } };
        const [guest, xml] = ASKING[0] ?? ['', ''];
        const outcome = await host.hook({ ...fault, guest, xml, operation: 'start' });
        expect({ most, status: outcome.status }).toEqual({ most, status: 1 });
        expect((await host.hook({ ...fault, guest, xml, operation: 'reconnect' })).status).toBe(0);
        expect(Date.now() - started).toBeLessThan(bound(30_000));
      }
    });
    expect(entriesOf(host)).toEqual([]);
  });
});

describe('without an open file left', () => {
  // dash itself reads a script through file 10, so with fewer it does not begin to read this one. With 11 it cannot
  // print its message.
  const limited = (most: number): Fault => ({ through: ['/usr/bin/prlimit', `--nofile=${most}`] });

  hookTest('beside 11, no operation fails that may not', async () => {
    await expectNoFailure(limited(11), callsFor(['0'], 0));
  });

  for (const most of [12, 13, 14]) {
    hookTest(`beside ${most}`, async () => {
      const calls = callsFor(['0'], most).filter((call) => !isStart(call) || call.guest !== 'plain');
      await expectRules(limited(most), calls);
    });
  }
});
