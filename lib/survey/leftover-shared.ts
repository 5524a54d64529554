/** Shared objects that guestwire recorded and that no guest needs any longer. */
import { type Ledger, LEDGER_NAMES, type LedgerName, surplusOf } from '../attachments/ledger.js';
import type { Wired } from '../attachments/kinds.js';
import { joined } from '../attachments/scope.js';
import type { Host } from '../reconcile/host.js';
import { type NetState, netState } from '../state/netstate.js';

export interface LeftoverShared {
  /** Objects to remove. */
  readonly surplus: NetState;
  /** The records without it. */
  readonly ledger: Ledger;
}

/** Returns what the records say is guestwire's and no link of `wired` needs. Throws CommandError, JournalError. */
export async function leftoverShared(host: Host, wired: readonly Wired[]): Promise<LeftoverShared> {
  let ledger = host.journal.readLedger();
  const surplus: NetState[] = [];
  for (const name of LEDGER_NAMES) {
    const found = await leftoverOf(name, { host, wired, ledger });
    if (found === undefined) continue;
    surplus.push(found.surplus);
    ledger = { ...ledger, [name]: found.records };
  }
  return { surplus: netState(surplus.flat()), ledger };
}

interface Question {
  readonly host: Host;
  readonly wired: readonly Wired[];
  readonly ledger: Ledger;
}

async function leftoverOf(
  name: LedgerName, { host: { kernel, protectedOn }, wired, ledger }: Question,
): Promise<ReturnType<ReturnType<typeof surplusOf>['of']> | undefined> {
  const ask = surplusOf(name);
  const scope = ask.scope(ledger[name], wired);
  if (scope === undefined) return undefined;
  const first = await kernel.observe(joined([scope]));
  const observation = await kernel.observe(joined([ask.furtherScope(ledger[name], wired, first)]));
  return ask.of({ records: ledger[name], protectedOn, wired }, observation);
}
