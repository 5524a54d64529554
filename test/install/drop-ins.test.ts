// @tier kernel
/** What `guestwire install` tells other programs of the host, and that it goes again: the real command as root. */
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');

const PROTOCOLS = '/etc/iproute2/rt_protos.d/guestwire.conf';
const NETWORKD = '/etc/systemd/networkd.conf.d/guestwire.conf';
const MANAGER = '/etc/NetworkManager/conf.d/guestwire.conf';
const MARK = "# guestwire: written by 'guestwire install', removed by 'guestwire uninstall'\n";
/** Both daemons, as packages leave them. */
const DAEMONS = 'mkdir -p /usr/lib/systemd /etc/systemd /etc/NetworkManager/conf.d; touch /usr/lib/systemd/systemd-networkd';

let host: InstallHost;

beforeAll(assertBuilt);
beforeEach(async () => { host = await openInstallHost(); });
afterEach(() => { host.close(); });

/** Returns what `install` said of drop-ins: not of its own files and of libvirt. */
function install(...args: string[]): { status: number | null; said: string[]; stderr: string } {
  const { status, stdout, stderr } = host.guestwire('install', ...args);
  return { status, stderr, said: stdout.split('\n').filter((line) => line !== '' && !/libvirtd|'\/usr\/lib\/guestwire|hooks\/qemu/.test(line)) };
}

describe('the name of the route protocol', () => {
  hostTest('is for `ip route show proto guestwire`, and goes with guestwire', () => {
    const before = host.listing();
    expect(install()).toEqual({ status: 0, said: [`wrote '${PROTOCOLS}'`], stderr: '' });
    expect(host.sh(`cat ${PROTOCOLS}; stat -c '%a %U:%G' ${PROTOCOLS}`)).toBe(`${MARK}117\tguestwire\n644 root:root\n`);
    host.sh('ip link add t0 type bridge; ip link set t0 up; ip route add 192.0.2.10 dev t0 proto 117');
    expect(host.sh('ip route show proto guestwire')).toMatch(/^192\.0\.2\.10 dev t0 scope link .*\n$/);
    expect(install().said).toEqual([`'${PROTOCOLS}' is up to date`]);
    host.sh('ip link del t0');
    expect(host.guestwire('uninstall').stdout).toContain(`removed '${PROTOCOLS}'\n`);
    expect(host.listing()).toBe(before);
  });

  hostTest('is for the number that the host config has', () => {
    host.sh("mkdir /etc/guestwire; printf '[routed]\\nprotocol = 118\\n' >/etc/guestwire/config.toml");
    install();
    expect(host.sh(`cat ${PROTOCOLS}`)).toBe(`${MARK}118\tguestwire\n`);
    host.sh("printf '[routed]\\nprotocol = 119\\n' >/etc/guestwire/config.toml");
    expect(install().said).toEqual([`replaced '${PROTOCOLS}'`]);
    expect(host.sh(`cat ${PROTOCOLS}`)).toBe(`${MARK}119\tguestwire\n`);
    host.sh("echo '[rooted]' >/etc/guestwire/config.toml");
    const { status, said, stderr } = install();
    expect({ status, said }).toEqual({ status: 0, said: [] });
    expect(stderr).toMatch(/^guestwire: config '\/etc\/guestwire\/config.toml': .*rooted.*: until it is repaired, guestwire refuses the guests that it wires, and its route protocol has no name\n/);
    expect(host.sh(`cat ${PROTOCOLS}`)).toBe(`${MARK}119\tguestwire\n`);
  });

  hostTest('makes the directory where iproute2 has none, as in Debian 13', () => {
    host.sh('rm -r /etc/iproute2');
    const before = host.listing();
    expect(install().said)
      .toEqual(["made '/etc/iproute2'", "made '/etc/iproute2/rt_protos.d'", `wrote '${PROTOCOLS}'`]);
    host.guestwire('uninstall');
    expect(host.listing()).toBe(before);
  });

  hostTest('leaves a file that is not its own, and a place that others can write to', () => {
    host.sh(`echo '117 mine' >${PROTOCOLS}`);
    const before = host.listing();
    expect(install()).toEqual({ status: 0, said: [], stderr: `guestwire: '${PROTOCOLS}' is not written: the file there is not guestwire's\n` });
    host.guestwire('uninstall');
    expect(host.listing()).toBe(before);
    host.sh(`rm ${PROTOCOLS}; chmod 777 /etc/iproute2/rt_protos.d`);
    expect(install().stderr).toBe(`guestwire: '${PROTOCOLS}' is not written: directory '/etc/iproute2/rt_protos.d' is writable by other users (owner 0, mode 0777): it must belong to root with mode 0755\n`);
    expect(host.sh('ls -A /etc/iproute2/rt_protos.d')).not.toContain('guestwire.conf');
  });
});

describe('completion for bash', () => {
  const COMPLETION = '/usr/share/bash-completion/completions/guestwire';

  hostTest('is where package bash-completion is, and goes with guestwire', () => {
    expect(install().said).toEqual([`wrote '${PROTOCOLS}'`]);
    host.sh('mkdir -p /usr/share/bash-completion/completions');
    expect(install().said).toEqual([`'${PROTOCOLS}' is up to date`, `wrote '${COMPLETION}'`]);
    expect(host.sh(`cat ${COMPLETION}`)).toBe(MARK + host.guestwire('completion', 'bash').stdout);
    expect(host.sh(`bash -c '. ${COMPLETION}; complete -p guestwire'`)).toBe('complete -F _guestwire guestwire\n');
    host.sh(`echo old >>${COMPLETION}`);
    expect(install().said).toEqual([`'${PROTOCOLS}' is up to date`, `replaced '${COMPLETION}'`]);
    expect(host.guestwire('uninstall').stdout).toContain(`removed '${COMPLETION}'\n`);
    expect(host.sh('ls -A /usr/share/bash-completion/completions')).not.toMatch(/^guestwire$/m);
  });

  hostTest('leaves a file that is not its own', () => {
    host.sh(`mkdir -p /usr/share/bash-completion/completions; echo mine >${COMPLETION}`);
    expect(install()).toEqual({ status: 0, said: [`wrote '${PROTOCOLS}'`], stderr: `guestwire: '${COMPLETION}' is not written: the file there is not guestwire's\n` });
    host.guestwire('uninstall');
    expect(host.sh(`cat ${COMPLETION}`)).toBe('mine\n');
  });
});

describe('drop-ins for network daemons', () => {
  hostTest('are offered where a daemon is, and written only when asked for', () => {
    expect(install().said).toEqual([`wrote '${PROTOCOLS}'`]);
    host.sh('mkdir -p /usr/lib/systemd; touch /usr/lib/systemd/systemd-networkd');
    expect(install().said).toEqual([`'${PROTOCOLS}' is up to date`,
      "systemd-networkd may remove routes or take over taps of guests: 'guestwire install --drop-ins' prevents that"]);
    host.sh('mkdir /etc/NetworkManager');
    expect(install().said).toEqual([`'${PROTOCOLS}' is up to date`,
      "systemd-networkd and NetworkManager may remove routes or take over taps of guests: 'guestwire install --drop-ins' prevents that"]);
    expect(host.sh(`ls ${NETWORKD} ${MANAGER} 2>/dev/null || true`)).toBe('');
  });

  hostTest('say what they are for, the second time nothing, and go with guestwire', () => {
    host.sh(DAEMONS);
    const before = host.listing();
    expect(install('--drop-ins')).toEqual({ status: 0, stderr: '', said: [
      "made '/etc/systemd/networkd.conf.d'", `wrote '${PROTOCOLS}'`, `wrote '${NETWORKD}'`, `wrote '${MANAGER}'`,
      `run 'systemctl restart systemd-networkd' so that systemd-networkd reads '${NETWORKD}'`,
      `run 'systemctl reload NetworkManager' so that NetworkManager reads '${MANAGER}'`,
    ] });
    expect(host.sh(`cat ${NETWORKD} ${MANAGER}`)).toBe(`${MARK}[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n${MARK}[keyfile]\nunmanaged-devices+=interface-name:vnet*\n`);
    const installed = host.listing();
    const files = [PROTOCOLS, NETWORKD, MANAGER].map((path) => `'${path}' is up to date`);
    expect(install('--drop-ins').said).toEqual(files);
    // An update without the option does not forget them.
    expect(install().said).toEqual(files);
    expect(host.listing()).toBe(installed);
    host.guestwire('uninstall');
    expect(host.listing()).toBe(before);
  });

  hostTest('leave what somebody else wrote, and are not there without a daemon', () => {
    expect(install('--drop-ins').said).toEqual([`wrote '${PROTOCOLS}'`, 'no drop-ins: neither systemd-networkd nor NetworkManager is on this host']);
    host.sh(`${DAEMONS}; mkdir /etc/systemd/networkd.conf.d; echo '[Network]' >${NETWORKD}`);
    expect(install('--drop-ins')).toMatchObject({ status: 0, stderr: `guestwire: '${NETWORKD}' is not written: the file there is not guestwire's\n` });
    host.guestwire('uninstall');
    expect(host.sh(`cat ${NETWORKD}; ls -A /etc/NetworkManager/conf.d`)).toBe('[Network]\n');
  });
});
