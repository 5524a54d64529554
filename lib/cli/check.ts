/**
 * `guestwire check`: whether the host is as its guests' XML says, to the last VLAN, route, sysctl and nftables rule.
 */
import { nicsAmong } from '../attachments/attachment.js';
import { HEALTH } from '../attachments/health.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { definedNic, hostFacts } from '../doctor/facts.js';
import { GuestwireError, HostError, UsageError } from '../errors.js';
import { askGuests } from '../guests/ask-libvirt.js';
import type { Io } from '../guests/io.js';
import { guestMeant } from '../guests/named.js';
import { hostFrom } from '../reconcile/host.js';
import { ownerLabel, type Subject, withOwner } from '../reconcile/owners.js';
import { type Difference, differencesOf } from '../survey/differences.js';
import { survey } from '../survey/survey.js';
import { quote } from '../values/quote.js';
import { assertRootToRead, command, JSON_VERSION } from './command.js';

export const check = command({
  name: 'check',
  summary: 'show what differs from what guests should have',
  help: `Usage: guestwire check [GUEST] [--json]

Compares what guests should have with what this host has: every VLAN, address, route, rule, neighbour proxy, sysctl and
nftables rule. Prints a line for each difference, or nothing. Running guests should have what their XML says now. When
libvirt does not answer, they should have what was wired last. Without GUEST it also finds what guests that are gone
left behind. It also names settings of the host that cut guests off, with a command that repairs each. Changes nothing;
'guestwire reconcile' repairs the other differences.

  GUEST   name, UUID or id
  --json  print {"version", "differences": [{"guest": {"name", "uuid"} or null, "nic": number or null, "mac": text or
          null, "text"}]}: without a guest, the difference concerns the host or all guests

Needs root. Exit status: 0 no difference, 1 differences, 2 it cannot tell.`,
  options: { json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals: [name, extra] }, io) => {
    if (extra !== undefined) throw new UsageError('give the name of one guest');
    assertRootToRead('check');
    const differences = await orUnknown(io, () => differencesOn(io, name));
    if (differences === undefined) return 2;
    if (values.json === true) io.print(toJson(differences));
    else for (const one of differences) io.print(reportLine(one));
    return differences.length === 0 ? 0 : 1;
  },
});

/** Status 1 is the answer "there are differences": what keeps from answering must not look like it. */
async function orUnknown<T>(io: Io, act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof GuestwireError) || error instanceof UsageError) throw error;
    io.warn(error.message);
    return undefined;
  }
}

async function differencesOn(io: Io, name: string | undefined): Promise<Difference[]> {
  const host = hostFrom(io);
  const asked = await askGuests(io);
  if (typeof asked === 'string') io.warn(`guests' XML is not checked, because libvirt does not answer: ${asked}`);
  const found = await survey(host, typeof asked === 'string' ? undefined : asked.running);
  const known = found.subjects.map(({ guest }) => guest).concat(typeof asked === 'string'
    ? []
    : [...asked.faults.map(({ guest }) => guest), ...[...asked.running.values()].map(({ guest }) => guest)]);
  const only = name === undefined ? undefined : await guestMeant(io, known, name);
  if (name !== undefined && only === undefined) throw new HostError(`guest ${quote(name)} does not run here, and nothing is wired for it`);
  const differences = await differencesOf(host, found, {
    exec: io.exec, protocols: [io.config.read().routed.protocol],
    mayRun: typeof asked === 'string' ? undefined : asked.mayRun,
    onCoarse: () => { io.warn("nftables rules are compared only by their comments, because neither 'unshare --net' nor 'unshare --user --net' works here"); },
  });
  const cuts = await cutsOn(io, found.subjects, differences);
  const faults = typeof asked === 'string'
    ? []
    : asked.faults.map(({ guest, error }): Difference => withOwner(guest, error));
  return [...faults, ...differences, ...cuts]
    // What all guests share is wrong for each of them; what is left of others is not.
    .filter(({ guest, leftover }) => only === undefined ||
      (guest === undefined ? leftover !== true : guest.uuid === only.uuid));
}

/** Settings of the host that cut guests off, and that nothing else here says. */
async function cutsOn(
  io: Io, subjects: readonly Subject[], told: readonly Difference[],
): Promise<Difference[]> {
  const nics = subjects.flatMap(({ guest, entry, attachments }) =>
    nicsAmong<Attachment | Wired>(attachments ?? entry?.wired ?? []).map((one) =>
      definedNic({ guest: guest.name, mac: one.mac, running: true }, one)));
  if (nics.length === 0) return [];
  const facts = await hostFacts(io, io.config.read(), nics);
  return HEALTH.flatMap(({ cuts }) => cuts?.(facts) ?? [])
    .filter(({ severity, what }) => severity === 'error' && !told.some(({ text }) => text.startsWith(what)))
    .map(({ what, cure }) => ({ guest: undefined, nic: undefined, text: `${what}: run '${cure}'` }));
}

function reportLine({ guest, nic, text }: Difference): string {
  return `${ownerLabel({ guest, nic })}: ${text}`;
}

function toJson(found: readonly Difference[]): string {
  const differences = found.map(({ guest, nic, text }) => ({
    guest: guest === undefined ? null : { name: guest.name, uuid: guest.uuid }, nic: nic?.nic ?? null,
    mac: nic?.mac ?? null, text,
  }));
  return JSON.stringify({ version: JSON_VERSION, differences }, null, 2);
}
