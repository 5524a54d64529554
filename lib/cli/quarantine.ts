/** `guestwire quarantine`: cuts a guest off at once, and keeps it so until that is lifted. */
import { type Guest, guestLabel } from '../domain/guest.js';
import { GuestwireError, HostError, UsageError } from '../errors.js';
import type { Attachment } from '../attachments/kinds.js';
import { isLibvirts } from '../guests/ask-libvirt.js';
import { realEffects } from '../guests/effects.js';
import { askLibvirt, inquiryFor } from '../guests/inquiry.js';
import { wireGuest } from '../guests/reconcile-guest.js';
import { countingTurn } from '../guests/turns.js';
import { setLinksDown } from '../reconcile/unrecorded.js';
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

  GUEST    name, UUID or id; if a running guest has no journal entry, or a damaged one, it is wired again
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
  await locked(io, holderFor(guest), async (host) => { plans.push(await refilter(host, guest.uuid)); });
  const isWired = plans[0] !== undefined || await wireUnrecorded(io, guest, lift);
  const state = lift ? 'not in quarantine' : 'in quarantine';
  const label = guestLabel(guest.name);
  io.print(`${label}: ${changed ? `now ${state}` : `is ${state}`}`);
  if (!isWired && !lift) {
    io.print(`${label}: guestwire wires none of its NICs now, and cuts off those that it wires at the next start`);
  }
}

function holderFor({ name }: Guest): string {
  return `guestwire quarantine ${quote(name)}`;
}

/**
 * Wires a running guest without an entry: its filters then let nothing pass. Returns whether it has wiring. Throws when
 * that fails, after it has set the links of the guest down where it can.
 */
async function wireUnrecorded(io: Io, guest: Guest, lift: boolean): Promise<boolean> {
  let asked: readonly Attachment[] = [];
  try {
    return await askLibvirt(io, async (libvirt) => {
      const inquiry = inquiryFor(guest, () => libvirt);
      if ((await inquiry.life()).kind === 'gone') return false;
      const effects = realEffects(io);
      const { asks } = await wireGuest({
        io, inquiry, effects, turn: countingTurn(effects, holderFor(guest)).turn,
        onAsked: (_, attachments) => { asked = attachments; },
      });
      return asks === 'something';
    });
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    if (lift && isLibvirts(error) && !createJournal(io.settings.stateDir, io.warn).has(guest.uuid)) {
      io.warn(`${guestLabel(guest.name)}: its NICs are unchanged if it runs, because libvirt does not answer: ${error.detail}`);
      return false;
    }
    const down = lift ? [] : await setDown(io, guest, asked);
    const cut = down.length === 0
      ? `its NICs are unchanged (run 'guestwire reconcile ${guest.name}' if it runs)`
      : `cannot filter its NICs: ${down.map(quote).join(', ')} set down, up again with 'ip link set up dev NAME'`;
    throw new HostError(`quarantine ${lift ? 'lifted' : 'noted'}, but ${cut}: ${error.detail}`, { cause: error })
      .placeAt({ guest: guest.name }, guestLabel(guest.name));
  }
}

/** Sets the links of the guest's NICs down, and returns those that then are. */
async function setDown(io: Io, guest: Guest, asked: readonly Attachment[]): Promise<string[]> {
  const names = asked.flatMap(({ link }) => link ?? []);
  const down: string[] = [];
  if (names.length === 0) return [];
  await locked(io, holderFor(guest), async (host) => { down.push(...await setLinksDown(host, names)); });
  return down;
}

/** Libvirt is asked only for a guest that nothing here knows, so that the command works while libvirtd does not. */
async function guestNamed(io: Io, journal: Journal, { name, lift }: { name: string; lift: boolean }): Promise<Guest> {
  const known = [...journal.list().map(({ guest }) => guest), ...(lift ? listQuarantine(io.settings.quarantine) : [])];
  const guest = guestAmong(known, name);
  if (guest !== undefined) return { name: guest.name, uuid: guest.uuid };
  return journal.has(name) ? { name, uuid: name } : guestOfLibvirt(io, name);
}
