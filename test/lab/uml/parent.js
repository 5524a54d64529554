// A parent of sub-interfaces with a neighbour on its other end, and what tests of bridges of one VLAN ask of links.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { ok, run, sh } from './lab.js';

/**
 * A parent whose other end is in the namespace 'lan'.
 * @param {{parent?: string, mtu?: number, vids?: number[]}} [options]
 */
export async function addParent({ parent = 'eno1', mtu = 1500, vids = [] } = {}) {
  await sh(`ip netns add lan
    ip link add ${parent} type veth peer name eth0 netns lan
    ip -n lan link set eth0 mtu ${mtu} up
    ip link set ${parent} mtu ${mtu} up
    ${vids.map((vid) => `ip -n lan link add link eth0 name eth0.${vid} type vlan id ${vid}
    ip -n lan link set eth0.${vid} up
    ip -n lan addr add 10.0.${vid}.254/24 dev eth0.${vid}`).join('\n')}`);
}

export const has = (/** @type {string} */ link) => existsSync(`/sys/class/net/${link}`);

/**
 * @typedef {{mtu: number, address: string, flags: string[], ifalias?: string, master?: string, link?: string,
 *   addr_info: {local: string}[],
 *   linkinfo?: {info_data?: {id?: number, vlan_filtering?: number, stp_state?: number, forward_delay?: number}}}} Facts
 */

/** @param {string} link */
export async function factsOf(link) {
  /** @type {unknown} */
  const json = JSON.parse(await ok('ip', ['-j', '-d', 'addr', 'show', 'dev', link]));
  return /** @type {Facts[]} */ (json).find(({ mtu }) => mtu > 0) ?? assert.fail(`there is no link '${link}'`);
}

/** @param {string} bridge */
export async function portsOf(bridge) {
  /** @type {unknown} */
  const json = JSON.parse(await ok('ip', ['-j', 'link', 'show', 'master', bridge]));
  return /** @type {{ifname: string}[]} */ (json).map(({ ifname }) => ifname).filter(Boolean).sort();
}

/**
 * Each link but guests' taps, with what can tell that it was touched. The kernel itself changes the MAC of a bridge.
 */
export async function links() {
  /** @type {unknown} */
  const json = JSON.parse(await ok('ip', ['-j', '-d', 'addr', 'show']));
  const all = /** @type {(Facts & {ifname: string})[]} */ (json);
  const others = all.filter(({ ifname }) => !ifname.startsWith('vnet'));
  return others.map(({ ifname, mtu, master, link, ifalias, flags, addr_info, linkinfo }) => ({
    ifname, mtu, master, link, ifalias, up: flags.includes('UP'), ...linkinfo?.info_data, gc_timer: 0, fdb_n_learned: 0,
    // Link-local addresses come when duplicate address detection is through.
    addresses: addr_info.map(({ local }) => local).filter((local) => !local.startsWith('fe80:')),
  }));
}

/** Whether the neighbour's ping is answered. @param {string} address @param {string} [from] */
export async function reaches(address, from) {
  const source = from === undefined ? [] : ['-I', from];
  return (await run('ip', ['netns', 'exec', 'lan', 'ping', '-c', '3', '-i', '0.3', '-W', '3', ...source, address])).code
    === 0;
}
