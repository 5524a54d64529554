// Guests with a VRF, and with a table of their own, on a kernel that has VRFs: whom they reach, who reaches them, what
// they cannot send, and what is left of it. The guests are namespaces, and speak for themselves.
import assert from 'node:assert/strict';
import { hook, ok, run, setConfig, sh } from '../uml/lab.js';
import { checks, test } from '../uml/testing.js';
import { addSpace, addWorld, call, pings, setUpByHand, worldState, xmlOf } from './spaces.js';

const FAR = ['198.18.0.1', '2001:db8:77::1'];
const GATEWAYS = ['169.254.0.1', 'fe80::1%eth0'];
const MAIN = { name: 'main', number: 3, ips: ['192.0.2.12', '2001:db8:0:10::c'] };

/** @param {string} more */
const OWN = (more) => ({
  name: 'own', number: 1, ips: ['192.0.2.10', '2001:db8:0:10::a'], routes: ['2001:db8:0:20::/64'], more,
});
/** @param {string} more */
const ALSO = (more) => ({ name: 'also', number: 2, ips: ['192.0.2.11', '2001:db8:0:10::b'], more });

/**
 * `world` is behind the default route of table main, `other` behind the one that `table` gets later.
 * @param {string} more of the other uplink
 */
async function openHost(more) {
  setConfig('[routed]\ntables = [100]\nvrfs = ["blue"]\n');
  await sh(`sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0 net.ipv4.conf.all.rp_filter=0
    ${more === '' ? '' : 'ip link add blue type vrf table 10; ip link set dev blue up'}`);
  await addWorld('world', 1);
  await addWorld('other', 2, more);
  await sh('ip route add default via 203.0.1.2; ip route add default via 2001:db8:ff:1::2');
  // Before the filter of sources, and after it: what went in, and what it let through.
  await sh(`nft 'add table inet probe; add chain inet probe after { type filter hook prerouting priority -299; }'`);
}

/**
 * How many packets from this source get past the filter when the guest sends one to each target.
 * @param {string} from
 * @param {string} source
 * @param {string[]} targets
 */
async function getPast(from, source, targets) {
  const six = source.includes(':');
  await sh(`nft flush chain inet probe after; nft add rule inet probe after iifname 'vnet*' ${six ? 'ip6' : 'ip'} saddr ${source} ${six ? 'icmpv6 type echo-request' : 'icmp type echo-request'} counter
    ip -n ${from} address replace ${source}/${six ? '128 nodad' : '32'} dev eth0`);
  await Promise.all(targets.filter((address) => address.includes(':') === six).map((target) =>
    pings(from, target, { more: ['-I', source] })));
  return Number(/packets (\d+)/.exec(await ok('nft', ['list', 'chain', 'inet', 'probe', 'after']))?.[1]);
}

for (const [what, more, { table, uplink }] of /** @type {const} */ ([
  ['a VRF', " vrf='blue'", { table: 10, uplink: 'master blue' }],
  ['a table of its own', " table='100'", { table: 100, uplink: '' }],
])) {
  const vrf = uplink !== '';
  test(`a guest with ${what} reaches what is in it, and nothing by table main`, async () => {
    const [own, also] = [OWN(more), ALSO(more)];
    await openHost(uplink);
    for (const guest of [own, also, MAIN]) {
      await addSpace(guest);
      await setUpByHand(guest);
    }
    // The first guest makes it, and it stays.
    await sh('mkdir -p -m 700 /run/guestwire');
    const before = await worldState();
    for (const guest of [own, also, MAIN]) await call(guest, 'prepare', 'start');
    const { check, end } = checks();
    /** @param {string} from @param {readonly string[]} targets @param {boolean} expected */
    const reach = async (from, targets, expected) => {
      await Promise.all(targets.map((target) => check(`${from} ${expected ? 'reaches' : 'does not reach'} ${target}`, async () => {
        assert.equal(await pings(from, target, { tries: expected ? 3 : 1 }), expected);
      })));
    };
    await reach('own', GATEWAYS, true);
    await reach('own', also.ips, true);
    // Table local comes first; IPv6 has a local table in each VRF, and looks no further.
    await reach('own', ['203.0.1.1'], true);
    await reach('own', ['2001:db8:ff:1::1'], !vrf);
    await reach('own', [...FAR, ...MAIN.ips, '203.0.1.2', '2001:db8:ff:1::2'], false);
    await reach('main', FAR, true);
    await reach('main', own.ips, false);
    await reach('world', MAIN.ips, true);
    await reach('world', own.ips, false);
    await check('the last resort says so', async () => {
      const { stdout } = await run('ip', ['netns', 'exec', 'own', 'ping', '-c', '1', '-W', '1', '198.18.0.1']);
      assert.match(stdout, /From 169\.254\.0\.1 icmp_seq=1 Destination (Host|Net) Unreachable/);
    });

    await sh(`ip route add default via 203.0.2.2 dev up2 table ${table}; ip -6 route add default via 2001:db8:ff:2::2 dev up2 table ${table}`);
    await reach('own', FAR, true);
    await reach('other', own.ips, true);
    await reach('other', ['2001:db8:0:20::77'], false);
    await sh('ip -n own address add 2001:db8:0:20::77/128 dev lo');
    await reach('other', ['2001:db8:0:20::77'], true);
    await reach('also', own.ips, true);

    for (const source of [...own.ips, '2001:db8:0:20::77']) {
      await check(`own's ${source} passes`, async () => { assert.ok(await getPast('own', source, FAR) > 0); });
    }
    for (const source of [
      ...also.ips, ...MAIN.ips, ...FAR, '203.0.1.1', '2001:db8:ff:1::1', '203.0.2.1', '2001:db8:ff:2::1',
      '198.51.100.99', '2001:db8:99::1',
    ]) {
      await check(`${source} from own does not pass`, async () => {
        assert.equal(await getPast('own', source, [...FAR, '203.0.1.1', '2001:db8:ff:1::1']), 0);
      });
    }
    await check('what was dropped was counted', async () => {
      assert.match(await ok('nft', ['list', 'table', 'netdev', 'guestwire']), /counter packets [1-9]\d* bytes \d+ drop comment "source address"/);
    });
    await check('reconnect changes nothing', async () => {
      const wired = await worldState();
      await call(own, 'reconnect');
      assert.equal(await worldState(), wired);
    });
    await sh(`ip route del default via 203.0.2.2 table ${table}; ip -6 route del default via 2001:db8:ff:2::2 table ${table}; nft flush chain inet probe after`);
    for (const guest of [own, also, MAIN]) await call(guest, 'stopped', 'release');
    await check('nothing is left', async () => { assert.equal(await worldState(), before); });
    end();
  }, { timeout: 300_000 });
}

test('a VRF that is missing, down or no VRF refuses the guest', async () => {
  const own = OWN(" vrf='blue'");
  await sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  await addSpace(own);
  const refusal = async () => {
    const { code, stderr } = await hook('own', 'prepare', xmlOf(own));
    assert.notEqual(code, 0);
    return stderr;
  };
  assert.match(await refusal(), /'blue'/);
  await sh('ip link add blue type vrf table 10');
  assert.match(await refusal(), /'blue'.*down/);
  await sh('ip link del blue; ip link add blue type dummy; ip link set blue up');
  assert.match(await refusal(), /'blue'.*VRF/);
}, { timeout: 60_000 });
