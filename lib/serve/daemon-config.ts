/**
 * The configuration of dnsmasq and radvd for one routed link: a configuration for each, from what the journal says is
 * wired there. One instance of each per link, so that a guest is told its own addresses and prefixes only, nothing
 * needs a reload when another guest comes, and what breaks one breaks no other (0.9 MB a guest, measured with 50).
 * Pure.
 */
import { guestEnd } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import type { ServeConfig } from '../config/serve-table.js';
import { type Address, isLinkLocal } from '../values/address.js';
import { assertIfname } from '../values/ifname.js';

/** A systemd template, of which every served link has an instance. */
export interface Service {
  readonly unit: string;
  readonly program: string;
  /** Debian's name of the package that has the program. */
  readonly from: string;
  /** Name of the configuration in the link's directory. */
  readonly config: string;
  readonly does: string;
  /** Arguments for a link with the directory `dir`. Stays in the foreground and logs to standard error. */
  readonly args: (dir: string) => readonly string[];
}

export const DHCP: Service = {
  unit: 'guestwire-dhcp', program: '/usr/sbin/dnsmasq', from: 'dnsmasq-base', config: 'dnsmasq.conf', does: 'DHCP',
  args: (dir) =>
    ['--keep-in-foreground', '--log-facility=-', `--conf-file=${dir}/dnsmasq.conf`, `--dhcp-leasefile=${dir}/leases`],
};

export const ADVERTISER: Service = {
  unit: 'guestwire-ra', program: '/usr/sbin/radvd', from: 'radvd', config: 'radvd.conf', does: 'router advertisements',
  args: (dir) => [
    '--nodaemon', '--logmethod=stderr', '--username=radvd', `--config=${dir}/radvd.conf`, `--pidfile=${dir}/radvd.pid`,
  ],
};

export const SERVICES: readonly Service[] = [DHCP, ADVERTISER];

/** One link that is served: which services, and what their configuration says. */
export interface Served {
  readonly link: string;
  readonly ifindex: number;
  readonly nic: number;
  readonly mac: string | undefined;
  readonly texts: ReadonlyMap<Service, string>;
}

/**
 * dnsmasq writes its own identity into the lease file, and takes the one it finds there. The same on every link of
 * every host: a guest that was saved and restored, or migrated, renews its lease with the server that serves it now.
 * Type 3, DUID-LL, of a locally administered address (RFC 8415 section 11.4).
 */
export const FIRST_LEASES = 'duid 00:03:00:01:02:67:77:00:00:01\n';

/** Returns what is served on a wired link; undefined: its network configures the guest. */
export function servedLink(wired: Wired, uuid: string, config: ServeConfig): Served | undefined {
  const end = guestEnd(wired);
  if (end === undefined) return undefined;
  const { link, ifindex, nic, mac } = wired;
  // What the journal holds was checked when it was written; here it becomes another program's configuration.
  assertIfname(link);
  const head = `# Written by guestwire for guest ${uuid} NIC ${nic}, link ${link} with ifindex ${ifindex}.\n`;
  const texts = new Map<Service, string>();
  if (mac !== undefined && /^[0-9a-f:]{17}$/.test(mac)) {
    const [gateway] = of('inet', end.gateways);
    texts.set(DHCP, head + dnsmasqConf({ link, mac, addresses: end.addresses, gateway }, config));
  }
  if (of('inet6', end.addresses).length > 0) {
    const prefixes = end.routes.map(({ to }) => to).filter(({ family, length }) => family === 'inet6' &&
      length === SLAAC_LENGTH);
    const [gateway] = of('inet6', end.gateways);
    texts.set(ADVERTISER, head + radvdConf(
      { link, prefixes: prefixes.map(({ text }) => text), gateway, retransTime: end.retransTime }, config,
    ));
  }
  return { link, ifindex, nic, mac, texts };
}

/** Interface identifiers have 64 bits (RFC 4291 section 2.5.1), so a guest can only make addresses in a /64. */
const SLAAC_LENGTH = 64;

interface DhcpLink {
  readonly link: string;
  readonly mac: string;
  readonly addresses: readonly Address[];
  readonly gateway: Address | undefined;
}

