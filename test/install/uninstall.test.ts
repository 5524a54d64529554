// @tier kernel
/**
 * `guestwire uninstall`, the real command as root, after a real installation and with guests that the real hook wired.
 */
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost, type Result } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');

const MAIN = '/etc/libvirt/hooks/qemu';
const BESIDE = '/etc/libvirt/hooks/qemu.d/guestwire';
const PROTOCOLS = '/etc/iproute2/rt_protos.d/guestwire.conf';
const STATE = '/run/guestwire';
const WEB1 = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
const DB1 = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c02';

const NO_RELOAD = 'libvirt needs no reload: it ignores a missing hook\n';
const FILES = removed(
  MAIN, PROTOCOLS, '/usr/lib/guestwire/hook.cjs', '/usr/lib/guestwire/install.json', '/usr/lib/guestwire',
);
const LOCK = removed('/run/guestwire.lock');
/** Wired guests leave records, too. */
const RECORDS = removed('/var/lib/guestwire/addresses') + LOCK;

let host: InstallHost;
/** Files, links, addresses and routes before anything was installed. */
let before: { files: string; network: string };

beforeAll(assertBuilt);
beforeEach(async () => {
  host = await openInstallHost();
  host.sh(`
    sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
    for tap in vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done
    mkdir /mnt/log
    printf '#!/bin/sh\\ncat >>/mnt/log/lines\\n' >/mnt/bin/logger; chmod 755 /mnt/bin/logger`);
  before = { files: host.listing(), network: network() };
});
afterEach(() => { host.close(); });

function removed(...paths: string[]): string {
  return paths.map((path) => `removed '${path}'\n`).join('');
}

function done(stdout: string, stderr = ''): Result {
  return { status: 0, stdout, stderr };
}

function refused(sentence: string): Result {
  return { status: 1, stdout: '', stderr: `guestwire: ${sentence}\n` };
}

function network(): string {
  return host.sh("ip -oneline link | sed 's/ \\\\ .*//'; ip -oneline address | sed 's/ tentative//; s/\\\\.*//'; ip -Numeric route show table all; grep -r . /proc/sys/net/ipv6/conf/*/accept_ra");
}

/** Starts a guest as libvirt would: its tap is there, and the installed hook is called. */
function start(name: string, uuid: string, tap: string): void {
  const address = tap.replace('vnet', '192.0.2.1');
  const xml = `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>
    <gw:interface mac='52:54:00:aa:bb:02'><gw:routed><gw:ip address='${address}'/></gw:routed></gw:interface></gw:guestwire></metadata>
    <devices><interface type='ethernet'><mac address='52:54:00:aa:bb:02'/><target dev='${tap}'/></interface></devices></domain>`;
  const launcher = host.run('test', ['-e', BESIDE]).status === 0 ? BESIDE : MAIN;
  expect(host.run(launcher, [name, 'start', 'begin', '-'], { input: xml })).toEqual(done(''));
  expect(host.sh(`ip route show ${address}`)).toContain(`${address} dev ${tap}`);
}

function expectNoTrace(): void {
  expect(host.listing()).toBe(before.files);
  expect(network()).toBe(before.network);
}

/** The links of guests that run on stay: down, and deaf to router advertisements. */
function expectCutOff(...taps: readonly string[]): void {
  const cut = taps.reduce((text, tap) => text
    .replace(`${tap}: <NO-CARRIER,BROADCAST,MULTICAST,UP>`, `${tap}: <BROADCAST,MULTICAST>`)
    .replace(`${tap}/accept_ra:1`, `${tap}/accept_ra:0`), before.network);
  expect(host.listing()).toBe(before.files);
  expect(network()).toBe(cut);
}

