// @tier kernel long
/**
 * Serving on a real kernel with the real dnsmasq and radvd: what guests behind veth pairs are told, what they never
 * hear, and what is left. fixtures/tools/systemctl stands in for systemd and runs the templates' own ExecStart.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { settingsFrom } from '../../lib/config/paths.js';
import { unitText } from '../../lib/install/units.js';
import { SERVICES } from '../../lib/serve/daemon-config.js';
import { canRun, testWith } from '../places/capability.js';
import { domainXml, DONE, ethernetNic, type HookHost, openHookHost } from '../places/hook-run.js';
import { bound, figure } from '../tiers/bound.js';

const serveTest = testWith('root', 'netns', 'serve');
const able = canRun('root', 'netns', 'serve');

const CONFIG = '[serve]\ndns = ["2001:db8::53", "192.0.2.53"]\nsearch = ["example.org", "lab.example.org"]\nlifetime = 12\n';

let host: HookHost;
let path: string;

beforeAll(async () => {
  if (!able) return;
  host = await openHookHost();
  path = host.tools({});
  host.sh(`
    mkdir -p /run/systemd/system /etc/systemd/system
    mount -t tmpfs tmpfs /etc/systemd/system
    ln -s ${resolve('fixtures/tools/systemctl')} ${path}/systemctl`);
  for (const service of SERVICES) host.write(`/etc/systemd/system/${service.unit}@.service`, unitText(service, settingsFrom({})));
});

beforeEach(() => {
  if (!able) return;
  host.write('/run/config.toml', CONFIG);
  host.write('/run/systemctl.log', '');
  for (const [index, link] of ['vnet1', 'vnet2'].entries()) host.sh(`ip link del ${link} 2>/dev/null || true\n${guestBehind(link, index + 1)}`);
});

afterEach(async () => {
  if (!able) return;
  for (const guest of [ONE, TWO]) await host.hook({ ...guest, path, operation: 'release' });
  host.sh('for guest in $(ip netns list | cut -d" " -f1); do for pid in $(ip netns pids $guest); do kill $pid || true; done; ip netns del $guest; done');
  expect(units()).toEqual([]);
});

afterAll(() => { if (able) host.close(); });

/** A guest is a namespace whose eth0 is the other end of the link, as the kernel makes it: nothing is configured. */
function guestBehind(link: string, number: number): string {
  return `
    ip netns add g${number}
    ip link add ${link} type veth peer name eth0 netns g${number} address 52:54:00:00:00:0${number}
    ip -n g${number} link set lo up
    ip link set ${link} up
    ip -n g${number} link set eth0 up`;
}

function guestOf(name: string, number: number, inner: string, policy = '') {
  const mac = `52:54:00:00:00:0${number}`;
  const metadata = `<gw:interface mac="${mac}"><gw:routed>${inner}</gw:routed>${policy}</gw:interface>`;
  const uuid = `${number}1111111-2222-3333-4444-555555555555`;
  return { guest: name, xml: domainXml({ name, uuid, metadata, nics: [ethernetNic({ mac, dev: `vnet${number}` })] }) };
}

/** They share 2001:db8:0:10::/64, and each has a /64 of its own. */
const ONE = guestOf('web1', 1, '<gw:ip address="2001:db8:0:10::a"/><gw:ip address="192.0.2.10"/><gw:ip address="2001:db8:0:10::aa"/><gw:route address="2001:db8:0:20::" prefix="64"/><gw:route address="2001:db8:0:5000::" prefix="56"/>');
const TWO = guestOf('web2', 2, '<gw:ip address="2001:db8:0:10::b"/><gw:route address="2001:db8:0:30::" prefix="64"/>', '<gw:allow direction="in" proto="icmpv6" from="guest:web1"/>');

async function start(...guests: readonly (typeof ONE)[]): Promise<void> {
  for (const guest of guests) expect(await host.hook({ ...guest, path, operation: 'start' })).toEqual(DONE);
}

/** Names of the instances that run. */
function units(): string[] {
  return existsSync(host.outside('/run/units')) ? readdirSync(host.outside('/run/units')).sort() : [];
}

