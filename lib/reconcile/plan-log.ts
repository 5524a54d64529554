/** A plan in words: the changes that were made, and the faults that guestwire cannot repair, each with its guest. */
import { guestLabel, nicLabel } from '../domain/guest.js';
import type { BatchLine } from '../state/render.js';
import { describeLine } from '../state/words.js';
import type { Concern, Host } from './host.js';
import { objectOwners } from './owners.js';
import type { Plan } from './plan.js';
import type { Member } from './request.js';

/** A line of a batch is a line of the log: a range of 4,000 VIDs is one change. */
export function logPlan(
  { log, warn = (line) => { log(line); } }: Pick<Host, 'log' | 'warn'>, members: readonly Member[], plan: Plan,
): void {
  for (const { text, about } of planWarnings(members, plan)) warn(text, about);
  const label = labelsFor(members, plan);
  for (const line of plan.batches.flatMap(({ lines }) => lines)) {
    const said = describeLine(line);
    if (said !== undefined) log(`${label(line)}: ${said}`, line);
  }
}

/**
 * A line about a link names its NIC; one about what serves a guest elsewhere, the guest; of several guests together,
 * the host.
 */
function labelsFor(members: readonly Member[], plan: Plan): (line: BatchLine) => string {
  const [first, ...rest] = members;
  const owner = rest.length === 0 ? () => first : objectOwners(members, [plan]);
  return ({ operations: [operation] }) => {
    const object = operation?.after ?? operation?.before;
    const guest = owner(object)?.guest;
    if (guest === undefined) return 'host';
    const wired = plan.touched.find(({ link }) => link === object?.dev);
    return wired === undefined ? guestLabel(guest.name) : nicLabel(guest.name, { index: wired.nic, mac: wired.mac });
  };
}

/**
 * Returns the faults that no change of this plan repairs, guest by guest. They stay until a person changes the host.
 */
function planWarnings(
  members: readonly Member[], { warnings }: Pick<Plan, 'warnings'>,
): { readonly text: string; readonly about: Concern }[] {
  return members.flatMap(({ guest, attachments, entry }) => {
    const nics = [...(entry?.wired ?? []), ...attachments];
    const own = new Map(nics.map(({ link, nic, mac }) => [link, { link, nic, mac }]));
    return warnings.map(({ links, text }) => ({
      text: `${guestLabel(guest.name)}: ${text}`, about: { guest, nics: links.flatMap((link) => own.get(link) ?? []) },
    })).filter(({ about }) => members.length === 1 || about.nics.length > 0);
  });
}

/**
 * Returns what tells a line from all others of its run. The text alone does not: rules of both families have the same.
 */
export function lineId({ text, operations }: BatchLine): string {
  return `${operations[0]?.key ?? ''} ${text}`;
}
