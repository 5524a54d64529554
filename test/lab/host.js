// A private libvirtd host: libvirtd, its guests and their links in namespaces of their own, on the machine's kernel.
// host-init is what runs inside. A host holds nothing that outlives the process that started it: its life is a pipe,
// which the kernel closes even after kill -9. Needs root and what test/lab/setup installs.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/**
 * @typedef {object} HostOptions
 * @property {string} [name] host name, 'host' unless given
 * @property {Record<string, string>} [hooks] files to copy below /etc/libvirt/hooks, e.g. { qemu: 'dist/hook.cjs' }
 * @property {{from: string, to: string}[]} [binds] what is made below /etc, /opt, /usr, /var or /run stays private
 * @property {Record<string, string | number>} [sysctls] e.g. { 'net.ipv4.ip_forward': 1 }
 *
 * @typedef {object} RunOptions
 * @property {string} [input] standard input, empty unless given
 * @property {number} [timeout] milliseconds, 60000 unless given
 * @property {Record<string, string>} [env] added to the host's environment
 *
 * @typedef {{code: number | null, stdout: string, stderr: string}} Result
 *
 * @typedef {Awaited<ReturnType<typeof startHost>>} Host
 */

// What a service has, not what the developer's shell has: hooks must do with it.
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C' };
// jest's modules have no import.meta.dirname.
const here = dirname(fileURLToPath(import.meta.url));

/** Tests say how long to wait on a quiet machine; on a busy one a wait may take so many times as long. */
const SLACK = 5;

