// What the lab's tests are written with: programs, libvirt, guests that talk, frames on the wire. Everything runs
// inside the lab's kernel (see uml-init), where the test is alone: it may make any link it likes, and cleanUp() takes
// it away.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { closeAgent } from './agent.js';
import { journal, setConfig, setHook } from './host.js';
import { ok, readText, run, virsh } from './programs.js';
import { closeWires } from './wire.js';

export { setTimeout as sleep } from 'node:timers/promises';
export * from './agent.js';
export * from './guests.js';
export * from './host.js';
export * from './programs.js';
export { openWire } from './wire.js';

/**
 * @typedef {import('./guests.js').Vlan} Vlan
 * @typedef {import('./guests.js').Guest} Guest
 * @typedef {import('./wire.js').Counts} Counts
 */

const links = new Set(readdirSync('/sys/class/net'));

/** What to look at after a failure. */
export async function evidence() {
  const parts = [];
  for (const [file, ...args] of [
    ['bridge', 'vlan', 'show'], ['ip', '-o', 'link', 'show'], ['nft', 'list', 'ruleset'], ['virsh', 'list', '--all'],
  ]) {
    const { stdout, stderr } = await run(String(file), args, { timeout: 20_000 });
    parts.push(`--- ${[file, ...args].join(' ')}\n${stdout}${stderr}`);
  }
  for (const name of journal()) parts.push(`--- /run/guestwire/${name}\n${readText(`/run/guestwire/${name}`)}`);
  // Where systemd runs, the log is its own.
  const log = existsSync('/run/syslog')
    ? lastLines('/run/syslog', 30)
    : (await run('journalctl', ['-b', '-n', '60', '--no-pager', '-o', 'short-monotonic'])).stdout;
  parts.push(`--- the system's log, its end\n${log}`, `--- libvirtd's log, its end\n${lastLines('/run/libvirtd.log', 15)}`);
  for (const name of readdirSync('/run').filter((file) => file.endsWith('.console'))) {
    parts.push(`--- console of ${basename(name, '.console')}, its end\n${lastLines(`/run/${name}`, 15)}`);
  }
  return parts.join('\n');
}

/** @param {string} path @param {number} count */
function lastLines(path, count) {
  return readText(path).trimEnd().split('\n').slice(-count).join('\n');
}

/** Takes away all that a test can have made. Rejects if guestwire left something of a guest that is gone. */
export async function cleanUp() {
  closeWires();
  await closeAgent();
  const guests = (await ok('virsh', ['-q', 'list', '--all', '--name'])).split('\n').filter(Boolean);
  for (const name of guests) {
    if ((await ok('virsh', ['domstate', name])).trim() !== 'shut off') await virsh('destroy', name);
    await virsh('undefine', name, '--managed-save');
  }
  const networks = (await ok('virsh', ['-q', 'net-list', '--all', '--name'])).split('\n').filter(Boolean);
  for (const name of networks) {
    await virsh('net-destroy', name);
    await virsh('net-undefine', name);
  }
  const left = journal();
  const rules = (await run('nft', ['list', 'ruleset'])).stdout;
  rmSync('/run/guestwire', { recursive: true, force: true });
  await run('nft', ['flush', 'ruleset']);
  await run('sh', ['-c', 'ip -o netns list | while read -r name _; do ip netns delete "$name"; done']);
  for (const link of readdirSync('/sys/class/net').filter((name) => !links.has(name)))
    await run('ip', ['link', 'delete', link]);
  for (const name of readdirSync('/run').filter((file) => /\.(console|serial)$/.test(file)))
    rmSync(`/run/${name}`, { force: true });
  setConfig(undefined);
  setHook(true);
  if (left.length > 0) throw new Error(`guestwire still holds guests that are gone: ${left.join(', ')}`);
  if (/vnet\d/.test(rules)) throw new Error(`nft still has rules of taps that are gone:\n${rules}`);
}
