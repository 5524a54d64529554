/** `guestwire quarantine`: cuts a guest off at once, and keeps it so until that is lifted. */
import { type Guest, guestLabel } from '../domain/guest.js';
import { HostError, UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { locked } from '../guests/locked.js';
import { guestAmong, guestOfLibvirt } from '../guests/named.js';
import { createJournal, type Journal } from '../journal/journal.js';
import { liftQuarantine, listQuarantine, putIntoQuarantine } from '../journal/quarantine.js';
import type { Plan } from '../reconcile/plan.js';
import { refilter } from '../reconcile/reconcile.js';
import { once } from '../system/log.js';
import { quote, unquoted } from '../values/quote.js';
import { assertRoot, assertRootToRead, command, JSON_VERSION } from './command.js';

export const quarantine = command({
  name: 'quarantine',
  summary: 'cut a guest off from the network, or lift that',
  help: `Usage: guestwire quarantine GUEST [--lift]
       guestwire quarantine [--json]

Cuts off, at once, the NICs that guestwire wires for the guest: nothing passes to or from them until --lift, whether the
guest runs or not. The guest starts and stops as before, and the quarantine outlasts restarts of guest, libvirtd and
host. VLANs, addresses and routes stay as they are. NICs that guestwire does not wire are not cut off.

  GUEST    name, UUID or id; if the guest's journal entry is damaged, run 'guestwire reconcile GUEST' afterwards
  --lift   end the quarantine
  --json   print {"version", "guests": [{"name", "uuid", "since"}]}

Without GUEST it lists the guests in quarantine. Needs root.`,
  options: { lift: { type: 'boolean' }, json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values: { lift = false, json = false }, positionals: [name, extra] }, io) => {
    if (extra !== undefined) throw new UsageError('give the name of one guest');
    if (name === undefined && lift) throw new UsageError('--lift needs the name of a guest');
    if (name !== undefined && json) throw new UsageError("'--json' works only without GUEST");
    (name === undefined ? assertRootToRead : assertRoot)('quarantine');
    if (name === undefined) list(io, json);
    else await change(io, name, lift);
    return 0;
  },
});

function list(io: Io, json: boolean): void {
  const guests = listQuarantine(io.settings.quarantine);
  if (json) io.print(JSON.stringify({ version: JSON_VERSION, guests }, null, 2));
  else if (guests.length === 0) io.print('no guest is in quarantine');
  else for (const { name, uuid, since } of guests) io.print(`${unquoted(name)}  ${uuid}  since ${since}`);
}

/** The file comes first: a guest that starts meanwhile waits for the lock, and reads it then. */
async function change(given: Io, name: string, lift: boolean): Promise<void> {
  const io = { ...given, warn: once(given.warn) };
  const journal = createJournal(io.settings.stateDir, io.warn);
  const guest = await guestNamed(io, journal, { name, lift });
  const dir = io.settings.quarantine;
  const changed = lift ? liftQuarantine(dir, guest.uuid) : putIntoQuarantine(dir, guest);
  const plans: (Plan | undefined)[] = [];
  await locked(io, `guestwire quarantine ${quote(guest.name)}`, async (host) => { plans.push(await refilter(host, guest.uuid)); });
  if (plans[0] === undefined && journal.has(guest.uuid)) {
    throw new HostError(`quarantine ${lift ? 'lifted' : 'noted'}, but its NICs are unchanged: its journal entry is damaged: run 'guestwire reconcile ${guest.name}' if it runs`)
      .placeAt({ guest: guest.name }, guestLabel(guest.name));
  }
  const state = lift ? 'not in quarantine' : 'in quarantine';
  const label = guestLabel(guest.name);
  io.print(`${label}: ${changed ? `now ${state}` : `is ${state}`}`);
  if (plans[0] === undefined && !lift) {
    io.print(`${label}: guestwire wires none of its NICs now, and cuts off those that it wires at the next start`);
  }
}

/** Libvirt is asked only for a guest that nothing here knows, so that the command works while libvirtd does not. */
async function guestNamed(io: Io, journal: Journal, { name, lift }: { name: string; lift: boolean }): Promise<Guest> {
  const known = [...journal.list().map(({ guest }) => guest), ...(lift ? listQuarantine(io.settings.quarantine) : [])];
  const guest = guestAmong(known, name);
  if (guest !== undefined) return { name: guest.name, uuid: guest.uuid };
  return journal.has(name) ? { name, uuid: name } : guestOfLibvirt(io, name);
}
