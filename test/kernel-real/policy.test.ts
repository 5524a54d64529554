// @tier kernel
/**
 * Whom routed guests meet, on a real kernel: guests are namespaces behind the links that the real hook wires,
 * connections are real, and what `guestwire explain` says of each is compared with what becomes of it.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { joinGuest, meetings, serve } from '../places/peers.js';
import { hookIn, type RoutedHook } from '../places/routed-host.js';

const NEEDED = ['root', 'netns', 'python3', 'nft'] as const;
const policyTest = testWith(...NEEDED);

/** What guests have beside their addresses; `web` says nothing. */
const WORDS: Readonly<Record<string, string>> = {
  web: '',
  db: '<gw:allow direction="in" proto="tcp" port="443" from="guest:web"/><gw:allow direction="in" proto="tcp" port="22" from="group:admins,2001:db8:ff::/64"/>',
  shut: '<gw:policy profile="closed"/><gw:group name="admins"/>',
  open: '<gw:policy profile="open"/>',
  bound: '<gw:allow direction="out" proto="tcp" port="443" to="guest:open,2001:db8:ff::2"/><gw:allow direction="out" proto="tcp" port="22" to="host"/>',
};
const NAMES = Object.keys(WORDS);
const WORLD = '2001:db8:ff::2';
const HOST = '2001:db8:ff::1';
const addressOf = (who: string): string => ({ world: WORLD, host: HOST })[who] ?? `2001:db8:0:10::${NAMES.indexOf(who) + 1}`;
const uuidOf = (name: string): string => `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c0${NAMES.indexOf(name) + 1}`;

function xmlOf(name: string, words = WORDS[name] ?? ''): string {
  const number = NAMES.indexOf(name) + 1;
  const mac = `52:54:00:aa:bb:0${number}`;
  return `<domain type='kvm'><name>${name}</name><uuid>${uuidOf(name)}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${mac}'>`
    + `<gw:routed><gw:ip address='${addressOf(name)}'/></gw:routed>${words}</gw:interface></gw:guestwire></metadata>`
    + `<devices><interface type='ethernet'><mac address='${mac}'/><target dev='vnet${number}'/></interface></devices></domain>`;
}

const dir = mkdtempSync(join(tmpdir(), 'guestwire-policy-'));
const places = new Map<string, Netns>();
const servers: ChildProcess[] = [];
let host: Netns;
let hook: RoutedHook;

beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  host = await openNetns();
  places.set('host', host);
  for (const name of [...NAMES, 'world']) places.set(name, await openNetns());
  host.sh('for f in accept_dad dad_transmits; do echo 0 > /proc/sys/net/ipv6/conf/default/$f; done; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
  for (const name of NAMES) joinAgain(name);
  host.sh(`ip link add up0 type veth peer name eth0 netns ${places.get('world')?.target ?? ''}; ip link set up0 up; ip addr add ${HOST}/64 dev up0 nodad`);
  places.get('world')?.sh(`ip link set eth0 up; ip addr add ${WORLD}/64 dev eth0 nodad; ip -6 route add 2001:db8:0:10::/64 via ${HOST}`);
  for (const [, netns] of places) servers.push(await serve(netns));
  hook = hookIn(host, dir);
  for (const name of NAMES) expect(hook('start', xmlOf(name))).toEqual({ status: 0, stdout: '', stderr: '' });
});

afterAll(() => {
  for (const server of servers) server.kill('SIGKILL');
  for (const [, netns] of places) netns.close();
  rmSync(dir, { recursive: true });
});

function joinAgain(name: string): void {
  const number = NAMES.indexOf(name) + 1;
  joinGuest(host, placeOf(name), {
    tap: `vnet${number}`, mac: `52:54:00:aa:bb:0${number}`, addresses: [addressOf(name)],
  });
}

function placeOf(name: string): Netns {
  const place = places.get(name);
  if (place === undefined) throw new Error(`no place for ${name}`);
  return place;
}

