// Guests that configure themselves, with the units of [serve] under a real systemd: `guestwire install` writes them,
// the hook starts and stops their instances. The guests are namespaces with the kernel's own handling of router
// advertisements and dhclient, which says what it got.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { ok, readText, run, setConfig, sh, sleep, waitFor } from '../uml/lab.js';
import { test } from '../uml/testing.js';
import { addSpace, call, pings } from './spaces.js';

const GUEST = { name: 'web1', number: 1, ips: ['2001:db8:0:10::a', '192.0.2.10'], routes: ['2001:db8:0:1a::/64'] };
const SECOND = { name: 'web2', number: 2, ips: ['2001:db8:0:10::b'] };
const UNITS = ['guestwire-dhcp@vnet1', 'guestwire-ra@vnet1'];

/** @param {...string} args */
const guestwire = (...args) => ok('node', ['dist/cli.js', ...args]);

/** Whether each unit runs, as systemd says it. @param {string[]} units */
async function states(units) {
  return (await run('systemctl', ['is-active', ...units])).stdout.trim().split('\n');
}

/** @param {string} unit @param {string} property */
async function property(unit, property) {
  return (await ok('systemctl', ['show', '--value', '-p', property, unit])).trim();
}

/** @param {string[]} units @param {string} state */
async function become(units, state) {
  await waitFor(async () => (await states(units)).every((each) => each === state), {
    what: `${units.join(' and ')} to be ${state}`,
  });
}

/**
 * As a stock system: router advertisements are the kernel's, and a client of either DHCP.
 * @param {{name: string}} space
 */
async function boot({ name }) {
  await sh(`ip netns exec ${name} sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.accept_dad=0; ip -n ${name} link set eth0 up`);
}

/** @param {{name: string}} space @param {string} family */
function lease({ name }, family) {
  return sh(`[ -e /run/${name}.leases${family} ] || : >/run/${name}.leases${family}
    timeout 40 ip netns exec ${name} dhclient -${family} -1 -cf /dev/null -lf /run/${name}.leases${family} -pf /run/${name}.pid${family} -sf "$PWD/test/lab/guest-dhcp" eth0 2>&1`);
}

/** Its leases stay: a client without them is another one, by its DUID. @param {{name: string}} space */
async function endClients({ name }) {
  await sh(`for family in 4 6; do [ ! -e /run/${name}.pid$family ] || kill "$(cat /run/${name}.pid$family)" 2>/dev/null || true; rm -f /run/${name}.pid$family; done`);
}

/** @param {{name: string}} space */
async function configuration({ name }) {
  return ok('sh', ['-c', `ip -n ${name} -o -6 address show dev eth0 scope global | awk '{ print $4 }' | sort; ip -n ${name} -6 route show default | sed 's/ metric.*//'`]);
}

test('the units of [serve] serve a guest from its start to its end', async () => {
  await sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  setConfig('[serve]\ndns = ["2001:db8::53", "192.0.2.53"]\nsearch = ["example.org"]\n');
  rmSync('/etc/libvirt/hooks/qemu');
  try {
    const installed = await guestwire('install', '--yes');
    for (const unit of ['dhcp', 'ra']) assert.match(installed, new RegExp(`wrote '/etc/systemd/system/guestwire-${unit}@\\.service'`));
    for (const guest of [GUEST, SECOND]) await addSpace(guest);
    for (const guest of [GUEST, SECOND]) await call(guest, 'prepare', 'start');
    await become([...UNITS, 'guestwire-dhcp@vnet2', 'guestwire-ra@vnet2'], 'active');
    await boot(GUEST);
    await waitFor(async () => /default via fe80::1/.test(await configuration(GUEST)), { what: 'the default route' });
    await lease(GUEST, '6');
    await lease(GUEST, '4');
    assert.match(await configuration(GUEST), /^2001:db8:0:10::a\/128\n2001:db8:0:1a:5054:ff:feaa:bb01\/64\ndefault via fe80::1/);
    assert.match(readText('/run/web1.leases4'), /fixed-address 192\.0\.2\.10;[^}]*domain-name-servers 192\.0\.2\.53;/);
    for (const gateway of ['fe80::1%eth0', 'fd6a:92c1:7e05::1'])
      assert.ok(await pings('web1', gateway, { tries: 3 }), gateway);

    // Killed, they come back, and know the lease; an orderly restart does not take the route away either.
    const leases = readText('/run/guestwire.serve/vnet1/leases');
    assert.match(leases, /2001:db8:0:10::a/);
    for (const unit of UNITS) {
      const pid = await property(unit, 'MainPID');
      await ok('kill', ['-KILL', pid]);
      await waitFor(
        async () => !['0', pid].includes(await property(unit, 'MainPID')), { what: `${unit} to come back` },
      );
    }
    await become(UNITS, 'active');
    assert.equal(
      readText('/run/guestwire.serve/vnet1/leases').split('\n').filter((line) => line.includes('::a')).length, 1,
    );
    await ok('systemctl', ['restart', ...UNITS]);
    await sleep(500);
    assert.match(await configuration(GUEST), /default via fe80::1/);
    await endClients(GUEST);
    await lease(GUEST, '6');

    // As when libvirtd comes back: what is right goes on.
    const pids = await Promise.all(UNITS.map((unit) => property(unit, 'MainPID')));
    await call(GUEST, 'reconnect');
    await sleep(1000);
    assert.deepEqual(await Promise.all(UNITS.map((unit) => property(unit, 'MainPID'))), pids);
    setConfig('[serve]\ndns = ["2001:db8::54"]\n');
    await call(GUEST, 'reconnect');
    await waitFor(
      async () => (await property('guestwire-ra@vnet1', 'MainPID')) !== pids[1], { what: 'radvd with the new server' },
    );
    await become(UNITS, 'active');
    await endClients(GUEST);
    await lease(GUEST, '6');
    assert.match(readText('/run/guestwire.serve/vnet1/leases'), /2001:db8:0:10::a/);

    // A tap that goes takes its instances with it, though no hook runs; with a hook the other's go, too.
    await endClients(GUEST);
    await sh('ip link del vnet2');
    await become(['guestwire-dhcp@vnet2', 'guestwire-ra@vnet2'], 'inactive');
    await call(SECOND, 'stopped', 'release');
    assert.deepEqual(await states(UNITS), ['active', 'active']);
    await call(GUEST, 'stopped');
    await become(UNITS, 'inactive');
    await call(GUEST, 'release');
    assert.equal(await sh('ls /run/guestwire.serve 2>&1 || true; pgrep -a "dnsmasq|radvd" || true; systemctl --no-legend --plain list-units --all "guestwire-*@*"'), "ls: cannot access '/run/guestwire.serve': No such file or directory\n");
    await guestwire('uninstall');
    assert.equal(await sh('ls /etc/systemd/system | grep guestwire || true; systemctl cat guestwire-ra@x 2>/dev/null || true'), '');
  } finally {
    await endClients(GUEST);
    await run('node', ['dist/cli.js', 'uninstall', '--unwire']);
  }
}, { timeout: 300_000 });
