/**
 * `guestwire reconcile`: makes the host agree with a running guest's XML, or releases what is left of one that ended.
 */
import { parseDomain } from '../domain/domain.js';
import { guestOf } from '../domain/guest.js';
import { HostError, UsageError } from '../errors.js';
import { assertCallsHooks } from '../guests/ask-libvirt.js';
import { dryEffects, type Effects, realEffects } from '../guests/effects.js';
import { askLibvirt, inquiryFor } from '../guests/inquiry.js';
import type { Io } from '../guests/io.js';
import { LOCK_WAIT } from '../guests/locked.js';
import { domainNamed } from '../guests/named.js';
import { previewAll, reconcileAll } from '../guests/reconcile-all.js';
import { type GuestWork, journalOf, releaseGuest, stampOf, wireGuest } from '../guests/reconcile-guest.js';
import { countingTurn } from '../guests/turns.js';
import type { Connection } from '../libvirt/connection.js';
import { quote } from '../values/quote.js';
import { assertRoot, command } from './command.js';

export const reconcile = command({
  name: 'reconcile',
  summary: 'make the host agree with the XML of a running guest',
  help: `Usage: guestwire reconcile GUEST [--dry-run]
       guestwire reconcile --all [--dry-run]

Wires a running guest as its XML says now, and prints a line for each change. Use it after the guest's routes or VLANs
were disturbed, after its metadata was edited ('virsh metadata --live'), when it was started before guestwire was
installed, and when it has arrived by migration and runs here. Correct wiring stays untouched. If the guest does not
run, this releases what is left of its wiring. The agent ('guestwire agent') does all this by itself.

  GUEST      name, UUID or id
  --all      every running guest, and what guests that are gone left: links that guestwire made, routes, rules and
             neighbour proxies of its protocol, its nftables tables, VLANs it put on uplinks, state files
  --dry-run  change nothing, and print each change that the command would make as 'would: CHANGE'

Needs root and libvirt. Waits up to ${LOCK_WAIT} s for guests that start or stop meanwhile. If one guest fails, the
others are still repaired. Exit status: 0 all wiring is as the XML says, 1 some is not.`,
  options: { all: { type: 'boolean' }, 'dry-run': { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals: [by, extra] }, io) => {
    if (values.all === true && by !== undefined) throw new UsageError('give either --all or the name of one guest');
    if (values.all !== true && (by === undefined || extra !== undefined)) {
      throw new UsageError('give the name of one guest');
    }
    assertRoot('reconcile');
    const isDry = values['dry-run'] === true;
    if (by === undefined) return (isDry ? previewAll : reconcileAll)(io);
    assertCallsHooks(process.env['LIBVIRT_DEFAULT_URI'] ?? '');
    await askLibvirt(io, (libvirt) =>
      reconcileOne(libvirt, by, { io, effects: isDry ? dryEffects(io) : realEffects(io), isDry }));
    return 0;
  },
});

interface Given {
  readonly io: Io;
  readonly effects: Effects;
  readonly isDry: boolean;
}

/** libvirt is asked even if the journal knows the guest: another guest may have the name since. */
async function reconcileOne(libvirt: Connection, by: string, { io, effects, isDry }: Given): Promise<void> {
  const ref = await domainNamed(libvirt, by);
  const inquiry = inquiryFor(ref, () => libvirt);
  const life = await inquiry.life();
  if (life.kind === 'coming') {
    throw new HostError(`guest ${quote(ref.name)} does not run here yet (${life.shown}): reconcile it when its migration is done`);
  }
  const counted = countingTurn(effects, `guestwire reconcile ${quote(ref.name)}`);
  const work: GuestWork = { io, inquiry, effects, turn: counted.turn };
  const nothing = life.kind === 'here' ? await wireRunning(work) : await releaseOneEnded(work);
  if (counted.changes() === 0) io.print(isDry ? `all wiring is as the XML says, ${effects.nothing}` : nothing);
}

/** Returns what is said when there was nothing to do. */
async function wireRunning(work: GuestWork): Promise<string> {
  const { guest, asks } = await wireGuest(work);
  return `guest ${quote(guest.name)}: ${asks === 'nothing' ? 'its XML has nothing to wire' : 'as its XML says, nothing changed'}`;
}

/** Returns what is said when there was nothing to do. */
async function releaseOneEnded(work: GuestWork): Promise<string> {
  const guest = guestOf(parseDomain(await work.inquiry.xml()));
  const stamp = stampOf(journalOf(work.io), guest);
  if ((await work.inquiry.life()).kind !== 'gone') throw new HostError(`guest ${quote(guest.name)} was started during this command: run it again`);
  await releaseGuest(work, guest, stamp);
  return `guest ${quote(guest.name)}: it does not run, and none of its wiring is left`;
}
