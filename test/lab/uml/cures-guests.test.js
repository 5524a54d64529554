// Faults of a host that cut running guests off: a neighbour's ping of the guest fails, guestwire prints the cure, the
// ping comes through after it, and the neighbour reaches the host's own address before and after.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  ADDRESS, addNeighbour, answers, cureOf, findings, guestwire, reachable, runPrinted,
} from './cures.js';
import { addBridge, defineGuest, ok, setConfig, sh, startGuest, tagged, vlansOf, waitFor } from './lab.js';
import { checks, isWhole, test } from './testing.js';

const GUEST = '10.0.30.7';
const HOST = [ADDRESS.untagged, ADDRESS[5]];

/** A host with addresses in VLAN 1 and 5, and a guest that answers in VLAN 30. @param {string} [words] */
async function addGuest(words) {
  await addNeighbour(5, 30);
  setConfig('[bridge.br0]\nuplinks = ["eno1"]\n');
  await addBridge();
  await sh(`ip link set br0 type bridge no_linklocal_learn 1; ip link set eno1 master br0
    bridge vlan add dev br0 vid 5 self; bridge vlan add dev eno1 vid 5; ip link add link br0 name br0.5 type vlan id 5
    ip link set br0.5 up; ip addr add ${ADDRESS[5]}/24 dev br0.5; ip addr add ${ADDRESS.untagged}/24 dev br0`);
  const guest = await startGuest({
    name: 'a', boots: `gw.ip=eth0,${GUEST}/24`,
    nics: [{ vlan: tagged(30), via: 'metadata', ...(words === undefined ? {} : { words }) }],
  });
  await guest.up();
  const [tap = ''] = await guest.taps();
  return { guest, tap };
}

/**
 * A fault cuts the guest off, and the printed cure lets it in again; the host is reached all the time.
 * @param {string} fault a script
 * @param {() => Promise<string>} printed
 */
async function mended(fault, printed) {
  assert.equal(await answers(GUEST), true, 'the guest answers at first');
  await sh(fault);
  assert.equal(await answers(GUEST, 2), false, 'the fault cuts the guest off');
  const cure = await printed();
  await reachable(HOST, 'before the cure');
  await runPrinted(cure);
  await reachable(HOST, `after '${cure}'`);
  assert.equal(await answers(GUEST), true, `the guest answers after '${cure}'`);
}

test('cures of an uplink without VLANs, of a tap without a bridge and of chains that drop let guests in and keep the host', async () => {
  const { tap } = await addGuest();
  const { check, end } = checks();
  await check('an uplink that lost the VLAN of the guest', async () => {
    const says = /^uplink 'eno1' does not carry VLANs 30$/;
    await mended('bridge vlan del dev eno1 vid 30', () => cureOf(says));
    assert.deepEqual(await findings(says), []);
  });
  await check('a tap that left its bridge', async () => {
    await mended(`ip link set ${tap} nomaster`, async () => {
      const { code, stdout } = await guestwire('check');
      assert.equal(code, 1);
      return /link '\S+' is not a port of bridge 'br0': it has no master: run '(.*)'/.exec(stdout)?.[1] ?? assert.fail(stdout);
    });
    assert.deepEqual(await vlansOf(tap), ['30 pvid untagged']);
  });
  if (isWhole) await check('a tap in another bridge', async () => {
    await mended(`ip link add br9 type bridge; ip link set ${tap} master br9`, async () => {
      const { stdout } = await guestwire('check');
      return /is not a port of bridge 'br0': its master is 'br9': run '(.*)'/.exec(stdout)?.[1] ?? assert.fail(stdout);
    });
    assert.deepEqual(await vlansOf(tap), ['30 pvid untagged']);
  });
  await check('check has nothing more to say', async () => {
    assert.equal((await guestwire('check')).stdout, '');
  });
  await check('a chain of family bridge that drops what is forwarded', async () => {
    const says = /^chain 'bridge fw forward' drops frames that no rule accepts$/;
    await mended(
      "nft add table bridge fw; nft 'add chain bridge fw forward { type filter hook forward priority 0; policy drop; }'",
      () => cureOf(says),
    );
    assert.deepEqual(await findings(says), []);
    await ok('nft', ['delete', 'table', 'bridge', 'fw']);
  });
  if (isWhole) await check('a chain whose last rule drops', async () => {
    const says = /^chain 'bridge fw forward' drops frames that no rule accepts$/;
    await mended("nft add table bridge fw; nft 'add chain bridge fw forward { type filter hook forward priority 0; }'; nft add rule bridge fw forward counter drop", () => cureOf(says));
    await ok('nft', ['delete', 'table', 'bridge', 'fw']);
  });
  await check('a chain that drops what comes in, of guests too', async () => {
    const says = /^chain 'bridge fw in' drops frames that no rule accepts$/;
    await mended("nft add table bridge fw; nft 'add chain bridge fw in { type filter hook prerouting priority 0; policy drop; }'; nft add rule bridge fw in iifname eno1 accept", () => cureOf(says));
    await ok('nft', ['delete', 'table', 'bridge', 'fw']);
  });
  end();
}, { usually: 11, timeout: 300_000 });

