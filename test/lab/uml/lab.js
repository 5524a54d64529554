// What the lab's tests are written with: programs, libvirt, guests that talk, frames on the wire. Everything runs inside
// the lab's kernel (see uml-init), where the test is alone: it may make any link it likes, and cleanUp() takes it away.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

/**
 * @typedef {{code: number | null, stdout: string, stderr: string}} Result
 * @typedef {{input?: string, timeout?: number}} RunOptions timeout in milliseconds, 60000 unless given
 *
 * @typedef {{id: string | number, nativeMode?: 'tagged' | 'untagged'}} Tag
 * @typedef {{trunk?: 'yes' | 'no', tags: Tag[]}} Vlan
 *
 * @typedef {object} Nic
 * @property {string} [mac] made up unless given
 * @property {string} [bridge] 'br0' unless `network` is given
 * @property {string} [network]
 * @property {string} [portgroup]
 * @property {string} [target]
 * @property {Vlan} [vlan]
 * @property {boolean} [isolated]
 * @property {'native' | 'metadata'} [via] who is told of vlan and isolated: libvirt's own elements, or guestwire's. What this libvirt
 *   can, unless given: native from 11 on
 *
 * @typedef {object} DomainOptions
 * @property {string} name
 * @property {string} [uuid]
 * @property {Nic[]} nics
 * @property {string} [boots] the gw. words of arm-init for a guest that boots; without it the guest's CPU sleeps for good
 * @property {string} [kernel] another kernel
 */

const top = process.cwd();

/** What this test has run, for the report of its failure. @type {string[]} */
export let transcript = [];
export function forgetTranscript() {
  transcript = [];
}

/** @param {string} line */
export function note(line) {
  transcript.push(line);
}

