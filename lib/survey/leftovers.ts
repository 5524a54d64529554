/** What guestwire left on the host for guests that are gone and have no journal entry. */
import { routingOf } from '../attachments/attachment.js';
import type { Kept } from '../attachments/kept.js';
import { leftObjects } from '../attachments/leftovers.js';
import { leftTables, unneededFamilies } from '../filter/state.js';
import { type WholeHost, observeHost } from '../kernel/whole-host.js';
import { type NetState, netState } from '../state/netstate.js';
import type { Exec } from '../system/exec.js';

/** Returns the host's route protocols and those of guests that were wired under another config. */
export function allProtocols(held: Kept['held'], protocols: readonly number[]): number[] {
  return [...new Set([...protocols, ...held.flatMap((one) => routingOf(one)?.protocol ?? [])])];
}

/** Returns the facts of what may not be in `kept`. Throws CommandError or ToolOutputError. */
export async function hostBeside(exec: Exec, { held, protocols }: Kept): Promise<WholeHost> {
  return observeHost(exec, { protocols, filters: unneededFamilies(held) });
}

/** Returns what is to be removed. */
export function garbageIn(facts: WholeHost, kept: Kept): NetState {
  return netState([...leftObjects(facts, kept), ...leftTables(facts, kept.held)]);
}
