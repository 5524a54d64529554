/**
 * Which guests a change of the host concerns: each guest depends on its links, on links that it shares, and on libvirt
 * networks. For a shared link only changes that can disturb a guest count: a bridge reports every port that comes or
 * goes.
 */
import { dependence } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import type { Domain } from '../domain/domain.js';
import { GONE, type LinkChange } from '../kernel/monitor-lines.js';
import type { VidRange } from '../values/vlan.js';

interface Concern {
  readonly links: ReadonlySet<string>;
  readonly shared: ReadonlySet<string>;
  /** VIDs that each uplink has to carry for the guest. */
  readonly uplinks: ReadonlyMap<string, ReadonlySet<number>>;
  readonly networks: ReadonlySet<string>;
}

/** Links by what outlasts their names, and the names they have now. */
type Held = readonly Pick<Wired, 'link' | 'ifindex'>[];

export interface Concerns {
  readonly set: (uuid: string, domain: Domain, attachments: readonly Attachment[]) => void;
  /** Records links as the guest's own under any name: libvirt does not notice that a link is renamed. */
  readonly hold: (uuid: string, held: Held) => void;
  readonly forget: (uuid: string) => void;
  /** Records the present state of a shared link. Without a record, its first report counts as a change. */
  readonly know: (change: LinkChange) => void;
  /**
   * Returns the UUIDs of the guests that the change of a link concerns: because it is their own, or an uplink that lost
   * a VLAN of theirs, or because it is one they share.
   */
  readonly byLink: (change: LinkChange) => { readonly own: readonly string[]; readonly sharing: readonly string[] };
  readonly byNetwork: (name: string) => string[];
}

/** Returns an empty record of concerns. */
export function createConcerns(): Concerns {
  const concerns = new Map<string, Concern>();
  const holdings = new Map<string, Held>();
  const essences = new Map<string, string>();
  const having = (has: (concern: Concern) => boolean): string[] =>
    [...concerns].filter(([, concern]) => has(concern)).map(([uuid]) => uuid);
  return {
    set: (uuid, domain, attachments) => { concerns.set(uuid, concernOf(domain, attachments)); },
    hold: (uuid, held) => { holdings.set(uuid, held); },
    forget: (uuid) => {
      concerns.delete(uuid);
      holdings.delete(uuid);
    },
    know: ({ ifname, essence }) => { if (essence !== undefined) essences.set(ifname, essence); },
    byLink: ({ ifname, ifindex, essence, lost }) => {
      const holders = [...holdings]
        .filter(([, held]) => held.some((one) => one.link === ifname || one.ifindex === ifindex))
        .map(([uuid]) => uuid);
      const named = having(({ links, uplinks }) => links.has(ifname) ||
        (lost !== undefined && holdsAny(uplinks.get(ifname), lost)));
      const own = [...new Set([...named, ...holders])];
      if (essence === undefined || essences.get(ifname) === essence) return { own, sharing: [] };
      const sharing = having(({ shared }) => shared.has(ifname));
      // Records stay current while no guest shares the link. A link that was neither there at first nor ever shared
      // gets no record, and a removed link loses its record: tap names come and go without end.
      if (sharing.length > 0) essences.set(ifname, essence);
      else if (essence.startsWith(GONE)) essences.delete(ifname);
      else if (essences.has(ifname)) essences.set(ifname, essence);
      return { own, sharing };
    },
    byNetwork: (name) => having(({ networks }) => networks.has(name)),
  };
}

function holdsAny(vids: ReadonlySet<number> = new Set(), { first, last }: VidRange): boolean {
  return [...vids].some((vid) => vid >= first && vid <= last);
}

function concernOf({ nics }: Domain, attachments: readonly Attachment[]): Concern {
  const [links, shared, networks] = [new Set<string>(), new Set<string>(), new Set<string>()];
  const uplinks = new Map<string, Set<number>>();
  const add = (set: Set<string>, ...names: readonly (string | undefined)[]): void => {
    for (const name of names) if (name !== undefined) set.add(name);
  };
  for (const attachment of attachments) {
    add(links, attachment.link);
    add(networks, nics[attachment.nic]?.source.network);
    const { links: own, shared: common, carried } = dependence(attachment);
    add(links, ...own);
    add(shared, ...common);
    for (const [dev, vids] of carried) uplinks.set(dev, new Set([...uplinks.get(dev) ?? [], ...vids]));
  }
  return { links, shared, uplinks, networks };
}
