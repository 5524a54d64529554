/** A plan that was carried out, in words. */
import type { Plan } from './plan.js';
import { nicLabel, quote } from './quote.js';
import { describeLine } from './words.js';

/** A line of a batch is a line of the log: a range of 4,000 VIDs is one change. */
export function logPlan(log: (line: string) => void, name: string, { touched, batches, uplinks, proxies }: Plan): void {
  for (const warning of proxies.warnings) log(`guest ${quote(name)}: ${warning}`);
  for (const dev of uplinks.missing) {
    log(`guest ${quote(name)}: uplink ${quote(dev)} of the host config is no port of its bridge: the guest's VLANs do not leave this host by it`);
  }
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