/** Where images and libvirt's capabilities are kept between runs, the same place as guest-image's. */
export const cacheDir =
  process.env['GUESTWIRE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'guestwire');

/** The directory of the guest's kernel and initrd, which are built first when the cache lacks them. */
export async function guestImage() {
  const env = { ...process.env, GUESTWIRE_CACHE: cacheDir };
  const { stdout } = await promisify(execFile)(join(here, 'guest-image'), { env });
  return stdout.trim();
}

/**
 * Starts a host; libvirtd answers when this resolves. Rejects with what host-init said when the place cannot be made.
 *
 * @param {HostOptions} [options]
 */
export async function startHost(options = {}) {
  const cache = join(cacheDir, 'libvirt');
  await mkdir(cache, { recursive: true });
  // Not TMPDIR: a socket's path has 107 bytes.
  const dir = await mkdtemp('/tmp/guestwire-host-');
  const unshare = spawn(
    'unshare',
    [
      '-m', '-n', '-u', '-i', '-p', '-f', '--kill-child', '--', 'sh', join(here, 'host-init'),
      ...initWords(dir, cache, options),
    ],
    { env: environment, cwd: '/' },
  );
  const ended = once(unshare, 'close');
  const stop = async () => {
    unshare.ref();
    unshare.stdin.end();
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    const pid = await whenReady(unshare);
    return { dir, pid, ...tools(dir, pid), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @param {string} dir @param {string} cache @param {HostOptions} options */
function initWords(dir, cache, { name = 'host', hooks = {}, binds = [], sysctls = {} }) {
  return [
    ...[dir, cache, name, process.execPath],
    ...Object.entries(hooks).flatMap(([hook, file]) => ['hook', hook, resolve(file)]),
    ...binds.flatMap(({ from, to }) => ['bind', resolve(from), to]),
    ...Object.entries(sysctls).flatMap(([key, value]) => ['sysctl', key, String(value)]),
  ];
}

/** @param {import('node:child_process').ChildProcessWithoutNullStreams} unshare @returns {Promise<number>} */
async function whenReady(unshare) {
  let stderr = '';
  unshare.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stderr += text));
  let pid = 0;
  for await (const line of createInterface({ input: unshare.stdout })) {
    if (line.startsWith('pid ')) pid = Number(line.slice(4));
    if (line === 'ready') {
      unshare.stdout.resume();
      // A test that forgot stop() shall end all the same, and its host with it.
      unshare.unref();
      for (const pipe of [unshare.stdin, unshare.stdout, unshare.stderr])
        /** @type {import('node:net').Socket} */ (pipe).unref();
      return pid;
    }
  }
  throw new Error(`the host did not start: ${stderr.trim()}`);
}

/** @param {string} dir @param {number} pid */
function tools(dir, pid) {
  /**
   * Starts a program in the host. Returns at once: output() is what it has said so far, kill() ends it, result resolves
   * when it has ended. `options.timeout` does not apply.
   *
   * @param {string} file @param {string[]} [args] @param {RunOptions} [options]
   */
  const start = (file, args = [], options = {}) =>
    startProcess(['-t', String(pid), '-m', '-u', '-i', '-n', '-p', '-r', '-w', '--', file, ...args], options);

  /** @param {string} file @param {string[]} [args] @param {RunOptions} [options] @returns {Promise<Result>} */
  const run = async (file, args = [], options = {}) => {
    const { timeout = 60_000 } = options;
    const child = start(file, args, options);
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
    }, timeout);
    const result = await child.result;
    clearTimeout(timer);
    if (result.code !== null) return result;
    throw new Error(`'${[file, ...args].join(' ')}' was killed, after ${timeout} ms at most: ${result.stderr.trim()}`);
  };

  /**
   * Like run, but only success returns, and returns standard output.
   * @type {(file: string, args?: string[], options?: RunOptions) => Promise<string>}
   */
  const ok = async (file, args = [], options = {}) => {
    const { code, stdout, stderr } = await run(file, args, options);
    if (code !== 0) throw new Error(`'${[file, ...args].join(' ')}' exited ${String(code)}: ${stderr.trim() || stdout.trim()}`);
    return stdout;
  };
  const stopLibvirtd = () =>
    ok('sh', ['-c', 'pid=$(cat /run/libvirtd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done']);
  const startLibvirtd = () => ok('libvirtd', ['-d', '-p', '/run/libvirtd.pid']);

  return {
    start,
    run,
    ok,
    /** Where a file of the host is from outside. @param {string} path */
    path: (path) => `/proc/${pid}/root${path}`,
    /** libvirt's URI from outside, for migration. */
    uri: `qemu+unix:///system?socket=${dir}/libvirt-sock`,
    /** @param {string[]} args */
    virsh: (...args) => run('virsh', ['-q', ...args]),
    /** @param {string} xml */
    // The input of a child of Node is a socket, which /dev/stdin cannot open; cat's output is a pipe.
    define: (xml) => ok('sh', ['-c', 'cat | virsh -q define /dev/stdin'], { input: xml }),
    /** libvirtd's log; what it says of D-Bus, dmidecode, udev, dnsmasq and /dev/kvm is harmless. */
    log: () => readText(join(dir, 'libvirtd.log')),
    /** What came to /dev/log: 'Nov 23 08:30:28 host user.notice tag: message'. Lines may come a little late. */
    syslog: async () => (await readText(join(dir, 'syslog'))).split('\n').filter(Boolean),
    /** What a guest of domainXml has written to its console. @param {string} domain */
    console: (domain) => readText(join(dir, `console-${domain}.log`)),
    stopLibvirtd,
    startLibvirtd,
    restartLibvirtd: async () => {
      await stopLibvirtd();
      await startLibvirtd();
    },
  };
}

/** @param {string[]} nsenterArgs @param {RunOptions} options */
function startProcess(nsenterArgs, { input = '', env = {} }) {
  const child = spawn('nsenter', nsenterArgs, { env: { ...environment, ...env } });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stderr += text));
  // A program may end without having read its input.
  child.stdin.on('error', () => undefined).end(input);
  const result = once(child, 'close').then((/** @type {unknown[]} */ [code]) => {
    return { code: typeof code === 'number' ? code : null, stdout, stderr };
  });
  /** @param {NodeJS.Signals} [signal] */
  const kill = (signal = 'SIGTERM') => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    // Not nsenter itself: its child would become one of the machine's init, and until that has reaped it, which in a
    // container may be never, the host cannot end.
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    for (const pid of children.split(' ').filter(Boolean)) {
      try {
        process.kill(Number(pid), signal);
      } catch (error) {
        // It ended by itself in between.
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error;
      }
    }
  };
  return { output: () => stdout, kill, result };
}

