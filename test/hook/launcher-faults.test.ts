// @tier kernel long
/**
 * hooks/qemu where a program that it runs fails, is killed or is missing, and where the host has no process or open
 * file left for it. A guest that asks for wiring gets to node or is refused, any other guest starts, and no operation
 * that may not fail fails: libvirt would kill a running guest.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  bridgeNic, domainXml, DONE, entriesOf, type HookArgs, type Outcome, PLAIN, routedWish,
  UUID,
} from '../places/hook-run.js';
import { type NodelessHost, openNodelessHost } from '../places/nodeless-host.js';
import { bound } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: NodelessHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openNodelessHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  host.sh('rm -rf /run/guestwire /run/node.*');
  host.write('/run/node.exit', '0');
  host.write('/run/config.toml', CONFIG);
});

const CONFIG = '[guest.named."52:54:00:aa:bb:01"]\nisolated = true\n[bridge.br30]\nvid = 30\nparent = "eno1"\n';
/** Guests that ask for wiring: in their metadata, in the host config, by their bridge, by libvirt's own <vlan>. */
const ASKING: readonly (readonly [guest: string, xml: string])[] = [
  ['web1', domainXml({ wishes: routedWish(['192.0.2.1']) })],
  ['named', domainXml({ name: 'named' })],
  ['joined', domainXml({ name: 'joined', nics: [bridgeNic({ bridge: 'br30' })] })],
  ['tagged', domainXml({ name: 'tagged', nics: [bridgeNic({ more: "<vlan><tag id='42'/></vlan>" })] })],
];
const STARTS = ['migrate', 'prepare', 'start'] as const;
const MAY_NOT_FAIL = ['started', 'reconnect', 'stopped', 'release'] as const;

type Fault = Pick<HookArgs, 'path' | 'through' | 'within' | 'env'>;

/** Expects of one operation of a guest that asks for wiring that node has it, or that the guest does not start. */
async function expectClosed(fault: Fault, { guest, xml, operation }: Omit<HookArgs, 'path'> & { guest: string }) {
  const outcome = await host.hook({ ...fault, guest, xml, operation });
  const says = outcome.stderr.split('\n').some((line) => line.startsWith(`guestwire: guest '${guest}': `));
  if (host.noted().length > 0 && outcome.status === 0) return;
  expect({ guest, operation, ...outcome, says }).toMatchObject({ guest, operation, status: 1, stdout: '', says: true });
}

async function expectRules(fault: Fault): Promise<void> {
  for (const operation of STARTS) {
    for (const [guest, xml] of ASKING) await expectClosed(fault, { guest, xml, operation });
    const outcome = await host.hook({ ...fault, guest: 'plain', xml: PLAIN, operation });
    expect({ operation, status: outcome.status, stdout: outcome.stdout }).toEqual({ operation, status: 0, stdout: '' });
  }
  await expectNoFailure(fault);
}

async function expectNoFailure(fault: Fault): Promise<void> {
  host.write(`/run/guestwire/${UUID}.json`, '{}', 0o600);
  for (const operation of MAY_NOT_FAIL) {
    for (const [guest, xml] of [...ASKING, ['plain', PLAIN] as const]) {
      const { status, stdout } = await host.hook({ ...fault, guest, xml, operation });
      expect({ guest, operation, status, stdout }).toEqual({ guest, operation, status: 0, stdout: '' });
    }
  }
}

describe('a program of the launcher', () => {
  const programs = ['head', 'grep', 'awk', 'timeout', 'logger', 'tr'];
  const faults: Readonly<Record<string, string | null>> = {
    'is killed': 'die', 'fails': 'exit-with-3', 'is missing': null, 'passes nothing on': 'ignore-input',
  };
  for (const program of programs) {
    for (const [title, standIn] of Object.entries(faults)) {
      if (program === 'timeout' && standIn === 'ignore-input') continue;
      hookTest(`that ${title}: ${program}`, async () => {
        const fault = { path: host.tools({ [program]: standIn }) };
        await expectRules(fault);
        for (const exit of ['1', 'kill']) {
          host.write('/run/node.exit', exit);
          await expectRules(fault);
        }
      });
    }
  }

  hookTest('that is killed when it has read a part of the XML: the guest is judged by what libvirt keeps of it', async () => {
    const fault = { path: host.tools({ head: 'die-after' }) };
    const refusal = (says: string): Outcome =>
      ({ status: 1, stdout: '', stderr: `guestwire: guest 'plain': ${says}\n` });
    const start = { guest: 'plain', xml: PLAIN, operation: 'start' };
    host.sh('mkdir -p /etc/libvirt /run/etc/qemu; mount --bind /run/etc /etc/libvirt');
    try {
      host.write('/etc/libvirt/qemu/plain.xml', PLAIN);
      await expectRules(fault);
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

  const within = (): Fault => ({ within: ['/bin/sh', '-c', `echo $$ >${group ?? ''}/cgroup.procs && exec "$@"`, 'sh'] });

  for (const most of [1, 2, 3, 4, 5, 6]) {
    hookTest(`beside ${most - 1}`, async () => {
      if (group === undefined) throw new Error('no pids controller here');
      writeFileSync(`${group}/pids.max`, String(most));
      await expectRules(within());
      host.write('/run/node.exit', '1');
      await expectRules(within());
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
  hookTest('beside 11, no operation fails that may not', async () => {
    await expectNoFailure({ through: ['/usr/bin/prlimit', '--nofile=11'] });
  });

  for (const most of [12, 13, 14]) {
    hookTest(`beside ${most}`, async () => {
      const limited = { through: ['/usr/bin/prlimit', `--nofile=${most}`] };
      for (const operation of STARTS) {
        for (const [guest, xml] of ASKING) await expectClosed(limited, { guest, xml, operation });
      }
      await expectNoFailure(limited);
    });
  }
});
