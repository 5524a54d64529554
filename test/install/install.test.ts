// @tier kernel
/** `guestwire install`, the real command as root, on a host that is made for each test. */
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');

const MAIN = '/etc/libvirt/hooks/qemu';
const BESIDE = '/etc/libvirt/hooks/qemu.d/guestwire';
const LIBRARY = "made '/usr/lib/guestwire'\nwrote '/usr/lib/guestwire/install.json'\nwrote '/etc/iproute2/rt_protos.d/guestwire.conf'\nwrote '/usr/lib/guestwire/hook.cjs'\n";
const UP_TO_DATE = "'/usr/lib/guestwire/install.json' is up to date\n'/etc/iproute2/rt_protos.d/guestwire.conf' is up to date\n'/usr/lib/guestwire/hook.cjs' is up to date\n";
const NOBODY = 'neither libvirtd nor virtqemud is running: it finds the hook when it starts\n';
const FRESH = `${LIBRARY}wrote '${MAIN}'\n${NOBODY}`;

const XML = "<domain type='kvm'><name>web1</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'/></metadata><devices/></domain>";

let host: InstallHost;

beforeAll(assertBuilt);
beforeEach(async () => { host = await openInstallHost(); });
afterEach(() => { host.close(); });

function done(stdout: string, stderr = ''): object {
  return { status: 0, stdout, stderr };
}

/** Expects a refusal with this sentence, and a host that is as it was. */
function expectRefusal(sentence: string, ...args: string[]): void {
  const before = host.listing();
  expect(host.guestwire('install', ...args)).toEqual({ status: 1, stdout: '', stderr: `guestwire: ${sentence}\n` });
  expect(host.listing()).toBe(before);
}

function virsh(version = '9.0.0'): void {
  host.sh(`printf '#!/bin/sh\\n[ "$*" = --version ] && echo ${version}\\n' >/mnt/bin/virsh; chmod 755 /mnt/bin/virsh`);
}

describe('the files', () => {
  hostTest('are root\'s, readable by all, and the launcher is told where its hook is', () => {
    expect(host.guestwire('install')).toEqual(done(FRESH));
    expect(host.sh(`stat -c '%n %a %U:%G' /usr/lib/guestwire /usr/lib/guestwire/* ${MAIN}; ls -A /etc/libvirt/hooks`)).toBe([
      '/usr/lib/guestwire 755 root:root', '/usr/lib/guestwire/hook.cjs 644 root:root', '/usr/lib/guestwire/install.json 644 root:root', `${MAIN} 755 root:root`, 'qemu', '',
    ].join('\n'));
    expect(host.run('diff', [`${host.repo}/hooks/qemu`, MAIN]).stdout).toMatch(/^\d+c\d+\n< hook=\n---\n> hook=\/usr\/lib\/guestwire\/hook\.cjs\n$/);
    host.sh(`rm -r ${host.repo}/dist`);
    expect(host.run(MAIN, ['web1', 'start', 'begin', '-'], { input: XML })).toEqual(done(''));
    host.sh('rm /usr/lib/guestwire/hook.cjs');
    expect(host.run(MAIN, ['web1', 'start', 'begin', '-'], { input: XML })).toEqual({
      status: 1, stdout: '', stderr: "guestwire: guest 'web1': '/usr/lib/guestwire/hook.cjs' is missing: run 'guestwire install' again, or 'npm run build' in a checkout\n",
    });
  });

  hostTest('are the same after the second time, whatever the umask', () => {
    host.run('sh', ['-c', `umask 077; exec node ${host.repo}/dist/cli.js install`]);
    const installed = host.listing();
    expect(installed).toContain('/usr/lib/guestwire d 755 root:root');
    expect(host.guestwire('install')).toEqual(done(`${UP_TO_DATE}'${MAIN}' is up to date\n${NOBODY}`));
    expect(host.listing()).toBe(installed);
  });

  hostTest('go to directories that are made where there are none', () => {
    host.sh('rmdir /etc/libvirt/hooks');
    expect(host.guestwire('install')).toEqual(done(`made '/usr/lib/guestwire'\nmade '/etc/libvirt/hooks'\n${LIBRARY.replace(/^.*\n/, '')}wrote '${MAIN}'\n${NOBODY}`));
  });

  hostTest('are mended when somebody changed their content, mode or owner', () => {
    host.guestwire('install');
    const installed = host.listing();
    host.sh(`chmod 644 ${MAIN}; chown 1000 /usr/lib/guestwire/hook.cjs; echo {} >/usr/lib/guestwire/install.json`);
    expect(host.guestwire('install')).toEqual(done(`replaced '/usr/lib/guestwire/install.json'\n'/etc/iproute2/rt_protos.d/guestwire.conf' is up to date\nreplaced '/usr/lib/guestwire/hook.cjs'\nreplaced '${MAIN}'\n${NOBODY}`));
    // The record is a new one: when the hook was placed is not known any more.
    expect(host.listing().replace(/.*install.json$/gm, '')).toBe(installed.replace(/.*install.json$/gm, ''));
  });

  hostTest('are replaced by an update as a whole, and are there at every moment', () => {
    host.guestwire('install');
    const inodes = host.sh(`stat -c %i /usr/lib/guestwire/hook.cjs ${MAIN}`);
    host.sh(`while :; do tail -n 1 ${MAIN} | grep -q '^esac$' && [ -x ${MAIN} ] && tail -c 1 /usr/lib/guestwire/hook.cjs >/dev/null || echo gone >>/mnt/gone; echo >>/mnt/looks; done >/dev/null 2>&1 &`);
    for (const update of ['1', '2', '3', '4', '5']) {
      host.sh(`echo '// update ${update}' >>${host.repo}/dist/hook.cjs; sed -i '3i # update ${update}' ${host.repo}/hooks/qemu`);
      expect(host.guestwire('install')).toEqual(done(`'/usr/lib/guestwire/install.json' is up to date\n'/etc/iproute2/rt_protos.d/guestwire.conf' is up to date\nreplaced '/usr/lib/guestwire/hook.cjs'\nreplaced '${MAIN}'\n${NOBODY}`));
    }
    expect(host.sh('if [ -s /mnt/looks ]; then cat /mnt/gone || true; else echo nobody looked; fi 2>/dev/null')).toBe('');
    expect(host.sh(`cmp ${host.repo}/dist/hook.cjs /usr/lib/guestwire/hook.cjs; sed -n 3p ${MAIN}`)).toBe('# update 5\n');
    expect(host.sh(`stat -c %i /usr/lib/guestwire/hook.cjs ${MAIN}`)).not.toBe(inodes);
  });

  hostTest('take along what stands beside the hook, and lose it when a later build has it no more', () => {
    host.sh(`echo 1 >${host.repo}/dist/hook-cached.cjs; echo 2 >${host.repo}/dist/hook.cache`);
    expect(host.guestwire('install')).toEqual(done(`${LIBRARY}wrote '/usr/lib/guestwire/hook-cached.cjs'\nwrote '/usr/lib/guestwire/hook.cache'\nwrote '${MAIN}'\n${NOBODY}`));
    host.sh(`rm ${host.repo}/dist/hook-cached.cjs ${host.repo}/dist/hook.cache`);
    expect(host.guestwire('install')).toEqual(done(`${UP_TO_DATE}'${MAIN}' is up to date\nremoved '/usr/lib/guestwire/hook-cached.cjs'\nremoved '/usr/lib/guestwire/hook.cache'\n${NOBODY}`));
    expect(host.sh('ls -A /usr/lib/guestwire')).toBe('hook.cjs\ninstall.json\n');
  });

  hostTest('of a run that was killed are cleared by the next', () => {
    host.guestwire('install');
    const installed = host.listing();
    host.sh(`echo half >/etc/libvirt/hooks/.guestwire-qemu.draft; ln ${MAIN} /etc/libvirt/hooks/.guestwire-qemu.old; echo x >/usr/lib/guestwire/.guestwire-hook.cache.draft`);
    expect(host.guestwire('install').status).toBe(0);
    expect(host.listing()).toBe(installed);
  });
});

