/**
 * A host to install on: the machine's own files, and this checkout, under overlays in throw-away namespaces, an empty
 * /run, no libvirt but what the test puts there. The command that runs is the real one, dist/cli.js. What is written is
 * written to memory, and everything ends with the process that holds it.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface InstallHost {
  /** Where this checkout is inside; a test may change it. */
  readonly repo: string;
  /** The process inside, for nsenter and /proc. */
  readonly target: string;
  /** Runs `guestwire` without a terminal. */
  guestwire(...args: string[]): Result;
  /** Runs `guestwire` on a terminal where somebody types `keys` when asked; the answer is what the terminal shows. */
  terminal(keys: string, ...args: string[]): Promise<string>;
  run(file: string, args: readonly string[], options?: RunOptions): Result;
  /** Runs a shell script and returns its output; throws unless it ends with 0. */
  sh(script: string): string;
  /** Every file of the host that an installation could touch: name, kind, mode, owner, content. */
  listing(): string;
  close(): void;
}

const TOP = resolve('.');

/** What the machine may have of guestwire and of libvirt is not this host's. */
const INIT = `
set -eu
exec 3<&0 </dev/null
read -r pid _ </proc/self/stat
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
for top in etc usr var; do
  mkdir -p /mnt/$top/upper /mnt/$top/work
  mount -t overlay -o lowerdir=/$top,upperdir=/mnt/$top/upper,workdir=/mnt/$top/work overlay /$top
done
mkdir -p /mnt/repo /mnt/upper /mnt/work /mnt/bin
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/repo
# The files of the code cache are companions that may be there or not; a test that is about them makes its own.
rm -f /mnt/repo/dist/hook-cached.cjs /mnt/repo/dist/hook.cache
mount -t tmpfs -o mode=755 tmpfs /run
rm -rf /etc/libvirt /etc/guestwire /usr/lib/guestwire /var/lib/guestwire
mkdir -p /etc/libvirt/hooks
# Network daemons are there only for the tests that put them there.
rm -rf /etc/iproute2/rt_protos.d/guestwire.conf /etc/NetworkManager /etc/systemd/networkd.conf.d /usr/lib/systemd/systemd-networkd
mkdir -p /etc/iproute2/rt_protos.d
rm -rf /usr/share/bash-completion
[ "$2" -ef /usr/bin/node ] || ln -sf "$2" /usr/bin/node
ip link set lo up
echo "$pid"
cat <&3 >/dev/null &
wait $!
`;

/** The rest as one checksum. The lock's content is who had it last; /run/mount is mount's own. */
const LISTING = `
places='/etc/libvirt /etc/guestwire /etc/iproute2 /etc/systemd /etc/NetworkManager /usr/lib/guestwire /var/lib/guestwire /run'
find $places -path /run/mount -prune -o -printf '%p %y %m %u:%g %l\\n' 2>/dev/null | sort
find $places -path /run/mount -prune -o -type f ! -name '*.lock' -exec sha256sum {} + 2>/dev/null | sort -k 2
find /etc /usr/lib -maxdepth 1 -printf '%p %y %m %u:%g %l\\n' | sort | sha256sum
`;

/** Returns a host, once it is ready. */
export async function openInstallHost(): Promise<InstallHost> {
  const holder = spawn(
    'unshare', ['-m', '-n', '-p', '-f', '--kill-child', 'sh', '-c', INIT, 'sh', TOP, process.execPath],
  );
  const target = await pidOf(holder);
  const inside = ['-m', '-n', '-p', '--wd=/', '-t', target];
  const path = `/mnt/bin:${process.env['PATH'] ?? ''}`;
  const run: InstallHost['run'] = (file, args, { input = '', env = {} } = {}) => {
    const { status, stdout, stderr } = spawnSync(
      'nsenter', [...inside, file, ...args], { encoding: 'utf8', input, env: { PATH: path, ...env } },
    );
    return { status, stdout, stderr };
  };
  const sh: InstallHost['sh'] = (script) => {
    const { status, stdout, stderr } = run('sh', ['-ec', script]);
    if (status !== 0) throw new Error(`status ${String(status)} of: ${script}\n${stdout}${stderr}`);
    return stdout;
  };
  return {
    repo: '/mnt/repo',
    target,
    guestwire: (...args) => run('node', ['/mnt/repo/dist/cli.js', ...args]),
    terminal: (keys, ...args) => onTerminal(
      spawn(
        'nsenter',
        [...inside, 'script', '-qec', ['node', '/mnt/repo/dist/cli.js', ...args].join(' '), '/dev/null'],
        { env: { PATH: path, TERM: 'dumb' } },
      ),
      keys,
    ),
    run,
    sh,
    listing: () => sh(LISTING),
    close: () => { holder.stdin.end(); },
  };
}

/**
 * Builds unless dist/ is younger than all it is made from. One at a time: another test file may come to the same mind.
 */
export function assertBuilt(): void {
  const sources = ['lib', 'hooks'].flatMap((dir) => readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts')).map((name) => join(dir, name)));
  const [newest = ''] = [...sources, 'build.js', 'package.json'].sort((a, b) =>
    statSync(b).mtimeMs - statSync(a).mtimeMs);
  const script = 'test dist/hook.cjs -nt "$1" || npm run --silent build';
  const { status, stderr } = spawnSync(
    'flock', ['package.json', 'sh', '-c', script, 'sh', newest], { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`npm run build failed: ${stderr}`);
}

/** What is typed before somebody reads it may be lost when the terminal changes its mode. */
async function onTerminal(terminal: ChildProcessWithoutNullStreams, keys: string): Promise<string> {
  let shown = '';
  terminal.stdout.on('data', (data: Buffer) => {
    shown += data.toString();
    if (shown.endsWith('[yes/no] ')) terminal.stdin.write(keys);
  });
  await once(terminal, 'close');
  // eslint-disable-next-line no-control-regex -- the terminal's own sequences
  return shown.replace(/\u001b\[[\d;]*[A-Za-z]/g, '').replace(/\r+\n/g, '\n');
}

async function pidOf(holder: ChildProcessWithoutNullStreams): Promise<string> {
  let stderr = '';
  holder.stderr.on('data', (data: Buffer) => { stderr += data.toString(); });
  return new Promise((done, failed) => {
    holder.stdout.once('data', (data: Buffer) => { done(data.toString().trim()); });
    holder.once('close', () => { failed(new Error(`no host to install on: ${stderr.trim()}`)); });
  });
}
