// Records fixtures/libvirt/frames.json: what libvirt's own client and daemon say to each other. Run it as root, by
// hand, with another libvirt than the one named in the file: node test/libvirt/record-frames.js
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { domainXml } from '../lab/domain.js';
import { startHost } from '../lab/host.js';

const UUID = '11111111-2222-3333-4444-555555555555';
const NIC = "<interface type='ethernet'><mac address='52:54:00:00:00:11'/><model type='virtio'/><rom enabled='no'/></interface>";
const NET = "<network><name>lan</name><uuid>66666666-7777-8888-9999-aaaaaaaaaaaa</uuid><bridge name='virbr9'/></network>";

/** @type {Map<string, string>} */
const frames = new Map();

const host = await startHost({ name: 'record' });
const front = `${host.dir}/front`;
const server = createServer((client) => {
  const daemon = connect(`${host.dir}/libvirt-sock`);
  for (const [from, to, who] of /** @type {const} */ ([[client, daemon, 'client'], [daemon, client, 'daemon']])) {
    let held = Buffer.alloc(0);
    from.on('data', (chunk) => {
      to.write(chunk);
      held = Buffer.concat([held, chunk]);
      while (held.length >= 4 && held.length >= held.readUInt32BE(0)) {
        const frame = held.subarray(0, held.readUInt32BE(0));
        held = held.subarray(frame.length);
        const [program, procedure, type, status] = [4, 12, 16, 24].map((at) => frame.readUInt32BE(at));
        const key = `${who} ${program?.toString(16)} ${procedure} ${type} ${status}`;
        if (frame.length < 2000 && !frames.has(key)) frames.set(key, frame.toString('hex'));
      }
    });
    from.on('close', () => to.destroy());
    from.on('error', () => undefined);
  }
});
server.listen(front);
try {
  const uri = `qemu+unix:///system?socket=${front}`;
  await host.ok('sh', ['-c', 'cat >/run/nic.xml'], { input: NIC });
  await host.ok('sh', ['-c', 'cat >/run/net.xml'], { input: NET });
  const events = host.start('virsh', ['-k', '1', '-c', uri, 'event', '--all', '--loop']);
  const networkEvents = host.start('virsh', ['-c', uri, 'net-event', '--event', 'lifecycle', '--loop']);
  await sleep(3000);
  await host.define(domainXml({ name: 'web1', uuid: UUID, nics: [] }));
  for (const command of [
    'start web1', 'domuuid web1', `domname ${UUID}`, 'list --all', 'net-list --all',
    'net-define /run/net.xml', 'net-uuid lan', 'net-dumpxml lan', 'net-list --all',
    'attach-device web1 /run/nic.xml --live', 'update-device web1 /run/nic.xml --live', 'detach-device web1 /run/nic.xml --live --config', 'domuuid nobody',
    'domstate web1', 'hostname', 'version --daemon', 'metadata web1 urn:x --live --key x --set <x/>', 'metadata web1 urn:x', 'dumpxml --inactive web1', 'destroy web1',
    'uri', 'net-undefine lan',
  ]) await host.run('virsh', ['-q', '-c', uri, ...command.split(' ')]);
  await sleep(500);
  events.kill('SIGINT');
  networkEvents.kill('SIGINT');
  await Promise.all([events.result, networkEvents.result]);
  const version = (await host.ok('virsh', ['--version'])).trim();
  writeFileSync('fixtures/libvirt/frames.json', `${JSON.stringify({ libvirt: version, frames: Object.fromEntries([...frames].sort()) }, undefined, 1)}\n`);
} finally {
  server.close();
  await host.stop();
}
process.exit();
