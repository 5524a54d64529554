// @tier fast
/** libvirt's hook contract as a table, on pretended tools: what each operation does, and what its failure means. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Settings } from '../../lib/config/paths.js';
import { type HookResult, runHook } from '../../lib/hook/contract.js';
import { createJournal, type Journal } from '../../lib/journal/journal.js';
import type { Exec, ExecRequest, ExecResult } from '../../lib/system/exec.js';
import { BRIDGE, MISSING, OK, pretend } from '../fakes/tools.js';
import { bridgeNic, domainXml, PLAIN, PORT_MAC, routedXml, TAP_MAC, UUID, vlanXml } from '../places/hook-run.js';

const OTHER = '99999999-2222-3333-4444-555555555555';
const WIRED = domainXml({ metadata: vlanXml('<gw:tag id="10"/>') });
const ROUTED = domainXml({ metadata: routedXml(['192.0.2.10']) });
const DONE: HookResult = { exitCode: 0, stderr: '' };
const refused = (says: string): HookResult => ({ exitCode: 3, stderr: `guestwire: ${says}\n` });

let top: string;
let settings: Settings;
let calls: ExecRequest[];
let journal: Journal;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'guestwire-hook-'));
  settings = {
    config: join(top, 'config.toml'), stateDir: join(top, 'state'), lock: join(top, 'lock'),
    quarantine: join(top, 'quarantine'), addresses: join(top, 'addresses'), definitions: join(top, 'definitions'),
  };
  calls = [];
  journal = createJournal(settings.stateDir, () => undefined);
});
afterEach(() => { rmSync(top, { recursive: true }); });

function hook(
  operation: string, stdin: string | Uint8Array, answer: (request: ExecRequest) => ExecResult = pretend,
): Promise<HookResult> {
  const exec: Exec = (request) => {
    calls.push(request);
    return Promise.resolve(request.tool === 'logger' ? OK : answer(request));
  };
  return runHook({ guest: 'web1', operation, stdin, settings, exec });
}

const config = (text: string): void => { writeFileSync(settings.config, text, { mode: 0o600 }); };
const tools = (): string[] => calls.map(({ tool }) => tool);
const logged = (): string[] =>
  calls.flatMap(({ tool, input = '' }) => (tool === 'logger' ? input.trimEnd().split('\n') : []));
const files = (): string[] => (existsSync(settings.stateDir) ? readdirSync(settings.stateDir) : []);
/** A guest that was wired once and whose links are gone. */
function leaveEntry(uuid = UUID, name = 'web1'): void {
  journal.write({
    version: 1, guest: { name, uuid }, since: '2026-01-01T00:00:00.000Z', incoming: false, wired: [], original: [],
  });
}

const COMING = ['migrate', 'prepare', 'start'];
const GOING = ['reconnect', 'stopped', 'release'];

