// The agent as the service that `guestwire install --agent` makes of it, under a real systemd and with its hardening,
// beside a real guest of libvirt's lxc driver.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { note, ok, run, sh, sleep, waitFor } from '../uml/lab.js';
import { test } from '../uml/testing.js';
import { addBox, IPS, lxc, MAC, reached, removeBox, restartDaemon } from './box.js';

const UNIT = 'guestwire-agent.service';

/** @param {...string} args */
const guestwire = (...args) =>
  ok('env', ['LIBVIRT_DEFAULT_URI=lxc:///', 'node', 'dist/cli.js', ...args], { timeout: 120_000 });

/** @param {string} name */
async function property(name) {
  return (await ok('systemctl', ['show', '--value', '-p', name, UNIT])).trim();
}

/** The guest's addresses that this host routes to it. */
async function routes() {
  return (await sh("ip -6 route show proto 117 | cut -d' ' -f1; ip route show proto 117 | cut -d' ' -f1")).trim().split('\n').filter(Boolean).sort();
}

/** @param {string[]} addresses @param {string} what */
async function healed(addresses, what) {
  await waitFor(async () => (await routes()).join() === [...addresses].sort().join(), {
    what: `the routes after ${what}`, timeout: 30_000,
  });
}

/** @param {string} name @param {string} setting */
async function dropIn(name, setting) {
  await sh(`mkdir -p /run/systemd/system/${UNIT}.d`);
  writeFileSync(`/run/systemd/system/${UNIT}.d/${name}.conf`, `[Service]\n${setting}\n`);
  await ok('systemctl', ['daemon-reload']);
}

/** @param {(pid: number) => Promise<unknown>} act what ends the agent @param {string} what */
async function comesBackAfter(act, what) {
  const pid = Number(await property('MainPID'));
  await act(pid);
  await waitFor(
    async () => ![0, pid].includes(Number(await property('MainPID'))) && await property('ActiveState') === 'active',
    { what: `the agent to come back after ${what}`, timeout: 120_000 },
  );
}

test('the agent is a service: ready, watched, started again, and it heals what it may', async () => {
  rmSync('/etc/libvirt/hooks/qemu', { force: true });
  try {
    // The agent watches one driver, by default QEMU's.
    await dropIn('driver', 'Environment=LIBVIRT_DEFAULT_URI=lxc:///');
    note(await guestwire('install', '--agent', '--yes'));
    await addBox('/etc/libvirt/hooks/qemu');
    await waitFor(async () => await property('ActiveState') === 'active', { what: 'READY=1', timeout: 60_000 });
    assert.equal(await property('StatusText'), 'watching');
    assert.equal(await property('WatchdogUSec'), '1min');
    note(await ok('systemd-analyze', ['security', '--no-pager', UNIT]));
    await lxc('start', 'box');
    await reached();
    await healed(IPS, 'the start');

    await sh('ip link set box down; ip link set box up');
    await healed(IPS, 'the link went down and up');
    await guestwire('set', 'box', '--nic', MAC, '--ip', IPS[0] ?? '', '--live');
    await healed(IPS.slice(0, 1), 'set');

    await sh('ip route flush proto 117');
    await ok('systemctl', ['reload', UNIT]);
    await healed(IPS.slice(0, 1), 'reload');
    // With its own comment: only the rules themselves tell.
    const chain = `inet guestwire host_${(await sh('cat /sys/class/net/box/ifindex')).trim()}`;
    await sh(`nft replace rule ${chain} handle $(nft -a list chain ${chain} | sed -n 's/.*"to this host" # handle //p') accept comment '"to this host"'`);
    assert.match(await sh(`nft list chain ${chain}`), /accept comment "to this host"/);
    await ok('systemctl', ['reload', UNIT]);
    await waitFor(async () => (await sh(`nft list chain ${chain} || true`)).includes('drop comment "to this host"'), {
      what: 'the altered rule to be as it was', timeout: 30_000,
    });

    await comesBackAfter((pid) => sh(`kill -9 ${pid}; ip route flush proto 117`), 'kill -9');
    await healed(IPS.slice(0, 1), 'kill -9');
    await sh('ip route flush proto 117');
    await restartDaemon();
    await healed(IPS.slice(0, 1), 'a restart of libvirtd');

    await dropIn('quick', 'WatchdogSec=15');
    await comesBackAfter(() => ok('systemctl', ['restart', UNIT]), 'a restart');
    await sleep(20_000);
    assert.equal(await property('NRestarts'), '0', 'it gives signs of life in time');
    await comesBackAfter((pid) => ok('kill', ['-STOP', String(pid)]), 'it fell silent');
    assert.equal(await property('NRestarts'), '1');

    const said = await ok('journalctl', ['-q', '-o', 'cat', '-u', UNIT, '-p', 'warning']);
    note(said);
    assert.doesNotMatch(said, /bug|Operation not permitted|Permission denied|Read-only/);
    await reached(IPS.slice(0, 1));
    await lxc('destroy', 'box');
    await healed([], 'its end');
    await guestwire('uninstall');
    assert.equal((await run('systemctl', ['is-active', UNIT])).stdout.trim(), 'inactive');
  } finally {
    await run('node', ['dist/cli.js', 'uninstall', '--unwire']);
    rmSync(`/run/systemd/system/${UNIT}.d`, { recursive: true, force: true });
    await removeBox();
    await run('ln', ['-sf', `${process.cwd()}/hooks/qemu`, '/etc/libvirt/hooks/qemu']);
  }
}, { timeout: 900_000 });