describe('leaves no trace', () => {
  hostTest('of an installation', () => {
    host.guestwire('install');
    expect(host.guestwire('uninstall')).toEqual(done(FILES + LOCK + NO_RELOAD));
    expectNoTrace();
    expect(host.guestwire('uninstall')).toEqual(done('guestwire is not installed\n'));
    expectNoTrace();
  });

  hostTest('of one beside another script, nor of the directories it made', () => {
    host.sh('rmdir /etc/libvirt/hooks');
    before = { ...before, files: host.listing() };
    host.guestwire('install');
    host.sh(`rm ${MAIN}; printf '#!/bin/sh\\n' >${MAIN}`);
    host.guestwire('install');
    host.sh(`rm ${MAIN}`);
    host.guestwire('install');
    expect(host.guestwire('uninstall')).toEqual(done(
      removed(
        BESIDE, PROTOCOLS, '/usr/lib/guestwire/hook.cjs', '/etc/libvirt/hooks/qemu.d', '/etc/libvirt/hooks',
        '/usr/lib/guestwire/install.json', '/usr/lib/guestwire',
      ) + LOCK + NO_RELOAD,
    ));
    expectNoTrace();
  });

  hostTest('of guests that came and went, of runs that were killed, and of companions of the hook', () => {
    host.sh(`echo "require('./hook.cjs')" >/mnt/repo/dist/hook-cached.cjs; echo 2 >/mnt/repo/dist/hook.cache`);
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    expect(host.run(MAIN, ['web1', 'release', 'end', '-'], { input: `<domain type='kvm'><name>web1</name><uuid>${WEB1}</uuid></domain>` })).toEqual(done(''));
    host.sh(`cd ${STATE}; touch ${DB1}.incoming ${DB1}.json.draft uplinks.json.draft /usr/lib/guestwire/.guestwire-hook.cjs.draft /etc/libvirt/hooks/.guestwire-qemu.old`);
    expect(host.guestwire('uninstall').status).toBe(0);
    expectNoTrace();
  });

  hostTest('but what is not guestwire\'s', () => {
    host.guestwire('install');
    host.sh(`mkdir /etc/guestwire /etc/libvirt/hooks/qemu.d; echo >/etc/guestwire/config.toml; echo >/usr/lib/guestwire/notes; echo >${BESIDE}; mkdir -m 700 ${STATE}; echo >${STATE}/notes`);
    expect(host.guestwire('uninstall')).toEqual(done([
      removed(MAIN, PROTOCOLS, '/usr/lib/guestwire/hook.cjs', '/usr/lib/guestwire/install.json'),
      "left '/usr/lib/guestwire', which holds 'notes'\n", `left '${STATE}', which holds 'notes'\n`, LOCK,
      "left '/etc/guestwire/config.toml', which is yours\n", NO_RELOAD,
    ].join('')));
    host.sh(`rm -r /etc/guestwire /etc/libvirt/hooks/qemu.d /usr/lib/guestwire ${STATE}`);
    expectNoTrace();
  });

  hostTest('but a directory that it made and others use now', () => {
    host.sh(`printf '#!/bin/sh\\n' >${MAIN}; chmod 755 ${MAIN}`);
    host.guestwire('install');
    host.sh('echo >/etc/libvirt/hooks/qemu.d/other');
    expect(host.guestwire('uninstall').stdout).toContain("left '/etc/libvirt/hooks/qemu.d', which holds 'other'\n");
    expect(host.sh('ls -A /etc/libvirt/hooks /etc/libvirt/hooks/qemu.d')).toBe('/etc/libvirt/hooks:\nqemu\nqemu.d\n\n/etc/libvirt/hooks/qemu.d:\nother\n');
  });
});

describe('not installed', () => {
  for (const [name, script] of [
    ['another script', `printf '#!/bin/sh\\n' >${MAIN}`],
    ['a symlink to a launcher', `ln -s /mnt/repo/hooks/qemu ${MAIN}`],
    ['a library that is a symlink', "mkdir /etc/mine; echo >/etc/mine/hook.cjs; ln -s /etc/mine /usr/lib/guestwire"],
  ] as const) {
    hostTest(`${name} stays`, () => {
      host.sh(script);
      const files = host.listing();
      expect(host.guestwire('uninstall')).toEqual(done('guestwire is not installed\n'));
      expect(host.listing()).toBe(files);
    });
  }
});

