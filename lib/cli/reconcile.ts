/** `guestwire reconcile`: makes the host agree with a running guest's XML, or releases what is left of one that ended. */
import { announce } from '../announce.js';
import { deriveAttachments } from '../attachment.js';
import { loadConfig } from '../config.js';
import { parseDomain } from '../domain.js';
import { DomainXmlError, HostError, UsageError } from '../errors.js';
import { createJournal } from '../journal.js';
import type { Plan } from '../plan.js';
import { quote } from '../quote.js';
import { type Guest, type Host, release, releaseRunning, wire } from '../reconcile.js';
import { serveGuest } from '../serving.js';
import { askLibvirt, type Command, type Io, parseOptions } from './command.js';
import { locked, lookingHost } from './host.js';
import { closely, ON_ITS_WAY, preview, previewAll, reconcileAll } from './reconcile-all.js';
import { assertRoot, LOCK_WAIT } from './requirements.js';

export const reconcile: Command = {
  name: 'reconcile',
  summary: 'make the host agree with the XML of a running guest',
  help: `Usage: guestwire reconcile DOMAIN [--dry-run]
       guestwire reconcile --all [--dry-run]

Wires a running guest as its XML says now, and prints a line for each change: after its routes or VLANs were
disturbed, after its metadata was edited ('virsh metadata --live'), when it was started before guestwire was
installed, and when it has come by migration and runs here. What is in order already stays untouched. Of a guest that
does not run, whatever is left is released.

  DOMAIN     name, id or UUID, as virsh takes it
  --all      every guest that runs, and what is left of those that are gone: links that guestwire made, routes, rules
             and neighbour proxies of its protocol, its nftables tables, VLANs it put on uplinks, state files
  --dry-run  print what would be done, and change nothing

Needs root, libvirt's virsh, and at most ${LOCK_WAIT} s until guests that start or stop meanwhile are done.`,
  run: async (args, io) => {
    const { values, positionals: [name, extra] } = parseOptions(args, { all: { type: 'boolean' }, 'dry-run': { type: 'boolean' } });
    if (values.all === true && name !== undefined) throw new UsageError('give either --all or the name of one guest');
    if (values.all !== true && (name === undefined || extra !== undefined)) throw new UsageError('give the name of one guest');
    assertRoot('reconcile');
    const dry = values['dry-run'] === true;
    if (name === undefined) return (dry ? previewAll : reconcileAll)(io, async (uuid) => ON_ITS_WAY.test(await stateOf(io, uuid)));
    const state = await stateOf(io, name);
    if (ON_ITS_WAY.test(state)) {
      throw new HostError(`guest ${quote(name)} does not run here yet (${state}): reconcile it when its migration is done`);
    }
    if (dry) return previewGuest(io, name, isActive(state));
    await (isActive(state) ? wireGuest(io, name) : releaseGuest(io, name));
    return 0;
  },
};

async function previewGuest(io: Io, name: string, active: boolean): Promise<number> {
  const domain = parseDomain(await askLibvirt(io, ['dumpxml', '--domain', name], 'reading the domain XML'));
  const guest = guestOf(domain);
  const attachments = active ? deriveAttachments(domain, loadConfig(io.settings.config), io.warn) : [];
  const wishes = new Map([[guest.uuid, { guest, attachments }]]);
  return preview(io, closely(io, lookingHost(io)), { wishes, faults: [], isMeant: (owner) => owner.guest === undefined || owner.guest.uuid === guest.uuid });
}

async function stateOf(io: Io, name: string): Promise<string> {
  return (await askLibvirt(io, ['domstate', '--reason', '--domain', name], 'asking for the state')).trim();
}

function isActive(state: string): boolean {
  return !/^(shut off|crashed|no state)\b/.test(state);
}

/**
 * libvirt is asked before the lock is taken and after it is given back: it may be waiting for this guest's hook, which
 * waits for the lock. The id tells whether the guest that was asked for is still the one that runs.
 */
async function wireGuest(io: Io, name: string): Promise<void> {
  const id = await idOf(io, name);
  const domain = parseDomain(await askLibvirt(io, ['dumpxml', '--domain', name], 'reading the domain XML'));
  const guest = guestOf(domain);
  const config = loadConfig(io.settings.config);
  const attachments = deriveAttachments(domain, config, io.warn);
  const plans: Plan[] = [];
  const changes = await reconciled(io, guest, async (host) => {
    if (attachments.length === 0) await releaseRunning(host, guest.uuid);
    else plans.push(await wire(host, { guest, attachments, fresh: false, incoming: false }));
  });
  if (await idOf(io, name) !== id) {
    await reconciled(io, guest, (host) => release(host, guest.uuid));
    throw new HostError(`guest ${quote(domain.name)} ended meanwhile: what was wired for it is released`);
  }
  for (const plan of config.routed.announce ? plans : []) {
    await announce(io.exec, { info: io.print, warn: io.warn }, { guest: guest.name, plan, fresh: false });
  }
  if (changes === 0) io.print(`guest ${quote(domain.name)}: ${attachments.length === 0 ? 'its XML asks for nothing' : 'as its XML says, nothing changed'}`);
}

async function releaseGuest(io: Io, name: string): Promise<void> {
  const guest = guestOf(parseDomain(await askLibvirt(io, ['dumpxml', '--domain', name], 'reading the domain XML')));
  const changes = await reconciled(io, guest, (host) => release(host, guest.uuid));
  if (changes === 0) io.print(`guest ${quote(guest.name)}: it does not run, and nothing is left of it`);
}

async function idOf(io: Io, name: string): Promise<string> {
  return (await askLibvirt(io, ['domid', '--domain', name], 'asking for the id')).trim();
}

function guestOf({ name, uuid }: { readonly name: string; readonly uuid: string | undefined }): Guest {
  if (uuid === undefined) throw new DomainXmlError(`guest ${quote(name)}: the domain XML has no <uuid>: libvirt's own XML has one`);
  return { name, uuid };
}

/** Returns how many changes were made. */
async function reconciled(io: Io, guest: Guest, act: (host: Host) => Promise<void>): Promise<number> {
  const journal = createJournal(io.settings.stateDir, io.warn);
  return locked(io, { journal, holder: `guestwire reconcile ${quote(guest.name)}` }, async (host) => {
    await act(closely(io, host));
    await serveGuest({ journal, exec: io.exec, log: { info: host.log, warn: io.warn }, settings: io.settings }, { uuid: guest.uuid, ended: false });
  });
}