/** Keeps each connection. */
const SERVER = `import socket
server, kept = socket.create_server(('', 443)), []
while True: kept.append(server.accept())`;

/**
 * What this kernel holds for all of its namespaces is set for a moment only.
 * @param {string[]} names
 * @param {() => Promise<void>} act
 */
async function withSettings(names, act) {
  const before = (await ok('sysctl', names)).trim().replaceAll(' = ', '=');
  await act().finally(() => ok('sysctl', ['-qw', ...before.split('\n')]));
}

test('the cure of a full table of connections lets a guest connect again', async () => {
  const { guest } = await addGuest('<gw:policy profile="closed"/>');
  const max = 'net.netfilter.nf_conntrack_max';
  const pings = () => guest.ping('10.0.30.254', 2);
  assert.equal(await pings(), true);
  // The kernel makes room for a new connection by giving up one that is not established.
  const server = spawn('ip', ['netns', 'exec', 'lan', 'python3', '-c', SERVER]);
  try {
    await waitFor(async () => (await sh('ip netns exec lan ss -ltn')).includes(':443'), { what: 'the server' });
    await guest.command('for n in 1 2 3 4 5 6; do nc 10.0.30.254 443 </dev/zero >/dev/null 2>&1 & done; sleep 2');
    await withSettings([max], async () => {
      await sh(`cat /proc/net/nf_conntrack; sysctl -w ${max}=$(grep -c ASSURED /proc/net/nf_conntrack)`);
      assert.equal(await pings(), false, 'no new connection fits');
      const cure = await cureOf(/^the table of connections has \d+ of \d+ entries$/);
      await runPrinted(cure);
      assert.equal(await pings(), true, `the guest pings after '${cure}'`);
      await reachable(HOST, `after '${cure}'`);
    });
  } finally {
    server.kill('SIGKILL');
  }
}, { usually: 11, isLong: true, timeout: 200_000 });

test('the cure of a small neighbour table lets more neighbours reach the host', async () => {
  await addNeighbour();
  const neighbours = Array.from({ length: 10 }, (_, index) => `10.0.0.${101 + index}`);
  await sh(`ip addr add ${ADDRESS.untagged}/24 dev eno1; ${neighbours.map((address) => `ip -n lan addr add ${address}/24 dev eth0`).join('; ')}`);
  await defineGuest({ name: 'r', nics: [{ routed: ['192.0.2.7'] }] });
  /** How many of the neighbours get an answer when all of them ask at once. */
  const answered = async () => Number(await sh(`ip netns exec lan sh -c 'for from in ${neighbours.join(' ')}; do
    { ping -c 2 -i 0.2 -W 1 -I $from ${ADDRESS.untagged} >/dev/null && echo; } & done; wait' | wc -l`));
  const thresholds = ['ipv4', 'ipv6'].flatMap((family) => [1, 2, 3].map((number) => `net.${family}.neigh.default.gc_thresh${number}`));
  await withSettings(thresholds, async () => {
    assert.equal(await answered(), 10);
    await sh(`ip neigh flush all; sysctl -qw ${thresholds.map((name) => `${name}=8`).join(' ')}`);
    assert.ok(await answered() < 10, 'the table has no room for all');
    for (const cure of (await findings(/^the ipv[46] neighbour table has room for 8$/)).map((found) => found.cure))
      await runPrinted(cure);
    assert.equal(await answered(), 10, 'after the cures');
    assert.deepEqual(await findings(/neighbour table/), []);
  });
}, { usually: 11, timeout: 200_000 });
