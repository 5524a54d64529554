/**
 * The host observed and checked before a plan: the loop refuses here, while nothing has changed.
 */
import { preflight } from '../attachments/check.js';
import type { Attachment } from '../attachments/kinds.js';
import { isUnfinished } from '../attachments/ledger.js';
import { furtherScopeOf, scopeOf, withFurther } from '../attachments/scope.js';
import { familiesOf } from '../attachments/wired.js';
import type { Guest } from '../domain/guest.js';
import type { Holding } from '../journal/journal.js';
import type { Observation } from '../kernel/observation.js';
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
  const observation = withFurther(first, await host.kernel.observe(furtherScopeOf(attachments, first)));
  const others = rivals.map(({ guest: { name }, wired }) => ({ name, attachments: wired }));
  preflight(guest.name, attachments, { observation, others, recorded, guestName: (uuid) => host.journal.read(uuid)?.guest.name, isUnfinished: (dev) => isUnfinished(host.journal.readLedger(), dev) });
  return observation;
}
