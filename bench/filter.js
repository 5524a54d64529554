// What the filters cost as guests become many: `node bench/filter.js`, as root, after `npm run build`; part of `npm run
// bench`. Ratios in one run, for machines are noisy. Everything happens in namespaces of its own.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { nicFilter } from '../dist/filter/nic-filter.js';
import { tableLines } from '../dist/filter/nft-tables.js';
import { nicLines, withoutNicLines } from '../dist/state/nft.js';
import { parseAddress } from '../dist/values/address.js';

const MANY = Number(process.env['NICS'] ?? 1000);
const ROUNDS = Number(process.env['ROUNDS'] ?? 15);

if (process.argv[2] !== 'inside') {
  const script = 'mount -t sysfs sysfs /sys && ip link set lo up && exec "$0" "$1" inside';
  const { status } = spawnSync(
    'unshare',
    ['--net', '--mount', 'sh', '-c', script, process.execPath, fileURLToPath(import.meta.url)],
    { stdio: 'inherit' },
  );
  process.exit(status ?? 1);
}

/** @param {string} script */
const sh = (script) => execFileSync('sh', ['-ec', script], { encoding: 'utf8' });
/** @param {readonly string[]} lines */
function load(lines) {
  const began = performance.now();
  execFileSync('nft', ['-f', '-'], { input: lines.map((line) => `${line}\n`).join('') });
  return performance.now() - began;
}
/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

const FAMILIES = /** @type {const} */ (['netdev', 'inet']);
/** @param {string} link @param {number} ifindex */
const wired = (link, ifindex) => /** @type {const} */ ({
  kind: 'routed-link', nic: 0, mac: '52:54:00:00:00:01', link, ifindex,
  addresses: ['192.0.2.1', '2001:db8::1'].map(parseAddress), routes: [],
  gateways: ['169.254.0.1', 'fe80::1'].map(parseAddress), table: 'main', protocol: 117,
  policy: {
    profile: 'isolated', allows: [], guest: link, groups: ['all'],
    offers: { dhcp: true, dns: [parseAddress('2001:db8::53')] },
  },
});
/** @param {string} link @param {number} ifindex @param {typeof nicLines} render */
const linesOf = (link, ifindex, render) => FAMILIES.flatMap((family) => {
  const filter = nicFilter(wired(link, ifindex), family);
  return filter === undefined ? [] : render(family, filter, { ifindex });
});
/** @param {string} link */
const indexOf = (link) => Number(readFileSync(`/sys/class/net/${link}/ifindex`, 'utf8'));

/** Kernel memory in KiB, after what can be freed is. */
function kernelMemory() {
  sh('sync; sleep 1');
  return ['SUnreclaim', 'VmallocUsed', 'Percpu'].reduce(
    (sum, key) => sum + Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]),
    0,
  );
}

/** Adds and removes the last tap; returns the median milliseconds of each. */
function oneMore() {
  const [link, ifindex] = ['more', indexOf('more')];
  const added = [];
  const removed = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    added.push(load(linesOf(link, ifindex, nicLines)));
    removed.push(load(linesOf(link, ifindex, withoutNicLines)));
  }
  return { added: median(added), removed: median(removed) };
}

const FLOOD = `
import socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9)); end = time.monotonic() + 1.5; n = 0
while time.monotonic() < end:
    for _ in range(64): s.send(b'x' * 64)
    n += 64
print(n / 1.5)`;

/** Packets a second that a guest gets through the host: on veth pairs the sender does all the work itself. */
const rate = () => median(Array.from({ length: 3 }, () => Number(execFileSync(
  'nsenter', ['--net', `--target=${guest}`, 'python3', '-c', FLOOD, '2001:db8:ff::2'], { encoding: 'utf8' },
))));

/** A namespace at the other end of a link of this one. */
function namespaceAt(/** @type {string} */ link, /** @type {string} */ script) {
  const pid = sh('unshare --net sleep 600 >/dev/null 2>&1 & echo $!').trim();
  sh(`sleep 0.2; ip link add ${link} type veth peer name eth0 address 52:54:00:00:00:01 netns ${pid}; ip link set ${link} up; nsenter --net --target=${pid} sh -ec 'ip link set eth0 up; ${script}'`);
  return pid;
}

/** @param {string} what @param {string} figure */
const row = (what, figure) => { console.log(`${what.padEnd(58)} ${figure.padStart(12)}`); };

sh('echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; ip tuntap add more mode tap');
const guest = namespaceAt('guest', 'ip addr add 2001:db8::1/128 dev eth0 nodad; ip -6 route add default via fe80::1 dev eth0');
const world = namespaceAt('world', 'ip addr add 2001:db8:ff::2/64 dev eth0 nodad; ip -6 route add default via 2001:db8:ff::1; nft "add table inet sink; add chain inet sink in { type filter hook input priority 0; }; add rule inet sink in udp dport 9 drop"');
try {
  sh('ip addr add fe80::1/64 dev guest nodad; ip -6 route add 2001:db8::1 dev guest; ip addr add 2001:db8:ff::1/64 dev world nodad; sleep 2');
  const bare = rate();
  load([...FAMILIES.flatMap((family) => tableLines(family)), ...linesOf('guest', indexOf('guest'), nicLines)]);
  const [one, alone] = [rate(), oneMore()];
  sh(`seq ${MANY - 1} | sed 's/.*/tuntap add n& mode tap/' | ip -batch -`);
  const before = kernelMemory();
  for (let at = 1; at < MANY; at += 25)
    load(Array.from({ length: Math.min(25, MANY - at) }, (_, n) => `n${at + n}`).flatMap((link) =>
      linesOf(link, indexOf(link), nicLines)));
  const memory = (kernelMemory() - before) / (MANY - 1);
  const [many, crowded] = [rate(), oneMore()];
  row(`filter of one NIC more beside ${MANY}, in times of beside 1`, (crowded.added / alone.added).toFixed(2));
  console.log(`  beside 1 ${alone.added.toFixed(1)} ms, removed in ${alone.removed.toFixed(1)} ms; beside ${MANY} ${crowded.added.toFixed(1)} ms, removed in ${crowded.removed.toFixed(1)} ms`);
  row('kernel memory of one NIC\'s filter', `${memory.toFixed(0)} KiB`);
  row(`packets of a guest with ${MANY} NICs, in times of with 1`, (many / one).toFixed(2));
  row('packets of a guest with 1 NIC, in times of no filter', (one / bare).toFixed(2));
} finally {
  sh(`kill ${guest} ${world}`);
}
