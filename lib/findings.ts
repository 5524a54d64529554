/** All that is not as it should be on a host, in words, with whom it is about. */
import { type Alteration, closeLook } from './closelook.js';
import { differenceOf, isOfFilters } from './difference.js';
import type { Exec } from './exec.js';
import { garbageIn, type Kept, observeHost } from './garbage.js';
import type { Guest } from './guest.js';
import type { Wired } from './journal.js';
import { render } from './operation.js';
import { diff } from './diff.js';
import { livingOf } from './plan.js';
import { quote } from './quote.js';
import type { Host } from './reconcile.js';
import { refusals, type Survey } from './survey.js';

export interface Finding {
  /** undefined: it is the host's. */
  readonly guest: Guest | undefined;
  readonly nic: Pick<Wired, 'nic' | 'mac'> | undefined;
  readonly text: string;
  /** Of guests that are gone. */
  readonly leftover?: true;
}

export interface Question {
  readonly exec: Exec;
  /** UUIDs of guests that run, or that nobody asked about; undefined: nobody asked libvirt at all. */
  readonly mayRun: ReadonlySet<string> | undefined;
  /** Route protocols that mark what is guestwire's. */
  readonly protocols: readonly number[];
}

/** Returns the findings, without what is said twice. `onCoarse` is told when nftables' rules were known by their comments only. */
export async function findingsOf(host: Host, found: Survey, question: Question & { readonly onCoarse: () => void }): Promise<Finding[]> {
  const altered = await closeLook(question.exec, found.plans.flatMap(({ wired }) => wired));
  if (altered === undefined) question.onCoarse();
  const changes = found.changes.filter(({ line }) => altered === undefined || !isOfFilters(line)).flatMap(({ guest, nic, line }): Finding[] => {
    const text = differenceOf(line);
    return text === undefined ? [] : [{ guest, nic, text }];
  });
  const all = [
    ...absences(found, question), ...changes, ...(altered ?? []).map((one) => findingOf(one, found)),
    ...(await refusals(host, found)).map(({ guest, text }): Finding => ({ guest, nic: undefined, text })), ...await leftovers(found, question),
  ];
  return [...new Map(all.map((one) => [`${one.guest?.uuid ?? ''} ${one.nic?.nic ?? ''} ${one.text}`, one])).values()];
}

/** What an operation cannot show: there is nothing to change where there is no link. */
function absences({ subjects, observation }: Survey, { mayRun }: Question): Finding[] {
  return subjects.flatMap(({ guest, entry, attachments }): Finding[] => {
    const wired = entry?.wired ?? [];
    if (mayRun?.has(guest.uuid) === false) return [{ guest, nic: undefined, text: 'it does not run, and what was wired for it is still there' }];
    const gone = wired.filter((one) => livingOf([one], observation).length === 0 && one.kind !== 'made-link').filter(({ link }) => attachments === undefined || attachments.some((one) => one.link === link));
    return gone.map(({ nic, mac, link }) => ({ guest, nic: { nic, mac }, text: observation.links.has(link) ? `link ${quote(link)} is another than the one that was wired` : `link ${quote(link)} is gone` }));
  });
}

/** A guest that was never wired has no entry that knows its link. */
function findingOf({ ifindex, text }: Alteration, { subjects, observation }: Survey): Finding {
  for (const { guest, entry, attachments = [] } of ifindex === undefined ? [] : subjects) {
    const one = entry?.wired.find((wired) => wired.ifindex === ifindex) ?? attachments.find(({ link }) => link !== undefined && observation.links.get(link)?.ifindex === ifindex);
    if (one !== undefined) return { guest, nic: { nic: one.nic, mac: one.mac }, text };
  }
  return { guest: undefined, nic: undefined, text };
}

async function leftovers({ subjects }: Survey, { exec, protocols, mayRun }: Question): Promise<Finding[]> {
  const held = subjects.flatMap(({ entry, attachments }) => [...(entry?.wired ?? []), ...(attachments ?? [])]);
  const kept = { held, uuids: new Set([...subjects.map(({ guest }) => guest.uuid), ...(mayRun ?? [])]), protocols: allProtocols(held, protocols) };
  const garbage = garbageIn(await observeHost(exec, kept), kept);
  return render(diff([], garbage)).flatMap(({ lines }) => lines).flatMap((line): Finding[] => {
    const text = differenceOf(line);
    return text === undefined ? [] : [{ guest: undefined, nic: undefined, text: `${text}: it is guestwire's, and no guest's`, leftover: true }];
  });
}

/** Returns the host's route protocols and those of guests that were wired under another config. */
export function allProtocols(held: Kept['held'], protocols: readonly number[]): number[] {
  return [...new Set([...protocols, ...held.flatMap((one) => (one.kind === 'routed-link' ? [one.protocol] : []))])];
}
