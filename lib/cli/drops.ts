/** `guestwire drops`: what the rules of a guest's filters met. */
import { isNic } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { filterFamilies } from '../attachments/wired.js';
import { nicLabel } from '../domain/guest.js';
import { HostError, UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { guestMeant } from '../guests/named.js';
import { createJournal } from '../journal/journal.js';
import { counters, type RuleCount } from '../kernel/nft-output.js';
import { quote } from '../values/quote.js';
import { assertRootToRead, command, JSON_VERSION } from './command.js';

/** Of a NIC's chain, by what it starts with. */
const DIRECTIONS: Readonly<Record<string, string>> = {
  nic: 'sends', arp: 'sends', ip: 'sends', ip6: 'sends', in: 'gets', out: 'sends on', near: 'sends on',
  host: 'sends to the host',
};

export const drops = command({
  name: 'drops',
  summary: 'show what the filters of a guest dropped',
  help: `Usage: guestwire drops GUEST [--all] [--json]

Prints, for each NIC of a running guest, the rules that dropped packets, with packets and bytes since it was wired.

  GUEST   name, UUID or id
  --all   also rules that met nothing, and rules that let packets pass
  --json  print {"version", "guest": {"name", "uuid"}, "rules": [{"nic", "mac", "link", "direction", "rule", "verdict",
          "packets", "bytes"}]}

Needs root. 'guestwire explain' shows which rule would decide.`,
  options: { all: { type: 'boolean' }, json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values: { all = false, json = false }, positionals: [name, extra] }, io) => {
    if (name === undefined || extra !== undefined) throw new UsageError('give the name of one guest');
    assertRootToRead('drops');
    const entries = createJournal(io.settings.stateDir, io.warn).list();
    const meant = await guestMeant(io, entries.map(({ guest }) => guest), name);
    const entry = entries.find(({ guest }) => guest.uuid === meant?.uuid);
    if (entry === undefined) throw new HostError(`guest ${quote(name)} does not run here, or nothing is wired for it: only a wired guest has filters`);
    const counts = (await countsOf(io, entry.wired)).filter(({ count }) => all ||
      (count.verdict === 'drop' && count.packets > 0));
    if (json) io.print(JSON.stringify(
      { version: JSON_VERSION, guest: entry.guest, rules: counts.map(toObject) }, null, 2,
    ));
    else io.print(toText(entry.guest.name, counts));
    return 0;
  },
});

interface NicCount {
  readonly nic: Wired;
  readonly count: RuleCount;
}

async function countsOf(io: Io, wired: readonly Wired[]): Promise<NicCount[]> {
  const counts = await counters(io.exec, filterFamilies(wired));
  return wired.flatMap((nic) =>
    counts.filter(({ chain }) => chain.endsWith(`_${nic.ifindex}`) && isNic(nic)).map((count) => ({ nic, count })));
}

function directionOf({ chain }: RuleCount): string {
  return DIRECTIONS[chain.slice(0, chain.indexOf('_'))] ?? chain;
}

function toObject({ nic, count }: NicCount): object {
  const { rule, verdict, packets, bytes } = count;
  return { nic: nic.nic, mac: nic.mac, link: nic.link, direction: directionOf(count), rule, verdict, packets, bytes };
}

function toText(guest: string, counts: readonly NicCount[]): string {
  if (counts.length === 0) return `guest ${quote(guest)}: nothing was dropped`;
  const lines = new Map<string, string[]>();
  for (const { nic, count } of counts) {
    const label = `${nicLabel(guest, { index: nic.nic, mac: nic.mac })} on ${nic.link}`;
    const line = `  ${String(count.packets).padStart(8)} packets ${String(count.bytes).padStart(10)} bytes  ${count.verdict.padEnd(6)}  ${directionOf(count)}: ${count.rule}`;
    lines.set(label, [...lines.get(label) ?? [], line]);
  }
  return [...lines].flatMap(([label, of]) => [label, ...of]).join('\n');
}