/** Whether it connects, and whether `guestwire explain` says so; of what concerns no guest it says nothing. */
function meets(from: string, to: string, port: number): [boolean, boolean] {
  const isMet = meetings([{ place: placeOf(from), targets: [[addressOf(to), port]] }])[0]?.[0] === true;
  const env = {
    GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml'),
    GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
  };
  const guest = NAMES.includes(from) ? from : to;
  const { status, stderr } = host.run(process.execPath, [
    resolve('dist/cli.js'), 'explain', guest, '--from', addressOf(from), '--to', addressOf(to), '--proto', 'tcp',
    '--port', String(port),
  ], { env });
  expect([from, to, port, stderr]).toEqual([from, to, port, '']);
  return [isMet, status === 0];
}

const YES = [true, true];
const NO = [false, false];

describe('who meets whom', () => {
  policyTest('is as the policies say, and as explain says', () => {
    const table: readonly (readonly [string, string, number, readonly boolean[]])[] = [
      ['world', 'web', 443, YES], ['web', 'world', 443, YES], ['host', 'web', 22, YES], ['web', 'host', 22, NO],
      ['open', 'web', 443, NO], ['web', 'open', 443, YES], ['shut', 'open', 22, YES], ['open', 'host', 22, YES],
      ['web', 'db', 443, YES], ['web', 'db', 22, NO], ['shut', 'db', 22, YES], ['shut', 'db', 443, NO],
      ['open', 'db', 443, NO], ['world', 'db', 22, YES], ['world', 'db', 443, NO], ['db', 'world', 443, YES],
      ['world', 'shut', 443, NO], ['open', 'shut', 443, NO], ['host', 'shut', 443, YES], ['shut', 'world', 22, YES],
      ['bound', 'open', 443, YES], ['bound', 'open', 22, NO], ['bound', 'world', 443, YES], ['bound', 'world', 22, NO],
      ['bound', 'host', 22, YES], ['bound', 'host', 443, NO], ['bound', 'web', 443, NO], ['world', 'bound', 443, YES],
    ];
    expect(table.map(([from, to, port]) => [from, to, port, meets(from, to, port)])).toEqual(table);
  });

  policyTest('is echo for all with the world and the host, and between guests nothing', () => {
    const ping = (from: string, to: string): boolean =>
      places.get(from)?.run('ping', ['-6', '-c', '1', '-W', '1', addressOf(to)]).status === 0;
    for (const name of NAMES) {
      expect([name, ping('world', name), ping('host', name), ping(name, 'host')]).toEqual([name, true, true, true]);
    }
    expect([ping('open', 'web'), ping('web', 'open'), ping('web', 'shut'), ping('bound', 'world')]).toEqual([
      false, true, false, false,
    ]);
  });
});

describe('what was dropped', () => {
  policyTest('is counted by NIC and rule', () => {
    meets('world', 'db', 443);
    const env = { GUESTWIRE_STATE_DIR: join(dir, 'state') };
    const { stdout } = host.run(process.execPath, [resolve('dist/cli.js'), 'drops', 'db'], { env });
    expect(stdout).toMatch(/^guest 'db' NIC 0 \(52:54:00:aa:bb:02\) on vnet2\n( .*\n)* +[1-9][0-9]* packets +[0-9]+ bytes {2}drop {4}gets: no rule lets it in\n$/);
    const all = JSON.parse(
      host.run(process.execPath, [resolve('dist/cli.js'), 'drops', 'db', '--all', '--json'], { env }).stdout,
    ) as { rules: { rule: string; verdict: string; packets: number }[] };
    expect(all.rules.filter(({ rule }) => rule === 'allowed').map(({ verdict, packets }) => [
      verdict, packets > 0,
    ])).toContainEqual(['pass', true]);
    expect(host.run(process.execPath, [resolve('dist/cli.js'), 'drops', 'nobody'], { env })).toEqual({
      status: 1, stdout: '', stderr: "guestwire: guest 'nobody' does not run here, or nothing is wired for it: only a wired guest has filters\n",
    });
  });
});

describe('a guest that comes and goes', () => {
  policyTest('is known to the rules of others under its name, whatever its link', () => {
    for (const operation of ['stopped', 'release']) hook(operation, xmlOf('web'));
    expect(meets('world', 'db', 22)).toEqual(YES);
    host.sh('ip link del vnet1');
    joinAgain('web');
    expect(hook('start', xmlOf('web'))).toEqual({ status: 0, stdout: '', stderr: '' });
    expect([meets('web', 'db', 443), meets('web', 'db', 22)]).toEqual([YES, NO]);
  });
});

