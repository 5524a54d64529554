/** A plan that was carried out, in words. */
import { type Guest, nicLabel } from '../domain/guest.js';
import { describeLine } from '../state/words.js';
import { quote } from '../values/quote.js';
import type { Host } from './host.js';
import type { Plan } from './plan.js';

/** A line of a batch is a line of the log: a range of 4,000 VIDs is one change. */
export function logPlan({ log, warn = log }: Pick<Host, 'log' | 'warn'>, { name }: Pick<Guest, 'name'>, plan: Plan): void {
  const { touched, batches } = plan;
  for (const warning of warningsOf(name, { missing: plan.uplinks.missing, warnings: plan.proxies.warnings })) warn(warning);
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

/** Returns what of a plan no change mends: it is so after each run until somebody else does. */
export function warningsOf(name: string, { missing, warnings }: Pick<Plan['uplinks'], 'missing'> & Pick<Plan['proxies'], 'warnings'>): string[] {
  return [
    ...warnings.map((warning) => `guest ${quote(name)}: ${warning}`),
    ...missing.map((dev) => `guest ${quote(name)}: uplink ${quote(dev)} of the host config is no port of its bridge: the guest's VLANs do not leave this host by it`),
  ];
}
