/** `guestwire explain`: which rule decides on a flow to or from a guest that runs here. */
import { type Guest, nicLabel } from '../domain/guest.js';
import { GuestwireError, HostError, locate, UsageError } from '../errors.js';
import { decide, type Decision, type Flow, type Ruling } from '../filter/explain.js';
import { type End, nicsOf, type Parties } from '../filter/parties.js';
import type { Io } from '../guests/io.js';
import { guestMeant } from '../guests/named.js';
import { PROTOS } from '../intent/policy.js';
import { createJournal } from '../journal/journal.js';
import { listQuarantine } from '../journal/quarantine.js';
import { createKernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import { byLife } from '../reconcile/holders.js';
import { bare, parseAddress } from '../values/address.js';
import { quote } from '../values/quote.js';
import { command, JSON_VERSION } from './command.js';

export const explain = command({
  name: 'explain',
  summary: 'show which rule lets a flow pass or drops it',
  help: `Usage: guestwire explain GUEST --from ADDR --to ADDR [--proto PROTO [--port PORT]] [--json]

Shows whether the first packet of a flow to or from a running guest passes, which rule of which NIC decides, and where
that rule is written. One of the two addresses is the guest's. Answers to what passed, and ICMP errors, always pass.

  GUEST         name, UUID or id
  --from ADDR   the sender
  --to ADDR     the receiver
  --proto PROTO tcp, udp, sctp, icmp or icmpv6 (an echo request); without it, only rules that name no protocol apply
  --port PORT   the destination port; without it, only rules that name no port apply
  --json        print {"version", "flow", "verdict", "from", "to", "rulings": [...]}

Reads the state directory and the host's addresses; changes nothing. Needs root. Exit status: 0 passes, 1 dropped, 2 it
cannot tell.`,
  options: {
    from: { type: 'string' }, to: { type: 'string' }, proto: { type: 'string' }, port: { type: 'string' },
    json: { type: 'boolean' },
  },
  operand: 'guest',
  run: async ({ values, positionals: [name, extra] }, io) => {
    if (name === undefined || extra !== undefined) throw new UsageError('give the name of one guest');
    const flow = flowOf(values);
    try {
      const parties = await partiesOf(io, flow);
      const asked = withGuest(flow, await guestIn(io, parties, name), parties);
      const decision = decide(asked, parties);
      io.print(values.json === true ? toJson(flow, decision) : toText(decision));
      return decision.verdict === 'passes' ? 0 : 1;
    } catch (error) {
      // Status 1 is the answer "dropped": what keeps from answering must not look like it.
      if (!(error instanceof GuestwireError) || error instanceof UsageError) throw error;
      io.warn(error.message);
      return 2;
    }
  },
});

function flowOf(
  values: { readonly from?: string; readonly to?: string; readonly proto?: string; readonly port?: string },
): Flow {
  const [from, to] = [addressOption('from', values.from), addressOption('to', values.to)];
  if (from.family !== to.family) throw new UsageError(`${quote(from.text)} and ${quote(to.text)} are of different address families: no packet has both`);
  const proto = PROTOS.find((known) => known === values.proto);
  if (values.proto !== undefined && proto === undefined) throw new UsageError(`--proto ${quote(values.proto)} is not one of ${PROTOS.map(quote).join(', ')}`);
  const other = from.family === 'inet' ? 'icmpv6' : 'icmp';
  if (proto === other) throw new UsageError(`--proto '${proto}' does not fit the address family of ${quote(from.text)}: write '${proto === 'icmp' ? 'icmpv6' : 'icmp'}'`);
  if (values.port === undefined) return { from, to, proto, port: undefined };
  if (proto === undefined || proto === 'icmp' || proto === 'icmpv6') throw new UsageError("--port needs --proto 'tcp', 'udp' or 'sctp'");
  if (!/^[1-9][0-9]{0,4}$/.test(values.port) || Number(values.port) > 65_535) throw new UsageError(`--port ${quote(values.port)} is not a number from 1 to 65535`);
  return { from, to, proto, port: Number(values.port) };
}

function addressOption(option: string, text: string | undefined) {
  if (text === undefined) throw new UsageError(`--${option} is missing`);
  return locate(UsageError, `--${option}`, () => parseAddress(text));
}

async function partiesOf(io: Io, { from, to }: Flow): Promise<Parties> {
  const journal = createJournal(io.settings.stateDir, io.warn);
  const kernel = createKernel(io.exec);
  const { live } = await byLife({ kernel }, journal.list());
  const ends = [...new Set([from.text, to.text])];
  const { lookups } = await kernel.observe({ ...EMPTY_SCOPE, lookups: ends });
  return {
    guests: live, host: new Set(ends.filter((address) => lookups.get(address)?.type === 'local')),
    quarantined: new Set(listQuarantine(io.settings.quarantine).map(({ uuid }) => uuid)),
  };
}

async function guestIn(io: Io, { guests }: Parties, name: string): Promise<Guest> {
  const guest = await guestMeant(io, guests.map((entry) => entry.guest), name);
  if (guest === undefined) throw new HostError(`guest ${quote(name)} does not run here, or nothing is wired for it: only the rules of a running guest are in force`);
  return guest;
}

/** Returns the flow with its sender, when the guest may send from what is not its address. */
function withGuest(flow: Flow, guest: Guest, parties: Parties): Flow {
  const { from, to } = decide(flow, parties);
  if ([from, to].some((end) => end.kind === 'nic' && end.guest.uuid === guest.uuid)) return flow;
  const mine = nicsOf(parties).filter((nic) => nic.guest.uuid === guest.uuid);
  if (mine.some(({ wired }) => wired.trust?.ip === true)) return { ...flow, sender: guest.uuid };
  const addresses = mine.flatMap(({ guard }) => guard.own.map(bare));
  const has = addresses.length === 0 ? 'it declares none' : `it has ${addresses.map(quote).join(', ')}`;
  throw new UsageError(`neither ${quote(flow.from.text)} nor ${quote(flow.to.text)} is an address of guest ${quote(guest.name)}, ${has}, and packets that it sends from others are dropped as forged`);
}

function toText({ verdict, from, to, rulings }: Decision): string {
  return [`${verdict}: from ${endWords(from)} to ${endWords(to)}`, ...rulings.map(rulingWords)].join('\n');
}

function endWords(end: End): string {
  switch (end.kind) {
    case 'host':
      return `${end.address.text} (this host)`;
    case 'world':
      return `${end.address.text} (the world: no guest of this host has it)`;
    case 'nic':
      return `${end.address.text} (guest ${quote(end.guest.name)} NIC ${end.wired.nic})`;
  }
}

function rulingWords({ guest, nic, mac, direction, verdict, rule, origin }: Ruling): string {
  const who = nic === undefined ? `guest ${quote(guest)}` : nicLabel(guest, { index: nic, mac });
  return `  ${direction} ${who} ${verdict}: ${rule}${origin === undefined ? '' : ` (${origin})`}`;
}

function toJson({ from, to, proto, port }: Flow, decision: Decision): string {
  const rulings = decision.rulings.map(({ nic = null, mac = null, origin = null, ...rest }) => ({
    ...rest, nic, mac, origin,
  }));
  return JSON.stringify({
    version: JSON_VERSION, flow: { from, to, proto: proto ?? null, port: port ?? null }, verdict: decision.verdict,
    from: jsonEnd(decision.from), to: jsonEnd(decision.to), rulings,
  }, null, 2);
}

function jsonEnd(end: End): object {
  if (end.kind !== 'nic') return end;
  return {
    kind: end.wired.kind, address: end.address, guest: end.guest, nic: end.wired.nic, mac: end.wired.mac ?? null,
  };
}
