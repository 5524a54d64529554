// @tier kernel
/** What `guestwire install` refuses, with the exact sentence; the host is afterwards as it was. */
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');

const MAIN = '/etc/libvirt/hooks/qemu';
const BESIDE = '/etc/libvirt/hooks/qemu.d/guestwire';
const OTHER = `printf '#!/bin/sh\\n' >${MAIN}`;

let host: InstallHost;

beforeAll(assertBuilt);
beforeEach(async () => { host = await openInstallHost(); });
afterEach(() => { host.close(); });

/** Expects a refusal with this sentence, and a host that is as it was. */
function expectRefusal(sentence: string): void {
  const before = host.listing();
  expect(host.guestwire('install')).toEqual({ status: 1, stdout: '', stderr: `guestwire: ${sentence}\n` });
  expect(host.listing()).toBe(before);
}

describe('something in the way', () => {
  const ROWS: [string, string, string][] = [
    ['a directory', `mkdir ${MAIN}`, `'${MAIN}' is a directory, not a hook script: move it away`],
    ['a symlink to nowhere', `ln -s /nowhere ${MAIN}`, `'${MAIN}' is a symlink to '/nowhere', not a hook script: move it away`],
    ['a symlink to itself', `ln -s qemu ${MAIN}`, `'${MAIN}' is a symlink to 'qemu', not a hook script: move it away`],
    ['a fifo', `mkfifo ${MAIN}`, `'${MAIN}' is a special file, not a hook script: move it away`],
    ['a symlink to a launcher', `ln -s /mnt/repo/hooks/qemu ${MAIN}`, `'${MAIN}' is a symlink to '/mnt/repo/hooks/qemu', which is a guestwire launcher already: remove the symlink`],
    ['a launcher of another name', `mkdir /etc/libvirt/hooks/qemu.d; cp /mnt/repo/hooks/qemu ${BESIDE}-2`, `'${BESIDE}-2' is a guestwire launcher already: remove it`],
    ['another script in both places', `${OTHER}; mkdir /etc/libvirt/hooks/qemu.d; echo >${BESIDE}`, `'${BESIDE}' is a file that is not guestwire's, and '${MAIN}' is another script: move one of them away`],
    ['a symlink in the second place', `${OTHER}; mkdir /etc/libvirt/hooks/qemu.d; ln -s /nowhere ${BESIDE}`, `'${BESIDE}' is a symlink to '/nowhere' that is not guestwire's, and '${MAIN}' is another script: move one of them away`],
    ['a file called qemu.d', `${OTHER}; echo >/etc/libvirt/hooks/qemu.d`, "'/etc/libvirt/hooks/qemu.d' is a file, not a directory: move it away"],
    ['hooks elsewhere', 'rmdir /etc/libvirt/hooks; ln -s /srv /etc/libvirt/hooks', "'/etc/libvirt/hooks' is a symlink to '/srv', not a directory: move it away"],
    ['hooks that others can write', 'chmod 775 /etc/libvirt/hooks', "directory '/etc/libvirt/hooks' is writable by other users (owner 0, mode 0775): it must belong to root with mode 0755"],
    ['a library of another user', 'mkdir /usr/lib/guestwire; chown 1000 /usr/lib/guestwire', "directory '/usr/lib/guestwire' is writable by other users (owner 1000, mode 0755): it must belong to root with mode 0755"],
    ['a library elsewhere', 'ln -s /srv /usr/lib/guestwire', "'/usr/lib/guestwire' is a symlink to '/srv', not a directory: move it away"],
    ['a hook elsewhere', 'mkdir /usr/lib/guestwire; ln -s /srv/x /usr/lib/guestwire/hook.cjs', "'/usr/lib/guestwire/hook.cjs' is a symlink to '/srv/x', not a file of guestwire's: move it away"],
    ['a directory called like the hook', 'mkdir -p /usr/lib/guestwire/hook.cjs', "'/usr/lib/guestwire/hook.cjs' is a directory, not a file of guestwire's: move it away"],
  ];
  for (const [name, script, sentence] of ROWS) {
    hostTest(`${name} stays where it is`, () => {
      host.sh(script);
      expectRefusal(sentence);
    });
  }
});