/** Runs a program to its end and remembers it in the transcript. @param {string} file @param {string[]} [args] @param {RunOptions} [options] @returns {Promise<Result>} */
export async function run(file, args = [], { input = '', timeout = 60_000 } = {}) {
  const began = performance.now();
  const child = spawn(file, args, { env: { ...process.env, LC_ALL: 'C' } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stderr += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  clearTimeout(timer);
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  note(`$ ${[file, ...args].join(' ')}   [${seconds} s, exit ${String(code)}]\n${indent(input === '' ? '' : `<<< ${input}`)}${indent(stdout)}${indent(stderr)}`);
  return { code, stdout, stderr };
}

/** @param {string} text */
function indent(text) {
  const shown = text.length > 6000 ? `${text.slice(0, 6000)}… (${text.length} characters)` : text;
  return shown === '' ? '' : `${shown.replace(/\n$/, '').replace(/^/gm, '    ')}\n`;
}

/** Like run, but returns standard output, and rejects unless the exit status is 0. @param {string} file @param {string[]} [args] @param {RunOptions} [options] */
export async function ok(file, args = [], options = {}) {
  const { code, stdout, stderr } = await run(file, args, options);
  if (code !== 0) throw new Error(`'${[file, ...args].join(' ')}' exited ${String(code)}: ${stderr.trim() || stdout.trim()}`);
  return stdout;
}

/** @param {string} script @param {RunOptions} [options] */
export function sh(script, options = {}) {
  return ok('sh', ['-ec', script], options);
}

/** @param {string[]} args */
export function virsh(...args) {
  return run('virsh', ['-q', ...args]);
}

/** libvirt's version, e.g. 11.3. */
export const libvirt = Number.parseFloat(/\d+\.\d+/.exec(await ok('libvirtd', ['--version']))?.[0] ?? '0');
const native = libvirt >= 11;

/**
 * Resolves to the first truthy value that fn returns.
 *
 * @template T
 * @param {() => T | Promise<T>} fn
 * @param {{timeout?: number, what: string}} options milliseconds, 30000 unless given
 * @returns {Promise<T>}
 */
export async function waitFor(fn, { timeout = 30_000, what }) {
  const end = performance.now() + timeout;
  for (;;) {
    const value = await fn();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${timeout} ms in vain for ${what}`);
    await sleep(100);
  }
}

// The host

/** A VLAN-filtering bridge. @param {{name?: string, pvid?: number, filtering?: boolean}} [options] */
export async function addBridge({ name = 'br0', pvid = 1, filtering = true } = {}) {
  await sh(`ip link add ${name} type bridge vlan_filtering ${filtering ? 1 : 0} vlan_default_pvid ${pvid} mcast_snooping 0
    ip link set ${name} up`);
}

/**
 * A veth pair whose end `name` is a port of the bridge, in no VLAN but those given, as `bridge vlan add` words.
 *
 * @param {string} name
 * @param {{peer?: string, netns?: string, bridge?: string, vids?: string[]}} [options] peer is 'eth0' in a netns, NAMEx otherwise
 */
export async function addPort(name, { peer, netns, bridge = 'br0', vids = [] } = {}) {
  const end = peer ?? (netns === undefined ? `${name}x` : 'eth0');
  if (netns !== undefined) await sh(`ip netns add ${netns}; ip -n ${netns} link set lo up`);
  const within = netns === undefined ? '' : ` netns ${netns}`;
  await sh(`ip link add ${name} type veth peer name ${end}${within}
    ip link set ${name} master ${bridge} up
    ip ${netns === undefined ? '' : `-n ${netns}`} link set ${end} up
    bridge vlan del dev ${name} vid 1-4094
    ${vids.map((vid) => `bridge vlan add dev ${name} vid ${vid}`).join('\n')}`);
}

/** The host config; undefined removes it. @param {string | undefined} toml */
export function setConfig(toml) {
  rmSync('/etc/guestwire', { recursive: true, force: true });
  if (toml === undefined) return;
  mkdirSync('/etc/guestwire', { mode: 0o755 });
  writeFileSync('/etc/guestwire/config.toml', toml, { mode: 0o644 });
}

/** Puts guestwire's hook in libvirt's place for it, or one that does nothing: libvirtd looks for it only once. @param {boolean} on */
export function setHook(on) {
  rmSync('/etc/libvirt/hooks/qemu', { force: true });
  symlinkSync(on ? `${top}/hooks/qemu` : '/bin/true', '/etc/libvirt/hooks/qemu');
}

/** The VLAN table of each port and bridge, every VID as `10`, `10 pvid`, `10 untagged` or `10 pvid untagged`. @returns {Promise<Record<string, string[]>>} */
export async function vlanTables() {
  const text = await ok('bridge', ['-j', 'vlan', 'show']);
  const rows = /** @type {{ifname: string, vlans: {vlan: number, vlanEnd?: number, flags?: string[]}[]}[]} */ (JSON.parse(text || '[]'));
  return Object.fromEntries(rows.map(({ ifname, vlans }) => [ifname, vlans.flatMap(({ vlan, vlanEnd = vlan, flags = [] }) => {
    const words = [flags.includes('PVID') ? ' pvid' : '', flags.includes('Egress Untagged') ? ' untagged' : ''].join('');
    return Array.from({ length: vlanEnd - vlan + 1 }, (_, index) => `${vlan + index}${words}`);
  })]));
}

/** @param {string} dev */
export async function vlansOf(dev) {
  return (await vlanTables())[dev] ?? [];
}

/** Whether the port is isolated. @param {string} dev */
export function isolated(dev) {
  return readFileSync(`/sys/class/net/${dev}/brport/isolated`, 'utf8').trim() === '1';
}

/** What guestwire has told the system's log, without the time. */
export function hookLog() {
  return readText('/run/syslog').split('\n').filter((line) => line.includes('guestwire')).map((line) => line.replace(/^.*?guestwire/, 'guestwire'));
}

/** The journal's entries: one file a guest that is wired. */
export function journal() {
  return existsSync('/run/guestwire') ? readdirSync('/run/guestwire').filter((name) => /^[0-9a-f-]{36}\.json$/.test(name)) : [];
}

/** @param {string} path */
export function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** Runs the hook as libvirt would. @param {string} guest @param {string} operation @param {string} xml */
export function hook(guest, operation, xml) {
  const sub = operation === 'stopped' || operation === 'release' ? 'end' : 'begin';
  return run('/etc/libvirt/hooks/qemu', [guest, operation, sub, '-'], { input: xml });
}

// Guests

let macs = 0;
export function makeMac() {
  macs += 1;
  return `52:54:00:01:${hex(macs >> 8)}:${hex(macs & 255)}`;
}

/** @param {number} byte */
function hex(byte) {
  return byte.toString(16).padStart(2, '0');
}

/** @param {DomainOptions} options */
export function domainXml({ name, uuid, nics, boots, kernel }) {
  const full = nics.map((nic) => ({ mac: makeMac(), via: /** @type {const} */ (native ? 'native' : 'metadata'), ...nic }));
  const metadata = full.filter(({ via, vlan, isolated: alone }) => via === 'metadata' && (vlan ?? alone) !== undefined)
    .map((nic) => `<gw:interface mac='${nic.mac}'>${elements(nic, 'gw:')}</gw:interface>`).join('');
  const image = boots === undefined
    ? `<kernel>${kernel ?? '/image/idle'}</kernel>`
    : `<kernel>/image/vmlinuz</kernel><initrd>/image/initrd</initrd><cmdline>console=ttyAMA0 panic=-1 quiet nokaslr ${boots}</cmdline>`;
  return `<domain type='qemu'>
  <name>${name}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
  ${metadata === '' ? '' : `<metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>${metadata}</gw:guestwire></metadata>`}
  <memory unit='MiB'>${boots === undefined ? 32 : 128}</memory>
  <vcpu>1</vcpu>
  <os><type arch='aarch64' machine='virt'>hvm</type>${image}</os>
  <features><gic version='2'/></features>
  <cpu mode='custom' match='exact'><model fallback='allow'>cortex-a53</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-aarch64</emulator>
    <controller type='usb' model='none'/>
    ${full.map(interfaceXml).join('\n    ')}
    <serial type='unix'><source mode='bind' path='/run/${name}.serial'/><log file='/run/${name}.console' append='off'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

/** @param {Nic} nic */
function interfaceXml(nic) {
  const group = nic.portgroup === undefined ? '' : ` portgroup='${nic.portgroup}'`;
  const source = nic.network === undefined ? `bridge='${nic.bridge ?? 'br0'}'` : `network='${nic.network}'${group}`;
  return `<interface type='${nic.network === undefined ? 'bridge' : 'network'}'><mac address='${String(nic.mac)}'/><source ${source}/>${
    nic.via === 'native' ? elements(nic, '') : ''}${nic.target === undefined ? '' : `<target dev='${nic.target}'/>`
  }<model type='virtio'/><address type='virtio-mmio'/></interface>`;
}

/** The elements that libvirt and guestwire write alike. libvirt has no ranges. @param {Nic} nic @param {string} prefix */
function elements({ vlan, isolated: alone }, prefix) {
  const tags = vlan?.tags.flatMap((tag) => (prefix === '' ? spread(tag) : [tag])) ?? [];
  const trunk = vlan?.trunk === undefined ? '' : ` trunk='${vlan.trunk}'`;
  const inner = tags.map(({ id, nativeMode }) => `<${prefix}tag id='${id}'${nativeMode === undefined ? '' : ` nativeMode='${nativeMode}'`}/>`);
  return (vlan === undefined ? '' : `<${prefix}vlan${trunk}>${inner.join('')}</${prefix}vlan>`) +
    (alone === undefined ? '' : `<${prefix}port isolated='${alone ? 'yes' : 'no'}'/>`);
}

/** @param {Tag} tag @returns {Tag[]} */
function spread(tag) {
  const [first = 0, last = first] = String(tag.id).split('-').map(Number);
  return Array.from({ length: last - first + 1 }, (_, index) => ({ ...tag, id: first + index }));
}

/** An access port's, or a trunk's of several, `vlan`. @param {...(string | number)} ids @returns {Vlan} */
export function tagged(...ids) {
  return { tags: ids.map((id) => ({ id })) };
}

/** Defines and starts a guest; rejects with what virsh says if it does not start. @param {DomainOptions} options @param {string[]} [flags] of `virsh start` */
export async function startGuest(options, flags = []) {
  const guest = await defineGuest(options);
  const { code, stderr } = await guest.start(...flags);
  if (code !== 0) throw new Error(`guest '${options.name}' did not start: ${stderr.trim()}`);
  return guest;
}

/** @param {DomainOptions} options */
export async function defineGuest(options) {
  const [file, xml] = [`/run/${options.name}.xml`, domainXml(options)];
  writeFileSync(file, xml);
  note(xml);
  await ok('virsh', ['-q', 'define', file]);
  return guestNamed(options.name);
}

/** @typedef {ReturnType<typeof guestNamed>} Guest */

/** @param {string} name */
function guestNamed(name) {
  /** @type {ReturnType<typeof openConsole> | undefined} */
  let console;
  const command = async (/** @type {string} */ line, timeout = 60_000) => {
    console ??= openConsole(name);
    const { text, code } = await console.ask(line, timeout);
    note(`guest ${name}$ ${line}   [exit ${code}]\n${indent(text)}`);
    return { text, code };
  };
  return {
    name,
    start: async (/** @type {string[]} */ ...flags) => virsh('start', name, ...flags),
    destroy: async () => ok('virsh', ['-q', 'destroy', name]),
    /** The taps of its NICs, in the XML's order. */
    taps: async () => {
      const table = await ok('virsh', ['-q', 'domiflist', name]);
      return table.trim().split('\n').filter(Boolean).map((line) => line.trim().split(/\s+/)[0] ?? '');
    },
    macs: async () => {
      const table = await ok('virsh', ['-q', 'domiflist', name]);
      return table.trim().split('\n').filter(Boolean).map((line) => line.trim().split(/\s+/)[4] ?? '');
    },
    pid: () => Number(readText(`/run/libvirt/qemu/${name}.pid`)),
    /** Resolves when arm-init reads commands. */
    up: async () => {
      await waitFor(() => readText(`/run/${name}.console`).includes('guest: up'), { what: `guest '${name}' to be up`, timeout: 180_000 });
    },
    command,
    /** Whether `target` answers one of `tries` pings. */
    ping: async (/** @type {string} */ target, tries = 1) =>
      (await command(`n=0; until ping -c 1 -W 1 ${target}; do n=$((n+1)); [ $n -lt ${tries} ] || break; done | grep -q '1 packets received'`)).code === 0,
    /** What `frames watch` saw: lines COUNT DEV TAG ETHERTYPE SOURCE DESTINATION TEXT. */
    frames: async () => (await command('table')).text.split('\n').filter(Boolean),
    close: () => console?.close(),
  };
}

/** The serial line of a running guest. @param {string} name */
function openConsole(name) {
  const socket = createConnection(`/run/${name}.serial`);
  let [text, number] = ['', 0];
  /** @type {Set<() => void>} */
  const waiting = new Set();
  socket.setEncoding('utf8').on('data', (data) => {
    text += String(data);
    waiting.forEach((look) => { look(); });
  });
  socket.on('error', (error) => note(`serial line of ${name}: ${error.message}`));
  /** @param {RegExp} pattern @param {number} timeout @returns {Promise<RegExpExecArray>} */
  const expect = (pattern, timeout) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      waiting.delete(look);
      reject(new Error(`guest '${name}' has not said ${String(pattern)} for ${timeout} ms; its last words: ${text.slice(-600)}`));
    }, timeout);
    const look = () => {
      const match = pattern.exec(text);
      if (match === null) return;
      clearTimeout(timer);
      waiting.delete(look);
      resolve(match);
    };
    waiting.add(look);
    look();
  });
  let last = /** @type {Promise<unknown>} */ (Promise.resolve());
  /** @param {string} line @param {number} timeout */
  const askNow = async (line, timeout) => {
    number += 1;
    text = '';
    socket.write(`${number} ${line}\n`);
    const match = await expect(new RegExp(`<${number}\\r?\\n([\\s\\S]*)>${number} (\\d+)\\r?\\n`), timeout);
    return { text: match[1] ?? '', code: Number(match[2]) };
  };
  return {
    /** One command after the other. @param {string} line @param {number} timeout */
    ask: (line, timeout) => {
      const answer = last.then(() => askNow(line, timeout));
      last = answer.catch(() => undefined);
      return answer;
    },
    close: () => socket.destroy(),
  };
}

