// Guests: their XML, told to libvirt or to guestwire, and those that boot and do what they are told.
import { writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { indent, libvirt, note, ok, readText, SLACK, virsh, waitFor } from './programs.js';

/**
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
 * @property {string} [words] what else guestwire's metadata say of it, whoever is told of vlan and isolated
 * @property {string[]} [ips] the addresses it declares, in metadata
 * @property {string[]} [routed] its addresses on a routed link
 * @property {'native' | 'metadata'} [via] who is told of vlan and isolated: libvirt's own elements, or guestwire's.
 *   What this libvirt can, unless given: native from 11 on
 *
 * @typedef {object} DomainOptions
 * @property {string} name
 * @property {string} [uuid]
 * @property {Nic[]} nics
 * @property {string} [boots] the gw. words of arm-init for a guest that boots; without it the guest's CPU sleeps for
 *   good
 * @property {string} [kernel] another kernel
 * @property {string} [initrd] another for a guest that boots
 * @property {number} [slots] how many NICs can be plugged in while it runs
 */

/** @type {'native' | 'metadata'} */
const usual = libvirt >= 11 ? 'native' : 'metadata';

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
export function domainXml({ name, uuid, nics, boots, kernel, initrd = '/image/initrd', slots = 0 }) {
  const full = nics.map((nic) => ({ mac: makeMac(), ...nic }));
  const metadata = metadataXml(full);
  const image = boots === undefined
    ? `<kernel>${kernel ?? '/image/idle'}</kernel>`
    : `<kernel>/image/vmlinuz</kernel><initrd>${initrd}</initrd><cmdline>console=ttyAMA0 panic=-1 quiet nokaslr ${boots}</cmdline>`;
  return `<domain type='qemu'>
  <name>${name}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
  ${metadata === '' ? '' : `<metadata>${metadata}</metadata>`}
  <memory unit='MiB'>${boots === undefined ? 32 : 128}</memory>
  <vcpu>1</vcpu>
  <os><type arch='aarch64' machine='virt'>hvm</type>${image}</os>
  <features><gic version='2'/></features>
  <cpu mode='custom' match='exact'><model fallback='allow'>cortex-a53</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-aarch64</emulator>
    <controller type='usb' model='none'/>
    ${slots === 0 ? '' : `<controller type='pci' index='0' model='pcie-root'/>${"<controller type='pci' model='pcie-root-port'/>".repeat(slots)}`}
    ${full.map((nic) => interfaceXml(nic)).join('\n    ')}
    <serial type='unix'><source mode='bind' path='/run/${name}.serial'/><log file='/run/${name}.console' append='off'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

/** guestwire's element in a guest's metadata; '' for none. @param {Nic[]} nics */
export function metadataXml(nics) {
  const interfaces = nics.map((nic) => ({ mac: nic.mac, inner: `${toldOf(nic)}${nic.words ?? ''}` }))
    .filter(({ inner }) => inner !== '').map(({ mac, inner }) => `<gw:interface mac='${String(mac)}'>${inner}</gw:interface>`).join('');
  return interfaces === '' ? '' : `<gw:guestwire xmlns:gw='urn:guestwire:1'>${interfaces}</gw:guestwire>`;
}

/** What guestwire is told, and not libvirt. @param {Nic} nic */
function toldOf(nic) {
  const { via = usual, vlan, isolated: alone, ips, routed } = nic;
  if (routed === undefined && (via !== 'metadata' || (vlan ?? alone) === undefined)) return '';
  return `${elements(nic, 'gw:')}${addresses(ips)}${routed === undefined ? '' : `<gw:routed>${addresses(routed)}</gw:routed>`}`;
}

/** @param {string[]} [ips] */
function addresses(ips = []) {
  return ips.map((address) => `<gw:ip address='${address}'/>`).join('');
}

/**
 * What is plugged in goes into a slot: virtio-mmio has none.
 * @param {Nic} nic
 * @param {{plugged?: boolean, state?: 'up' | 'down'}} [options]
 */
export function interfaceXml(nic, { plugged = false, state } = {}) {
  const group = nic.portgroup === undefined ? '' : ` portgroup='${nic.portgroup}'`;
  const kind = nic.routed !== undefined ? 'ethernet' : nic.network === undefined ? 'bridge' : 'network';
  const source = nic.network === undefined ? `bridge='${nic.bridge ?? 'br0'}'` : `network='${nic.network}'${group}`;
  return `<interface type='${kind}'><mac address='${String(nic.mac)}'/>${nic.routed === undefined ? `<source ${source}/>` : ''}${
    (nic.via ?? usual) === 'native' ? elements(nic, '') : ''}${nic.target === undefined ? '' : `<target dev='${nic.target}'/>`
  }<model type='virtio'/>${state === undefined ? '' : `<link state='${state}'/>`}${plugged ? "<rom enabled='no'/>" : "<address type='virtio-mmio'/>"}</interface>`;
}

/**
 * The elements that libvirt and guestwire write alike. libvirt has no ranges.
 * @param {Nic} nic
 * @param {string} prefix
 */
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

/**
 * Defines and starts a guest; rejects with what virsh says if it does not start.
 * @param {DomainOptions} options
 * @param {string[]} [flags] of `virsh start`
 */
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
      await waitFor(() => readText(`/run/${name}.console`).includes('guest: up'), {
        what: `guest '${name}' to be up`, timeout: 180_000,
      });
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
  socket.on('error', (error) => { note(`serial line of ${name}: ${error.message}`); });
  /** @param {RegExp} pattern @param {number} timeout @returns {Promise<RegExpExecArray>} */
  const expect = (pattern, timeout) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      waiting.delete(look);
      reject(new Error(`guest '${name}' has not said ${String(pattern)} for ${SLACK * timeout} ms; its last words: ${text.slice(-600)}`));
    }, SLACK * timeout);
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
