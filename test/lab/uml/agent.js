// The agent beside the lab's libvirtd: started as its service is, and what it, libvirt and the kernel say with the
// time.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { metadataXml } from './guests.js';
import { vlanTables } from './host.js';
import { note, ok, run, SLACK, waitFor } from './programs.js';
import { figures } from './testing.js';

/** @typedef {{at: number, from: 'agent' | 'libvirt' | 'vlan' | 'link', line: string}} Word */

/**
 * @typedef {{ifname: string, ifindex: number, address: string, master?: string,
 *   linkinfo?: {info_slave_data?: {isolated?: boolean}}}} LinkJson
 */

/** @typedef {{ports: Record<string, {master: string, isolated: boolean, vlans: string[]}>, nft: string[]}} Wiring */

/** What was said since the last openAgent(). @type {Word[]} */
let said = [];
/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();

/** @param {Word['from']} from @param {string} file @param {string[]} args */
function follow(from, file, args) {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } });
  children.add(child);
  child.on('close', () => children.delete(child));
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      said.push({ at: performance.now(), from, line });
      note(`${(performance.now() / 1000).toFixed(3)} ${from}: ${line}`);
    });
  }
  return child;
}

/** The capabilities that its unit leaves it. */
const capabilities = (/CapabilityBoundingSet=(.*)/.exec(readFileSync('dist/install/agent-unit.js', 'utf8'))?.[1] ?? '')
  .toLowerCase().split(' ').map((name) => name.replace('cap_', '+')).join(',');

/** Starts the agent; resolves when it watches. */
export async function startAgent() {
  const child = follow(
    'agent', 'setpriv', [`--bounding-set=-all,${capabilities}`, '--no-new-privs', 'node', 'dist/agent.mjs'],
  );
  await waitFor(isWatched, { what: 'the agent to hold its lock' });
  return {
    /** @param {NodeJS.Signals} signal */
    end: async (signal) => {
      const ended = new Promise((resolve) => child.on('close', resolve));
      child.kill(signal);
      await ended;
    },
  };
}

async function isWatched() {
  return (await run('sh', ['-c', '[ -e /run/guestwire.agent ] && ! flock -sn /run/guestwire.agent true'])).code === 0;
}

/** Starts the agent, and all that tells of it, libvirt and the kernel; resolves when it rests. cleanUp() ends them. */
export async function openAgent() {
  said = [];
  // Nothing of VLANs comes through a pipe unless something of links follows it.
  follow('vlan', 'bridge', ['monitor', 'link', 'vlan']);
  follow('libvirt', 'stdbuf', ['-oL', 'virsh', 'event', '--all', '--loop']);
  const agent = await startAgent();
  await quiet();
  return agent;
}

export async function closeAgent() {
  const ended = [...children].map((child) => new Promise((resolve) => child.on('close', resolve)));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(ended);
}

/**
 * What has virsh give a running guest these NICs in its metadata.
 * @param {string} name
 * @param {import('./guests.js').Nic[]} nics
 */
export function metadataCommand(name, nics) {
  return [
    'metadata', name, 'urn:guestwire:1', '--live', '--key', 'gw', '--set',
    metadataXml(nics).replace(" xmlns:gw='urn:guestwire:1'", '').replaceAll('gw:', ''),
  ];
}

/** @param {string} name @param {import('./guests.js').Nic[]} nics */
export async function setMetadata(name, nics) {
  if (metadataXml(nics) !== '') await ok('virsh', ['-q', ...metadataCommand(name, nics)]);
}

/** @param {string} name @param {string} command @param {string} xml */
export async function device(name, command, xml) {
  writeFileSync('/run/device.xml', xml);
  await ok('virsh', ['-q', command, name, '/run/device.xml', '--live']);
}

/** @param {string} kind @returns {(word: Word) => boolean} */
export const event = (kind) => ({ from, line }) => from === 'libvirt' && line.includes(`event '${kind}'`);
/** What the kernel says of a port. @param {string} port @returns {(word: Word) => boolean} */
export const ofPort = (port) =>
  ({ from, line }) => (from === 'vlan' || from === 'link') && line.split(/[\s:@]+/).includes(port);

/** What was said since a moment. @param {number} since @param {Word['from'][]} from */
export function saidSince(since, ...from) {
  return said.filter((word) => word.at >= since && from.includes(word.from));
}

/** Resolves when the agent has rested for a second; rejects when it never does. */
export async function quiet() {
  for (let tries = 0; tries < 30; tries += 1) {
    const before = lastRun();
    await sleep(1000);
    if (lastRun() === before) return;
  }
  throw new Error('the agent does not come to rest');
}