describe('an operation', () => {
  test.each(['restore', 'started', 'attach', '', 'START', '__proto__', 'constructor'])('%j is nothing to do, whatever the guest', async (operation) => {
    expect(await hook(operation, 'no XML')).toEqual(DONE);
    expect(await hook(operation, ROUTED)).toEqual(DONE);
    expect(calls).toEqual([]);
  });

  test.each([...COMING, ...GOING])('%s is nothing to do for a guest that nothing speaks of', async (operation) => {
    expect(await hook(operation, PLAIN)).toEqual(DONE);
    expect(await hook(operation, Buffer.from(PLAIN))).toEqual(DONE);
    // Whether there is an entry the launcher has looked; what a killed run left of one is cleared away under the lock.
    expect(tools()).toEqual(operation === 'stopped' || operation === 'release' ? ['flock', 'flock'] : []);
    expect(files()).toEqual([]);
  });

  test.each(['prepare', 'start'])('%s refuses a guest that cannot be wired', async (operation) => {
    const says = `guest 'web1': could not get lock '${settings.lock}': flock is not installed: no 'flock' in PATH`;
    expect(await hook(operation, WIRED, () => MISSING)).toEqual(refused(says));
    expect(logged()).toEqual([`<27>${operation}: ${says}`]);
    expect(files()).toEqual([]);
  });

  test.each(GOING)('%s never fails, and logs why it could not do its work', async (operation) => {
    leaveEntry();
    expect(await hook(operation, WIRED, () => MISSING)).toEqual(DONE);
    expect(logged()).toEqual([`<27>${operation}: guest 'web1': could not get lock '${settings.lock}': flock is not installed: no 'flock' in PATH`]);
    expect(files()).toEqual(operation === 'reconnect' ? [`${UUID}.json`] : [`${UUID}.ended`, `${UUID}.json`]);
  });

  test.each([...COMING, ...GOING])('%s of an XML that is none fails no guest that nothing speaks of', async (operation) => {
    expect(await hook(operation, '<domain')).toEqual(DONE);
    expect(await hook(operation, '')).toEqual(DONE);
    expect(tools().filter((tool) => tool !== 'logger')).toEqual([]);
  });

  test.each(COMING)('%s of an XML that is none refuses a guest that the config names, or whose text asks', async (operation) => {
    expect(await hook(operation, '<!-- urn:guestwire:1 -->')).toEqual(refused("guest 'web1': domain XML line 1 column 24: document must contain a root element"));
    config('[guest.web1."52:54:00:aa:bb:01"]\nisolated = true\n');
    expect(await hook(operation, '')).toEqual(refused("guest 'web1': domain XML is empty: pass the XML of one domain"));
  });

  test.each([['prepare', 30], ['start', 30], ['reconnect', 30], ['stopped', 10], ['release', 10]])(
    '%s waits for the lock %d s', async (operation, seconds) => {
      leaveEntry();
      await hook(operation, WIRED, () => ({ ...OK, exitCode: 75 }));
      const last = calls.filter(({ tool }) => tool !== 'logger').at(-1)?.args ?? [];
      // The shell that waits gets the seconds for one holder, and those for all.
      expect(last.slice(-2)).toEqual(seconds === 30 ? ['30', '100'] : ['75', '3']);
      expect(last).toContain(String(seconds));
    },
  );

  test('passes the lock on to every tool that may change the host', async () => {
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(tools()).toEqual(['flock', 'ip']);
    expect(new Set(calls.map(({ fd }) => fd))).toEqual(new Set([calls[0]?.fd]));
    expect(calls[0]?.fd).toEqual(expect.any(Number));
  });

  const PERMITS = WIRED.replace('</gw:vlan>', '</gw:vlan><gw:policy profile="closed"/>');
  test.each([
    ['eight tools', WIRED, ['nft', 'nft']],
    ['eight tools with a group', WIRED.replace('</gw:vlan>', '</gw:vlan><gw:group name="g"/>'), ['nft', 'nft']],
    ['one more with a policy', PERMITS, ['nft', 'nft', 'nft']],
  ])('start of a VLAN port runs %s, of which those that change the host also answer', async (_, xml, nft) => {
    const tap = {
      ifname: 'vnet0', ifindex: 7, flags: ['UP'], txqlen: 1000, master: 'br0',
      linkinfo: { info_kind: 'tun', info_slave_kind: 'bridge', info_slave_data: {} },
    };
    let rules = '';
    const answer = (request: ExecRequest): ExecResult => {
      const { tool, args, input = '' } = request;
      if (args.includes('-f')) rules = input;
      if (args.includes('-f') || args.includes('chain')) return { ...OK, stdout: args.includes('-f') ? '' : rules };
      const changes = args.includes('-batch') && /^(link|vlan) (set|add|del)/.test(input);
      if (tool === 'bridge') return { ...OK, stdout: JSON.stringify([
        { ifname: 'vnet0', vlans: [{ vlan: changes ? 10 : 1, flags: ['PVID', 'Egress Untagged'] }] },
      ]) };
      if (tool !== 'ip') return pretend(request);
      const questions = input.trim().split('\n').filter((line) => !line.startsWith('link set'));
      return { ...OK, stdout: questions.map((line) => `${JSON.stringify(line.endsWith(' br0') ? [BRIDGE] : line.endsWith(' vnet0') ? [tap] : [])}\n`).join('') };
    };
    expect(await hook('start', xml, answer)).toEqual(DONE);
    expect(tools()).toEqual(['flock', 'ip', 'bridge', ...nft, 'bridge', 'ip', 'logger']);
    expect(calls.at(-3)?.input).toBe('vlan del dev vnet0 vid 1\nvlan add dev vnet0 vid 10 pvid untagged\nvlan show dev vnet0\n');
  });

  test('that meets a bug says so, and still no running guest is killed', async () => {
    const broken = (): ExecResult => { throw new TypeError('x is not y'); };
    const { exitCode, stderr } = await hook('start', WIRED, broken);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/^guestwire: guest 'web1': this is a bug in guestwire, please report it: TypeError: x is not y at [^\n]+\n$/);
    expect(await hook('reconnect', WIRED, broken)).toEqual(DONE);
    expect(logged()).toHaveLength(2);
  });
});

