/**
 * Checks the links that guestwire makes: before, no other link has their names; afterwards, they are the links that
 * guestwire made. Pure; each refusal names guest, NIC, cause and cure.
 */
import { ConflictError, HostError } from '../../errors.js';
import type { LinkFacts } from '../../kernel/observation.js';
import { quote } from '../../values/quote.js';
import type { Surroundings } from '../attached.js';
import { ALIAS_PREFIX, type MadeLink, madeNames } from './made-link.js';
import { isMadeHere } from './state.js';

/** A NIC with a link that guestwire makes, or a NIC without such a link. */
interface Made {
  readonly link: string | undefined;
  readonly made?: MadeLink | undefined;
}

/** Throws ConflictError when a name is taken, HostError when a link is not the one that was made for this guest. */
export function assertMade(
  { link, made }: Made,
  { observation: { links }, guestName }: Pick<Surroundings, 'observation' | 'guestName'>,
): void {
  if (made === undefined) return;
  const host = links.get(made.dev);
  const isOurs = host !== undefined && isMadeHere({ made }, host);
  if (link !== undefined) {
    if (isOurs) return;
    throw new HostError(`link ${quote(link)} is not the ${madeLinkWords(made)} that guestwire makes for this guest at its start: stop the guest and start it again`);
  }
  // The start reuses a link that an earlier run made for this guest and that has lost its record.
  if (isOurs) return;
  for (const name of madeNames(made)) {
    const other = links.get(name);
    if (other !== undefined) throw new ConflictError(takenBy(other, made, guestName));
  }
}

function takenBy({ ifname, alias }: LinkFacts, made: MadeLink, guestName: Surroundings['guestName']): string {
  const cure = `remove that link ('ip link del ${ifname}') or name another in ${nameGiver(ifname, made)}`;
  if (alias === made.alias) return `link ${quote(ifname)} is left from an earlier start of this guest, and is no longer a ${madeLinkWords(made)}: ${cure}`;
  if (alias?.startsWith(ALIAS_PREFIX) === true) {
    const uuid = alias.slice(ALIAS_PREFIX.length);
    const guest = guestName(uuid);
    return `link ${quote(ifname)} belongs to ${guest === undefined ? `the guest with UUID ${quote(uuid)}` : `guest ${quote(guest)}`}: give one of the two another name`;
  }
  return `link ${quote(ifname)} exists already, and guestwire did not make it: ${cure}`;
}

function nameGiver(ifname: string, made: MadeLink): string {
  if (made.kind === 'tap') return '<target dev>';
  return ifname === made.dev ? '<gw:veth dev>' : '<source dev>';
}

function madeLinkWords(made: MadeLink): string {
  if (made.kind === 'veth') return `veth pair with ${quote(made.peer)}`;
  return made.multiQueue ? 'tap for several queues' : 'tap for one queue';
}
