/** What becomes of the tables of forged and honest frames: what is expected of them without a filter and with it. */
import type { Row } from './forged.js';
import type { Topology } from './host.js';

/** Returns the rows in each encapsulation. */
export const dressed = (rows: readonly Row[], encapsulations: readonly string[]): (Row & { encapsulation: string })[] =>
  encapsulations.flatMap((encapsulation) => rows.map((row) => ({ ...row, encapsulation })));

/** What of it arrived, one line a row. */
export function arrived(shot: Map<string, string[]>): string[] {
  return [...shot].filter(([, places]) => places.some((place) => place !== 'nowhere')).map(([name, places]) => `${name}: ${[...new Set(places)].join(', ')}`);
}

/** What of it arrived nowhere. */
export function lost(shot: Map<string, string[]>): string[] {
  return [...shot].flatMap(([name, places]) => (places.every((place) => place === 'nowhere') ? [name] : []));
}

const TAGGED = 'member VID|VID 0 and member VID|802.1ad|member VID and another';

/** Forged frames that arrive nowhere though nothing filters them, and why. */
export const UNHEARD: Readonly<Record<Topology, readonly (readonly [RegExp, string])[]>> = {
  bridge: [
    [/^(the broadcast|a multicast) MAC as its source, /, 'the bridge drops what has no sender'],
    [/^LLDP to 01:80:c2:00:00:01, /, 'the bridge drops PAUSE frames'],
    [new RegExp(`^(LLDP to 01:80:c2:00:00:0[2-9a-f]|a BPDU to every reserved group), (${TAGGED})$`), 'the bridge forwards no reserved group but that of STP, and no link of that VLAN is on the port'],
  ],
  routed: [
    [new RegExp(`, (${TAGGED})$`), 'no link of that VLAN is on the tap'],
    [/^an IPv4 source: (0.0.0.0|broadcast|a group), /, 'a martian, whatever the sysctls say'],
    [/^DHCPv4 from 0.0.0.0 to one host, /, 'a martian, whatever the sysctls say'],
    [/^an IPv6 source: (a group|loopback), /, 'ip6_rcv() drops them'],
    [/^IPv(4 with a header too short|[46] longer than its frame), /, 'ip_rcv() and ip6_rcv() drop them'],
  ],
};

/** What arrives in spite of the filter, nowhere but at the host, and why. */
export const HARMLESS: Readonly<Record<Topology, RegExp>> = {
  // LLDP meets no hook of bridges. It goes up on the port itself, where only an LLDP daemon listens.
  bridge: /^(LLDP to 01:80:c2:00:00:0e|a BPDU to every reserved group), (untagged|VID 0|VID 0 twice|802\.1ad VID 0)$/,
  // A link-local address is its link's, and nobody but the guest and its host is on that: the victim's is not the
  // victim here.
  routed: /^(an IPv6 source: (the victim's link-local|a link-local of nobody)|an advertisement from the victim|[^,]* the victim's link-local), untagged$/,
};
