/**
 * What guestwire left on the host for guests that are gone, of which no journal entry speaks any more: all of it
 * carries its mark, an alias, its protocol number or its table's name.
 */
import { claimsOf, dependenceOf, proxiesOf, routingOf } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { idleLinks } from '../attachments/ledger.js';
import { ALIAS_PREFIX } from '../attachments/made-link/made-link.js';
import { familiesOf } from '../attachments/wired.js';
import { type HostFacts, observeHost } from '../kernel/whole-host.js';
import { type NetObject, type NetState, netState } from '../state/netstate.js';
import { FILTER_FAMILIES, type FilterFamily, TABLE } from '../state/nft.js';
import { isMade } from '../state/objects.js';
import type { Exec } from '../system/exec.js';
import { isUuid } from '../values/uuid.js';

/** Returns the host's route protocols and those of guests that were wired under another config. */
export function allProtocols(held: Kept['held'], protocols: readonly number[]): number[] {
  return [...new Set([...protocols, ...held.flatMap((one) => routingOf(one)?.protocol ?? [])])];
}

/** Returns the facts of what may not be in `kept`. Throws CommandError or ToolOutputError. */
export async function hostBeside(exec: Exec, { held, protocols }: Kept): Promise<HostFacts> {
  return observeHost(exec, { protocols, filters: FILTER_FAMILIES.filter((family) => !isNeeded(family, held)) });
}

/** What may stay. */
export interface Kept {
  /** What guests have as the journal has it, and what those that run ask for: an entry may be lost. */
  readonly held: readonly (Wired | Attachment)[];
  /** UUIDs of guests that have an entry or run: what they have is looked after with them. */
  readonly uuids: ReadonlySet<string>;
  readonly protocols: readonly number[];
}

/** Returns what is to be removed. */
export function garbageIn(facts: HostFacts, kept: Kept): NetState {
  return netState([
    ...links(facts, kept), ...sharedLinks(facts, kept), ...routes(facts, kept), ...rules(facts, kept),
    ...proxies(facts, kept), ...filters(facts, kept),
  ]);
}

/** An alias names the guest. Of a veth pair both ends carry it, and go together. */
function links({ links: all }: HostFacts, { uuids }: Kept): NetObject[] {
  const orphans = all.filter(({ alias }) => isOfGuest(alias) && !uuids.has(alias.slice(ALIAS_PREFIX.length)));
  const gone = new Set<string>();
  return orphans.flatMap(({ ifname: dev, peer, tap }): NetObject[] => {
    if (gone.has(dev)) return [];
    if (peer !== undefined) gone.add(peer);
    if (tap !== undefined) return [{ kind: 'tap', dev, multiQueue: tap.multiQueue }];
    return peer === undefined ? [] : [{ kind: 'veth', dev, peer }];
  });
}

/** The alias names no guest: all guests that depend on the links share them. */
function sharedLinks({ links: all }: HostFacts, { held }: Kept): NetObject[] {
  return idleLinks(all, new Set(held.flatMap((one) => dependenceOf(one).shared)));
}

/** An alias may be an admin's own, who may write anything. */
function isOfGuest(alias: string | undefined): alias is string {
  return alias?.startsWith(ALIAS_PREFIX) === true && isUuid(alias.slice(ALIAS_PREFIX.length));
}

/** Of a guest's link the routes are looked after with the guest; what goes with a link need not be removed before. */
function routes(facts: HostFacts, kept: Kept): NetObject[] {
  const links = new Set<string | undefined>([...kept.held.map(({ link }) => link), ...namesOf(facts, kept)]);
  const tables = new Set(kept.held.flatMap((one) => routingOf(one)?.table ?? []));
  return facts.routes.flatMap(({ type, to, dev, via, table, number: protocol }): NetObject[] => {
    // Of both families it is 'default'; those of IPv6 are on lo.
    if (type === 'unreachable') return to.length === 0 && !tables.has(table)
      ? [{ kind: 'last-resort', dev: 'lo', family: dev === undefined ? 'inet' : 'inet6', table, protocol }]
      : [];
    return type !== 'unicast' || dev === undefined || links.has(dev)
      ? []
      : [{ kind: 'route', dev, to: to.text, via: via?.text, table, protocol }];
  });
}

function namesOf(facts: HostFacts, kept: Kept): string[] {
  return links(facts, kept).filter(isMade).map(({ dev }) => dev);
}

function rules({ rules: all }: HostFacts, { held, protocols }: Kept): NetObject[] {
  // Rules keep the name that a link had when they were made: those go with its guest.
  const links = new Set<string | undefined>(held.flatMap(({ link, was }) => [link, was]));
  const claims = new Set<string | undefined>(claimsOf(held).map(({ text }) => text));
  return all.filter(({ protocol, iif, to }) => protocols.includes(protocol) &&
    (iif !== undefined ? !links.has(iif) : to !== undefined && !claims.has(to.text)))
    .map(({ family, priority, iif, to, table, protocol }): NetObject => ({
      kind: 'rule', dev: iif ?? 'lo', family, priority, to: to?.text, table, protocol,
    }));
}

function proxies({ proxies: all }: HostFacts, { held, protocols }: Kept): NetObject[] {
  const wanted = new Set<string | undefined>(proxiesOf(held).map(({ dev, address }) => `${dev} ${address}`));
  return all.filter(({ protocol, dev, address }) => protocols.includes(Number(protocol)) &&
    !wanted.has(`${dev} ${address.text}`))
    .map(({ dev, address, protocol }): NetObject => ({
      kind: 'neighbour-proxy', dev, address: address.text, protocol: Number(protocol),
    }));
}

/** A table without NICs is nobody's; what is wrong within one that is needed is mended with its guests. */
function filters({ filters: all }: HostFacts, { held }: Kept): NetObject[] {
  return [...all].filter(([family, { there }]) => there && !isNeeded(family, held))
    .map(([family]): NetObject => ({ kind: 'filter-table', dev: TABLE, family }));
}

function isNeeded(family: FilterFamily, held: Kept['held']): boolean {
  return familiesOf(held).includes(family);
}