// The wire

/**
 * @typedef {{dst: string, src: string, tag?: number | null, ethertype?: number, text: string}} Frame
 * @typedef {Record<string, number>} Counts "TAG ETHERTYPE SOURCE DESTINATION TEXT" to how many
 */

/** @type {Set<{close: () => void}>} */
const wires = new Set();

/** A wire.py, in a network namespace of that name if one is given. @param {string} [netns] */
export function openWire(netns) {
  const words = ['python3', `${import.meta.dirname}/wire.py`];
  const [file = '', ...args] = netns === undefined ? words : ['ip', 'netns', 'exec', netns, ...words];
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  const asked = new Map();
  let number = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, ok: value, error } = JSON.parse(line);
    const waiting = asked.get(id);
    asked.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(`wire.py: ${error}`));
  });
  child.on('close', (code) => {
    for (const { reject } of asked.values()) reject(new Error(`wire.py ended with ${String(code)}`));
  });
  /** @param {string} op @param {object} [words] @returns {Promise<any>} */
  const ask = (op, words = {}) => new Promise((resolve, reject) => {
    number += 1;
    asked.set(number, { resolve, reject });
    child.stdin.write(`${JSON.stringify({ id: number, op, ...words })}\n`);
  });
  const wire = {
    /** Opens a tap, as QEMU would. @param {string} name @returns {Promise<void>} */
    tap: (name) => ask('tap', { name }),
    /** @param {string} name @returns {Promise<void>} */
    closeTap: (name) => ask('close', { name }),
    /** Everything that waits in a tap. @param {string} name @returns {Promise<Counts>} */
    read: (name) => ask('read', { name }),
    /** @param {string} name @param {Frame[]} frames @returns {Promise<void>} */
    write: (name, frames) => ask('write', { name, frames }),
    /** @param {string} dev @returns {Promise<void>} */
    listen: (dev) => ask('listen', { dev }),
    /** What came in on a link since listen(), or since it was last cleared. @param {string} dev @param {boolean} [clear] @returns {Promise<Counts>} */
    counts: (dev, clear = false) => ask('counts', { dev, clear }),
    /** @param {string} dev @param {Frame[]} frames @returns {Promise<void>} */
    send: (dev, frames) => ask('send', { dev, frames }),
    /** Sends each frame every `interval` seconds until stopFlood(). @param {string} dev @param {Frame[]} frames @param {number} interval @returns {Promise<void>} */
    flood: (dev, frames, interval) => ask('flood', { dev, frames, interval }),
    /** @param {string} dev @returns {Promise<number>} how often each was sent so far */
    flooded: (dev) => ask('flooded', { dev }),
    /** @param {string} dev @returns {Promise<number>} how often each was sent */
    stopFlood: (dev) => ask('stop', { dev }),
    close: () => child.stdin.end(),
  };
  wires.add(wire);
  return wire;
}