describe('a guest that is not to be wired any more', () => {
  test('is forgotten at `prepare`, and keeps what it has at `reconnect`', async () => {
    leaveEntry();
    for (const text of ['', '[routed', '[bridge.br0]\n']) {
      config(text);
      expect(await hook('reconnect', domainXml({}))).toEqual(DONE);
      expect(files()).toEqual([`${UUID}.json`]);
      expect(logged().at(-1)).toBe("<28>guest 'web1': neither XML nor host config asks for this wiring now: it stays until 'guestwire reconcile'");
    }
    config('');
    expect(await hook('prepare', domainXml({}))).toEqual(DONE);
    expect(files()).toEqual([]);
  });

  test('starts where it cannot be forgotten, and is left to the next run', async () => {
    leaveEntry();
    expect(await hook('prepare', domainXml({}), () => MISSING)).toEqual(DONE);
    expect(files()).toEqual([`${UUID}.ended`, `${UUID}.json`]);
    expect(logged()).toHaveLength(1);
  });

  test('starts where the state directory is not to be believed', async () => {
    leaveEntry();
    chmodSync(settings.stateDir, 0o777);
    expect(await hook('prepare', domainXml({}))).toEqual(DONE);
    expect(logged()).toEqual([expect.stringContaining('is writable by other users')]);
  });
});

describe('the end of a guest', () => {
  test('whose XML cannot be read is found by its name', async () => {
    leaveEntry();
    leaveEntry(OTHER, 'db1');
    expect(await hook('release', 'nonsense')).toEqual(DONE);
    expect(files()).toEqual([`${OTHER}.json`]);
  });

  test('keeps the entry at `stopped`, and removes it with all marks at `release`', async () => {
    leaveEntry();
    journal.markIncoming(UUID);
    expect(await hook('stopped', WIRED)).toEqual(DONE);
    expect(files()).toEqual([`${UUID}.incoming`, `${UUID}.json`]);
    expect(await hook('release', WIRED)).toEqual(DONE);
    expect(files()).toEqual([]);
  });

  test('without an entry is no error', async () => {
    for (const operation of ['stopped', 'release']) expect(await hook(operation, WIRED)).toEqual(DONE);
    expect(logged()).toEqual([]);
  });

  test('that could not be released is released by the next run for any guest', async () => {
    leaveEntry(OTHER, 'db1');
    journal.markEnded(OTHER);
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(files()).toEqual([]);
  });

  test('that still cannot be released is no reason to refuse another', async () => {
    leaveEntry(OTHER, 'db1');
    journal.markEnded(OTHER);
    rmSync(join(settings.stateDir, `${OTHER}.json`));
    mkdirSync(join(settings.stateDir, `${OTHER}.json`));
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(logged()).toEqual([
      expect.stringContaining(`'${settings.stateDir}/${OTHER}.json' is damaged`),
      expect.stringMatching(/^<28>a guest that ended is still not released: journal: cannot remove .* EISDIR/),
    ]);
  });
});