describe('quarantine', () => {
  const quarantine = (...args: string[]): object => {
    const env = {
      GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml'),
      GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
    };
    const { status, stdout, stderr } = host.run(process.execPath, [resolve('dist/cli.js'), 'quarantine', ...args], {
      env,
    });
    return { status, last: stdout.trim().split('\n').at(-1), stderr };
  };

  policyTest('cuts a running guest off at once, from everybody, and lifting it lets it back', () => {
    expect(meets('world', 'open', 443)).toEqual(YES);
    expect(quarantine('open')).toEqual({ status: 0, last: "guest 'open': now in quarantine", stderr: '' });
    expect([
      meets('world', 'open', 443), meets('open', 'world', 443), meets('host', 'open', 443), meets('web', 'open', 443),
    ]).toEqual([NO, NO, NO, NO]);
    expect(meets('world', 'web', 443)).toEqual(YES);
    expect(quarantine('--lift', 'open')).toEqual({
      status: 0, last: "guest 'open': now not in quarantine", stderr: '',
    });
    expect([meets('world', 'open', 443), meets('open', 'world', 443)]).toEqual([YES, YES]);
  });

  policyTest('of a guest whose entry is damaged says without libvirt that it is not cut off yet, and what does it', () => {
    const file = join(dir, 'state', `${uuidOf('open')}.json`);
    writeFileSync(file, '{');
    // No libvirt answers here, and nothing else knows the links of the guest.
    const refused = (noted: string): object => ({ status: 1, last: '', stderr: expect.stringMatching(
      new RegExp(`is damaged.*\nguestwire: guest '${uuidOf('open')}': quarantine ${noted}, but its NICs are unchanged \\(run 'guestwire reconcile ${uuidOf('open')}' if it runs\\): .*libvirt`),
    ) });
    expect(quarantine(uuidOf('open'))).toEqual(refused('noted'));
    expect(meetings([{ place: placeOf('world'), targets: [[addressOf('open'), 443]] }])).toEqual([[true]]);
    // What reconcile does with the XML that libvirt gives it.
    const reconnect = (): void => {
      const env = {
        PATH: process.env['PATH'] ?? '', GUESTWIRE_STATE_DIR: join(dir, 'state'),
        GUESTWIRE_CONFIG: join(dir, 'config.toml'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
      };
      expect(
        host.run(resolve('hooks/qemu'), ['open', 'reconnect', 'begin', '-'], { input: xmlOf('open'), env }).stderr,
      ).toBe('');
    };
    reconnect();
    expect([meets('world', 'open', 443), meets('open', 'world', 443)]).toEqual([NO, NO]);
    writeFileSync(file, '{');
    expect(quarantine('--lift', uuidOf('open'))).toEqual(refused('lifted'));
    reconnect();
    expect([meets('world', 'open', 443), meets('open', 'world', 443)]).toEqual([YES, YES]);
  });

  policyTest('outlasts the guest and its host\'s memory', () => {
    quarantine('shut');
    for (const operation of ['stopped', 'release']) hook(operation, xmlOf('shut'));
    rmSync(join(dir, 'state'), { recursive: true });
    host.sh('nft flush ruleset');
    const env = { GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine') };
    for (const name of NAMES) {
      expect(host.run(resolve('hooks/qemu'), [name, 'start', 'begin', '-'], { input: xmlOf(name), env: {
        PATH: process.env['PATH'] ?? '', GUESTWIRE_STATE_DIR: join(dir, 'state'),
        GUESTWIRE_CONFIG: join(dir, 'config.toml'), ...env,
      } }).stderr).toBe('');
    }
    expect([meets('shut', 'world', 22), meets('host', 'shut', 443), meets('world', 'web', 443)]).toEqual([NO, NO, YES]);
    quarantine('--lift', 'shut');
    expect([meets('shut', 'world', 22), meets('host', 'shut', 443)]).toEqual([YES, YES]);
  });
});
