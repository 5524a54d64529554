/** A plan that was carried out, in words. */
import type { SharedWarning } from '../attachments/attached.js';
import { type Guest, nicLabel } from '../domain/guest.js';
import { describeLine } from '../state/words.js';
import { quote } from '../values/quote.js';
import type { Host } from './host.js';
import type { Plan } from './plan.js';

/** A line of a batch is a line of the log: a range of 4,000 VIDs is one change. */
export function logPlan({ log, warn = log }: Pick<Host, 'log' | 'warn'>, { name }: Pick<Guest, 'name'>, plan: Plan): void {
  const { touched, batches } = plan;
  for (const warning of warningsOf(name, plan.warnings)) warn(warning);
  for (const line of batches.flatMap(({ lines }) => lines)) {
    const said = describeLine(line);
    const [operation] = line.operations;
    if (said === undefined || operation === undefined) continue;
    const dev = (operation.after ?? operation.before)?.dev;
    const attachment = touched.find(({ link }) => link === dev);
    const where = attachment === undefined ? `guest ${quote(name)}` : nicLabel(name, { index: attachment.nic, mac: attachment.mac });
    log(`${where}: ${said}`);
  }
}

/** Returns what no change of a plan mends, in words. */
export function warningsOf(name: string, warnings: readonly SharedWarning[]): string[] {
  return warnings.map(({ text }) => `guest ${quote(name)}: ${text}`);
}
