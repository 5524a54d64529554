/**
 * A guest's NICs as cloud-init's network-config, version 2, in netplan's grammar: the static way to what DHCP and
 * router advertisements tell a guest otherwise. Pure.
 */
import type { GuestEnd } from '../attachments/attached.js';
import { guestEnd, shownOf } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import type { HostConfig } from '../config/host-config.js';
import type { Domain, Nic } from '../domain/domain.js';
import type { Family } from '../values/address.js';
import { oneLine } from '../values/quote.js';
import { formatVids, type VlanMember } from '../values/vlan.js';

/**
 * Returns the document, ending with a newline. A NIC is found by its MAC; one without a MAC, or left alone, is a
 * comment.
 */
export function networkConfig({ nics }: Domain, attachments: readonly Attachment[], config: HostConfig): string {
  const seen = new Set<Family>();
  const blocks = nics.map((nic) =>
    nicLines(nic, attachments.find((attachment) => attachment.nic === nic.index), { config, seen }));
  const written = blocks.flat();
  const hasNic = written.some((line) => !line.trimStart().startsWith('#'));
  return `${['version: 2', ...(hasNic ? ['ethernets:'] : []), ...written].join('\n')}\n`;
}

/** Returns the document as netplan wants it: below `network:`, which cloud-init 22.4 refuses in a NoCloud seed. */
export function netplanFile(document: string): string {
  return `network:\n${document.replace(/^/gm, '  ').trimEnd()}\n`;
}

interface Context {
  readonly config: HostConfig;
  /** Families of which an earlier NIC has the default route. */
  readonly seen: Set<Family>;
}

const LATER_METRIC = 2000;

function nicLines({ index, mac, type }: Nic, attachment: Attachment | undefined, context: Context): string[] {
  if (attachment === undefined) return [`  # guestwire leaves NIC ${index} (${oneLine(type)}) alone: configure it as its network requires.`];
  if (mac === undefined) return [`  # NIC ${index} has no MAC address yet: define the guest first.`];
  const end = guestEnd(attachment);
  const settings = end === undefined
    ? portLines(shownOf(attachment).vlans ?? [])
    : routedLines(index, end, context);
  return [`  nic${index}:`, '    match:', `      macaddress: ${text(mac)}`, ...settings.map((line) => `    ${line}`)];
}

/** The gateways are in no subnet of the guest, so they are on-link by decree. */
function routedLines(
  nic: number, { addresses, gateways: all }: GuestEnd, { config: { serve }, seen }: Context,
): string[] {
  const families = new Set(addresses.map(({ family }) => family));
  const gateways = (['inet6', 'inet'] as const).filter((family) => families.has(family))
    .flatMap((family) => all.find((gateway) => gateway.family === family) ?? []);
  // netplan refuses two default routes of one metric. A kernel's own for IPv6 is 1024.
  const isFirst = new Set(gateways.filter(({ family }) => !seen.has(family)));
  gateways.forEach(({ family }) => seen.add(family));
  const dns = (serve?.dns ?? []).filter(({ family }) => families.has(family)).map((address) => address.text);
  const search = serve?.search ?? [];
  return [
    'dhcp4: false', 'dhcp6: false', 'accept-ra: false', 'addresses:',
    ...addresses.map(({ prefix }) => `  - ${text(prefix.text)}`),
    'routes:',
    ...gateways.flatMap((gateway) => [`  - to: ${text(gateway.family === 'inet' ? '0.0.0.0/0' : '::/0')}`, `    via: ${text(gateway.text)}`, '    on-link: true', ...(isFirst.has(gateway)
      ? []
      : [`    metric: ${LATER_METRIC + nic}`])]),
    ...(dns.length + search.length === 0 ? [] : ['nameservers:']),
    ...(dns.length === 0 ? [] : [`  addresses: [${dns.map(text).join(', ')}]`]),
    ...(search.length === 0 ? [] : [`  search: [${search.map(text).join(', ')}]`]),
  ];
}

/**
 * What a VLAN offers, guestwire does not know: untagged frames are for DHCP, tagged ones are the guest's own affair.
 */
function portLines(vlans: readonly VlanMember[]): string[] {
  const untagged = vlans.some(({ untagged: out, pvid }) => out && pvid);
  const tagged = vlans.filter((member) => !member.untagged).map(({ vid }) => vid);
  return [
    ...(tagged.length === 0 ? [] : [`# VLANs ${formatVids(tagged)} arrive tagged: define those that the guest needs under 'vlans:'.`]),
    ...(untagged ? ['dhcp4: true', 'dhcp6: true'] : ['dhcp4: false', 'dhcp6: false', 'accept-ra: false']),
    'optional: true',
  ];
}

/** JSON's strings are YAML's double-quoted ones (YAML 1.2 section 1.3). */
function text(value: string): string {
  return JSON.stringify(value);
}
