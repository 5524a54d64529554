// Captures what the tools of this tree print, for fixtures/tools: `run-lab --save DIR test/lab/uml/capture.js`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { addBridge, addPort, ok, sh } from './lab.js';
import { test } from './testing.js';

const COMMANDS = {
  'bridge-vlan': ['bridge', '-j', 'vlan', 'show'],
  'bridge-vlan-compressed': ['bridge', '-j', '-compressvlans', 'vlan', 'show'],
  'ip-link': ['ip', '-j', '-d', 'link', 'show'],
};

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
  const version = /iproute2-(\d+\.\d+)/.exec(await ok('ip', ['-V']))?.[1] ?? 'unknown';
  const dir = `/out/files/iproute2-${version}`;
  mkdirSync(dir, { recursive: true });
  for (const [name, [tool = '', ...args]] of Object.entries(COMMANDS)) writeFileSync(`${dir}/${name}.json`, await ok(tool, args));
});