// Before and after each test

const links = new Set(readdirSync('/sys/class/net'));

/** What to look at after a failure. */
export async function evidence() {
  const parts = [];
  for (const [file, ...args] of [['bridge', 'vlan', 'show'], ['ip', '-o', 'link', 'show'], ['nft', 'list', 'ruleset'], ['virsh', 'list', '--all']]) {
    const { stdout, stderr } = await run(String(file), args, { timeout: 20_000 });
    parts.push(`--- ${[file, ...args].join(' ')}\n${stdout}${stderr}`);
  }
  for (const name of journal()) parts.push(`--- /run/guestwire/${name}\n${readText(`/run/guestwire/${name}`)}`);
  parts.push(`--- /run/syslog, its end\n${lastLines('/run/syslog', 30)}`, `--- libvirtd's log, its end\n${lastLines('/run/libvirtd.log', 15)}`);
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
  for (const wire of wires) wire.close();
  wires.clear();
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
  for (const link of readdirSync('/sys/class/net').filter((name) => !links.has(name))) await run('ip', ['link', 'delete', link]);
  for (const name of readdirSync('/run').filter((file) => /\.(console|serial)$/.test(file))) rmSync(`/run/${name}`, { force: true });
  setConfig(undefined);
  setHook(true);
  if (left.length > 0) throw new Error(`guestwire still holds guests that are gone: ${left.join(', ')}`);
  if (/vnet\d/.test(rules)) throw new Error(`nft still has rules of taps that are gone:\n${rules}`);
}
