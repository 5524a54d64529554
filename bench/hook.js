// What a guest start costs, as ratios in one run, because machines are noisy: `npm run bench`, as root. It measures and
// prints; it never fails on a slow day. Everything happens in network and mount namespaces of its own.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const top = join(dirname(fileURLToPath(import.meta.url)), '..');
const ROUNDS = Number(process.env['ROUNDS'] ?? 15);

if (process.geteuid?.() !== 0) {
  console.log('bench: this needs root, for a network namespace of its own');
  process.exit(0);
}
if (!existsSync(join(top, 'dist/hook.cjs'))) {
  console.log("bench: run 'npm run build' first");
  process.exit(0);
}
if (process.argv[2] !== 'inside') {
  const script = `mount -t sysfs sysfs /sys && exec "$0" "$1" inside`;
  const { status } = spawnSync(
    'unshare',
    ['--net', '--mount', 'sh', '-c', script, process.execPath, fileURLToPath(import.meta.url)],
    { stdio: 'inherit' },
  );
  process.exit(status ?? 1);
}

const dir = mkdtempSync(join(tmpdir(), 'guestwire-bench-'));
const env = { PATH: process.env['PATH'], GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'none') };
const hook = join(top, 'hooks/qemu');
const taps = [1, 2, 3, 4];
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cff';
const xml = domain('bench', UUID);
const plain = "<domain type='kvm'><name>plain</name><devices><interface type='network'><source network='default'/></interface></devices></domain>";

/** @param {string} script */
const sh = (script) => execFileSync('sh', ['-ec', script], { encoding: 'utf8' });
/** @param {string} file @param {string[]} args @param {string} input */
const run = (file, args, input = '', extra = {}) => {
  const began = performance.now();
  const result = spawnSync(file, args, { input, env: { ...env, ...extra } });
  if (result.status !== 0) throw new Error(`${file} ${args.join(' ')}: ${String(result.stderr)}`);
  return performance.now() - began;
};

/** @param {string} name @param {string} uuid */
function domain(name, uuid) {
  const nics = taps.map((tap) => ({
    mac: `52:54:00:00:00:0${tap}`, ip: `2001:db8:0:1::${tap}`, ip4: `192.0.0.${tap}`, tap: `bench${tap}`,
  }));
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>${nics.map(({ mac, ip, ip4 }) =>
    `<gw:interface mac='${mac}'><gw:routed><gw:ip address='${ip}'/><gw:ip address='${ip4}'/></gw:routed></gw:interface>`).join('')}</gw:guestwire></metadata><devices>${
    nics.map(({ mac, tap }) => `<interface type='ethernet'><mac address='${mac}'/><target dev='${tap}'/></interface>`).join('')}</devices></domain>`;
}

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/** A start of the guest with four routed NICs, from a host on which it is not wired. */
function start() {
  run(hook, ['bench', 'release', 'end', '-'], xml);
  return run(hook, ['bench', 'start', 'begin', '-'], xml);
}

/** Medians of node alone and of a start, taken in turns. */
function compare() {
  const node = [];
  const starts = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    node.push(run(process.execPath, ['-e', '0']));
    starts.push(start());
  }
  return { node: median(node), start: median(starts) };
}

/** How many programs one start runs, counted by wrappers that stand in their place. */
function countTools() {
  const count = join(dir, 'count');
  for (const tool of ['ip', 'bridge', 'nft', 'flock', 'logger']) {
    const real = sh(`command -v ${tool} || true`).trim();
    const wrapper = join(dir, tool);
    writeFileSync(wrapper, `#!/bin/sh\necho ${tool} >> ${count}\nexec ${real} "$@"\n`);
    chmodSync(wrapper, 0o755);
  }
  run(hook, ['bench', 'release', 'end', '-'], xml);
  run(hook, ['bench', 'start', 'begin', '-'], xml, { PATH: `${dir}:${String(env.PATH)}` });
  return readFileSync(count, 'utf8').trim().split('\n');
}

/** Peak resident memory in MiB of node with `args`, as the kernel counted it. */
function memoryOf(/** @type {string[]} */ args, input = '') {
  const script = join(dir, 'peak.cjs');
  const file = join(dir, 'peak');
  writeFileSync(script, `process.on('exit', () => require('fs').writeFileSync(${JSON.stringify(file)}, require('fs').readFileSync('/proc/self/status')))`);
  run(process.execPath, ['--require', script, ...args], input);
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(file, 'utf8'))?.[1]) / 1024;
}

/** Fills the journal with copies of the guest's entry that hold other addresses, on other links. */
function addGuests(/** @type {number} */ count) {
  const state = join(dir, 'state');
  const entry = readFileSync(join(state, `${UUID}.json`), 'utf8');
  for (let n = 1; n <= count; n += 1) {
    const uuid = UUID.replace(/..$/, String(n).padStart(2, '0'));
    const text = entry.replaceAll(UUID, uuid).replaceAll('2001:db8:0:', `2001:db8:${n}:`)
      .replaceAll('192.0.0.', `198.51.${n}.`)
      .replace(/"bench(\d)"/g, `"other${n}-$1"`).replace(/"ifindex":(\s*)(\d+)/g, (_, blank, ifindex) => `"ifindex":${blank}${1000 * n + Number(ifindex)}`);
    writeFileSync(join(state, `${uuid}.json`), text, { mode: 0o600 });
  }
}

/** @param {string} what @param {string} figure @param {string} budget @param {boolean} kept */
const row = (what, figure, budget, kept) => {
  console.log(`${what.padEnd(58)} ${figure.padStart(12)}   ${budget.padEnd(10)} ${kept ? 'kept' : 'MISSED'}`);
};

try {
  sh(`ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; echo 1 > /proc/sys/net/ipv4/ip_forward
    for n in ${taps.join(' ')}; do ip tuntap add bench$n mode tap; ip link set bench$n up; done`);
  const alone = compare();
  row('start with 4 routed NICs, in times of node -e 0', (alone.start / alone.node).toFixed(2), '<= 3', alone.start <= 3 * alone.node);
  console.log(`  node -e 0 ${alone.node.toFixed(1)} ms, start ${alone.start.toFixed(1)} ms, medians of ${ROUNDS}`);

  const idle = median(Array.from({ length: ROUNDS }, () => run(hook, ['plain', 'start', 'begin', '-'], plain)));
  const spawning = median(Array.from({ length: ROUNDS }, () => run('true', [])));
  row('launcher without work', `${(idle - spawning).toFixed(1)} ms`, '<= 5 ms', idle - spawning <= 5);

  const tools = countTools();
  row(`programs run by one start (${tools.join(', ')})`, String(tools.length), '<= 8', tools.length <= 8);

  const peak = memoryOf([join(top, 'dist/hook-cached.cjs'), 'bench', 'start', 'begin', '-'], xml)
    / memoryOf(['-e', '0']);
  row('peak memory, in times of node -e 0', peak.toFixed(2), '<= 2', peak <= 2);

  addGuests(50);
  const known = compare();
  const longer = known.start - alone.start * (known.node / alone.node);
  row('start beside 50 guests of the journal, more than without', `${longer.toFixed(1)} ms`, '<= 15 ms', longer <= 15);

  sh("seq 1 500 | sed 's/.*/link add name many& type veth peer name peer&/' | ip -batch -");
  const crowded = compare();
  const more = crowded.start - known.start * (crowded.node / known.node);
  row('and with 1,000 other links, more than without them', `${more.toFixed(1)} ms`, '<= 15 ms', more <= 15);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
