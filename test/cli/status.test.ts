// @tier fast kernel
/** `guestwire status`: its words and widths as tables, and the command on a real kernel. */
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { age, size } from '../../lib/cli/status.js';
import { renderTable } from '../../lib/cli/table.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

describe('words', () => {
  test.each([
    [0, '0'], [999, '999'], [1000, '1.0K'], [99_940, '99.9K'], [99_960, '100K'], [999_499, '999K'], [999_500, '1.0M'],
    [2 ** 50, '1.1P'],
  ])('%d bytes are %s', (bytes, words) => {
    expect(size(bytes)).toBe(words);
  });

  test.each([[0, '0m'], [59_999, '0m'], [60_000, '1m'], [3_600_000, '1h 0m'], [90_000_000, '1d 1h'], [-5, '0m']])(
    '%d ms are %s', (milliseconds, words) => {
      expect(age(milliseconds)).toBe(words);
    },
  );

  test('a table is as wide as it needs to be, and wraps what is flexible', () => {
    const columns = [{ title: 'A' }, { title: 'B', least: 6 }];
    const options = { width: 14, colours: false };
    expect(renderTable(columns, [[{ text: 'x' }, { text: 'short' }]], options)).toEqual(['A  B', 'x  short']);
    expect(renderTable(
      columns,
      [[{ text: 'x' }, { text: '192.0.2.10, 192.0.2.11,192.0.2.12' }], [{ text: 'y' }, { text: 'abcdefghijklmnop' }]],
      options,
    ))
      .toEqual(['A  B', 'x  192.0.2.10,', '   192.0.2.11,', '   192.0.2.12', 'y  abcdefghijk', '   lmnop']);
    expect(renderTable([{ title: 'A' }], [[{ text: 'x', colour: 'red' }]], { width: 80, colours: true }))
      .toEqual(['A', '\u001b[31mx\u001b[0m']);
  });
});

const WEB = guestXml({
  name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'], routes: ['2001:db8:20::/64'],
});
const DB = guestXml({ name: 'db1', tap: 'vnet2', addresses: ['192.0.2.11'] });

