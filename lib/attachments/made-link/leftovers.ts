/** Made links that are left of guests that are gone. */
import type { WholeHost } from '../../kernel/whole-host.js';
import type { NetObject } from '../../state/netstate.js';
import { isUuid } from '../../values/uuid.js';
import type { Kept } from '../kept.js';
import { ALIAS_PREFIX } from './made-link.js';

/** An alias names the guest. Of a veth pair both ends carry it, and go together. */
export function leftLinks({ links }: Pick<WholeHost, 'links'>, { uuids }: Pick<Kept, 'uuids'>): NetObject[] {
  const orphans = links.filter(({ alias }) => isOfGuest(alias) && !uuids.has(alias.slice(ALIAS_PREFIX.length)));
  const gone = new Set<string>();
  return orphans.flatMap(({ ifname: dev, peer, tap }): NetObject[] => {
    if (gone.has(dev)) return [];
    if (peer !== undefined) gone.add(peer);
    if (tap !== undefined) return [{ kind: 'tap', dev, multiQueue: tap.multiQueue }];
    return peer === undefined ? [] : [{ kind: 'veth', dev, peer }];
  });
}

/** Returns the links that were made for this guest. */
export function linksOfGuest({ links }: Pick<WholeHost, 'links'>, uuid: string): NetObject[] {
  return leftLinks({ links: links.filter(({ alias }) => alias === `${ALIAS_PREFIX}${uuid}`) }, { uuids: new Set() });
}

/** An administrator may write any alias. */
function isOfGuest(alias: string | undefined): alias is string {
  return alias?.startsWith(ALIAS_PREFIX) === true && isUuid(alias.slice(ALIAS_PREFIX.length));
}
