// @tier kernel
/**
 * `guestwire reconcile --all` on a real kernel: its dry run says what it then does, it collects its own and leaves the
 * rest.
 */
import { existsSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');
// Each is a dozen commands, of which each runs a dozen tools.
const GONE = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cee';
const CONFIG = '[routed]\ntables = [100]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["uplink0"]\n';
const uuidOf = (number: string): string => `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c${number}`;

const WEB = guestXml({
  name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'], routes: ['2001:db8:20::/64'],
});
const DB = guestXml({ name: 'db1', tap: 'vnet2', addresses: ['192.0.2.20'], more: " table='100'" });
const NEW = guestXml({ name: 'new1', tap: 'vnet3', addresses: ['192.0.2.30'] });

let host: GuestHost;
const state = (name: string): string => join(host.dir, 'state', name);

/** Makes a file that was written two minutes ago. */
function oldFile(name: string, text = ''): void {
  writeFileSync(state(name), text, { mode: 0o600 });
  const then = Date.now() / 1000 - 120;
  utimesSync(state(name), then, then);
}

beforeAll(async () => {
  if (!canRun('root', 'netns', 'nft')) return;
  host = await openGuestHost(CONFIG);
  // Duplicate address detection would change addresses while a test looks.
  host.netns.sh('sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add uplink0 type veth peer name far0; ip link set uplink0 up; ip link set far0 up; for tap in vnet1 vnet2 vnet3; do ip tuntap add $tap mode tap; ip link set $tap up; done');
  host.start(WEB);
  host.start(DB);
});
afterAll(() => { host.close(); });

/** The dry run prints what the run then does, line by line, with the same status, and changes nothing. */
async function expectForetold(...args: string[]): Promise<string[]> {
  const before = host.dump();
  const dry = await host.command('reconcile', ...args, '--dry-run');
  expect(host.dump()).toBe(before);
  const real = await host.command('reconcile', ...args);
  expect({
    status: dry.status,
    lines: dry.stdout.replaceAll(/^would: /gm, '').split('\n'),
    warned: dry.stderr.replaceAll('would fail: ', ''),
  })
    .toEqual({ status: real.status, lines: real.stdout.split('\n'), warned: real.stderr });
  return real.stdout.split('\n').slice(0, -1);
}

describe('a guest that cannot be made right', () => {
  kernelTest('has its filters all the same', async () => {
    const before = host.netns.sh('nft list tables');
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=0; nft flush ruleset');
    for (const args of [['reconcile', 'web1'], ['reconcile', '--all']]) {
      const { status, stderr } = await host.command(...args);
      expect({ status, tables: host.netns.sh('nft list tables') }).toEqual({ status: 1, tables: before });
      expect(stderr).toContain('net.ipv4.ip_forward=1');
      expect(host.netns.sh('nft list table netdev guestwire')).toContain('vnet1');
    }
    expect(host.netns.sh('nft list table netdev guestwire')).toContain('vnet2');
    host.netns.sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
    expect((await host.command('reconcile', '--all')).status).toBe(0);
    expect((await host.command('check')).stdout).toBe('');
  });
});

describe('a dry run', () => {
  kernelTest('says that there is nothing to do', async () => {
    expect(await host.command('reconcile', '--all', '--dry-run')).toEqual({ status: 0, stdout: 'all wiring is as the XML says, nothing to change\n', stderr: '' });
    expect(await host.command('reconcile', '--all')).toEqual({ status: 0, stdout: 'all wiring is as the XML says, nothing changed\n', stderr: '' });
    expect(await host.command('reconcile', 'web1', '--dry-run')).toEqual({ status: 0, stdout: 'all wiring is as the XML says, nothing to change\n', stderr: '' });
  });

  const SITUATIONS: readonly (readonly [name: string, make: () => void, ...lines: string[]])[] = [
    ['routes, addresses, sysctls, a rule of a filter, and proxies, which are announced again', () => host.netns.sh(`ip addr flush dev vnet1; sysctl -qw net.ipv6.conf.vnet2.accept_ra=1; ip rule del iif vnet2 lookup 100
      nft insert rule netdev guestwire nic_$(cat /sys/class/net/vnet1/ifindex) accept
      ip neigh del proxy 192.0.2.10 dev uplink0; sysctl -qw net.ipv6.conf.uplink0.proxy_ndp=0`),
    "guest 'web1' NIC 0 (52:54:00:aa:bb:01): add address fe80::1/64 on 'vnet1'", "guest 'db1' NIC 0 (52:54:00:aa:bb:02): set sysctl net.ipv6.conf.vnet2.accept_ra=0",
    "guest 'web1' NIC 0 (52:54:00:aa:bb:01): renew filter of 'vnet1' (nftables table netdev guestwire)",
    "guest 'web1': add neighbour proxy 192.0.2.10 on 'uplink0'", "guest 'web1': announced 192.0.2.10 on 'uplink0'"],
    ['the tables that guests share', () => host.netns.sh('nft flush ruleset'), "host: add nftables table inet guestwire"],
    ['a guest that was never wired', () => { host.say(NEW); }, "guest 'new1' NIC 0 (52:54:00:aa:bb:03): add route 192.0.2.30/32 on 'vnet3'"],
    ['a guest whose XML asks for something else', () => { host.say(NEW.replaceAll('192.0.2.30', '192.0.2.31')); }, "guest 'new1' NIC 0 (52:54:00:aa:bb:03): remove route 192.0.2.30/32 on 'vnet3'"],
    ['a guest whose XML asks for nothing any more', () => { host.say(NEW.replace(/<metadata>.*<\/metadata>/, '')); }, "guest 'new1' NIC 0 (52:54:00:aa:bb:03): remove route 192.0.2.31/32 on 'vnet3'"],
    ['a guest that ended and whose hook never ran', () => {
      host.netns.sh('ip link set vnet3 up');
      host.start(NEW);
      host.say(NEW, false);
    }, "guest 'new1' NIC 0 (52:54:00:aa:bb:03): remove route 192.0.2.30/32 on 'vnet3'", "guest 'new1': its record is removed: it no longer runs"],
    ['a guest that is gone with its link', () => {
      host.start(NEW);
      host.say(NEW, false);
      host.netns.sh('ip link del vnet3; ip tuntap add vnet3 mode tap; ip link set vnet3 up');
    }, "guest 'new1': its record is removed: it no longer runs"],
    ['what is left without any entry, and files', () => {
      host.netns.sh(`ip route add 192.0.2.98 dev uplink0 proto 117; ip rule add to 192.0.2.97 lookup 100 priority 11701 protocol 117
      ip neigh add proxy 192.0.2.96 dev uplink0 protocol 117; nft add table bridge guestwire
      ip link add orphan0 type veth peer name orphan1; ip link set orphan0 alias guestwire:${GONE}; ip link set orphan1 alias guestwire:${GONE}`);
      oldFile(`${GONE}.incoming`);
      oldFile(`${GONE}.json.draft`, '{');
      oldFile('proxies.json.draft', '{');
      writeFileSync(state(`${uuidOf('77')}.incoming`), '');
    }, "host: remove route 192.0.2.98/32 on 'uplink0': it belonged to no guest", "host: remove nftables table bridge guestwire: it belonged to no guest",
    `host: remove '${GONE}.incoming' from the state directory: it is no longer needed`],
  ];

  for (const [name, make, ...lines] of SITUATIONS) kernelTest(`says what is then done: ${name}`, async () => {
    make();
    expect(await expectForetold('--all')).toEqual(expect.arrayContaining(lines));
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
    rmSync(state(`${uuidOf('77')}.incoming`), { force: true });
    expect(readdirSync(join(host.dir, 'state')).sort())
      .toEqual(expect.not.arrayContaining([expect.stringMatching(/draft|incoming|2cee/)]));
  });

  kernelTest('of one guest says what is then done for it, and nothing of others', async () => {
    host.netns.sh('ip route del 192.0.2.10 dev vnet1; ip route del 192.0.2.20 dev vnet2 table 100');
    expect(await expectForetold('web1')).toEqual(["guest 'web1' NIC 0 (52:54:00:aa:bb:01): add route 192.0.2.10/32 on 'vnet1'"]);
    expect(await expectForetold('db1')).toEqual(["guest 'db1' NIC 0 (52:54:00:aa:bb:02): add route 192.0.2.20/32 on 'vnet2'"]);
  });
});

describe('garbage', () => {
  kernelTest('is only what is provably guestwire\'s', async () => {
    host.netns.sh(`ip route add 198.51.100.1 dev uplink0 proto 118; ip route add 198.51.100.2 dev uplink0; ip -6 route add 2001:db8:f::/64 dev uplink0 proto static
      ip rule add to 198.51.100.3 lookup 100 priority 11701; ip rule add iif uplink0 lookup 77 priority 11700 protocol 118
      ip neigh add proxy 198.51.100.4 dev uplink0; ip neigh add proxy 198.51.100.5 dev uplink0 protocol 118
      ip link add mine0 type veth peer name mine1; ip link set mine0 alias 'guestwire:uplink of the lab'; ip tuntap add mine2 mode tap; ip link set mine2 alias 'not guestwire:${GONE}'
      nft add table ip guestwire; nft add table inet guestwire2; nft add table ip6 guestwire; nft 'add set inet guestwire2 guests { type iface_index; }'
      ip route add unreachable default table 77 metric 4294967295 proto static`);
    for (const name of ['notes.txt', 'web1.json', `${GONE}.txt`]) oldFile(name, 'mine');
    const before = host.dump();
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(await host.command('reconcile', '--all')).toEqual({ status: 0, stdout: 'all wiring is as the XML says, nothing changed\n', stderr: '' });
    expect(host.dump()).toBe(before);
    host.netns.sh('ip link del mine0; ip link del mine2; ip rule del priority 11701 to 198.51.100.3; ip rule del iif uplink0 lookup 77');
  });

  kernelTest('is not what a running guest has whose entry is lost', async () => {
    host.netns.sh(`ip link add kept0 type veth peer name kept1; ip link set kept0 alias guestwire:${uuidOf('01')}; ip link set kept1 alias guestwire:${uuidOf('01')}`);
    writeFileSync(state(`${uuidOf('01')}.json`), '{ damaged', { mode: 0o600 });
    // What it asks for cannot be given, so it is not wired anew.
    host.say(WEB.replace('192.0.2.10', '192.0.2.20'));
    const found = await host.command('reconcile', '--all');
    expect(found.status).toBe(1);
    expect(found.stderr.match(/is damaged and is treated as empty/g)).toHaveLength(1);
    expect(found.stderr).toContain("guest 'web1' NIC 0 (52:54:00:aa:bb:01): '192.0.2.20' is held by guest 'db1'");
    expect(host.netns.sh('ip route show dev vnet1; ip link show kept0')).toMatch(/192\.0\.2\.10 [^]*kept0/);
    host.say(WEB);
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0 });
    expect(await host.command('check')).toEqual({ status: 0, stdout: '', stderr: '' });
    host.netns.sh('ip link del kept0');
  });

  kernelTest('is the last resort of a table that nobody has, of each family', async () => {
    host.netns.sh('for family in -4 -6; do ip $family route add unreachable default table 78 metric 4294967295 proto 117; done');
    expect(await expectForetold('--all')).toEqual(['IPv4', 'IPv6'].map((family) => `host: remove unreachable ${family} default of table 78: it belonged to no guest`));
    expect(host.netns.sh('ip route show table 78; ip -6 route show table 78')).not.toContain('117');
  });

  kernelTest('is a damaged entry of a guest that is gone', async () => {
    writeFileSync(state(`${GONE}.json`), '{ damaged', { mode: 0o600 });
    expect((await expectForetold('--all'))).toEqual([`host: remove '${GONE}.json' from the state directory: it cannot be read, and no guest needs it`]);
    expect(existsSync(state(`${GONE}.json`))).toBe(false);
  });
});

