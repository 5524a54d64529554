// @tier kernel long
/** Reachable from a LAN on a real kernel: neighbour proxies, announcements and the question before a start. */
import { afterEach, describe, expect } from '@jest/globals';
import { leftWords } from '../../lib/attachments/ledger.js';
import { createJournal } from '../../lib/journal/journal.js';
import { testWith } from '../places/capability.js';
import { DONE as NOTHING, type HookHost, openHookHost } from '../places/hook-run.js';
import { GUEST, guestXml, type Lan, openLan } from '../places/lan.js';
import { bound } from '../tiers/bound.js';

const kernelTest = testWith('root', 'netns');
const DONE = { status: 0, stdout: '', stderr: '' };
const ELSEWHERE = '02:00:00:00:00:99';
const WHO = "guest 'web1' NIC 0 (52:54:00:aa:bb:02)";

let lan: Lan;
let bare: HookHost | undefined;
afterEach(() => {
  (bare ?? lan).close();
  bare = undefined;
});

/** One packet of each family from the neighbour to the guest; a proxy that is asked at once answers at once. */
function ping(): string {
  return Object.values(GUEST)
    .map((address) => (lan.neighbour.run('ping', ['-c', '1', '-W', '2', address]).status === 0 ? 'answer' : 'silence'))
    .join(' ');
}

/** What the host holds and this file is about, without what the kernel does in its own time. */
function held(): string {
  return lan.host.sh(`ip -Numeric neigh show proxy; ip route; ip -6 route; ip -br address show dev vnet1
    grep . /proc/sys/net/ipv?/neigh/*/proxy_delay /proc/sys/net/ipv6/conf/*/proxy_ndp /proc/sys/net/ipv4/conf/*/proxy_arp`);
}

function macOf(dev: string): string {
  return lan.host.sh(`cat /sys/class/net/${dev}/address`).trim();
}

const UPLINKS: [string, string][] = [
  ['a link of its own', 'ip link set wire0 name eno1'],
  ['a bridge', 'ip link add eno1 type bridge; ip link set wire0 master eno1; ip link set wire0 up'],
];