describe('an announced migration', () => {
  const entry = (): boolean | undefined => journal.read(UUID)?.incoming;
  const age = (seconds: number): void => {
    const then = Date.now() / 1000 - seconds;
    utimesSync(join(settings.stateDir, `${UUID}.incoming`), then, then);
  };

  test('makes the next start an incoming one, once', async () => {
    expect(await hook('migrate', WIRED)).toEqual(DONE);
    expect(files()).toEqual([`${UUID}.incoming`]);
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(files()).toEqual([`${UUID}.json`]);
    expect(entry()).toBe(true);
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(files()).toEqual([]);
  });

  test.each([[59, true], [61, undefined]])('of %d s ago: incoming is %j', async (seconds, incoming) => {
    await hook('migrate', WIRED);
    age(seconds);
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(entry()).toBe(incoming);
  });

  test('takes no tool and no lock', async () => {
    expect(await hook('migrate', WIRED, () => MISSING)).toEqual(DONE);
    expect(calls).toEqual([]);
  });

  test('of a guest with routed links is refused, unless the config says who completes it', async () => {
    const says = `guest 'web1' NIC 1 (${TAP_MAC}): a guest with routed links cannot migrate here without an agent: run 'guestwire install --agent', or set 'migration = "manual"' in [routed] and reconcile after its arrival`;
    expect(await hook('migrate', ROUTED)).toEqual(refused(says));
    expect(logged()).toEqual([`<27>migrate: ${says}`]);
    expect(files()).toEqual([]);
    config('[routed]\nmigration = "manual"\n');
    expect(await hook('migrate', ROUTED)).toEqual(DONE);
    expect(files()).toEqual([`${UUID}.incoming`]);
  });

  test('of a guest whose XML is wrong is refused where that is harmless', async () => {
    const xml = domainXml({ metadata: vlanXml('<gw:tag id="5000"/>') });
    expect(await hook('migrate', xml)).toEqual(refused(`guest 'web1' NIC 0 (${PORT_MAC}): VLAN ID '5000' is outside 1-4094`));
    expect(files()).toEqual([]);
  });

  test('is not what `restore` is', async () => {
    expect(await hook('restore', WIRED)).toEqual(DONE);
    expect(await hook('prepare', WIRED)).toEqual(DONE);
    expect(files()).toEqual([]);
  });
});

describe('the log', () => {
  test('is one run of logger with a line a message, and a broken logger is no failure', async () => {
    leaveEntry(OTHER, 'db1');
    journal.markEnded(OTHER);
    rmSync(join(settings.stateDir, `${OTHER}.json`));
    mkdirSync(join(settings.stateDir, `${OTHER}.json`));
    const xml = domainXml({ metadata: vlanXml('<gw:tag id="10"/>'), nics: [bridgeNic({ bridge: 'br9' })] });
    const exec: Exec = (request) => {
      calls.push(request);
      return Promise.resolve(request.tool === 'logger' ? MISSING : pretend(request));
    };
    const says = `guest 'web1' NIC 0 (${PORT_MAC}): bridge 'br9' does not exist: create it, or name an existing one in <source bridge>`;
    expect(await runHook({ guest: 'web1', operation: 'prepare', stdin: xml, settings, exec })).toEqual(refused(says));
    expect(calls.at(-1)).toEqual({
      tool: 'logger', args: ['--tag', 'guestwire', '--prio-prefix', '--size', '4096'], input: expect.any(String),
      deadline: 2_000,
    });
    expect(logged().at(-1)).toBe(`<27>prepare: ${says}`);
  });
});
