/** `guestwire reconcile`: makes the host agree with a running guest's XML, or releases what is left of one that ended. */
import { deriveAttachments } from '../attachments/derive.js';
import { loadConfig } from '../config/file.js';
import { parseDomain } from '../domain/domain.js';
import { type Guest, guestOf } from '../domain/guest.js';
import { HostError, UsageError } from '../errors.js';
import { assertCallsHooks } from '../guests/ask-libvirt.js';
import type { Io } from '../guests/io.js';
import { LOCK_WAIT, locked } from '../guests/locked.js';
import { guestOfLibvirt } from '../guests/named.js';
import { closely, preview, previewAll, reconcileAll } from '../guests/reconcile-all.js';
import {
  type Inquiry, journalOf, lifeOf, type Part, releaseGuest, stampOf, type UnderLock, wireGuest, wireServed,
} from '../guests/reconcile-guest.js';
import { askLibvirt } from '../guests/virsh.js';
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
run, this releases what is left of its wiring. The agent ('guestwire watch') does all this by itself.

  GUEST      name, UUID or id
  --all      every running guest, and what guests that are gone left: links that guestwire made, routes, rules and
             neighbour proxies of its protocol, its nftables tables, VLANs it put on uplinks, state files
  --dry-run  change nothing, and print the lines that the same command would print without it, each behind 'would: '

Needs root and libvirt's virsh. Waits up to ${LOCK_WAIT} s for guests that start or stop meanwhile. If one guest fails, the
others are still repaired. Exit status: 0 all wiring is as the XML says, 1 some is not.`,
  options: { all: { type: 'boolean' }, 'dry-run': { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals: [by, extra] }, io) => {
    if (values.all === true && by !== undefined) throw new UsageError('give either --all or the name of one guest');
    if (values.all !== true && (by === undefined || extra !== undefined)) throw new UsageError('give the name of one guest');
    assertRoot('reconcile');
    const dry = values['dry-run'] === true;
    if (by === undefined) return (dry ? previewAll : reconcileAll)(io, async (uuid) => (await virshInquiry(io, uuid).life()).kind === 'coming');
    assertCallsHooks(process.env['LIBVIRT_DEFAULT_URI'] ?? '');
    // Asked of libvirt also where the journal has it: a name may be another guest's by now.
    const guest = await guestOfLibvirt(io, by);
    const { name } = guest;
    const inquiry = virshInquiry(io, guest.uuid);
    const life = await inquiry.life();
    if (life.kind === 'coming') {
      throw new HostError(`guest ${quote(name)} does not run here yet (${life.shown}): reconcile it when its migration is done`);
    }
    if (dry) return previewGuest(io, inquiry, life.kind === 'here');
    await (life.kind === 'here' ? wireRunning(io, name, inquiry) : releaseEnded(io, guest, inquiry));
    return 0;
  },
});

async function previewGuest(io: Io, inquiry: Inquiry, active: boolean): Promise<number> {
  const domain = parseDomain(await inquiry.xml());
  const guest = guestOf(domain);
  const config = loadConfig(io.settings.config);
  const attachments = active ? deriveAttachments(domain, config, io.warn) : [];
  return preview(io, async (acts) => {
    if (!active) await acts.release(guest);
    else if (attachments.length === 0) await acts.releaseRunning(guest);
    else {
      const plan = await acts.wire({ guest, attachments, nics: domain.nics });
      if (config.routed.announce) await acts.announce({ guest: guest.name, plan, fresh: false });
    }
    return 0;
  });
}

async function wireRunning(io: Io, name: string, inquiry: Inquiry): Promise<void> {
  let changes = 0;
  const underLock = underLockOf(io, name, (count) => { changes += count; });
  const { guest, asks } = await wireGuest({ io, inquiry, underLock });
  if (changes === 0) io.print(`guest ${quote(guest.name)}: ${asks === 'nothing' ? 'its XML has nothing to wire' : 'as its XML says, nothing changed'}`);
}

async function releaseEnded(io: Io, guest: Guest, inquiry: Inquiry): Promise<void> {
  const { name } = guest;
  const stamp = stampOf(journalOf(io), guest);
  if ((await inquiry.life()).kind !== 'gone') throw new HostError(`guest ${quote(name)} was started meanwhile`);
  let changes = 0;
  await releaseGuest({ io, underLock: underLockOf(io, name, (count) => { changes += count; }) }, guest, stamp);
  if (changes === 0) io.print(`guest ${quote(name)}: it does not run, and none of its wiring is left`);
}

/** `onChanges` is told how many changes were made. */
function underLockOf(io: Io, name: string, onChanges: (count: number) => void): UnderLock {
  const run: UnderLock['run'] = async ({ journal }, act) => {
    onChanges(await locked(io, { journal, holder: `guestwire reconcile ${quote(name)}` }, (host) => act(closely(io, host))));
  };
  return {
    run,
    wire: async (concerned, wiring) => {
      const parts: Part[] = [];
      await run(concerned, async (host) => { parts.push(await wireServed({ io, host }, concerned, wiring)); });
      return parts[0];
    },
  };
}

function virshInquiry(io: Io, uuid: string): Inquiry {
  return {
    life: async () => {
      const text = (await askLibvirt(io, ['domstate', '--reason', '--domain', uuid], 'asking for the state')).trim();
      const [, state = text, reason] = /^(.*?)(?: \((.*)\))?$/.exec(text) ?? [];
      return lifeOf(state, reason);
    },
    id: async () => {
      const id = (await askLibvirt(io, ['domid', '--domain', uuid], 'asking for the id')).trim();
      return id === '-' ? undefined : id;
    },
    xml: () => askLibvirt(io, ['dumpxml', '--domain', uuid], 'reading the domain XML'),
  };
}
