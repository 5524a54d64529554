// What the agent and `guestwire status` cost on a host with many guests, with a libvirtd of its own and QEMU guests
// that are paused before their first instruction: `node bench/agent.js`, as root, some minutes. It measures and prints.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { agentUnitText } from '../dist/install/agent-unit.js';
import { connect } from '../dist/libvirt/index.js';
import { domainXml } from '../test/lab/domain.js';
import { startHost, waitFor } from '../test/lab/host.js';

const top = join(dirname(fileURLToPath(import.meta.url)), '..');
/** @param {string} name @param {number} usual */
const numberOf = (name, usual) => Number(process.env[name] ?? usual);
const [DEFINED, RUNNING, EVENTS, IDLE] = [
  numberOf('DEFINED', 1000), numberOf('RUNNING', 200), numberOf('EVENTS', 10_000), numberOf('IDLE', 60),
];
const cli = join(top, 'dist/cli.js');
const TICKS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** @param {number} number @param {number} [last] */
const metadataOf = (number, last = 0) => `<guestwire xmlns='urn:guestwire:1'><interface mac='${macOf(number)}'><routed><ip address='2001:db8::${number.toString(16)}:${last.toString(16)}'/></routed></interface></guestwire>`;
/** @param {number} number */
const macOf = (number) => `52:54:00:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}`;
/** @param {number} number */
const uuidOf = (number) => `11111111-2222-3333-4444-${String(number).padStart(12, '0')}`;
/** @param {number} number */
const xmlOf = (number) => domainXml({
  name: `web${number}`, uuid: uuidOf(number), memory: 64, nics: [`<interface type='ethernet'><mac address='${macOf(number)}'/></interface>`],
  metadata: metadataOf(number).replace('<guestwire xmlns=', '<gw:guestwire xmlns:gw=').replaceAll(/<(\/?)(guestwire|interface|routed|ip)\b/g, '<$1gw:$2'),
});

/** CPU of a process and all that it started, in seconds. @param {number} pid @returns {number} */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ').map(Number);
  const children =
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  return fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) / TICKS
    + children.reduce((sum, child) => sum + cpuOf(child), 0);
}
/** Resident memory in MB. @param {number} pid */
const memoryOf = (pid) =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1000);

const host = await startHost({
  name: 'bench', sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 },
});
try {
  await host.ok('node', [cli, 'install', '--no-reload']);
  await host.restartLibvirtd();
  const libvirt = await connect(host.uri);
  for (let number = 1; number <= DEFINED; number += 1) await host.define(xmlOf(number));
  console.log(`${DEFINED} guests are defined`);
  let began = performance.now();
  for (let number = 1; number <= RUNNING; number += 1)
    await host.ok('virsh', ['-q', 'start', '--paused', `web${number}`]);
  console.log(`${RUNNING} run, started in ${Math.round((performance.now() - began) / RUNNING)} ms each`);

  const flags = (/^ExecStart=\S+ (.*) \S+$/m.exec(agentUnitText({ stateDir: '/run/guestwire' }))?.[1] ?? '').split(' ');
  const agent = host.start('node', [...flags, join(top, 'dist/agent.mjs')]);
  await waitFor(async () => (await host.run('sh', ['-c', '[ -e /run/guestwire.agent ] && ! flock -sn /run/guestwire.agent true'])).code === 0, { what: 'its lock' });
  const pid = Number(execFileSync('pgrep', ['-nf', `^node .*${join(top, 'dist/agent.mjs')}`], { encoding: 'utf8' }));
  await sleep(15_000);
  console.log(`agent after its first check: ${cpuOf(pid).toFixed(1)} s of CPU, ${memoryOf(pid)} MB`);

  const before = cpuOf(pid);
  await sleep(IDLE * 1000);
  console.log(`idle: ${(100 * (cpuOf(pid) - before) / IDLE).toFixed(2)} % of a core over ${IDLE} s`);

  const bare = await timed(['-e', '0']);
  for (const args of [['status'], ['status', '--json'], ['check']]) {
    const took = await timed([cli, ...args]);
    console.log(`guestwire ${args.join(' ')}: ${Math.round(took)} ms, ${(took / bare).toFixed(1)} x node -e 0`);
  }

  const guest = await libvirt.lookupDomain({ uuid: uuidOf(1) });
  began = performance.now();
  const start = cpuOf(pid);
  for (let event = 1; event <= EVENTS; event += 1) {
    await libvirt.setMetadata(guest, { uri: 'urn:guestwire:1', key: 'gw', affect: 'live', xml: metadataOf(1, event) });
    if (event % (EVENTS / 5) === 0) console.log(`after ${event} events: ${memoryOf(pid)} MB, ${(cpuOf(pid) - start).toFixed(1)} s of CPU, ${Math.round((performance.now() - began) / 1000)} s`);
  }
  await waitFor(
    async () =>
      (await host.ok('ip', ['-6', 'route', 'show', 'proto', '117'])).includes(`2001:db8::1:${EVENTS.toString(16)} `),
    { what: 'the last route' },
  );
  await sleep(10_000);
  console.log(`ten seconds later: ${memoryOf(pid)} MB`);
  agent.kill();
  await agent.result;
  await libvirt.close();
} finally {
  await host.stop();
}

/** The fastest of three, in milliseconds. @param {string[]} args */
async function timed(args) {
  const times = [];
  for (let round = 0; round < 3; round += 1) {
    const began = performance.now();
    const { code, stdout, stderr } = await host.run('node', args);
    if (code !== 0) throw new Error(`${args.join(' ')}: ${stdout}${stderr}`);
    times.push(performance.now() - began);
  }
  return Math.min(...times);
}