/**
 * A range per address, of that one address: dnsmasq then gives a client all its IPv6 addresses in one answer. A host
 * may have one IPv4 address only, which is the protocol's limit, too.
 */
function dnsmasqConf({ link, mac, addresses, gateway }: DhcpLink, { dns, search, lease }: ServeConfig): string {
  const v4 = of('inet', addresses).slice(0, 1);
  const v6 = of('inet6', addresses);
  const offered = [...v4, ...v6];
  return lines([
    'port=0', 'bind-dynamic', 'except-interface=lo', `interface=${link}`, 'pid-file=',
    'dhcp-authoritative', 'dhcp-rapid-commit', 'no-ping', 'dhcp-ignore=tag:!known',
    ...offered.map(({ text }) => `shared-network=${link},${text}`),
    ...v4.map(({ text }) => `dhcp-range=${text},static,255.255.255.255,${lease}`),
    ...v6.map(({ text }) => `dhcp-range=${text},static,128,${lease}`),
    // id:* counts for DHCPv4: whatever a client calls itself, installers and what they install alike, the NIC is the
    // guest.
    `dhcp-host=${[mac, 'id:*', ...v4.map(({ text }) => text), ...v6.map(({ text }) => `[${text}]`)].join(',')}`,
    // RFC 3442: a client that asks for classless routes must ignore the router option; other clients have only that.
    ...(v4.length === 0 || gateway === undefined ? [] : [
      `dhcp-option=option:router,${gateway.text}`,
      `dhcp-option=121,${gateway.prefix.text},0.0.0.0,0.0.0.0/0,${gateway.text}`,
    ]),
    ...option('option:dns-server', of('inet', dns).map(({ text }) => text)),
    ...option('option:domain-name', search.slice(0, 1)),
    ...option('option:domain-search', search),
    ...option('option6:dns-server', of('inet6', dns).map(({ text }) => `[${text}]`)),
    ...option('option6:domain-search', search),
  ]);
}

interface AdvertisedLink {
  readonly link: string;
  readonly prefixes: readonly string[];
  readonly gateway: Address | undefined;
  readonly retransTime: number;
}

/** Seconds between unsolicited advertisements: three a lifetime, and at most ten minutes (RFC 4861: 4 to 1800). */
const LONGEST_INTERVAL = 600;

/**
 * The guest's own prefixes are never on-link: the host reaches them through the guest, and other machines in them lie
 * behind it (RFC 5942). AdvRASrcAddress is also what keeps radvd silent on any link that is not a routed link.
 */
function radvdConf(
  { link, prefixes, gateway, retransTime }: AdvertisedLink, { dns, search, lifetime }: ServeConfig,
): string {
  const most = Math.min(LONGEST_INTERVAL, Math.floor(lifetime / 3));
  return lines([
    `interface ${link} {`,
    '  AdvSendAdvert on;', '  IgnoreIfMissing on;', '  AdvManagedFlag on;', '  AdvOtherConfigFlag on;',
    // radvd would set the host's own link to what it advertises (2.19).
    '  AdvCurHopLimit 0;',
    `  MinRtrAdvInterval ${Math.floor(most * 0.75)};`, `  MaxRtrAdvInterval ${most};`, `  AdvDefaultLifetime ${lifetime};`,
    // Also how long a guest's duplicate address detection takes for each address after the first advertisement.
    `  AdvRetransTimer ${retransTime};`,
    ...(gateway !== undefined && isLinkLocal(gateway) ? [`  AdvRASrcAddress { ${gateway.text}; };`] : []),
    ...prefixes.map((prefix) => `  prefix ${prefix} { AdvOnLink off; AdvAutonomous on; };`),
    ...of('inet6', dns).map(({ text }) => `  RDNSS ${text} { AdvRDNSSLifetime ${lifetime}; };`),
    ...(search.length === 0 ? [] : [`  DNSSL ${search.join(' ')} { AdvDNSSLLifetime ${lifetime}; };`]),
    '};',
  ]);
}

function of(family: Address['family'], addresses: readonly Address[]): Address[] {
  return addresses.filter((address) => address.family === family);
}

function option(name: string, values: readonly string[]): string[] {
  return values.length === 0 ? [] : [`dhcp-option=${name},${values.join(',')}`];
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}