describe('guestwire status', () => {
  let host: GuestHost;
  beforeAll(async () => {
    if (!canRun('root', 'netns', 'nft')) return;
    host = await openGuestHost();
    expect(host.guestwire(['status'])).toEqual({ status: 0, stdout: 'guestwire wires no guest on this host now\n', stderr: '' });
    host.netns.sh('for tap in vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done');
    host.start(WEB);
    host.start(DB);
  });
  afterAll(() => { host.close(); });

  interface Nic { guest: { name: string }; state: string; differences: string[]; traffic: unknown }
  const statusOfAny = (name: string): Nic[] =>
    (JSON.parse(host.guestwire(['status', '--json', name]).stdout) as { nics: Nic[] }).nics;
  const statusOf = (...args: string[]): Nic[] =>
    (JSON.parse(host.guestwire(['status', '--json', ...args], { libvirt: false }).stdout) as { nics: Nic[] }).nics;

  kernelTest('shows each NIC in a table of 80 columns, without asking libvirt', () => {
    const { status, stdout, stderr } = host.guestwire(['status'], { libvirt: false });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^GUEST +NIC +LINK +NETWORK +STATE +IN +OUT +SINCE\ndb1 +0 +vnet2 +routed: 192\.0\.2\.11 +wired +0 +0 +\dm\nweb1 +0 +vnet1 +routed: 192\.0\.2\.10, 2001:db8::a, +wired/);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  kernelTest('prints JSON', () => {
    expect(statusOf('web1')).toEqual([{
      guest: { name: 'web1', uuid: '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01' }, nic: 0, mac: '52:54:00:aa:bb:01',
      link: 'vnet1', kind: 'routed-link', bridge: null, vlans: null,
      addresses: ['192.0.2.10', '2001:db8::a'], routes: ['2001:db8:20::/64'], state: 'wired', differences: [],
      traffic: { received: expect.any(Number), sent: expect.any(Number) },
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    }]);
  });

  kernelTest('paints on a terminal, and not where NO_COLOR is set or the output goes elsewhere', () => {
    const onTerminal = (env: Record<string, string>): string => host.netns.run('script', ['-qec', `${process.execPath} ${resolve('dist/cli.js')} status`, '/dev/null'], {
      env: {
        PATH: process.env['PATH'] ?? '', GUESTWIRE_STATE_DIR: join(host.dir, 'state'),
        GUESTWIRE_CONFIG: join(host.dir, 'config.toml'), GUESTWIRE_QUARANTINE_DIR: join(host.dir, 'quarantine'), ...env,
      },
    }).stdout;
    expect(onTerminal({ TERM: 'xterm' })).toContain('\u001b[32mwired\u001b[0m');
    for (const env of [{ TERM: 'xterm', NO_COLOR: '1' }, { TERM: 'dumb' }] as Record<string, string>[]) {
      expect(onTerminal(env)).toMatch(/^GUEST.* wired /s);
      expect(onTerminal(env)).not.toContain('\u001b');
    }
    expect(onTerminal({ TERM: 'xterm', NO_COLOR: '' })).toContain('\u001b[32m');
    expect(host.guestwire(['status'], { env: { TERM: 'xterm' } }).stdout).not.toContain('\u001b');
  });

  kernelTest('a quarantine shows in the table, and a guest that does not run as its XML says', () => {
    expect(host.guestwire(['quarantine', 'db1']).status).toBe(0);
    expect(host.guestwire(['status', 'db1'], { libvirt: false }).stdout).toMatch(/^db1 +0 +vnet2 +routed: 192\.0\.2\.11 +quarantined +\d/m);
    expect(host.guestwire(['quarantine', 'db1', '--lift']).status).toBe(0);
    host.say(guestXml({ name: 'off1', tap: 'vnet8', addresses: ['192.0.2.18'] }), false);
    expect(statusOfAny('off1')).toMatchObject([
      { guest: { name: 'off1' }, state: 'not-wired', addresses: ['192.0.2.18'], traffic: null, since: null },
    ]);
    expect(host.guestwire(['status', 'off1']).stdout).toMatch(/^off1 +0 +vnet8 +routed: 192\.0\.2\.18 +not wired +- +- +-$/m);
  });

  kernelTest('a guest that only libvirt could know is not told apart from none while it is down', () => {
    expect(host.guestwire(['status', 'off1'], { libvirt: false })).toEqual({ status: 1, stdout: '', stderr: "guestwire: virsh of 'qemu+ssh:///system': uri: failed to connect to the hypervisor\n" });
  });

  kernelTest('says what drifted, what is cut off and what is gone', () => {
    host.netns.sh('ip route del 192.0.2.10 dev vnet1');
    expect(statusOf()).toMatchObject([
      { guest: { name: 'db1' }, state: 'wired' },
      { guest: { name: 'web1' }, state: 'drifted', differences: ["route 192.0.2.10/32 is missing on 'vnet1'"] },
    ]);
    expect(host.guestwire(['quarantine', 'db1']).status).toBe(0);
    expect(statusOf('db1')).toMatchObject([{ state: 'quarantined', differences: [] }]);
    expect(host.guestwire(['quarantine', 'db1', '--lift']).status).toBe(0);
    host.netns.sh('nft delete table inet guestwire');
    expect(statusOf('db1')).toMatchObject([{ state: 'drifted', differences: ["policy of 'vnet2' (nftables table inet guestwire) is missing", 'nftables table inet guestwire is missing'] }]);
    host.netns.sh('ip link del vnet2');
    expect(statusOf('db1')).toMatchObject([{ state: 'not-wired', traffic: null }]);
  });

  kernelTest('a guest that nobody knows is an error, and one that guestwire does not wire is shown when asked for', () => {
    expect(host.guestwire(['status', 'none'])).toMatchObject({ status: 1, stdout: '' });
    host.say("<domain type='kvm'><name>plain</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cff</uuid><devices><interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet9'/></interface></devices></domain>");
    expect(host.guestwire(['status', 'plain']).stdout).toMatch(/plain +0 +vnet9 +- +left alone/);
    expect(host.guestwire(['status']).stdout).not.toContain('plain');
  });
});