describe('with wired guests', () => {
  hostTest('it refuses, names them and changes nothing', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    start("d'b\n1", DB1, 'vnet2');
    const [files, wired] = [host.listing(), network()];
    expect(host.guestwire('uninstall')).toEqual(refused("nothing was removed, because guests are wired: guest 'web1', guest 'd\\'b\\n1': stop them, or choose --unwire or --keep-wiring"));
    expect([host.listing(), network()]).toEqual([files, wired]);
  });

  hostTest('--unwire releases them first, and says and logs every change', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    start('db1', DB1, 'vnet2');
    host.sh('rm /mnt/log/lines');
    const { status, stdout, stderr } = host.guestwire('uninstall', '--unwire');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const changes = stdout.slice(0, stdout.indexOf('removed '));
    expect(stdout).toBe(changes + FILES + removed(STATE) + RECORDS + NO_RELOAD);
    expect(changes).toMatch(/^guest 'web1' NIC 0 \(52:54:00:aa:bb:02\): .*192\.0\.2\.11/m);
    expect(changes).toMatch(/^guest 'web1': released by guestwire uninstall$/m);
    expect(changes).toMatch(/^guest 'db1': released by guestwire uninstall$/m);
    expect(host.sh('cat /mnt/log/lines').replace(/^<30>/gm, '')).toBe(changes);
    expectCutOff('vnet1', 'vnet2');
  });

  hostTest('--keep-wiring leaves it, and a later installation takes it away when the guest stops', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    const wired = network();
    const entry = host.sh(`cat ${STATE}/${WEB1}.json`);
    expect(host.guestwire('uninstall', '--keep-wiring')).toEqual(done(`${FILES}left the wiring of guest 'web1', and its record in '${STATE}'\n${NO_RELOAD}`));
    expect(network()).toBe(wired);
    expect(host.sh(`cat ${STATE}/${WEB1}.json`)).toBe(entry);
    for (const options of [[], ['--keep-wiring']]) {
      expect(host.guestwire('uninstall', ...options)).toEqual(done('guestwire is not installed\n', "guestwire: still wired: guest 'web1': 'guestwire uninstall --unwire' removes the wiring\n"));
    }
    host.guestwire('install');
    expect(host.run(MAIN, ['web1', 'release', 'end', '-'], { input: `<domain type='kvm'><name>web1</name><uuid>${WEB1}</uuid></domain>` })).toEqual(done(''));
    expect(network()).toBe(before.network);
    host.guestwire('uninstall');
    expectNoTrace();
  });

  hostTest('--keep-wiring and then --unwire leave no trace either', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    host.guestwire('uninstall', '--keep-wiring');
    expect(host.guestwire('uninstall', '--unwire').stdout).toMatch(/^guestwire is not installed\n(guest 'web1'.*\n)+removed '\/run\/guestwire'\nremoved '\/var\/lib\/guestwire\/addresses'\nremoved '\/run\/guestwire.lock'\n$/);
    expectCutOff('vnet1');
  });

  hostTest('a guest whose tap is gone, and one that ended unseen, are released and no reason to refuse', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    start('db1', DB1, 'vnet2');
    host.sh(`ip link del vnet1; touch ${STATE}/${DB1}.ended`);
    const { stderr, stdout } = host.guestwire('uninstall');
    expect(stderr).toBe('');
    for (const name of ['web1', 'db1']) expect(stdout).toContain(`guest '${name}': released by guestwire uninstall\n`);
    expect(host.listing()).toBe(before.files);
  });

  hostTest('a damaged entry is a wired guest without a name, and --unwire cuts it off by what the kernel shows', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    host.sh(`echo '{' >${STATE}/${WEB1}.json; echo '[{"dev": "eno1", "ifindex": 2, "vids": [10, 20]}]' >${STATE}/uplinks.json`);
    const label = `guest ${WEB1} (its journal entry is damaged)`;
    expect(host.guestwire('uninstall')).toEqual(refused(`nothing was removed, because guests are wired: ${label}: stop them, or choose --unwire or --keep-wiring`));
    expect(host.guestwire('uninstall', '--unwire')).toEqual(done(
      `${label}: its record is removed\nhost: set link 'vnet1' down\n${['inet', 'netdev'].map((family) => `host: remove nftables table ${family} guestwire: it has no record\n`).join('')}${FILES}${removed(`${STATE}/uplinks.json`, STATE)}${RECORDS}${NO_RELOAD}`,
      "guestwire: uplink 'eno1' may still have VLANs 10, 20, which guestwire put there for guests that are gone: 'bridge vlan show dev eno1' shows them\n",
    ));
    expect(host.listing()).toBe(before.files);
  });

  hostTest('without a record it refuses too, and --unwire finds them in the kernel', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    host.sh(`rm -r ${STATE}`);
    expect(host.guestwire('uninstall').stderr).toMatch(/^guestwire: nothing was removed, because this host has wiring without a record \(to do: .* more\): run 'guestwire reconcile --all', or choose --unwire or --keep-wiring\n$/);
    expect(host.guestwire('uninstall', '--unwire')).toMatchObject({ status: 0, stderr: '' });
    expect(host.sh('ip route show table all proto 117; nft list tables; ip link show up dev vnet1')).toBe('');
    expect(host.listing()).toBe(before.files);
  });

  hostTest('a release that fails keeps everything installed', () => {
    host.guestwire('install');
    start('web1', WEB1, 'vnet1');
    host.sh(`cat >/mnt/bin/ip <<'END'
#!/bin/sh
lines=$(cat)
if printf '%s\\n' "$lines" | grep -qvE '^[a-z]+ (show|get)'; then echo no >&2; exit 1; fi
printf '%s\\n' "$lines" | /usr/sbin/ip "$@"
END
chmod 755 /mnt/bin/ip`);
    const files = host.listing();
    const { status, stderr } = host.guestwire('uninstall', '--unwire');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^guestwire: nothing was removed, because not every guest could be released: guest 'web1': ip failed.*: no\n$/);
    expect(host.listing()).toBe(files);
    host.sh('rm /mnt/bin/ip');
    expect(host.guestwire('uninstall', '--unwire').status).toBe(0);
    expectCutOff('vnet1');
  });
});

describe('a host that does not let it', () => {
  hostTest('read-only /etc: says so, and goes on from there the next time', () => {
    host.guestwire('install');
    const files = host.listing();
    host.sh('mount --bind /etc /etc; mount -o remount,bind,ro /etc');
    expect(host.guestwire('uninstall')).toEqual(refused(`'${MAIN}' cannot be removed: its file system is read-only: mount it writable, and run 'guestwire uninstall' again`));
    expect(host.listing()).toBe(files);
    host.sh('mount -o remount,bind,rw /etc');
    expect(host.guestwire('uninstall').status).toBe(0);
    expectNoTrace();
  });

  hostTest('read-only /usr: the launcher is gone already, and the rest the next time', () => {
    host.guestwire('install');
    host.sh('mount --bind /usr /usr; mount -o remount,bind,ro /usr');
    expect(host.guestwire('uninstall')).toEqual({ ...refused("'/usr/lib/guestwire/hook.cjs' cannot be removed: its file system is read-only: mount it writable, and run 'guestwire uninstall' again"), stdout: removed(MAIN, PROTOCOLS) });
    host.sh('mount -o remount,bind,rw /usr');
    expect(host.guestwire('uninstall').status).toBe(0);
    expectNoTrace();
  });
});
