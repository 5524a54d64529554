// @tier kernel
/** How `guestwire install` tells libvirt's daemon: who is asked, what is named first, and when nothing is done. */
import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { testWith } from '../places/capability.js';
import { assertBuilt, type InstallHost, openInstallHost } from '../places/install-host.js';

const hostTest = testWith('root', 'netns');

const NETWORKS = "a reload starts these inactive networks, because they are set to autostart: 'default', 'lan 2'\n";
const POOLS = "a reload starts these inactive storage pools, because they are set to autostart: 'images'\n";
const NOTHING = 'a reload starts no network\na reload starts no storage pool\n';

let host: InstallHost;

beforeAll(assertBuilt);
beforeEach(async () => {
  host = await openInstallHost();
  host.sh(': >/mnt/hups');
  virsh("case $* in *net-list*) printf 'default\\nlan 2\\n\\n';; *pool-list*) printf 'images              \\n\\n';; esac");
});
afterEach(() => { host.close(); });

/** Puts a daemon there that notes every SIGHUP. Returns its process id. */
function daemon(name = 'libvirtd'): string {
  host.sh(`
    printf '#!/bin/sh\\ntrap "echo $0 >>/mnt/hups" HUP\\necho $$ >/run/%s.pid\\nwhile :; do sleep 0.01; done\\n' ${name} >/mnt/${name}
    chmod 755 /mnt/${name}
    rm -f /run/${name}.pid
    /mnt/${name} >/dev/null 2>&1 &
    until [ -s /run/${name}.pid ]; do sleep 0.01; done`);
  return host.sh(`cat /run/${name}.pid`).trim();
}

/** Expects that exactly these daemons got a SIGHUP so far. */
function expectHups(...names: string[]): void {
  host.sh(`for i in $(seq 100); do [ "$(wc -l </mnt/hups)" -ge ${names.length} ] && break; sleep 0.05; done; sleep 0.1`);
  expect(host.sh('sort /mnt/hups')).toBe(names.map((name) => `/mnt/${name}\n`).join(''));
}

/** `readonly` is how it must be called; whatever else is asked of it fails. */
function virsh(script: string): void {
  host.sh(`cat >/mnt/bin/virsh <<'END'
#!/bin/sh
case $* in '--quiet '*'--readonly '*'-list --inactive --autostart --name') ;; *) exit 9 ;; esac
${script}
END
chmod 755 /mnt/bin/virsh`);
}

