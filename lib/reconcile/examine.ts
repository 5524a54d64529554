/**
 * The host observed and checked before a plan: the loop refuses here, while nothing has changed.
 */
import type { Attachment } from '../attachments/attachment.js';
import { furtherScope, preflight } from '../attachments/check.js';
import type { Holder } from '../attachments/routed-link/check.js';
import { scopeOf } from '../attachments/scope.js';
import { familiesOf } from '../attachments/wired.js';
import type { Guest } from '../domain/guest.js';
import type { Holding } from '../journal/journal.js';
import { EMPTY_SCOPE, type Observation } from '../kernel/observation.js';
import { rivalsOf } from './holders.js';
import { type Host, pastOf } from './host.js';
import type { WireRequest } from './request.js';

/** Observes the host and throws unless it can give what `attachments` ask for. Returns the observation. */
export async function check(host: Host, guest: Guest, attachments: readonly Attachment[]): Promise<Observation> {
  const { live } = await rivalsOf(host, attachments, pastOf(host, guest.uuid));
  return examine(host, { guest, attachments }, live);
}

interface Examined extends Pick<WireRequest, 'guest' | 'attachments'> {
  /** Each table costs a program; what it is can be taken for granted until nft says otherwise. */
  readonly asksFilters?: boolean;
}

export async function examine(host: Host, { guest, attachments, asksFilters = false }: Examined, rivals: readonly Holding[]): Promise<Observation> {
  const recorded = host.journal.read(guest.uuid)?.wired ?? [];
  const scope = scopeOf(attachments, recorded);
  const first = await host.kernel.observe(asksFilters ? { ...scope, filters: familiesOf([...attachments, ...recorded]) } : scope);
  const further = furtherScope(attachments, first);
  const { nextHops, exact, routers } = await host.kernel.observe({ ...EMPTY_SCOPE, ...further });
  const observation = { ...first, nextHops, routers, exact: [...first.exact, ...exact] };
  const holders = rivals.map((entry): Holder => ({ name: entry.guest.name, attachments: entry.wired }));
  preflight(guest.name, attachments, { observation, holders, recorded, guestName: (uuid) => host.journal.read(uuid)?.guest.name });
  return observation;
}
