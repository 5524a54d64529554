// The host under test: its bridges and ports, guestwire's config, hook, log and journal.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { ok, readText, run, sh } from './programs.js';

const top = process.cwd();

/** A VLAN-filtering bridge. @param {{name?: string, pvid?: number, filtering?: boolean}} [options] */
export async function addBridge({ name = 'br0', pvid = 1, filtering = true } = {}) {
  await sh(`ip link add ${name} type bridge vlan_filtering ${filtering ? 1 : 0} vlan_default_pvid ${pvid} mcast_snooping 0
    ip link set ${name} up`);
}

/**
 * A veth pair whose end `name` is a port of the bridge, in no VLAN but those given, as `bridge vlan add` words.
 *
 * @param {string} name
 * @param {{peer?: string, netns?: string, bridge?: string, vids?: string[]}} [options] peer is 'eth0' in a
 *   netns, NAMEx otherwise
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

/**
 * Puts guestwire's hook in libvirt's place for it, or one that does nothing: libvirtd looks for it only once.
 * @param {boolean} on
 */
export function setHook(on) {
  rmSync('/etc/libvirt/hooks/qemu', { force: true });
  symlinkSync(on ? `${top}/hooks/qemu` : '/bin/true', '/etc/libvirt/hooks/qemu');
}

/**
 * The VLAN table of each port and bridge, every VID as `10`, `10 pvid`, `10 untagged` or `10 pvid untagged`.
 * @returns {Promise<Record<string, string[]>>}
 */
export async function vlanTables() {
  const text = await ok('bridge', ['-j', 'vlan', 'show']);
  /** @type {unknown} */
  const json = JSON.parse(text || '[]');
  const rows = /** @type {{ifname: string, vlans: {vlan: number, vlanEnd?: number, flags?: string[]}[]}[]} */ (json);
  return Object.fromEntries(rows.map(({ ifname, vlans }) => [
    ifname,
    vlans.flatMap(({ vlan, vlanEnd = vlan, flags = [] }) => {
      const words = [flags.includes('PVID') ? ' pvid' : '', flags.includes('Egress Untagged') ? ' untagged' : ''];
      return Array.from({ length: vlanEnd - vlan + 1 }, (_, index) => `${vlan + index}${words.join('')}`);
    }),
  ]));
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
  return readText('/run/syslog').split('\n').filter((line) => line.includes('guestwire')).map((line) =>
    line.replace(/^.*?guestwire/, 'guestwire'));
}

/** The journal's entries: one file a guest that is wired. */
export function journal() {
  return existsSync('/run/guestwire')
    ? readdirSync('/run/guestwire').filter((name) => /^[0-9a-f-]{36}\.json$/.test(name))
    : [];
}

/** Runs the hook as libvirt would. @param {string} guest @param {string} operation @param {string} xml */
export function hook(guest, operation, xml) {
  const sub = operation === 'stopped' || operation === 'release' ? 'end' : 'begin';
  return run('/etc/libvirt/hooks/qemu', [guest, operation, sub, '-'], { input: xml });
}