/** What `guestwire install` says after the lines about files. */
function install(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = host.guestwire('install', ...args);
  return { status, stdout: stdout.replace(/^(.*'\n)*?(?=a reload|reloaded|neither|libvirtd|virtqemud|$)/, ''), stderr };
}

function waits(name: string, pid: string, why: string): string {
  return `guestwire: ${name} (pid ${pid}) does not call the hook yet, because ${why}: run 'guestwire install --yes', or reload it yourself\n`;
}

describe('without a terminal', () => {
  hostTest('nothing is reloaded, and what a reload would start is named', () => {
    const pid = daemon();
    const expected = {
      status: 0, stdout: NETWORKS + POOLS, stderr: waits('libvirtd', pid, 'the command has no terminal to ask on'),
    };
    expect(install()).toEqual(expected);
    expect(host.guestwire('install')).toMatchObject({ status: 0, stderr: expected.stderr });
    expectHups();
  });

  hostTest('--yes reloads, once', () => {
    const pid = daemon();
    expect(install('--yes')).toEqual({ status: 0, stdout: `${NETWORKS}${POOLS}reloaded libvirtd (pid ${pid})\n`, stderr: '' });
    expectHups('libvirtd');
    expect(host.guestwire('install', '-y').stdout).toMatch(new RegExp(`is up to date\\nlibvirtd \\(pid ${pid}\\) knows the hook\\n$`));
    expect(host.guestwire('install').stderr).toBe('');
    expectHups('libvirtd');
  });

  hostTest('--yes reloads after an installation that did not', () => {
    const pid = daemon();
    expect(install('--no-reload'))
      .toEqual({ status: 0, stdout: '', stderr: waits('libvirtd', pid, 'you said --no-reload') });
    expectHups();
    expect(host.guestwire('install', '--yes').stdout).toContain(`reloaded libvirtd (pid ${pid})\n`);
    expectHups('libvirtd');
  });

  hostTest('a daemon that started after the installation, or in place of the one that was told, needs no reload', () => {
    install();
    // The moment of the installation is known to a hundredth of a second.
    host.sh('sleep 0.05');
    const first = daemon();
    expect(host.guestwire('install', '--yes').stdout).toContain(`libvirtd (pid ${first}) knows the hook\n`);
    host.sh(`kill -9 ${first}`);
    expect(host.guestwire('install', '--yes').stdout).toContain('neither libvirtd nor virtqemud is running: it finds the hook when it starts\n');
    const second = daemon();
    expect(host.guestwire('install', '--yes').stdout).toContain(`libvirtd (pid ${second}) knows the hook\n`);
    expectHups();
  });

  hostTest('a hook that was uninstalled in between is news', () => {
    const pid = daemon();
    install('--yes');
    host.guestwire('uninstall');
    expect(install('--yes').stdout).toContain(`reloaded libvirtd (pid ${pid})\n`);
    expectHups('libvirtd', 'libvirtd');
  });
});

describe('the daemon', () => {
  hostTest('is virtqemud where libvirt is modular, which starts no networks', () => {
    const pid = daemon('virtqemud');
    expect(install('--yes')).toEqual({ status: 0, stdout: `reloaded virtqemud (pid ${pid})\n`, stderr: '' });
    expectHups('virtqemud');
  });

  hostTest('may be both', async () => {
    const pids = [daemon(), daemon('virtqemud')] as const;
    expect(install().stderr).toBe(
      waits('libvirtd', pids[0], 'the command has no terminal to ask on')
        + waits('virtqemud', pids[1], 'the command has no terminal to ask on'),
    );
    expect(await host.terminal('yes\n', 'install')).toContain(`Reload libvirtd (pid ${pids[0]}) and virtqemud (pid ${pids[1]}) now? [yes/no] `);
    expectHups('libvirtd', 'virtqemud');
  });

  hostTest('is not whoever has the number of a stale pid file', () => {
    host.sh("sh -c 'echo $$ >/run/libvirtd.pid; exec sleep 60' >/dev/null 2>&1 & echo nonsense >/run/virtqemud.pid; sleep 0.1");
    expect(install('--yes').stdout).toBe('neither libvirtd nor virtqemud is running: it finds the hook when it starts\n');
    expect(host.sh('cat /proc/$(cat /run/libvirtd.pid)/comm')).toBe('sleep\n');
  });
});

describe('what a reload would start', () => {
  hostTest('may be nothing', () => {
    virsh("case $* in *net-list*) echo;; *) echo 'error: this function is not supported by the connection driver: virConnectListAllStoragePools' >&2; exit 1;; esac");
    const pid = daemon();
    expect(install('--yes')).toEqual({ status: 0, stdout: `${NOTHING}reloaded libvirtd (pid ${pid})\n`, stderr: '' });
  });

  for (const [name, script, reason] of [
    ['fails', "echo 'error: failed to connect to the hypervisor' >&2; exit 1", 'virsh: %: failed to connect to the hypervisor'],
    ['is missing', undefined, 'virsh: %: virsh could not be started (ENOENT): install package libvirt-clients'],
  ] as const) {
    hostTest(`is not known when virsh ${name}, which is said before the question`, () => {
      if (script === undefined) host.sh('rm -f /mnt/bin/virsh /usr/bin/virsh /usr/local/bin/virsh');
      else virsh(script);
      const pid = daemon();
      const unknown = ([['network', 'net-list'], ['storage pool', 'pool-list']] as const).map(([word, list]) =>
        `guestwire: a reload starts every inactive ${word} that is set to autostart; libvirt did not list their names: ${reason.replace('%', list)}\n`).join('');
      expect(install()).toEqual({
        status: 0, stdout: '', stderr: unknown + waits('libvirtd', pid, 'the command has no terminal to ask on'),
      });
      expect(install('--yes').stderr).toBe(unknown);
      expectHups('libvirtd');
    });
  }

  hostTest('is asked of the libvirt that LIBVIRT_DEFAULT_URI names', () => {
    virsh('echo "$2"');
    daemon();
    const { stdout } = host.run(
      'node', [`${host.repo}/dist/cli.js`, 'install'], { env: { LIBVIRT_DEFAULT_URI: 'test:///default' } },
    );
    expect(stdout).toContain("a reload starts these inactive networks, because they are set to autostart: '--connect=test:///default'\n");
  });
});

describe('on a terminal', () => {
  for (const answer of ['yes', 'y', 'YES']) {
    hostTest(`${answer} reloads`, async () => {
      const pid = daemon();
      const shown = await host.terminal(`${answer}\n`, 'install');
      expect(shown).toContain(`${NETWORKS}${POOLS}Reload libvirtd (pid ${pid}) now? [yes/no] `);
      expect(shown).toMatch(new RegExp(`\\nreloaded libvirtd \\(pid ${pid}\\)\\n$`));
      expectHups('libvirtd');
    });
  }

  for (const [name, input] of [
    ['no', 'no\n'], ['an empty line', '\n'], ['another word', 'yesterday\n'], ['Ctrl-C', '\u0003'],
    ['the end of the input', '\u0004'],
  ] as const) {
    hostTest(`${name} does not`, async () => {
      const pid = daemon();
      expect((await host.terminal(input, 'install')).slice(-waits('libvirtd', pid, 'you did not say yes').length))
        .toBe(waits('libvirtd', pid, 'you did not say yes'));
      expectHups();
    });
  }

  hostTest('--no-reload and --yes do not ask', async () => {
    const pid = daemon();
    expect(await host.terminal('', 'install', '--no-reload')).not.toContain('[yes/no]');
    expect(await host.terminal('', 'install', '--yes')).toMatch(new RegExp(`${POOLS}reloaded libvirtd \\(pid ${pid}\\)\\n$`));
    expect(await host.terminal('', 'install')).toMatch(new RegExp(`libvirtd \\(pid ${pid}\\) knows the hook\\n$`));
  });
});
