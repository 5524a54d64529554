// @tier fast kernel
/** The command as its users run it: what derive and plan print, what wrong usage gets. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { Wired } from '../../lib/attachments/kinds.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { tableLines } from '../../lib/filter/nft-tables.js';
import { nicFilter } from '../../lib/filter/nic-filter.js';
import { type NicFilter, nicLines } from '../../lib/state/nft.js';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const rootTest = testWith('root');
const netnsTest = testWith('root', 'netns');
const CLI = resolve('dist/cli.js');
const domainOf = (name: string): string => resolve(`fixtures/cases/${name}/domain.xml`);

let dir: string;
beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'guestwire-cli-')); });
afterAll(() => { rmSync(dir, { recursive: true }); });

function guestwire(
  args: readonly string[], { input = '', config = '' } = {},
): { status: number | null; stdout: string; stderr: string } {
  const path = join(dir, 'config.toml');
  rmSync(path, { force: true });
  if (config !== '') writeFileSync(path, config, { mode: 0o600 });
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8', input,
    env: { PATH: process.env['PATH'], GUESTWIRE_CONFIG: path, GUESTWIRE_STATE_DIR: join(dir, 'state') },
  });
  return { status, stdout, stderr };
}

describe('guestwire', () => {
  test.each([
    ['no command', [], 2],
    ['--help', ['--help'], 0],
    ['help', ['help'], 0],
  ])('%s shows every command', (_, args, status) => {
    const result = guestwire(args);
    expect(result.status).toBe(status);
    for (const name of ['derive', 'plan', 'explain', 'reconcile', 'install', 'uninstall'])
      expect(result.stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    for (const line of result.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(110);
  });

  test.each([
    'derive', 'plan', 'explain', 'reconcile', 'install', 'uninstall',
  ])('%s --help says how it is used', (name) => {
    const { status, stdout } = guestwire([name, '--help']);
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: guestwire ${name}`));
  });

  test('help tells what plan shows, and what set leaves to later', () => {
    expect(guestwire(['plan', '--help']).stdout).toContain("'ip', 'bridge' and 'nft'");
    expect(guestwire(['set', '--help']).stdout).toContain('and no other guest has it');
  });

  test('help COMMAND is COMMAND --help', () => {
    expect(guestwire(['help', 'status'])).toEqual(guestwire(['status', '--help']));
    expect(guestwire(['help', 'help'])).toEqual(guestwire(['--help']));
  });

  // bash waits until the reader has gone.
  const output = (target: string): { status: number | null; stderr: string } => {
    const { status, stderr } = spawnSync(
      'bash', ['-c', `${target}; "$@" >&"$out"`, 'bash', process.execPath, CLI, '--help'], { encoding: 'utf8' },
    );
    return { status, stderr };
  };
  test('watch is agent now, except for what systemd starts', () => {
    expect(guestwire(['watch'])).toEqual({ status: 2, stdout: '', stderr: "guestwire: 'guestwire watch' is called 'guestwire agent' now: run that: see 'guestwire watch --help'\n" });
    expect(guestwire(['watch', '--help']).stdout).toContain("'guestwire watch' is called 'guestwire agent' now.");
    expect(guestwire(['--help']).stdout).not.toContain('  watch ');
    // `sh` becomes the command, as what systemd starts does.
    const byUnit = spawnSync('sh', ['-c', `SYSTEMD_EXEC_PID=$$ exec "${process.execPath}" "${CLI}" watch --connect qemu+ssh://elsewhere/system`], { encoding: 'utf8' });
    expect(byUnit.stderr).toContain("guestwire: 'guestwire watch' is called 'guestwire agent' now: write that into the unit file\n");
    expect(byUnit.status).toBe(1);
  });

  test('says nothing of a reader that has gone', () => {
    expect(output('exec {out}> >(exec true); wait $!')).toEqual({ status: 0, stderr: '' });
  });

  test('says that what it prints went nowhere', () => {
    expect(output('exec {out}>/dev/full')).toEqual({ status: 1, stderr: 'guestwire: cannot print the result: ENOSPC: no space left on device, write\n' });
  });

  rootTest('tells who is not root that a reading command reads', () => {
    for (const [command, ...args] of [['drops', 'web1'], ['quarantine']]) {
      const { status, stderr } = spawnSync(
        'setpriv',
        ['--reuid', '65534', '--clear-groups', process.execPath, CLI, String(command), ...args],
        { encoding: 'utf8' },
      );
      expect({ status, stderr }).toEqual({ status: 1, stderr: `guestwire: 'guestwire ${String(command)}' reads data that only root may read: run it as root\n` });
    }
  });

  test.each<[string, string[], string]>([
    ['an unknown command', ['wire'], "guestwire: unknown command 'wire': 'guestwire --help' lists all commands\n"],
    ['help for an unknown command', ['help', 'wire'], "guestwire: unknown command 'wire': 'guestwire --help' lists all commands\n"],
    ['an unknown option', ['derive', '--jsn'], "guestwire: Unknown option '--jsn': see 'guestwire derive --help'\n"],
    ['neither file nor guest', ['derive'], "guestwire: give either -f FILE or the name of a guest: see 'guestwire derive --help'\n"],
    ['file and guest', ['plan', '-f', 'a', 'b'], "guestwire: give either -f FILE or the name of a guest: see 'guestwire plan --help'\n"],
    ['two guests', ['derive', 'a', 'b'], "guestwire: give only one guest, not also 'b': see 'guestwire derive --help'\n"],
  ])('%s is wrong usage', (_, args, stderr) => {
    expect(guestwire(args)).toEqual({ status: 2, stdout: '', stderr });
  });
});

describe('guestwire derive', () => {
  test('prints one line a NIC', () => {
    expect(guestwire(['derive', '-f', domainOf('two-nics-of-both-kinds')])).toEqual({ status: 0, stderr: '', stdout: [
      "guest 'web1'",
      '  NIC 0  52:54:00:aa:bb:01  vnet0  VLAN port on br0: trunk 20-29 native 10, isolated',
      '  NIC 1  52:54:00:aa:bb:02  vnet1  routed link: 2001:db8:0:10::a; gateway fe80::1',
      '',
    ].join('\n') });
    expect(guestwire(['derive', '-f', domainOf('nothing-speaks-of-any-nic')]).stdout).toBe(
      "guest 'web1'\n  NIC 0  52:54:00:aa:bb:01  vnet0  left alone\n  NIC 1  52:54:00:aa:bb:02  vnet1  left alone\n");
  });

  test('prints JSON in its documented shape, from standard input, too', () => {
    const { stdout } = guestwire(
      ['derive', '-f', '-', '--json'], { input: readFileSync(domainOf('routed-prefix-behind-the-guest'), 'utf8') },
    );
    expect(JSON.parse(stdout)).toEqual({
      version: 1,
      guest: { name: 'web1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01' },
      attachments: [{
        kind: 'routed-link', nic: 0, mac: '52:54:00:aa:bb:02',
        link: 'vnet1', addresses: ['2001:db8:0:10::a', '2001:db8:0:10::b'],
        routes: [
          { to: '2001:db8:0:20::/64', via: '2001:db8:0:10::a' },
          { to: '2001:db8:0:30::/60', via: '2001:db8:0:10::b' },
        ],
        gateways: ['fe80::1'], table: 'main', protocol: 117,
        policy: { profile: 'isolated', allows: [], guest: 'web1', groups: [], offers: { dhcp: false, dns: [] } },
      }],
    });
    const unnamed = guestwire(['derive', '-f', '-', '--json'], { input: "<domain><name>x</name><devices><interface type='bridge'><source bridge='br0'/><vlan><tag id='7'/></vlan></interface></devices></domain>" });
    expect(JSON.parse(unnamed.stdout)).toEqual({ version: 1, guest: { name: 'x', uuid: null }, attachments: [{
      kind: 'vlan-port', nic: 0, mac: null, link: null, bridge: 'br0', vlans: [{ vid: 7, pvid: true, untagged: true }],
      isolated: null, uplinks: [], unfiltered: true, lenient: true,
      policy: { profile: 'open', allows: [], guest: 'x', groups: [], offers: { dhcp: false, dns: [] } },
    }] });
  });

  test.each<[string, string[], { input?: string; config?: string }, string]>([
    ['a file that is not there', ['derive', '-f', '/nonexistent'], {}, "guestwire: '/nonexistent' cannot be read: ENOENT: no such file or directory, open '/nonexistent'\n"],
    ['no domain', ['derive', '-f', '-'], { input: '<network><name>n</name></network>' }, "guestwire: 'network' is not a domain: the root element of domain XML is <domain>, in no namespace\n"],
    ['a bad VLAN', ['derive', '-f', domainOf('vlan-id-4095')], {}, "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:01): VLAN ID '4095' is outside 1-4094\n"],
  ])('%s is an answer of no', (_, args, options, stderr) => {
    expect(guestwire(args, options)).toEqual({ status: 1, stdout: '', stderr });
  });
});

describe('guestwire plan', () => {
  let netns: Netns | undefined;
  afterAll(() => { netns?.close(); });

  netnsTest('prints the exact batches for a tap that is there, that has a name, and that has none yet', async () => {
    netns = await openNetns();
    netns.sh('sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1');
    const env = { GUESTWIRE_CONFIG: join(dir, 'none.toml'), GUESTWIRE_STATE_DIR: join(dir, 'state') };
    const plan = (input: string, ...args: string[]): object => {
      const { status, stdout, stderr } = netns?.run(process.execPath, [CLI, 'plan', '-f', '-', ...args], { input, env })
        ?? { status: null, stdout: '', stderr: '' };
      return { status, stdout, stderr };
    };
    const xml = readFileSync(domainOf('routed-dual-stack'), 'utf8');
    const wired = (ifindex: number, link: string): Wired =>
      ({ ...deriveAttachments(parseDomain(Buffer.from(xml)), defaultConfig())[0], ifindex, link } as Wired);
    const nft = (ifindex: number, link: string): string[] => (['inet', 'netdev'] as const).flatMap((family) =>
      tableLines(family)).concat(
      (['inet', 'netdev'] as const).flatMap((family) =>
        nicLines(family, nicFilter(wired(ifindex, link), family) as NicFilter, { ifindex })));
    const sysctls = (dev: string): string[] => [
      ...['accept_redirects=0', 'rp_filter=1', 'send_redirects=0'].map((line) => `net/ipv4/conf/${dev}/${line}`),
      ...['mcast_solicit=15', 'retrans_time_ms=200', 'ucast_solicit=15'].map((line) => `net/ipv4/neigh/${dev}/${line}`),
      `net/ipv6/conf/${dev}/accept_ra=0`, `net/ipv6/conf/${dev}/accept_redirects=0`,
      ...['mcast_solicit=15', 'retrans_time_ms=200', 'ucast_solicit=15'].map((line) => `net/ipv6/neigh/${dev}/${line}`),
    ];
    const lines = (dev: string): string[] => [
      // What a link to come has is read from 'default', and a namespace has none for neighbours.
      '# nft -f -', ...nft(0, dev), '# sysctl -w',
      ...sysctls(dev).filter((line) => !line.includes('/neigh/')), '# ip -batch -',
      `address add 169.254.0.1/32 dev ${dev} scope link`, `address add fe80::1/64 dev ${dev} nodad`,
      `route add 192.0.2.10/32 dev ${dev} table main proto 117`, `route add 2001:db8:0:10::a/128 dev ${dev} table main proto 117`, '',
    ];
    const before = netns.dump();
    expect(plan(xml)).toEqual({ status: 0, stderr: '', stdout: lines('vnet1').join('\n') });
    expect(plan(xml.replace(/<target.*\/>/, ''))).toEqual({ status: 0, stderr: '', stdout: lines('NIC-0').join('\n') });
    netns.sh('ip tuntap add vnet1 mode tap; ip link set vnet1 up; ip address add 169.254.0.1/32 dev vnet1');
    const { stdout } = plan(xml, '--json') as { stdout: string };
    const ifindex = Number(netns.sh('cat /sys/class/net/vnet1/ifindex'));
    const json = JSON.parse(stdout) as { batches: { lines: string[] }[] };
    expect(json.batches[0]?.lines.join('\n').split('\n')).toEqual(nft(ifindex, 'vnet1'));
    expect(json).toEqual({
      version: 1, guest: { name: 'web1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01' },
      batches: [
        { tool: 'nft', lines: expect.anything() },
        { tool: 'sysctl', lines: sysctls('vnet1') }, { tool: 'ip', lines: lines('vnet1').slice(-4, -1) },
      ],
    });
    netns.sh('ip link del vnet1');
    expect(netns.dump()).toBe(before);
    netns.sh('sysctl -qw net.ipv4.ip_forward=0');
    expect(plan(xml)).toEqual({ status: 1, stdout: '', stderr: "guestwire: guest 'web1' NIC 0 (52:54:00:aa:bb:02): this host does not forward IPv4: run 'sysctl -w net.ipv4.ip_forward=1', or set 'manage_sysctls = true' in [routed]\n" });
    expect(plan(readFileSync(domainOf('nothing-speaks-of-any-nic'), 'utf8')))
      .toEqual({ status: 0, stdout: "guest 'web1': nothing to do\n", stderr: '' });
  });
});