function told(): string[] {
  const lines = readFileSync(host.outside('/run/systemctl.log'), 'utf8').split('\n').filter(Boolean);
  host.write('/run/systemctl.log', '');
  return lines;
}

/** Returns what the DHCP clients say they were given. */
function dhcp(number: number, mac?: string): string {
  const script = resolve('fixtures/tools/dhcp-script');
  return host.sh(`
    ${mac === undefined ? '' : `ip -n g${number} link set eth0 down address ${mac}; ip -n g${number} link set eth0 up`}
    until ip -n g${number} -6 address show dev eth0 scope link | grep inet6 | grep -qv tentative; do sleep 0.1; done
    ip netns exec g${number} busybox udhcpc -i eth0 -f -q -n -t 3 -T 1 -O search -O staticroutes -s ${script} 2>/dev/null || echo 'no DHCPv4'
    rm -f /run/dhclient.*
    ip netns exec g${number} timeout 8 dhclient -6 -1 -d -cf /dev/null -lf /run/dhclient.leases -pf /run/dhclient.pid -sf ${script} eth0 2>/dev/null || true`);
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let left = 200; !isSo(); left -= 1) {
    if (left === 0) throw new Error(`waited in vain for ${what}`);
    await sleep(100);
  }
}

const inGuest = (number: number, command: string): string => host.sh(`ip -n g${number} ${command}`);

