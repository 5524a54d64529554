/**
 * The real hook (hooks/qemu and dist/hook.cjs) run by hand on a throw-away host, as libvirt runs it: in network and
 * mount namespaces of its own with an empty /run, the config at /run/config.toml, and a PATH that holds what the hook
 * needs and nothing else, each tool of which a test can replace by one of fixtures/tools.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync, constants, copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Netns, openNetns } from './netns.js';

/** All that the launcher and the hook call by name; node is called as /usr/bin/node. */
const TOOLS = [
  'awk', 'bridge', 'dirname', 'flock', 'grep', 'head', 'ip', 'logger', 'nft', 'perl', 'readlink', 'sed', 'sleep',
  'timeout', 'tr',
];

/** What stands in for a tool, by its name in fixtures/tools; null: the tool is missing. */
export type StandIns = Readonly<Record<string, string | null>>;

export interface HookArgs {
  readonly operation: string;
  readonly xml: string | Uint8Array;
  /** 'web1' unless given. */
  readonly guest?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A directory from `tools`; `usual` unless given. */
  readonly path?: string;
  /** In front of the launcher: another shell, another user. */
  readonly through?: readonly string[];
  /** In front of all that, outside the namespaces: a control group. */
  readonly within?: readonly string[];
}

export interface Outcome {
  readonly status: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const DONE: Outcome = { status: 0, stdout: '', stderr: '' };

export interface HookHost extends Netns {
  hook(args: HookArgs): Promise<Outcome>;
  /** The PATH in which only `logger` is replaced, by `record`. */
  readonly usual: string;
  /** Returns a PATH in which tools are replaced: all calls, or the call `at`, counted over all replaced tools. */
  tools(standIns: StandIns, at?: number): string;
  /** Returns where a file of the namespaces is from out here. */
  outside(path: string): string;
  /** Writes a file of the namespaces, with this mode whatever the umask. */
  write(path: string, text: string, mode?: number): void;
  /** Returns what `record` in `path` was fed since the last call. */
  recorded(tool: string, path?: string): string[];
}

/**
 * Returns a host with a bridge br0 and its port vnet0, taps vnet1 and vnet2 on no bridge, and an uplink eno1 with a
 * default route. Forwarding is on.
 */
export async function openHookHost(): Promise<HookHost> {
  if (!existsSync('dist/hook.cjs')) throw new Error("dist/hook.cjs is missing: run 'npm run build' before this test");
  const netns = await openNetns();
  const outside = (path: string): string => `/proc/${netns.target}/root${path}`;
  netns.sh(HOST);
  mkdirSync(outside('/run/checkout/hooks'), { recursive: true });
  mkdirSync(outside('/run/checkout/dist'));
  const built = readdirSync('dist').filter((name) => /^hook.*\.(cjs|cache)$/.test(name));
  for (const file of ['hooks/qemu', ...built.map((name) => `dist/${name}`)])
    copyFileSync(file, outside(`/run/checkout/${file}`));
  chmodSync(outside('/run/checkout/hooks/qemu'), 0o755);
  let count = 0;
  const tools: HookHost['tools'] = (standIns, at) => {
    count += 1;
    const path = `/run/tools/${count}`;
    fillTools(outside(path), { logger: 'record', ...standIns }, at);
    return path;
  };
  const usual = tools({});
  const dump = (): string => netns.dump(DUMP) + filesIn(outside('/run'));
  await settled(dump);
  return {
    ...netns,
    outside,
    usual,
    tools,
    hook: (args) => runHook(netns.target, { path: usual, ...args }),
    write: (path, text, mode = 0o644) => {
      mkdirSync(outside(dirname(path)), { recursive: true, mode: 0o700 });
      writeFileSync(outside(path), text);
      chmodSync(outside(path), mode);
    },
    recorded: (tool, path = usual) => recordedIn(outside(`${path}/${tool}.log`)),
    dump,
  };
}

/** No duplicate address detection: it would change addresses while a test looks. */
const HOST = `
  mount -t tmpfs -o mode=755 tmpfs /run
  cd /proc/sys/net
  echo 0 >ipv6/conf/default/accept_dad
  echo 1 >ipv4/ip_forward
  echo 1 >ipv6/conf/all/forwarding
  ip link add eno1 type veth peer name far
  ip link set far up
  ip link set eno1 up
  ip address add 203.0.113.2/24 dev eno1
  ip address add 2001:db8:ffff::2/64 dev eno1
  ip route add default via 203.0.113.1
  ip link add br0 type bridge
  for tap in vnet0 vnet1 vnet2; do ip tuntap add $tap mode tap; ip link set $tap up; done
  ip link set vnet0 master br0
  ip link set br0 up`;

/** What the kernel holds besides what {@link Netns.dump} prints of itself. */
const DUMP = 'bridge -details link; ip neighbour show proxy';

/** Returns /run without the stand-ins and without the lock file, which stays. */
function filesIn(run: string): string {
  const files = readdirSync(run, { recursive: true, encoding: 'utf8' })
    .filter((name) => !/^tools(\/|$)/.test(name) && name !== 'guestwire.lock').sort();
  return files.map((name) => {
    const { mode, uid } = lstatSync(`${run}/${name}`);
    if ((mode & constants.S_IFMT) === constants.S_IFDIR) return '';
    return `${mode.toString(8)} ${uid} /run/${name}\n${name.endsWith('.json') ? readFileSync(`${run}/${name}`, 'utf8') : ''}`;
  }).join('');
}

/** The kernel tells links of their carrier in its own time. */
async function settled(dump: () => string): Promise<void> {
  for (let [before, now] = ['', dump()]; now !== before; [before, now] = [now, dump()]) await sleep(200);
}

function fillTools(dir: string, standIns: StandIns, at: number | undefined): void {
  mkdirSync(dir, { recursive: true });
  for (const tool of TOOLS) {
    const standIn = standIns[tool];
    if (standIn === null) continue;
    if (standIn === undefined) symlinkSync(realTool(tool), `${dir}/${tool}`);
    else if (standIn === 'record') symlinkSync(resolve('fixtures/tools/record'), `${dir}/${tool}`);
    else {
      symlinkSync(resolve('fixtures/tools/on-call'), `${dir}/${tool}`);
      symlinkSync(resolve('fixtures/tools', standIn), `${dir}/do-${tool}`);
    }
  }
  if (at !== undefined) writeFileSync(`${dir}/at`, `${at}\n`);
}

function realTool(tool: string): string {
  const found = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((dir) => `${dir}/${tool}`).find(existsSync);
  if (found === undefined) throw new Error(`this machine lacks '${tool}'`);
  return found;
}

function runHook(
  target: string, { operation, xml, guest = 'web1', env = {}, path = '', through = [], within = [] }: HookArgs,
): Promise<Outcome> {
  const clean: Record<string, string> = {
    PATH: path, LC_ALL: 'C', HOME: '/root', GUESTWIRE_CONFIG: '/run/config.toml',
    GUESTWIRE_ADDRESSES_DIR: '/run/tools/addresses', ...env,
  };
  const words = Object.entries(clean).map(([name, value]) => `${name}=${value}`);
  return new Promise((done, fail) => {
    const [program, ...args] = [
      ...within, 'nsenter', '--net', '--mount', '--target', target, '--wd=/', '/usr/bin/env', '-i', ...words,
      ...through,
      '/run/checkout/hooks/qemu', guest, operation,
      operation === 'stopped' || operation === 'release' ? 'end' : 'begin', '-',
    ];
    const child = spawn(program, args, { timeout: 60_000, killSignal: 'SIGKILL' });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; });
    child.once('error', fail);
    // Waits for the end of both outputs, as libvirt does.
    child.once('close', (code, signal) => { done({ status: code ?? signal, stdout, stderr }); });
    // A hook may end before it has read everything.
    child.stdin.on('error', () => undefined);
    child.stdin.end(xml);
  });
}

