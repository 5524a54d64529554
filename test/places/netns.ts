/**
 * A throw-away network namespace, with a mount namespace so that sysfs shows its links; gone with the process that
 * holds it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

export interface Netns {
  /** The process inside, for nsenter and /proc. */
  readonly target: string;
  /** Runs a shell script inside; throws with its output unless it ends with 0. Returns its standard output. */
  sh(script: string, env?: Record<string, string>): string;
  /** Runs a program inside, whatever its status. */
  run(
    file: string, args: readonly string[], options?: { input?: string; env?: Record<string, string> },
  ): { status: number | null; stdout: string; stderr: string };
  /**
   * What tests compare before and after: links, addresses and routes, without counters and ages, and what the script
   * `more` prints.
   */
  dump(more?: string): string;
  close(): void;
}

export async function openNetns(): Promise<Netns> {
  const holder: ChildProcess = spawn(
    'unshare', ['--net', '--mount', '--kill-child', 'sh', '-c', 'mount -t sysfs sysfs /sys && ip link set lo up && echo ready && exec sleep infinity'], { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  await new Promise<void>((resolve, reject) => {
    holder.stdout?.once('data', () => { resolve(); });
    holder.once('exit', (code) => { reject(new Error(`no namespace: unshare ended with ${String(code)}`)); });
  });
  const target = String(childOf(holder.pid));
  const run: Netns['run'] = (file, args, options = {}) => {
    const result = spawnSync('nsenter', ['--net', '--mount', '--target', target, '--wd=.', file, ...args], {
      encoding: 'utf8', input: options.input ?? '',
      env: { PATH: process.env['PATH'], ...options.env }, maxBuffer: 64 * 1024 * 1024,
    });
    return { status: result.status, stdout: result.stdout, stderr: result.stderr };
  };
  const sh: Netns['sh'] = (script, env = {}) => {
    const { status, stdout, stderr } = run('sh', ['-ec', script], { env });
    if (status !== 0) throw new Error(`status ${String(status)} of: ${script}\n${stdout}${stderr}`);
    return stdout;
  };
  return {
    target,
    sh,
    run,
    dump: (more = '') => sh(`${DUMP}\n${more}`).split('\n').flatMap(lasting).join('\n'),
    close: () => { process.kill(Number(target), 'SIGKILL'); },
  };
}

/** One run of ip answers all that it knows: tests dump a host hundreds of times. */
const DUMP = `
  printf '%s\\n' link address 'route show table all' | ip -oneline -batch -
  grep . /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv[46]/conf/*/forwarding /proc/sys/net/ipv6/conf/*/disable_ipv6`;

/** Drops what the kernel does in its own time: duplicate address detection, multicast routes, timers. */
function lasting(line: string): string[] {
  if (line.startsWith('multicast ff00')) return [];
  if (/^\d+: \S+: </.test(line)) return [line.replace(/ \\ .*/, '')];
  if (/^\d+: /.test(line)) return [line.replace(' tentative', '').replace(/\\.*/, '')];
  return [line.replace(/ expires \d*sec/, '')];
}

/** --kill-child makes unshare fork: its child is the one inside. */
function childOf(pid: number | undefined): number {
  const { stdout } = spawnSync('pgrep', ['--parent', String(pid)], { encoding: 'utf8' });
  return Number(stdout.trim().split('\n')[0]);
}
