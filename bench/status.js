// What `guestwire status` and `check` cost on a host with many guests: `node bench/status.js`, as root, after `npm run
// build`; part of `npm run bench`. It measures and prints; it never fails on a slow day. Everything happens in
// namespaces of its own, with journal, taps, routes and filters as of running guests. No guest runs, and no libvirt
// answers.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import {
  acquireLock, defaultConfig, deriveAttachments, exec, hostFrom, parseDomain, settingsFrom, wireAll,
} from '../dist/index.js';

const GUESTS = Number(process.env['GUESTS'] ?? 200);
const ROUNDS = Number(process.env['ROUNDS'] ?? 7);
const top = join(dirname(fileURLToPath(import.meta.url)), '..');

if (process.geteuid?.() !== 0) {
  console.log('bench: this needs root, for a network namespace of its own');
  process.exit(0);
}
if (process.argv[2] !== 'inside') {
  const script = 'mount -t sysfs sysfs /sys && ip link set lo up && exec "$0" "$1" inside';
  const { status } = spawnSync(
    'unshare',
    ['--net', '--mount', 'sh', '-c', script, process.execPath, fileURLToPath(import.meta.url)],
    { stdio: 'inherit' },
  );
  process.exit(status ?? 1);
}

const dir = mkdtempSync(join(tmpdir(), 'guestwire-bench-'));
const env = {
  PATH: process.env['PATH'], GUESTWIRE_STATE_DIR: join(dir, 'state'),
  GUESTWIRE_CONFIG: join(dir, 'none'), GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'),
  LIBVIRT_DEFAULT_URI: `qemu+unix:///system?socket=${join(dir, 'none')}`,
};

/** A guest with a routed link of both families and a prefix behind it. @param {number} n */
function guestNumber(n) {
  const hex = n.toString(16).padStart(4, '0');
  const [mac, uuid] = [`52:54:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`, `4dea22b3-1d52-4d0e-9a0c-6d2f9d1f${hex}`];
  const xml = `<domain type='kvm' id='${n}'><name>guest${n}</name><uuid>${uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${mac}'><gw:routed>` +
    `<gw:ip address='192.0.${2 + (n >> 8)}.${n & 255}'/><gw:ip address='2001:db8::${hex}'/><gw:route address='2001:db8:${hex}::' prefix='64'/></gw:routed></gw:interface></gw:guestwire></metadata>` +
    `<devices><interface type='ethernet'><mac address='${mac}'/><target dev='vnet${n}'/></interface></devices></domain>`;
  return { guest: { name: `guest${n}`, uuid }, attachments: deriveAttachments(parseDomain(xml), defaultConfig()) };
}

async function wireGuests() {
  const numbers = Array.from({ length: GUESTS }, (_, index) => index + 1);
  execFileSync('ip', ['-batch', '-'], { input: numbers.map((n) => `tuntap add vnet${n} mode tap\nlink set vnet${n} up\n`).join('') });
  execFileSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  const lock = await acquireLock(exec, { path: join(dir, 'lock'), wait: 1, holder: 'bench' });
  const host = hostFrom({ settings: settingsFrom(env), exec, lock, warn: console.warn });
  const wanted = numbers.map(guestNumber);
  await wireAll(host, wanted, { fresh: false, incoming: false });
  lock.release();
}

/** @param {readonly string[]} args @param {number} expected */
function run(args, expected) {
  const began = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  const ms = performance.now() - began;
  if (status !== expected) throw new Error(`${args.join(' ')}: status ${String(status)}: ${stdout.slice(0, 500)}${stderr}`);
  return { ms, stdout };
}

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

try {
  await wireGuests();
  const cli = join(top, 'dist/cli.js');
  const shown = run([cli, 'status'], 0).stdout.match(/ wired /g)?.length ?? 0;
  if (shown !== GUESTS) throw new Error(`status shows ${shown} guests as wired, not ${GUESTS}`);
  /** @type {Record<string, number[]>} */
  const times = { node: [], status: [], check: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    times['node']?.push(run(['-e', '0'], 0).ms);
    times['status']?.push(run([cli, 'status'], 0).ms);
    times['check']?.push(run([cli, 'check'], 0).ms);
  }
  const [node = NaN, status = NaN, check = NaN] = ['node', 'status', 'check'].map((name) => median(times[name] ?? []));
  console.log(`${`status of ${GUESTS} guests`.padEnd(58)} ${`${(status / 1000).toFixed(2)} s`.padStart(12)}   ${'<= 2 s'.padEnd(10)} ${status <= 2000 ? 'kept' : 'MISSED'}`);
  console.log(`  in times of node -e 0: status ${(status / node).toFixed(1)}, check ${(check / node).toFixed(1)} (${(check / 1000).toFixed(2)} s); node ${node.toFixed(0)} ms, medians of ${ROUNDS}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
