// Captures what the tools of this tree print, for fixtures/tools: `run-lab --save DIR test/lab/uml/capture.js`.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { addBridge, addPort, ok, sh, sleep } from './lab.js';
import { test } from './testing.js';

const COMMANDS = {
  'bridge-vlan': ['bridge', '-j', 'vlan', 'show'],
  'bridge-vlan-compressed': ['bridge', '-j', '-compressvlans', 'vlan', 'show'],
  'ip-link': ['ip', '-j', '-d', 'link', 'show'],
};

async function makeDir() {
  const version = /iproute2-(\d+\.\d+)/.exec(await ok('ip', ['-V']))?.[1] ?? 'unknown';
  const dir = `/out/files/iproute2-${version}`;
  mkdirSync(dir, { recursive: true });
  return dir;
}

test('the tools are captured', async () => {
  await addBridge({ pvid: 1 });
  await addBridge({ name: 'flat0', filtering: false });
  await addPort('up0', { vids: ['1 pvid untagged', '10', '20', '100-103'] });
  await addPort('access', { vids: ['42 pvid untagged'] });
  await addPort('trunk', { vids: ['10', '20', '100-103', '4094'] });
  await addPort('native', { vids: ['10', '20 pvid untagged', '30-32'] });
  await addPort('nativetagged', { vids: ['10', '20 pvid'] });
  await addPort('none');
  await addPort('isolated', { vids: ['42 pvid untagged'] });
  await addPort('default0', { vids: ['1 pvid untagged'] });
  await addPort('flatport', { bridge: 'flat0' });
  await sh(`bridge link set dev isolated isolated on
    bridge vlan add dev br0 vid 50-52 self
    ip link add link up0x name up0x.100 type vlan id 100
    ip link add link up0x name outer type vlan protocol 802.1ad id 100
    ip tuntap add tap0 mode tap; ip link set tap0 master br0 txqueuelen 500 up`);
  const dir = await makeDir();
  for (const [name, [tool = '', ...args]] of Object.entries(COMMANDS))
    writeFileSync(`${dir}/${name}.json`, await ok(tool, args));
});

const MONITORS = {
  'monitor-link': ['ip', '-o', '-d', 'monitor', 'link'], 'monitor-vlan': ['bridge', 'monitor', 'link', 'vlan'],
};

/** With pauses, so that it can be told what was said of what. */
const EVENTS = [
  'ip tuntap add tap0 mode tap', 'ip link set tap0 master br0', 'ip link set tap0 up',
  'bridge vlan del dev tap0 vid 1', 'bridge vlan add dev tap0 vid 10 pvid untagged', 'bridge vlan add dev tap0 vid 20-29', 'bridge vlan del dev tap0 vid 20-25',
  'bridge vlan add dev up0 vid 30', 'bridge vlan del dev up0 vid 30', 'bridge vlan add dev br0 vid 40 self',
  'bridge link set dev tap0 isolated on', 'ip link set br0 type bridge vlan_default_pvid 5', 'ip link set br0 type bridge vlan_filtering 0',
  'ip link set tap0 nomaster', 'ip link set tap0 master br0', 'ip link set br0 down',
  'ip link delete br0', 'ip link delete tap0',
];

test('the monitors are captured', async () => {
  await addBridge({ pvid: 1 });
  await addPort('up0');
  const dir = await makeDir();
  const monitors = Object.entries(MONITORS).map(([name, [tool = '', ...args]]) => {
    const file = createWriteStream(`${dir}/${name}.txt`);
    const child = spawn(tool, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.pipe(file, { end: false });
    return { child, file };
  });
  for (const event of EVENTS) {
    await sleep(500);
    for (const { file } of monitors) file.write(`# ${event}\n`);
    await sh(event);
  }
  await sleep(500);
  for (const { child } of monitors) child.kill();
});
