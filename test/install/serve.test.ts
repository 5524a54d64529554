// @tier kernel
/**
 * `guestwire install` and `uninstall` with [serve] in the host config: the systemd units, on a host made for each test.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, jest } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');
const UNITS = ['/etc/systemd/system/guestwire-dhcp@.service', '/etc/systemd/system/guestwire-ra@.service'] as const;

let host: InstallHost;

jest.setTimeout(60_000);
beforeAll(assertBuilt, 120_000);
beforeEach(async () => {
  host = await openInstallHost();
  host.sh(`
    mkdir -p /etc/systemd/system /etc/guestwire /run/systemd/system
    echo '[serve]' >/etc/guestwire/config.toml
    printf '#!/bin/sh\\necho "$*" >>/run/told\\n' >/mnt/bin/systemctl; chmod 755 /mnt/bin/systemctl`);
});
afterEach(() => { host.close(); });

const there = (): string => host.sh('ls /etc/systemd/system | grep guestwire || true');
const told = (): string => host.sh('cat /run/told 2>/dev/null || true; rm -f /run/told');

describe("systemd's units", () => {
  hostTest('come with [serve], once, and go without it', () => {
    const first = host.guestwire('install');
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(first.stdout).toMatch(/^made '\/usr\/lib\/guestwire'\nwrote '.*guestwire-dhcp@\.service'\nwrote '.*guestwire-ra@\.service'\nwrote /);
    expect(told()).toBe('daemon-reload\n');
    expect(host.sh(`stat -c '%a %U' ${UNITS.join(' ')}`)).toBe('644 root\n644 root\n');
    expect(host.guestwire('install').stdout).toContain(`'${UNITS[0]}' is up to date\n'${UNITS[1]}' is up to date\n`);
    expect(told()).toBe('');
    host.sh('echo "[serve]\non = false" >/etc/guestwire/config.toml');
    expect(host.guestwire('install').stdout).toContain(`removed '${UNITS[0]}'\nremoved '${UNITS[1]}'\n`);
    expect(told()).toBe('daemon-reload\n');
    expect(there()).toBe('');
  });

  hostTest('go with uninstall, and what they serve ends', () => {
    const before = host.listing();
    host.guestwire('install');
    host.sh('rm -f /run/told; mkdir -p /run/guestwire.serve/my-tap; echo "4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01 7" >/run/guestwire.serve/my-tap/owner');
    const { status, stdout, stderr } = host.guestwire('uninstall');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain("removed '/run/guestwire.serve'\n");
    for (const unit of UNITS) expect(stdout).toContain(`removed '${unit}'\n`);
    expect(told()).toBe('stop guestwire-dhcp@my\\x2dtap.service guestwire-ra@my\\x2dtap.service\ndaemon-reload\n');
    expect(host.listing()).toBe(before);
  });

  hostTest('of somebody else are not touched', () => {
    host.sh(`echo '[Unit]' >${UNITS[1]}`);
    const before = host.listing();
    expect(host.guestwire('install')).toEqual({ status: 1, stdout: '', stderr: `guestwire: '${UNITS[1]}' is not guestwire's: move it away, or remove [serve] from the host config\n` });
    expect(host.listing()).toBe(before);
    host.sh('rm /etc/guestwire/config.toml');
    expect(host.guestwire('install')).toMatchObject({ status: 0, stderr: '' });
    expect(host.guestwire('uninstall')).toMatchObject({ status: 0, stderr: '' });
    expect(host.sh(`cat ${UNITS[1]}`)).toBe('[Unit]\n');
  });

  hostTest('stay as they are while the config is broken', () => {
    host.guestwire('install');
    host.sh('echo "[serve" >/etc/guestwire/config.toml');
    const { status, stderr } = host.guestwire('install');
    expect(status).toBe(0);
    expect(stderr).toMatch(/^guestwire: systemd's units stay as they are, because \[serve\] of the host config cannot be read: config '\/etc\/guestwire\/config\.toml': line 1 /m);
    expect(there()).toBe('guestwire-dhcp@.service\nguestwire-ra@.service\n');
  });

  hostTest('are not written without systemd, which is said', () => {
    host.sh('rm -r /etc/systemd/system');
    expect(host.guestwire('install')).toMatchObject({ status: 0, stderr: "guestwire: '/etc/systemd/system' is missing: without systemd no program serves guests as [serve] of the host config says\n" });
  });
});
