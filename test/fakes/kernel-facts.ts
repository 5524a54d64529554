/** The facts about the objects of a kernel in memory, as lib/kernel reads them from a real one. */
import type { LinkFacts, RouteFacts, Subinterface } from '../../lib/kernel/observation.js';
import { parseAddress, parseDestination } from '../../lib/values/address.js';
import type { VlanMember } from '../../lib/values/vlan.js';
import type { FakeHost, FakeLink } from './kernel.js';

export function subinterfacesOf({ subinterfaces, links }: Required<FakeHost>): Subinterface[] {
  return [...subinterfaces, ...Object.entries(links).flatMap(([ifname, { vlan, master }]) =>
    (vlan === undefined ? [] : [{ ifname, ...vlan, ...(master === undefined ? {} : { master }) }]))]
    .map((link) => ({ protocol: '802.1Q', ...link }));
}

export function membersOf(vlans: FakeLink['vlans'] = {}): VlanMember[] {
  return Object.entries(vlans)
    .map(([vid, flags]) => ({ vid: Number(vid), pvid: flags.includes('pvid'), untagged: flags.includes('untagged') }))
    .sort((a, b) => a.vid - b.vid);
}

export function portsOf({ links }: Required<FakeHost>, bridge: string): string[] {
  return Object.keys(links).filter((name) => links[name]?.master === bridge);
}

/** As nft prints an ifindex: by name when there is such a link. */
export function nameOf({ links }: Required<FakeHost>, ifindex: number): string {
  return Object.keys(links).find((name) => links[name]?.ifindex === ifindex) ?? String(ifindex);
}

export function linkFacts(ifname: string, link: FakeLink): LinkFacts {
  return {
    ifname,
    ifindex: link.ifindex,
    mac: link.mac,
    up: link.up ?? true,
    txqlen: link.txqlen ?? 1000,
    mtu: link.mtu ?? 1500,
    allmulticast: link.allmulticast ?? false,
    alias: link.alias,
    peer: link.peer,
    tap: link.tap,
    master: link.master,
    addresses: (link.addresses ?? []).map((text) => {
      const [address = '', length] = text.split('/');
      return { address: parseAddress(address), length: Number(length) };
    }),
    isolated: link.master === undefined ? undefined : (link.isolated ?? false),
    vlan: link.vlan && { protocol: '802.1Q', ...link.vlan },
    vrfTable: link.vrfTable,
    bridge: link.bridge && {
      protocol: '802.1Q', capable: link.bridge.capable ?? true,
      filtering: link.bridge.filtering ?? true, defaultPvid: link.bridge.defaultPvid ?? 1,
      stp: link.bridge.stp ?? false, forwardDelay: link.bridge.forwardDelay ?? 1500,
    },
  };
}

export function routeFacts(
  { type = 'unicast', to, dev, via, table = 'main', protocol = 'kernel', src }: NonNullable<FakeHost['routes']>[number],
): RouteFacts {
  const hops = via === undefined ? [] : [parseAddress(via)];
  return {
    type, to: parseDestination(to, to.includes(':') ? 'inet6' : 'inet'), dev, via: hops[0], hops, table, protocol, src,
  };
}