describe('what fails', () => {
  kernelTest('nothing is touched while libvirt does not answer', () => {
    host.netns.sh('ip route del 192.0.2.10 dev vnet1; ip route add 192.0.2.98 dev uplink0 proto 117');
    const before = host.dump();
    for (const args of [['reconcile', '--all'], ['reconcile', '--all', '--dry-run']]) {
      expect(host.guestwire(args, { libvirt: false }))
        .toMatchObject({ status: 1, stdout: '', stderr: expect.stringMatching(/^guestwire: 'guestwire reconcile --all' needs libvirt to know which guests run: .*failed to connect/) });
    }
    expect(host.guestwire(['reconcile', 'web1'], { libvirt: false }))
      .toMatchObject({ status: 1, stdout: '', stderr: expect.stringContaining('failed to connect') });
    expect(host.dump()).toBe(before);
  });

  kernelTest('a guest that cannot be made right keeps nobody from being', async () => {
    host.say(NEW.replaceAll('192.0.2.30', '192.0.2.20'));
    const lines = await expectForetold('--all');
    expect(lines).toEqual(expect.arrayContaining(["guest 'web1' NIC 0 (52:54:00:aa:bb:01): add route 192.0.2.10/32 on 'vnet1'", "host: remove route 192.0.2.98/32 on 'uplink0': it belonged to no guest"]));
    expect(await host.command('reconcile', '--all')).toMatchObject({
      status: 1, stdout: '', stderr: expect.stringContaining("guest 'new1' NIC 0 (52:54:00:aa:bb:03): '192.0.2.20' is held by guest 'db1'"),
    });
    expect((await host.command('check', 'web1')).stdout).not.toMatch(/web1|NIC|vnet/);
    expect(await host.command('check', 'new1')).toMatchObject({ status: 1, stdout: expect.stringContaining("guest 'new1' NIC 0 (52:54:00:aa:bb:03): route 192.0.2.20/32 is missing on 'vnet3'") });
  });

  kernelTest('a guest whose XML nobody understands keeps nobody from being made right', async () => {
    host.say(NEW.replace("address='192.0.2.30'", "address='nonsense'"));
    host.netns.sh('ip route del 192.0.2.10 dev vnet1');
    expect(await expectForetold('--all')).toEqual(["guest 'web1' NIC 0 (52:54:00:aa:bb:01): add route 192.0.2.10/32 on 'vnet1'"]);
    expect(await host.command('check')).toMatchObject({ status: 1, stdout: expect.stringContaining("'nonsense'") });
    host.say(NEW, false);
  });

  kernelTest('a guest on its way by migration is left alone', async () => {
    host.say(NEW);
    host.sayState(uuidOf('03'), 'paused (migrating)');
    const before = host.dump();
    expect(await host.command('reconcile', '--all')).toEqual({ status: 0, stdout: 'all wiring is as the XML says, nothing changed\n', stderr: '' });
    expect(host.dump()).toBe(before);
    host.sayState(uuidOf('03'), 'running (migrated)');
    expect(await expectForetold('--all')).toContain("guest 'new1' NIC 0 (52:54:00:aa:bb:03): add route 192.0.2.30/32 on 'vnet3'");
    host.say(NEW, false);
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0 });
  });

  kernelTest('garbage that stays is an answer of no', async () => {
    host.netns.sh('ip route add 192.0.2.98 dev uplink0 proto 117');
    // An ip that does not delete routes, and says so.
    writeFileSync(join(host.dir, 'ip'), `#!/bin/sh\nPATH="\${PATH#*:}"\ncase "$*" in *-force*-batch*) sed '/^route del/s/.*/route del 203.0.113.77 proto 117/' | exec ip "$@" ;; *) exec ip "$@" ;; esac\n`, { mode: 0o755 });
    const { status, stdout, stderr } = host.guestwire(['reconcile', '--all']);
    rmSync(join(host.dir, 'ip'));
    expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: '', stderr: "guestwire: objects that belong to no guest are still there, because these changes failed: remove route 192.0.2.98/32 on 'uplink0'\n" });
    expect(await host.command('reconcile', '--all')).toMatchObject({ status: 0 });
  });
});