describe('a host that does not let it', () => {
  const ROWS: [string, string, string][] = [
    ['read-only /etc', 'mount --bind /etc /etc; mount -o remount,bind,ro /etc', `nothing was changed, because '/etc/iproute2/rt_protos.d/guestwire.conf' cannot be written: its file system is read-only: mount it writable`],
    ['read-only /etc without hooks', 'rmdir /etc/libvirt/hooks; mount --bind /etc /etc; mount -o remount,bind,ro /etc', "nothing was changed, because '/etc/libvirt/hooks' cannot be written: its file system is read-only: mount it writable"],
    ['read-only /usr', 'mount --bind /usr /usr; mount -o remount,bind,ro /usr', "nothing was changed, because '/usr/lib/guestwire' cannot be written: its file system is read-only: mount it writable"],
    ['immutable hooks', 'mount -t tmpfs -o mode=755 tmpfs /etc/libvirt/hooks; chattr +i /etc/libvirt/hooks', `nothing was changed, because '${MAIN}' cannot be written: it or its directory is immutable: 'lsattr' shows it, 'chattr -i' ends it`],
    ['no space', 'mkdir /usr/lib/guestwire; mount -t tmpfs -o mode=755,size=64k tmpfs /usr/lib/guestwire', "nothing was changed, because '/usr/lib/guestwire/hook.cjs' cannot be written: its file system is full: make room"],
    ['a launcher that is a mount point', `cp /mnt/repo/hooks/qemu ${MAIN}; mount --bind ${MAIN} ${MAIN}`, `nothing was changed, because '${MAIN}' cannot be written: something is mounted there: unmount it`],
    ['read-only /run', 'mount -o remount,ro /run', "lock '/run/guestwire.lock' cannot be opened: EROFS: read-only file system"],
  ];
  for (const [name, script, sentence] of ROWS) {
    hostTest(`${name}: everything stays as it was`, () => {
      host.sh(script);
      expectRefusal(sentence);
    });
  }

  hostTest('an immutable launcher: an update changes nothing, and works when it is free again', () => {
    host.sh('mount -t tmpfs -o mode=755 tmpfs /etc/libvirt/hooks');
    host.guestwire('install');
    host.sh(`chattr +i ${MAIN}; echo '# changed' >>/mnt/repo/hooks/qemu; echo '// changed' >>/mnt/repo/dist/hook.cjs`);
    expectRefusal(`nothing was changed, because '${MAIN}' cannot be written: it or its directory is immutable: 'lsattr' shows it, 'chattr -i' ends it`);
    host.sh(`chattr -i ${MAIN}`);
    expect(host.guestwire('install').status).toBe(0);
  });

  hostTest('a failure after the first file was replaced: every file is the old one again', () => {
    host.sh('echo 1 >/mnt/repo/dist/hook.cache');
    host.guestwire('install');
    host.sh(`cd /usr/lib/guestwire; mount --bind hook.cache hook.cache; rm /mnt/repo/dist/hook.cache; echo '# changed' >>/mnt/repo/hooks/qemu; echo '// changed' >>/mnt/repo/dist/hook.cjs`);
    expectRefusal("nothing was changed, because '/usr/lib/guestwire/hook.cache' cannot be written: something is mounted there: unmount it");
  });

  hostTest('a lock that somebody holds: the holder is named', () => {
    host.sh("(umask 077; echo \"start of guest 'web1' (pid 1)\" >/run/guestwire.lock); flock /run/guestwire.lock sleep 60 >/dev/null 2>&1 &");
    expectRefusal("could not get lock '/run/guestwire.lock' within 10 s: held by start of guest 'web1' (pid 1)");
  });
});