describe('beside other scripts', () => {
  const OTHER = `printf '#!/bin/sh\\nexit 0\\n' >${MAIN}; chmod 755 ${MAIN}`;
  const WENT_BESIDE = `'${MAIN}' is another script: the launcher goes beside it\nmade '/usr/lib/guestwire'\nmade '/etc/libvirt/hooks/qemu.d'\n${LIBRARY.replace(/^.*\n/, '')}wrote '${BESIDE}'\n${NOBODY}`;

  hostTest('the launcher goes to qemu.d, and stays there when the other script is gone', () => {
    virsh();
    host.sh(OTHER);
    const other = host.sh(`sha256sum ${MAIN}; stat -c '%i %Y' ${MAIN}`);
    expect(host.guestwire('install')).toEqual(done(WENT_BESIDE));
    expect(host.sh(`sha256sum ${MAIN}; stat -c '%i %Y' ${MAIN}`)).toBe(other);
    expect(host.guestwire('install').stdout).toBe(`'${MAIN}' is another script: the launcher goes beside it\n${UP_TO_DATE}'${BESIDE}' is up to date\n${NOBODY}`);
    host.sh(`rm ${MAIN}`);
    expect(host.guestwire('install')).toEqual(done(`${UP_TO_DATE}'${BESIDE}' is up to date\n${NOBODY}`));
    expect(host.sh('find /etc/libvirt/hooks -type f')).toBe(`${BESIDE}\n`);
  });

  hostTest('a symlink to another script is another script', () => {
    virsh();
    host.sh(`mkdir /etc/other; ln -s /etc/other/hook ${MAIN}; printf '#!/bin/sh\\n' >/etc/other/hook`);
    expect(host.guestwire('install')).toEqual(done(WENT_BESIDE));
  });

  hostTest('the launcher takes its usual place when only qemu.d has scripts', () => {
    host.sh("mkdir /etc/libvirt/hooks/qemu.d; printf '#!/bin/sh\\n' >/etc/libvirt/hooks/qemu.d/10-other");
    expect(host.guestwire('install')).toEqual(done(FRESH));
  });

  hostTest('a second launcher of guestwire goes away', () => {
    host.guestwire('install');
    host.sh(`mkdir /etc/libvirt/hooks/qemu.d; cp ${MAIN} ${BESIDE}`);
    expect(host.guestwire('install')).toEqual(done(`${UP_TO_DATE}'${MAIN}' is up to date\nremoved '${BESIDE}'\n${NOBODY}`));
  });

  hostTest('libvirt must run them, and who cannot tell says so', () => {
    host.sh(OTHER);
    virsh('6.4.0');
    expectRefusal(`'${MAIN}' is another script, and libvirt 6.4.0 does not run scripts in '/etc/libvirt/hooks/qemu.d': update libvirt to 6.5 or newer, or move that script away`);
    host.sh("printf '#!/bin/sh\\nexit 1\\n' >/mnt/bin/virsh");
    expect(host.guestwire('install')).toEqual(done(WENT_BESIDE, "guestwire: libvirt runs scripts in '/etc/libvirt/hooks/qemu.d' since 6.5, and without virsh the version of libvirt is unknown\n"));
  });
});