/** @param {string} file */
async function readText(file) {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return '';
    throw error;
  }
}

/**
 * Resolves to the first truthy value that fn returns; rejects after the timeout with the last error, if there was one.
 *
 * @template T
 * @param {() => T | Promise<T>} fn
 * @param {{timeout?: number, what: string}} options milliseconds, 30000 unless given
 * @returns {Promise<Exclude<T, false | null | undefined>>}
 */
export async function waitFor(fn, { timeout = 30_000, what }) {
  const end = performance.now() + SLACK * timeout;
  let cause;
  while (performance.now() < end) {
    try {
      const value = await fn();
      if (value) return /** @type {Exclude<T, false | null | undefined>} */ (value);
    } catch (error) {
      cause = error;
    }
    await sleep(50);
  }
  throw new Error(`waited ${SLACK * timeout} ms in vain for ${what}`, { cause });
}

/**
 * Joins a new network namespace to the host: a veth pair, addresses of both families, and a default route each way, so
 * that packets the host forwards find their way. The host forwards only if its sysctls say so.
 *
 * @param {Host} host
 * @param {{name?: string, uplink?: string, hostAddresses?: string[], addresses?: string[]}} [options] hostAddresses []
 *   leaves the uplink bare, for a bridge to take
 */
export async function addOutside(host, options = {}) {
  const { name = 'outside', uplink = 'up0' } = options;
  const { hostAddresses = ['2001:db8:ffff::2/64', '198.51.100.2/24'] } = options;
  const { addresses = ['2001:db8:ffff::1/64', '198.51.100.1/24'] } = options;
  /** @param {string} ip with its options @param {string} dev @param {{own: string[], other: string[]}} ends */
  const configure = (ip, dev, { own, other }) => [
    `${ip} link set ${dev} up`,
    ...own.map((address) => `${ip} address add ${address} dev ${dev}${address.includes(':') ? ' nodad' : ''}`),
    ...other.map((address) => `${ip} route add default via ${withoutLength(address)} dev ${dev}`),
  ];
  const script = [
    `ip netns add ${name}`,
    `ip link add ${uplink} type veth peer name eth0 netns ${name}`,
    `ip -n ${name} link set lo up`,
    ...configure('ip', uplink, { own: hostAddresses, other: hostAddresses.length > 0 ? addresses : [] }),
    ...configure(`ip -n ${name}`, 'eth0', { own: addresses, other: hostAddresses }),
  ];
  await host.ok('sh', ['-ec', script.join('\n')]);
  /** @param {string} file @param {string[]} [args] @param {RunOptions} [runOptions] */
  const run = (file, args = [], runOptions = {}) => host.run('ip', ['netns', 'exec', name, file, ...args], runOptions);
  return { name, uplink, addresses: addresses.map(withoutLength), run };
}

/**
 * Joins two hosts by a veth pair of the same name at both ends, e.g. to migrate over it.
 *
 * @param {[Host, Host]} hosts
 * @param {{link?: string, addresses?: [string, string]}} [options] the addresses of the first and of the second host
 */
export async function joinHosts([a, b], { link = 'join0', addresses = ['203.0.113.1/24', '203.0.113.2/24'] } = {}) {
  const pair = [
    'link', 'add', link, 'netns', String(a.pid), 'type', 'veth', 'peer', 'name', link, 'netns', String(b.pid),
  ];
  await promisify(execFile)('ip', pair, { env: environment });
  const script = 'ip link set "$0" up && ip address add "$1" dev "$0"';
  await Promise.all([a.ok('sh', ['-c', script, link, addresses[0]]), b.ok('sh', ['-c', script, link, addresses[1]])]);
}

/** @param {string} address */
function withoutLength(address) {
  return address.replace(/\/.*/, '');
}