/** When somebody had guestwire's lock last: whoever gets it writes its name into the file. */
export function lastRun() {
  return statSync('/run/guestwire.lock', { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Milliseconds of silence after which nothing more is expected of what began. */
const SILENCE = 600;

/**
 * Milliseconds, or so many times what it takes to read the wiring where programs are slow: a reconciliation runs seven.
 */
const SOON = { milliseconds: 1000, times: 8 };

/**
 * Does something and waits until the wiring is as expected and stays so. Notes and returns the milliseconds from the
 * event, or from the act, to the last change. With an event it must be soon. Nothing is asked meanwhile: this kernel
 * has one CPU.
 *
 * @param {string} what
 * @param {() => Promise<unknown>} act
 * @param {{expected: Wiring, event?: (word: Word) => boolean, untouched?: string[], timeout?: number}} options
 *   `untouched`: ports of which the kernel has nothing to say
 */
export async function exactAfter(what, act, { expected, event, untouched = [], timeout = 30_000 }) {
  let since = performance.now();
  await act();
  if (event !== undefined) since = await waitFor(
    () => said.find((word) => word.at >= since && event(word))?.at ?? 0, { what: `the event of '${what}'` },
  );
  let pace = 0;
  const timed = async () => {
    const began = performance.now();
    const found = await wiring();
    pace = Math.max(pace, performance.now() - began);
    return found;
  };
  /** @type {Wiring | undefined} */
  let now;
  while (!isDeepStrictEqual(now, expected) && performance.now() - since < SLACK * timeout) {
    do await sleep(100); while (performance.now() - Math.max(since, said.at(-1)?.at ?? 0) < SILENCE);
    now = await timed();
  }
  assert.deepEqual(now, expected, what);
  await quiet();
  assert.deepEqual(await timed(), expected, `${what}, and later`);
  const took = Math.round((saidSince(since, 'agent', 'vlan').filter(isOfChange).at(-1)?.at ?? since) - since);
  figures.push(`${what} ${took} ms${event === undefined ? '' : ` (pace ${Math.round(pace)})`}`);
  if (event !== undefined) assert.ok(took < SLACK * Math.max(SOON.milliseconds, SOON.times * pace), `${what}: ${took} ms, and the wiring was read in ${Math.round(pace)} ms`);
  for (const port of untouched) assert.deepEqual(
    saidSince(since, 'vlan').filter(({ line }) => line.split(/\s+/).includes(port)), [], `${what}: ${port}`,
  );
}

/** The monitor tells of a port's state, too, which its own timers change seconds later. @param {Word} word */
function isOfChange({ from, line }) {
  return from === 'agent' || /^(Deleted )?[^\s:]+\s+\d/.test(line);
}

/**
 * Every port of a bridge, and guestwire's table: taps by the MAC of their NIC, since names and numbers are others after
 * each start.
 *
 * @returns {Promise<Wiring>}
 */
export async function wiring() {
  /** @type {unknown} */
  const json = JSON.parse(await ok('ip', ['-j', '-d', 'link', 'show']));
  const links = /** @type {LinkJson[]} */ (json);
  const tables = await vlanTables();
  const role = (/** @type {{ifname: string, address: string}} */ { ifname, address }) =>
    (ifname.startsWith('vnet') ? address.replace(/^fe/, '52') : ifname);
  /** @type {Wiring['ports']} */
  const ports = {};
  for (const link of links.filter(({ master }) => master !== undefined)) {
    ports[role(link)] = {
      master: String(link.master),
      isolated: link.linkinfo?.info_slave_data?.isolated ?? false,
      vlans: tables[link.ifname] ?? [],
    };
  }
  const listed = await run('nft', ['-s', 'list', 'table', 'bridge', 'guestwire']);
  let nft = listed.stdout;
  for (const link of links) nft = nft.replaceAll(`"${link.ifname}"`, role(link)).replace(
    new RegExp(`\\b(nic|arp|ip|ip6)_${link.ifindex}\\b`, 'g'), `$1_${role(link)}`,
  );
  // The mark is a hash of text that holds the number.
  nft = nft.replace(/(comment "guestwire) [0-9a-f]{8}"/g, '$1"')
    .replace(/elements = \{([^}]*)\}/g, (_, /** @type {string} */ list) =>
      `elements = ${list.split(',').map((one) => one.trim()).sort().join()}`);
  return { ports, nft: nft.split(/\n(?=\t\w)/).map((block) => block.replace(/\s+/g, ' ').trim()).sort() };
}