function recordedIn(file: string): string[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line !== '');
  rmSync(file);
  return lines;
}

/** Returns the names of the files of the state directory. */
export function entriesOf(host: HookHost, dir = '/run/guestwire'): string[] {
  return existsSync(host.outside(dir)) ? readdirSync(host.outside(dir)) : [];
}

export const UUID = '11111111-2222-3333-4444-555555555555';

export interface DomainParts {
  readonly name?: string;
  readonly uuid?: string;
  /** What stands in the <gw:guestwire> of the metadata. */
  readonly metadata?: string;
  readonly nics?: readonly string[];
}

/** Returns a domain XML as libvirt prints it, in short. */
export function domainXml({ name = 'web1', uuid = UUID, metadata, nics = [PORT, TAP] }: DomainParts): string {
  const escaped = name.replace(/&/g, '&amp;').replace(/</g, '&lt;');
  const element = metadata === undefined ? '' : `  <metadata>\n    <gw:guestwire xmlns:gw="urn:guestwire:1">${metadata}</gw:guestwire>\n  </metadata>\n`;
  return `<domain type='kvm' id='1'>\n  <name>${escaped}</name>\n  <uuid>${uuid}</uuid>\n${element}  <devices>\n${nics.join('')}  </devices>\n</domain>\n`;
}

export const PORT_MAC = '52:54:00:aa:bb:01';
export const TAP_MAC = '52:54:00:aa:bb:02';

/** A NIC on a bridge, with what else stands in its <interface>. */
export function bridgeNic({ mac = PORT_MAC, bridge = 'br0', dev = 'vnet0', more = '' }): string {
  return `    <interface type='bridge'>\n      <mac address='${mac}'/>\n      <source bridge='${bridge}'/>\n      <target dev='${dev}'/>\n      ${more}<model type='virtio'/>\n    </interface>\n`;
}

/** A NIC on no bridge: a tap for a routed link. */
export function ethernetNic({ mac = TAP_MAC, dev = 'vnet1' }): string {
  return `    <interface type='ethernet'>\n      <mac address='${mac}'/>\n      <target dev='${dev}'/>\n      <model type='virtio'/>\n    </interface>\n`;
}

const PORT = bridgeNic({});
const TAP = ethernetNic({});

/** A guest that guestwire has nothing to do with, with an <interface> of every kind that matters here. */
export const PLAIN = domainXml({ name: 'plain', uuid: '22222222-2222-3333-4444-555555555555' });

/** What the metadata say for one NIC: VLAN tags, or addresses of a routed link. */
export function vlanXml(inner: string, mac = PORT_MAC): string {
  return `<gw:interface mac="${mac}"><gw:vlan>${inner}</gw:vlan></gw:interface>`;
}

export function routedXml(addresses: readonly string[], mac = TAP_MAC): string {
  return `<gw:interface mac="${mac}"><gw:routed>${addresses.map((address) => `<gw:ip address="${address}"/>`).join('')}</gw:routed></gw:interface>`;
}