describe('what the hook needs', () => {
  const NODE_CURE = "install a package 'nodejs' of version 18.19 or newer";
  const ELSEWHERE = "and AppArmor lets libvirt's hooks run only programs in the system's own directories";
  /** The command itself keeps running on the node it has. */
  const KEEP = 'cp --reflink=auto /usr/bin/node /mnt/bin/node; rm /usr/bin/node';
  const ROWS: [string, string, string][] = [
    ['libvirt', 'rm -r /etc/libvirt', "'/etc/libvirt' is missing: install libvirt first (apt-get install libvirt-daemon-system)"],
    ['its tools', 'for dir in /usr/sbin /usr/bin; do for tool in ip bridge flock; do rm -f $dir/$tool; done; done', "the hook needs 'flock' (package util-linux), 'ip' (package iproute2), 'bridge' (package iproute2) in /usr/sbin, /usr/bin, /sbin or /bin: install what is missing"],
    ['node', KEEP, `'/usr/bin/node' is missing, ${ELSEWHERE}: ${NODE_CURE}`],
    ['a newer node', `${KEEP}; printf '#!/bin/sh\\necho v18.18.2\\n' >/usr/bin/node; chmod 755 /usr/bin/node`, `'/usr/bin/node' is version 'v18.18.2', and the hook needs 18.19 or newer: ${NODE_CURE}`],
    ['a node that runs', `${KEEP}; printf '#!/bin/sh\\necho no >&2; exit 1\\n' >/usr/bin/node; chmod 755 /usr/bin/node`, '/usr/bin/node failed (asking for its version): no'],
    ['a node that AppArmor lets run', `${KEEP}; ln -s /mnt/bin/node /usr/bin/node; mount -t tmpfs tmpfs /sys/module; mkdir -p /sys/module/apparmor/parameters; echo Y >/sys/module/apparmor/parameters/enabled`, `'/usr/bin/node' leads to '/mnt/bin/node', ${ELSEWHERE}: ${NODE_CURE}`],
    ['a build', 'rm /mnt/repo/dist/hook.cjs', "'/mnt/repo/dist/hook.cjs' is missing: run 'npm run build' in '/mnt/repo'"],
    ['a build that ends well', "echo 'process.exit(7)' >/mnt/repo/dist/hook.cjs", "'/mnt/repo/dist/hook.cjs' does not run: node ended with status 7"],
    ['a whole build', "echo 'fail(' >/mnt/repo/dist/hook.cjs", "'/mnt/repo/dist/hook.cjs' does not run: SyntaxError: Unexpected end of input"],
    ['a launcher', 'rm /mnt/repo/hooks/qemu', "'/mnt/repo/hooks/qemu' is missing: this copy of guestwire is not complete, install the package again"],
    ['a launcher that can be told', "sed -i 's/^hook=$//' /mnt/repo/hooks/qemu", "'/mnt/repo/hooks/qemu' has no line 'hook=': this copy of guestwire was changed, install the package again"],
  ];
  for (const [name, script, sentence] of ROWS) {
    hostTest(`${name} must be there`, () => {
      host.sh(script);
      expectRefusal(sentence);
    });
  }

  hostTest('a node of another place will do without AppArmor', () => {
    host.sh(`${KEEP}; ln -s /mnt/bin/node /usr/bin/node`);
    expect(host.guestwire('install')).toMatchObject({ status: 0, stderr: '' });
  });

  hostTest('logger may be missing', () => {
    host.sh('rm /usr/bin/logger');
    expect(host.guestwire('install')).toMatchObject({ status: 0, stderr: "guestwire: 'logger' (package bsdutils) is missing: guests are wired without it, but nothing is written to the system's journal\n" });
  });

  hostTest('root must run it', () => {
    const before = host.listing();
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', 'node', '/mnt/repo/dist/cli.js'];
    for (const command of ['install', 'uninstall']) {
      expect(host.run('setpriv', [...nobody, command])).toEqual({ status: 1, stdout: '', stderr: `guestwire: 'guestwire ${command}' changes this host: run it as root\n` });
    }
    expect(host.listing()).toBe(before);
  });
});

describe('wrong usage', () => {
  const ROWS: [string, string[], string][] = [
    ['an argument', ['install', 'here'], "unexpected argument 'here': see 'guestwire install --help'"],
    ['an unknown option', ['install', '--force'], "Unknown option '--force': see 'guestwire install --help'"],
    ['both answers', ['install', '--yes', '--no-reload'], "'--yes' and '--no-reload' exclude each other: see 'guestwire install --help'"],
    ['both ends', ['uninstall', '--unwire', '--keep-wiring'], "'--unwire' and '--keep-wiring' exclude each other: see 'guestwire uninstall --help'"],
    ['an argument to uninstall', ['uninstall', 'web1'], "unexpected argument 'web1': see 'guestwire uninstall --help'"],
  ];
  for (const [name, args, sentence] of ROWS) {
    hostTest(`${name} is refused with status 2`, () => {
      expect(host.guestwire(...args)).toEqual({ status: 2, stdout: '', stderr: `guestwire: ${sentence}\n` });
    });
  }
});
