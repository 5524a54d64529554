/** Bridges of one VLAN and their sub-interfaces that no guest uses any more. */
import type { LinkFacts } from '../../kernel/observation.js';
import type { WholeHost } from '../../kernel/whole-host.js';
import type { NetObject } from '../../state/netstate.js';
import { dependence } from '../attachment.js';
import type { Kept } from '../kept.js';
import { SHARED_ALIAS } from './vlan-bridge.js';

/** The alias names no guest: all guests that depend on the links share them. */
export function leftBridges({ links }: Pick<WholeHost, 'links'>, { held }: Pick<Kept, 'held'>): NetObject[] {
  return idleBridges(links, new Set(held.flatMap((one) => dependence(one).shared)));
}

/** A bridge that is still needed for a port of something else stays, and its sub-interface with it. */
export function idleBridges(links: readonly LinkFacts[], used: ReadonlySet<string>): NetObject[] {
  const mine = links.filter(({ ifname, alias }) => alias === SHARED_ALIAS && !used.has(ifname));
  const names = new Set(mine.map(({ ifname }) => ifname));
  const kept =
    new Set(links.flatMap(({ ifname, master }) => (master === undefined || names.has(ifname) ? [] : [master])));
  return mine
    .filter(({ ifname, master = '' }) => !kept.has(ifname) && !kept.has(master))
    .flatMap(({ ifname: dev, bridge, vlan }): NetObject[] => {
      if (bridge !== undefined) return [{ kind: 'bridge', dev }];
      return vlan === undefined ? [] : [{ kind: 'vlan-link', dev, parent: vlan.parent, vid: vlan.vid }];
    });
}
