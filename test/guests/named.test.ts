// @tier fast kernel
/**
 * Guests as command lines name them: by name, UUID or id, the same everywhere, and one sentence for a guest that does
 * not exist.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { COMMANDS } from '../../lib/cli/main.js';
import { domainNamed, guestOfLibvirt } from '../../lib/guests/named.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { LibvirtError } from '../../lib/libvirt/errors.js';
import type { DomainRef } from '../../lib/libvirt/refs.js';
import { execAsync } from '../../lib/system/exec-async.js';
import { isAfter, now, processOf } from '../../lib/system/process.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
const FLOW = ['--from', '198.51.100.1', '--to', '192.0.2.10'];
/** Every command that takes a guest, with what else it needs. */
const TAKE: Readonly<Record<string, readonly string[]>> = {
  status: [], check: [], derive: [], plan: [], explain: FLOW, drops: [], reconcile: [],
  set: ['--nic', '52:54:00:aa:bb:01', '--ip', '192.0.2.10'], unset: ['--nic', '52:54:00:aa:bb:01'],
  'cloud-init': [], quarantine: [],
};

test('all that take a guest are tried here, and call it GUEST', () => {
  expect(COMMANDS.filter(({ operand }) => operand === 'guest').map(({ name }) => name).sort())
    .toEqual(Object.keys(TAKE).sort());
  for (const { help } of COMMANDS) expect(help).not.toContain('DOMAIN');
});

describe('a guest', () => {
  let host: GuestHost;
  beforeAll(async () => {
    if (!canRun('root', 'netns', 'nft')) return;
    host = await openGuestHost();
    host.netns.sh('ip tuntap add vnet1 mode tap; ip link set vnet1 up');
    host.start(guestXml({ name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10'] }));
    host.say(guestXml({ name: 'off1', tap: 'vnet8', addresses: ['192.0.2.18'] }), false);
  });
  afterAll(() => { host.close(); });

  for (const [name, args] of Object.entries(TAKE)) kernelTest(`that is none is told so by ${name}`, async () => {
    const { status, stdout, stderr } = await host.command(name, 'nobody', ...args);
    expect({ status, stdout, stderr })
      .toEqual({ status: ['check', 'explain'].includes(name) ? 2 : 1, stdout: '', stderr: "guestwire: guest 'nobody' does not exist: 'virsh list --all' lists all guests\n" });
  });

  // The virsh of tests writes nothing.
  for (const [name, args] of Object.entries(TAKE).filter(([each]) => !['set', 'unset', 'quarantine'].includes(each))) {
    kernelTest(`is the same by its name, UUID and id to ${name}`, async () => {
      const said = await host.command(name, 'web1', ...args);
      expect(said).toMatchObject({ status: name === 'explain' ? expect.any(Number) : 0, stderr: '' });
      for (const by of [UUID, UUID.toUpperCase(), '101']) expect(await host.command(name, by, ...args)).toEqual(said);
    });
  }

  kernelTest('that exists and is not wired is told apart from none', async () => {
    expect(await host.command('check', 'off1')).toEqual({ status: 2, stdout: '', stderr: "guestwire: guest 'off1' does not run here, and nothing is wired for it\n" });
    expect((await host.command('drops', 'off1')).stderr).toContain('only a wired guest has filters');
    expect((await host.command('status', 'off1')).stdout).toContain('not wired');
  });

  kernelTest('has its name in the table as it is, and 80 columns hold a long one', async () => {
    const long = `it's "${'long '.repeat(17)}`.trim();
    host.netns.sh('ip tuntap add vnet4 mode tap; ip link set vnet4 up');
    host.start(guestXml({ name: long, tap: 'vnet4', addresses: ['192.0.2.40'] }));
    const { stdout } = await host.command('status');
    expect(stdout).toContain('it\'s "long');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });
});

describe('digits', () => {
  const REFS: readonly DomainRef[] = [
    { name: 'web1', uuid: UUID, id: 5 },
    { name: '7', uuid: UUID.replace('4', '5'), id: 8 },
    { name: '9', uuid: UUID.replace('4', '6'), id: undefined },
  ];
  const asked = (by: string, refs = REFS): Promise<DomainRef> => domainNamed({
    listDomains: () => Promise.resolve(refs.filter(({ id }) => id !== undefined)),
    lookupDomain: (key: { readonly name?: string; readonly uuid?: string }) => {
      const found = refs.find(({ name, uuid }) => name === key.name || uuid === key.uuid);
      return found === undefined ? Promise.reject(new LibvirtError('look up', NONE)) : Promise.resolve(found);
    },
  } as unknown as Connection, by);
  const NONE = {
    reason: 'VIR_ERR_NO_DOMAIN', reasonNumber: 42, origin: 'VIR_FROM_QEMU', originNumber: 10, level: 'error',
    message: 'Domain not found',
  } as const;

  test('are the id of a guest when none has them for its name', async () => {
    expect(await asked('5')).toBe(REFS[0]);
  });
  test('are the name of a guest when none has them for its id', async () => {
    expect(await asked('9')).toBe(REFS[2]);
  });
  test.each([['another, which runs', 8], ['another, which does not', undefined]])('that are the id of one guest and the name of %s, mean neither', async (_, id) => {
    await expect(asked('5', [...REFS, { name: '5', uuid: UUID.replace('4', '7'), id }])).rejects.toThrow(/^'5' is the name of one guest and the id of guest 'web1': give a UUID$/);
  });
  test('of none are told so', async () => {
    await expect(asked('6')).rejects.toThrow(/^guest '6' does not exist/);
  });
});

test('a libvirt that is down is told with its cure', async () => {
  const before = process.env['LIBVIRT_DEFAULT_URI'];
  try {
    process.env['LIBVIRT_DEFAULT_URI'] = `qemu+unix:///system?socket=/nowhere/${UUID}`;
    await expect(guestOfLibvirt({ exec: execAsync }, 'web1')).rejects.toThrow(/systemctl start libvirtd/);
  } finally {
    if (before === undefined) delete process.env['LIBVIRT_DEFAULT_URI'];
    else process.env['LIBVIRT_DEFAULT_URI'] = before;
  }
});

test('a process that began a moment after another moment did so after it, and one before it did not', async () => {
  const older = spawn('sleep', ['60']);
  await sleep(30);
  const moment = await now(execAsync);
  // More than the hundredth of a second that the kernel counts in, and far less than a second.
  await sleep(30);
  const younger = spawn('sleep', ['60']);
  try {
    const [first, second] = [older, younger].map(({ pid }) => processOf(pid ?? 0)?.started);
    if (moment === undefined || first === undefined || second === undefined)
      throw new Error('the moments are not known');
    expect([isAfter(first, moment), isAfter(second, moment)]).toEqual([false, true]);
  } finally {
    older.kill();
    younger.kill();
  }
});
