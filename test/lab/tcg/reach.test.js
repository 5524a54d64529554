// Reachable from a LAN where the uplink is an 802.1Q sub-interface, which the machine's own kernel may not have. The
// guest's tap is one end of a veth pair: its network is what is tried, not QEMU.
import assert from 'node:assert/strict';
import { hook, ok, run, setConfig, sh } from '../uml/lab.js';
import { test } from '../uml/testing.js';

const GUEST = ['192.0.2.10', '2001:db8::a'];
const ELSEWHERE = '02:00:00:00:00:99';
const XML = `<domain type='kvm'><name>web1</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>
  <gw:interface mac='52:54:00:aa:bb:02'><gw:routed>${GUEST.map((address) => `<gw:ip address='${address}'/>`).join('')}</gw:routed></gw:interface></gw:guestwire></metadata>
  <devices><interface type='ethernet'><mac address='52:54:00:aa:bb:02'/><target dev='vnet1'/></interface></devices></domain>`;

/** The neighbour's VLAN 100 is the host's `up0.100`; the guest is behind vnet1. */
const LAN = `
  sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0
  for n in lan guest; do ip netns add $n; ip netns exec $n sysctl -qw net.ipv6.conf.default.accept_dad=0; done
  sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  ip link add up0 type veth peer name eth0 netns lan; ip link add vnet1 type veth peer name eth0 address 52:54:00:aa:bb:02 netns guest
  ip link add link up0 name up0.100 type vlan id 100; ip -n lan link add link eth0 name eth0.100 type vlan id 100
  for dev in up0 up0.100 vnet1; do ip link set $dev up; done
  ip -n lan link set eth0 up; ip -n lan link set eth0.100 up; ip -n guest link set eth0 up
  ip address add 192.0.2.1/24 dev up0.100; ip address add 2001:db8::1/64 dev up0.100
  ip -n lan address add 192.0.2.50/24 dev eth0.100; ip -n lan address add 2001:db8::50/64 dev eth0.100
  for address in ${GUEST.join(' ')}; do ip -n guest address add $address dev eth0; done
  ip -n guest route add default via 169.254.0.1 dev eth0 onlink; ip -n guest route add default via fe80::1 dev eth0`;
const KNOWN_ELSEWHERE = `for address in ${GUEST.join(' ')}; do ip -n lan neigh replace $address lladdr ${ELSEWHERE} dev eth0.100 nud reachable; done`;

test('a neighbour in a VLAN of the uplink reaches the guest, at once when it knew it elsewhere', async () => {
  setConfig('[routed]\nprefixes = ["192.0.2.0/24", "2001:db8::/32"]\nproxy = ["up0.100"]\nprobe = true\n');
  try {
    await sh(LAN);
    // Heard on up0, too, but in no network of the guest's.
    await sh(`ip -n lan address add ${GUEST[0]}/32 dev eth0; ip -n lan link set eth0.100 down; ip -n lan link set eth0.100 up; ip -n lan address replace 2001:db8::50/64 dev eth0.100`);
    const refused = await hook('web1', 'prepare', XML);
    assert.match(refused.stderr, /'192\.0\.2\.10' is in use on 'up0\.100' by MAC '[0-9a-f:]{17}'/);
    await sh(`ip -n lan address del ${GUEST[0]}/32 dev eth0; ${KNOWN_ELSEWHERE}`);
    for (const operation of ['prepare', 'start'])
      assert.deepEqual(await hook('web1', operation, XML), { code: 0, stdout: '', stderr: '' });
    assert.equal(await ok('ip', ['-Numeric', 'neigh', 'show', 'proxy', 'dev', 'up0.100']), '192.0.2.10 proxy proto 117 \n2001:db8::a proxy proto 117 \n');
    for (const address of GUEST) {
      assert.equal((await run('ip', ['netns', 'exec', 'lan', 'ping', '-c', '1', '-W', '5', address])).code, 0, address);
      assert.doesNotMatch(await ok('ip', ['-n', 'lan', 'neigh', 'show', address]), new RegExp(ELSEWHERE));
    }
    for (const operation of ['stopped', 'release']) assert.equal((await hook('web1', operation, XML)).code, 0);
    assert.equal(await sh('ip neigh show proxy; cat /proc/sys/net/ipv6/conf/up0.100/proxy_ndp /proc/sys/net/ipv?/neigh/up0.100/proxy_delay'), '0\n80\n80\n');
  } finally {
    await sh('for n in lan guest; do ip netns del $n; done 2>/dev/null || true; ip link del up0 2>/dev/null || true; ip link del vnet1 2>/dev/null || true; sysctl -qw net.ipv6.conf.default.accept_dad=1 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0');
  }
});