describe('a served link', () => {
  serveTest('gives a guest its own addresses, routes and prefixes, with the host as its router', async () => {
    await start(ONE);
    expect(host.sh('ip -br address show dev vnet1')).toMatch(/169\.254\.0\.1\/32 fd6a:92c1:7e05::1\/128 fe80::1\/64/);
    expect(dhcp(1).trim().split('\n').sort()).toEqual([
      '192.0.2.10/32 router 169.254.0.1 routes 169.254.0.1/32 0.0.0.0 0.0.0.0/0 169.254.0.1 dns 192.0.2.53 search example.org lab.example.org',
      '2001:db8:0:10::a/128 dns 2001:db8::53 search example.org. lab.example.org.',
      '2001:db8:0:10::aa/128 dns 2001:db8::53 search example.org. lab.example.org.',
    ]);
    await until('the default route', () => inGuest(1, '-6 route show default').includes('via fe80::1'));
    await until('an address in the /64', () => /2001:db8:0:20:5054:ff:fe00:1\/64 scope global dynamic/.test(inGuest(1, '-6 address show dev eth0 -tentative')));
    // Not on-link: no route to the prefix itself. And nothing of the /56, in which no address can be made.
    expect(inGuest(1, '-6 route show')).not.toMatch(/2001:db8:0:(20|50)/);
    host.sh('ping -c 1 -W 5 2001:db8:0:20:5054:ff:fe00:1');
  });

  serveTest('has no answer behind an input chain that drops DHCP, and has one after the cure of doctor', async () => {
    await start(ONE);
    host.sh(`nft add table inet filter; nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
      nft add rule inet filter input meta l4proto ipv6-icmp accept; nft add rule inet filter input iif lo accept`);
    expect(dhcp(1).trim()).toBe('no DHCPv4');
    const { findings } = JSON.parse(host.sh(`GUESTWIRE_CONFIG=/run/config.toml ${process.execPath} ${resolve('dist/cli.js')} doctor --json 2>/dev/null || true`)) as { findings: { what: string; cure: string }[] };
    const found = findings.find(({ what }) => what === "chain 'inet filter input' drops DHCP from 'vnet*'");
    host.sh(found?.cure ?? 'false');
    expect(dhcp(1)).toMatch(/^192\.0\.2\.10\/32 [^]*^2001:db8:0:10::a\/128 /m);
    host.sh('nft delete table inet filter');
  });

  serveTest('makes a guest reachable soon after its link came up', async () => {
    await start(ONE);
    for (const dad of [0, 1]) {
      const took = host.sh(`
        for conf in all default eth0; do ip netns exec g1 sh -c "echo ${dad} >/proc/sys/net/ipv6/conf/$conf/accept_dad"; done
        ip -n g1 link set eth0 down; ip -n g1 -6 address flush dev eth0 scope global; rm -f /run/dhclient.leases
        began=$(date +%s%N)
        ip -n g1 link set eth0 up
        until ip -n g1 -6 address show dev eth0 scope link | grep inet6 | grep -qv tentative; do sleep 0.02; done
        ready=$(date +%s%N)
        ip netns exec g1 dhclient -6 -D LL -1 -nw -cf /dev/null -lf /run/dhclient.leases -pf /run/dhclient.pid -sf ${resolve('fixtures/tools/dhcp-script')} eth0 >/dev/null 2>&1 &
        until ping -c 1 -W 1 2001:db8:0:10::a >/dev/null 2>&1; do sleep 0.02; done
        now=$(date +%s%N)
        echo $(((now - began) / 1000000)) ms after link up, $(((ready - began) / 1000000)) ms of them until it had a link-local address`);
      figure(`reachable, accept_dad ${dad}: ${took.trim()}`);
      expect(Number(/^\d+/.exec(took)?.[0])).toBeLessThan(bound(20_000));
      host.sh('kill $(cat /run/dhclient.pid) || true');
    }
  });

  serveTest('gives nothing to another MAC', async () => {
    await start(ONE);
    expect(dhcp(1, '52:54:00:00:00:99').trim()).toBe('no DHCPv4');
  });

  serveTest('keeps the default route of two guests past a router lifetime, each with its own prefix, and is silent on a bridge port', async () => {
    host.sh('ip link add vnet9 type veth peer name listen; ip link set vnet9 master br0; ip link set vnet9 up; ip link set listen up; tcpdump -lni listen "icmp6 and ip6[40] == 134 or port 67 or port 547" >/run/heard 2>/dev/null & echo $! >/run/tcpdump.pid');
    await start(ONE, TWO);
    await sleep(17_000);
    for (const [number, own] of [[1, '20'], [2, '30']] as const) {
      expect(inGuest(number, '-6 route show default')).toMatch(/^default via fe80::1 dev eth0 proto ra .* expires ([5-9]|1[0-2])sec/);
      expect(inGuest(number, '-6 -o address show dev eth0 scope global').match(/2001:db8:0:\w+/g)).toEqual([`2001:db8:0:${own}`]);
    }
    host.sh('kill $(cat /run/tcpdump.pid); ip link del vnet9');
    expect(readFileSync(host.outside('/run/heard'), 'utf8').trim()).toBe('');
    dhcp(1);
    dhcp(2);
    host.sh('ip netns exec g1 ping -c 1 -W 5 -I 2001:db8:0:10::a 2001:db8:0:10::b');
  });

  serveTest('falls silent when its name is a bridge port now, and when another guest has it', async () => {
    await start(ONE);
    host.sh(`ip link del vnet1; ip netns del g1; ${guestBehind('vnet1', 1)}\nip link set vnet1 master br0\nip netns exec g1 tcpdump -lni eth0 "icmp6 and ip6[40] == 134" >/run/heard 2>/dev/null & echo $! >/run/tcpdump.pid`);
    expect(dhcp(1).trim()).toBe('no DHCPv4');
    await sleep(5_000);
    expect(readFileSync(host.outside('/run/heard'), 'utf8').trim()).toBe('');
    host.sh('kill $(cat /run/tcpdump.pid); ip link set vnet1 nomaster');
    told();
    const heir = { ...TWO, xml: TWO.xml.replaceAll('vnet2', 'vnet1').replaceAll('00:00:02', '00:00:01') };
    await start(heir);
    expect(told()).toEqual(['stop guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service', '--no-block restart guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service']);
    expect(dhcp(1)).toContain('2001:db8:0:10::b/128');
  });
});

