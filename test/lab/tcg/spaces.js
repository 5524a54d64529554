// Guests that are network namespaces: the "tap" is one end of a veth pair, and libvirt's part is played by hand. What
// is tried is the host, and a system that answers, not QEMU.
import { hook, ok, run, sh } from '../uml/lab.js';

/**
 * @typedef {object} Space
 * @property {string} name also the namespace's
 * @property {number} number of its tap, vnetN; MAC and UUID follow from it
 * @property {string[]} ips
 * @property {string[]} [routes] prefixes behind it
 * @property {string} [more] attributes of `<gw:routed>`
 */

/** @param {Space} space */
export function macOf({ number }) {
  return `52:54:00:aa:bb:${String(number).padStart(2, '0')}`;
}

/** Whom it may meet is not the matter here. @param {Space} space */
export function xmlOf(space) {
  const { name, number, ips, routes = [], more = '' } = space;
  const inner = [
    ...ips.map((address) => `<gw:ip address='${address}'/>`),
    ...routes.map((route) => `<gw:route address='${route.replace('/', "' prefix='")}'/>`),
  ].join('');
  return `<domain type='kvm'><name>${name}</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c${String(number).padStart(2, '0')}</uuid>
    <metadata><gw:guestwire xmlns:gw='urn:guestwire:1'><gw:interface mac='${macOf(space)}'><gw:routed${more}>${inner}</gw:routed><gw:policy profile='open'/></gw:interface></gw:guestwire></metadata>
    <devices><interface type='ethernet'><mac address='${macOf(space)}'/><target dev='vnet${number}'/></interface></devices></domain>`;
}

/** The namespace and its link, down at the guest's end. @param {Space} space */
export async function addSpace(space) {
  const { name, number } = space;
  await sh(`ip netns add ${name}; ip -n ${name} link set lo up
    ip netns exec ${name} sysctl -qw net.ipv6.conf.default.accept_dad=0
    ip link add vnet${number} type veth peer name eth0 address ${macOf(space)} netns ${name}; ip link set vnet${number} up`);
}

/** As a guest that was told by hand: its addresses, and the gateways. @param {Space} space */
export async function setUpByHand({ name, ips }) {
  await sh(`ip -n ${name} link set eth0 up
    ${ips.map((address) => `ip -n ${name} address add ${address} dev eth0`).join('\n')}
    ip -n ${name} route add default via 169.254.0.1 dev eth0 onlink; ip -n ${name} route add default via fe80::1 dev eth0`);
}

/** What libvirt calls; throws what the hook says when it refuses. @param {Space} space @param {string[]} operations */
export async function call(space, ...operations) {
  for (const operation of operations) {
    const { code, stdout, stderr } = await hook(space.name, operation, xmlOf(space));
    if (code !== 0 || stdout !== '' || stderr !== '') throw new Error(`${operation} of '${space.name}' exited ${String(code)}: ${stdout}${stderr}`);
  }
}

/**
 * Whether `target` answers one of `tries` pings.
 * @param {string} netns
 * @param {string} target
 * @param {{tries?: number, more?: string[]}} [options]
 */
export async function pings(netns, target, { tries = 1, more = [] } = {}) {
  return (await run('ip', [
    'netns', 'exec', netns, 'ping', '-c', String(tries), '-i', '0.2', '-W', '1', ...more, target,
  ])).code === 0;
}

/**
 * A network behind the host: a namespace with an uplink `upN`, and addresses that only a default route leads to.
 * @param {string} name
 * @param {number} net
 * @param {string} [more] of the uplink, as `ip link set` has it
 */
export async function addWorld(name, net, more = '') {
  await sh(`ip netns add ${name}; ip -n ${name} link set lo up; ip netns exec ${name} sysctl -qw net.ipv6.conf.default.accept_dad=0
    ip link add up${net} type veth peer name eth0 netns ${name}; ip link set up${net} up ${more}; ip -n ${name} link set eth0 up
    ip address add 203.0.${net}.1/24 dev up${net}; ip address add 2001:db8:ff:${net}::1/64 dev up${net} nodad
    ip -n ${name} address add 203.0.${net}.2/24 dev eth0; ip -n ${name} address add 2001:db8:ff:${net}::2/64 dev eth0
    ip -n ${name} address add 198.18.0.1/32 dev lo; ip -n ${name} address add 2001:db8:77::1/128 dev lo
    ip -n ${name} route add default via 203.0.${net}.1; ip -n ${name} route add default via 2001:db8:ff:${net}::1`);
}

/**
 * Everything of the host's own that guestwire may have had a hand in, sorted: a link that was in a VRF gets its routes
 * anew.
 */
export async function worldState() {
  const text = await ok('sh', ['-c', `ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip -br link; ip -br address; nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; /elements = { fe80::/d'
    ls -R /run/guestwire /run/guestwire.serve 2>/dev/null || true`]);
  return text.split('\n').map((line) => line.trim()).sort().join('\n');
}