describe('neighbour proxies', () => {
  for (const [name, uplink] of UPLINKS) kernelTest(`let a neighbour of both families reach the guest through ${name}`, async () => {
    lan = await openLan(uplink);
    const before = held();
    expect(ping()).toBe('silence silence');
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip -Numeric neigh show proxy dev eno1')).toBe('192.0.2.10 proxy proto 117 \n2001:db8::a proxy proto 117 \n');
    expect(lan.host.sh('cd /proc/sys/net; cat ipv4/neigh/eno1/proxy_delay ipv6/neigh/eno1/proxy_delay ipv6/conf/eno1/proxy_ndp ipv4/conf/eno1/proxy_arp')).toBe('0\n0\n1\n0\n');
    lan.neighbour.sh('ip neigh flush all');
    expect(ping()).toBe('answer answer');
    const wired = held();
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(held()).toBe(wired);
    expect(lan.hook('stopped', guestXml())).toEqual(DONE);
    expect(held()).toBe(before);
    lan.neighbour.sh('ip neigh flush all');
    expect(ping()).toBe('silence silence');
    expect(lan.hook('release', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ls /run/guestwire')).toBe('');
  });

  kernelTest("leave settings that the command of 'guestwire uninstall' restores when no run can", async () => {
    lan = await openLan();
    const settings = (): string => lan.host.sh('cd /proc/sys/net; grep . ipv?/neigh/eno1/proxy_delay ipv6/conf/eno1/proxy_ndp');
    const before = settings();
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    const ledger = createJournal(`/proc/${lan.host.target}/root/run/guestwire`, () => undefined).readLedger();
    const [left = ''] = leftWords(ledger);
    expect(left).toMatch(/^proxy link 'eno1' may keep guestwire's settings: restore them with 'sysctl -w [^']*'$/);
    expect(settings()).not.toBe(before);
    lan.host.sh(/'(sysctl [^']*)'/.exec(left)?.[1] ?? 'false');
    expect(settings()).toBe(before);
  });

  kernelTest('go although the tap went first', async () => {
    lan = await openLan();
    const before = lan.host.sh('ip neigh show proxy; cat /proc/sys/net/ipv6/conf/eno1/proxy_ndp /proc/sys/net/ipv?/neigh/eno1/proxy_delay');
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    lan.host.sh('ip link del vnet1');
    expect(lan.hook('stopped', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip neigh show proxy; cat /proc/sys/net/ipv6/conf/eno1/proxy_ndp /proc/sys/net/ipv?/neigh/eno1/proxy_delay')).toBe(before);
  });

  kernelTest('are made again when the uplink lost them, and only what somebody else made stays', async () => {
    lan = await openLan();
    lan.host.sh('ip neigh add proxy 192.0.2.10 dev eno1; ip neigh add proxy 192.0.2.77 dev eno1 protocol static');
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip -Numeric neigh show proxy dev eno1')).toBe('192.0.2.10 proxy \n192.0.2.77 proxy proto 4 \n2001:db8::a proxy proto 117 \n');
    lan.host.sh('ip link set eno1 down; ip link set eno1 up');
    expect(lan.host.sh('ip neigh show proxy')).toBe('');
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip -Numeric neigh show proxy dev eno1')).toBe('192.0.2.10 proxy proto 117 \n2001:db8::a proxy proto 117 \n');
    lan.host.sh('ip neigh add proxy 192.0.2.77 dev eno1');
    expect(lan.hook('release', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip neigh show proxy dev eno1')).toBe('192.0.2.77 proxy \n');
  });

  kernelTest('wait for the guest that comes by migration', async () => {
    lan = await openLan();
    lan.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\nmigration = "manual"\nprobe = true\n');
    // The guest still runs elsewhere on the LAN, and would answer.
    lan.neighbour.sh(`ip address add ${GUEST.inet}/32 dev eth0; ip address add ${GUEST.inet6}/128 dev eth0`);
    for (const operation of ['migrate', 'prepare', 'start']) expect(lan.hook(operation, guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip neigh show proxy; ip route show proto 117; ip -6 route show proto 117')).toBe('');
    lan.neighbour.sh(`ip address del ${GUEST.inet}/32 dev eth0; ip address del ${GUEST.inet6}/128 dev eth0
      for address in ${Object.values(GUEST).join(' ')}; do ip neigh replace $address lladdr ${ELSEWHERE} dev eth0 nud reachable; done`);
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(ping()).toBe('answer answer');
  });
});

describe('an announcement', () => {
  const stale = (): void => {
    lan.neighbour.sh(`for address in ${Object.values(GUEST).join(' ')}; do ip neigh replace $address lladdr ${ELSEWHERE} dev eth0 nud reachable; done`);
  };
  const known = (): string => lan.neighbour.sh('ip neigh show | sort').split('\n').filter((line) =>
    Object.values(GUEST).some((address) => line.startsWith(`${address} `)))
    .map((line) => line.split(' ')[4]).join(' ');

  kernelTest('makes a neighbour that knew the guest elsewhere switch at once', async () => {
    lan = await openLan();
    stale();
    expect(known()).toBe(`${ELSEWHERE} ${ELSEWHERE}`);
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(known()).toBe(`${macOf('eno1')} ${macOf('eno1')}`);
    expect(ping()).toBe('answer answer');
    stale();
    // What is announced already is not announced by every restart of libvirtd.
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(known()).toBe(`${ELSEWHERE} ${ELSEWHERE}`);
  });

  kernelTest('can be turned off', async () => {
    lan = await openLan();
    lan.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\nannounce = false\n');
    stale();
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(known()).toBe(`${ELSEWHERE} ${ELSEWHERE}`);
  });

  kernelTest('is sent on every proxy link that can carry it', async () => {
    lan = await openLan();
    lan.host.sh('ip link add eno2 type veth peer name far2; ip link set far2 up');
    lan.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno2", "eno3", "eno1"]\n');
    stale();
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(known()).toBe(`${macOf('eno1')} ${macOf('eno1')}`);
  });
});

describe('the question before a start', () => {
  const PROBE = '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\nprobe = true\n';

  for (const [address, length] of [[GUEST.inet, '/32'], [GUEST.inet6, '/128']] as const) kernelTest(`refuses ${address} that a neighbour has`, async () => {
    lan = await openLan();
    lan.write('/run/config.toml', PROBE);
    lan.neighbour.sh(`ip address add ${address}${length} dev eth0`);
    const mac = lan.neighbour.sh('cat /sys/class/net/eth0/address').trim();
    const before = held();
    const asked = Date.now();
    expect(lan.hook('prepare', guestXml())).toEqual({ status: 1, stdout: '', stderr:
      `guestwire: ${WHO}: '${address}' is in use on 'eno1' by MAC '${mac}': give the guest another address, or remove it there\n` });
    expect(Date.now() - asked).toBeLessThan(bound(8_000));
    expect(held()).toBe(before);
    expect(lan.host.sh('ls /run/guestwire 2>/dev/null || true')).toBe('');
    lan.neighbour.sh(`ip address del ${address}${length} dev eth0`);
    expect(lan.hook('prepare', guestXml())).toEqual(DONE);
  });

  kernelTest('teaches neighbours nothing about the guest', async () => {
    lan = await openLan();
    lan.write('/run/config.toml', PROBE);
    lan.neighbour.sh('ip neigh flush all');
    expect(lan.hook('prepare', guestXml())).toEqual(DONE);
    expect(lan.neighbour.sh('ip neigh show')).not.toMatch(/192\.0\.2\.10 |2001:db8::a /);
  });

  kernelTest('finds whoever answers for others, however slowly', async () => {
    lan = await openLan();
    lan.write('/run/config.toml', PROBE);
    lan.neighbour.sh(`cd /proc/sys/net; echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding; echo 1 >ipv6/conf/eth0/proxy_ndp
      ip link add behind type bridge; ip link set behind up
      for address in ${Object.values(GUEST).join(' ')}; do ip route add $address dev behind; ip neigh add proxy $address dev eth0; done`);
    expect(lan.neighbour.sh('cat /proc/sys/net/ipv?/neigh/eth0/proxy_delay')).toBe('80\n80\n');
    expect(lan.hook('prepare', guestXml([GUEST.inet])).stderr).toContain(`${WHO}: '192.0.2.10' is in use on 'eno1'`);
    expect(lan.hook('prepare', guestXml([GUEST.inet6])).stderr).toContain(`${WHO}: '2001:db8::a' is in use on 'eno1'`);
  });

  kernelTest('is not put where it cannot be, and the guest starts', async () => {
    lan = await openLan();
    lan.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1", "eno9"]\nprobe = true\n');
    lan.host.sh('ip link set eno1 down');
    expect(lan.hook('prepare', guestXml())).toEqual(DONE);
  });
});

describe('a name for the route protocol', () => {
  kernelTest('changes nothing: what is ours is found, kept and taken away', async () => {
    lan = await openLan();
    lan.host.sh(`mount -t tmpfs tmpfs /etc/iproute2; mkdir /etc/iproute2/rt_protos.d
      printf '117\\tguestwire\\n' >/etc/iproute2/rt_protos.d/guestwire.conf; printf '100\\tguests\\n254\\tprincipal\\n' >/etc/iproute2/rt_tables`);
    const before = held();
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(lan.host.sh('ip route show proto guestwire; ip -6 route show proto guestwire')).toBe('192.0.2.10 dev vnet1 scope link \n2001:db8::a dev vnet1 metric 1024 pref medium\n');
    const wired = held();
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(held()).toBe(wired);
    expect(lan.hook('release', guestXml())).toEqual(DONE);
    expect(held()).toBe(before);
    lan.write('/run/config.toml', '[routed]\ntable = 100\n');
    expect(lan.hook('start', guestXml())).toEqual(DONE);
    expect(lan.hook('reconnect', guestXml())).toEqual(DONE);
    expect(lan.hook('release', guestXml())).toEqual(DONE);
    expect(held()).toBe(before);
  });
});

describe('a host whose perl', () => {
  const CURE = 'install perl \\(package perl-base\\), or set';
  const ROWS: [string, string | null, string][] = [
    ['is missing', null, "perl is not installed: no 'perl' in PATH \\(sending on raw sockets\\)"],
    ['hangs', 'hang', 'perl did not end within 3 s and was killed \\(sending on raw sockets\\)'],
  ];
  for (const [name, standIn, reason] of ROWS) {
    kernelTest(`${name} starts the guest unannounced, and refuses it when its neighbours are to be asked`, async () => {
      bare = await openHookHost();
      const path = bare.tools({ perl: standIn });
      bare.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\n', 0o600);
      expect(await bare.hook({ operation: 'start', xml: guestXml(), path })).toEqual(NOTHING);
      expect(bare.sh('ip -Numeric neigh show proxy dev eno1')).toBe('192.0.2.10 proxy proto 117 \n2001:db8::a proxy proto 117 \n');
      expect(bare.recorded('logger', path).join('\n')).toMatch(new RegExp(`^<28>guest 'web1' is not announced: ${reason}: ${CURE} 'announce = false' in \\[routed\\] of the host config$`, 'm'));
      expect(await bare.hook({ operation: 'release', xml: guestXml(), path })).toEqual(NOTHING);
      bare.write('/run/config.toml', '[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["eno1"]\nprobe = true\n', 0o600);
      const { status, stderr } = await bare.hook({ operation: 'prepare', xml: guestXml(), path });
      expect([status, stderr]).toEqual([1, expect.stringMatching(new RegExp(`^guestwire: guest 'web1': cannot probe its neighbours for its addresses: ${reason}: ${CURE} 'probe = false' in \\[routed\\] of the host config\n$`))]);
    });
  }
});