describe('the instances', () => {
  serveTest('are started, kept, restarted when the config says otherwise, and gone with the guest', async () => {
    await start(ONE);
    expect(told()).toEqual(['--no-block restart guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service']);
    expect(readdirSync(host.outside('/run/guestwire.serve/vnet1')).filter((name) => name !== 'radvd.pid').sort())
      .toEqual(['dnsmasq.conf', 'leases', 'owner', 'radvd.conf']);
    expect(await host.hook({ ...ONE, path, operation: 'reconnect' })).toEqual(DONE);
    expect(told()).toEqual(['--no-block start guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service']);
    host.write('/run/config.toml', CONFIG.replace('lease', '').replace('lifetime = 12', 'lifetime = 24'));
    expect(await host.hook({ ...ONE, path, operation: 'reconnect' })).toEqual(DONE);
    expect(told()).toEqual(['--no-block restart guestwire-ra@vnet1.service', '--no-block start guestwire-dhcp@vnet1.service']);
    expect(await host.hook({ ...ONE, path, operation: 'stopped' })).toEqual(DONE);
    expect(told()).toEqual(['--no-block stop guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service']);
    expect(existsSync(host.outside('/run/guestwire.serve'))).toBe(false);
    expect(await host.hook({ ...ONE, path, operation: 'release' })).toEqual(DONE);
    expect(told()).toEqual([]);
  });

  serveTest('of a link that is gone end with the next guest, and all end when the config says so', async () => {
    await start(ONE);
    host.sh('ip link del vnet1');
    await start(TWO);
    expect(units()).toEqual(['guestwire-dhcp@vnet2.service', 'guestwire-ra@vnet2.service']);
    host.write('/run/config.toml', `${CONFIG}on = false\n`);
    expect(await host.hook({ ...TWO, path, operation: 'reconnect' })).toEqual(DONE);
    expect(units()).toEqual([]);
    expect(host.sh('ip -br address show dev vnet2')).not.toContain('fd6a');
  });

  serveTest('stay as they are while the config is broken', async () => {
    await start(ONE);
    host.write('/run/config.toml', '[serve\n');
    expect(await host.hook({ ...ONE, path, operation: 'stopped' })).toEqual(DONE);
    expect(host.recorded('logger', path).join('\n')).toContain("<28>cannot update the DHCP and router advertisements for guests: nothing was changed: config '/run/config.toml': line 1 column 7");
    host.write('/run/config.toml', CONFIG);
  });
});

describe('what is missing is a warning, and the guest starts', () => {
  const warnings = (): string[] => host.recorded('logger', path).filter((line) => line.startsWith('<28>'));

  serveTest('no units', async () => {
    host.sh('mount -t tmpfs tmpfs /etc/systemd/system');
    host.recorded('logger', path);
    await start(ONE);
    host.sh('umount /etc/systemd/system');
    expect(warnings()).toEqual(["<28>systemctl failed (--no-block restart guestwire-dhcp@vnet1.service guestwire-ra@vnet1.service): Failed to restart guestwire-dhcp@vnet1.service: Unit guestwire-dhcp@vnet1.service not found.: run 'guestwire install', which writes the units if the host config has [serve]"]);
  });

  serveTest('no daemon', async () => {
    mkdirSync(host.outside('/run/upper'));
    mkdirSync(host.outside('/run/work'));
    host.sh('mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/upper,workdir=/run/work overlay /usr/sbin; rm /usr/sbin/radvd');
    host.recorded('logger', path);
    await start(ONE);
    host.sh('umount -l /usr/sbin');
    expect(warnings()).toEqual(["<28>guest 'web1' NIC 0 (52:54:00:00:00:01): no router advertisements on 'vnet1', because '/usr/sbin/radvd' is missing: install package radvd"]);
    expect(units()).toEqual(['guestwire-dhcp@vnet1.service']);
  });

  serveTest('no systemd', async () => {
    host.sh('rmdir /run/systemd/system');
    host.recorded('logger', path);
    await start(TWO);
    host.sh('mkdir /run/systemd/system');
    expect(warnings()).toEqual([
      "<28>guest 'web2' NIC 0 (52:54:00:00:00:02): no DHCP on 'vnet2', because systemd does not run here: run '/usr/sbin/dnsmasq --keep-in-foreground --log-facility=- --conf-file=/run/guestwire.serve/vnet2/dnsmasq.conf --dhcp-leasefile=/run/guestwire.serve/vnet2/leases' yourself",
      "<28>guest 'web2' NIC 0 (52:54:00:00:00:02): no router advertisements on 'vnet2', because systemd does not run here: run '/usr/sbin/radvd --nodaemon --logmethod=stderr --username=radvd --config=/run/guestwire.serve/vnet2/radvd.conf --pidfile=/run/guestwire.serve/vnet2/radvd.pid' yourself",
    ]);
  });
});
