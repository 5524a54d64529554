/** All that differs from the wanted state on a host, in words, each with its guest and NIC. */
import { staysUntilRelease } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { isSaid } from '../attachments/ledger.js';
import { filterFamilies, livingOf } from '../attachments/wired.js';
import type { Guest } from '../domain/guest.js';
import { type Alteration, closeLook } from '../filter/rule-check.js';
import type { Host } from '../reconcile/host.js';
import type { Subject } from '../reconcile/owners.js';
import { diff } from '../state/diff.js';
import { difference } from '../state/differences.js';
import type { FilterFamily } from '../state/nft.js';
import { isFilter, isShared, withinOf } from '../state/objects.js';
import { type BatchLine, render } from '../state/render.js';
import type { Exec } from '../system/exec.js';
import { quote } from '../values/quote.js';
import { allProtocols, garbageIn, hostBeside } from './leftovers.js';
import { isUnrecorded, refusals, type Survey } from './survey.js';

export interface Difference {
  /** undefined: it is the host's. */
  readonly guest: Guest | undefined;
  readonly nic: Pick<Wired, 'nic' | 'mac'> | undefined;
  readonly text: string;
  /** It belongs to a guest that is gone. */
  readonly leftover?: true;
}

export interface Question {
  readonly exec: Exec;
  /** UUIDs of guests that run or may run; undefined: libvirt was not asked. */
  readonly mayRun: ReadonlySet<string> | undefined;
  /** Route protocols that mark what is guestwire's. */
  readonly protocols: readonly number[];
}

/**
 * Returns the differences, each once. `onCoarse` is told when nftables' rules were known by their
 * comments only.
 */
export async function differencesOf(
  host: Host, found: Survey, question: Question & { readonly onCoarse: () => void },
): Promise<Difference[]> {
  const altered = await closeLook(question.exec, found.plans.flatMap(({ wired }) => wired));
  if (altered === undefined) question.onCoarse();
  const changes = found.changes
    .filter(({ line }) => !isImplied(line, { found, isClose: altered !== undefined }))
    .flatMap(({ guest, nic, line }): Difference[] => {
      const text = difference(line);
      return text === undefined ? [] : [{ guest, nic, text }];
    });
  const all = [
    ...absences(found, question), ...changes, ...(altered ?? []).map((one) => alterationIn(one, found)),
    ...(await refusals(host, found)), ...await leftovers(found, question),
  ];
  return [...new Map(all.map((one) => [`${one.guest?.uuid ?? ''} ${one.nic?.nic ?? ''} ${one.text}`, one])).values()];
}

/** Returns whether something else that is told says the same. `isClose`: rules of nftables were compared one by one. */
function isImplied(
  line: BatchLine,
  { found: { changes, observation }, isClose }: { readonly found: Survey; readonly isClose: boolean },
): boolean {
  const object = line.operations[0]?.after ?? line.operations[0]?.before;
  if (object === undefined) return false;
  if (!isShared(object)) return isSaid(object, observation);
  if (!isFilter(object)) return false;
  const whole = withinOf(object);
  return isClose || (whole !== undefined && changes.some(({ line: other }) => other.operations[0]?.key === whole));
}

const UNRECORDED = "it runs, and guestwire has no record of its wiring: 'guestwire reconcile --all' writes one";

/** What an operation cannot show: there is nothing to change where there is no link. */
function absences({ subjects, observation }: Survey, { mayRun }: Question): Difference[] {
  return subjects.flatMap((subject): Difference[] => {
    const { guest, entry, attachments } = subject;
    if (isUnrecorded(subject)) return [{ guest, nic: undefined, text: UNRECORDED }];
    const wired = entry?.wired ?? [];
    if (mayRun?.has(guest.uuid) === false) return [{ guest, nic: undefined, text: 'it does not run, but its wiring is still there' }];
    const gone = wired
      .filter((one) => livingOf([one], observation).length === 0 && !staysUntilRelease(one))
      .filter(({ link }) => attachments === undefined || attachments.some((one) => one.link === link));
    return gone.map(({ nic, mac, link }) => ({
      guest, nic: { nic, mac }, text: observation.links.has(link) ? `link ${quote(link)} is not the one that was wired` : `link ${quote(link)} is gone`,
    }));
  });
}

/** A guest that was never wired has no entry that knows its link. */
function alterationIn({ family, ifindex, text, isWhole }: Alteration, { subjects, observation }: Survey): Difference {
  if (isWhole === true) return { guest: undefined, nic: undefined, text: `${text}${filtered(family, subjects)}` };
  for (const { guest, entry, attachments = [] } of ifindex === undefined ? [] : subjects) {
    const one = entry?.wired.find((wired) => wired.ifindex === ifindex) ?? attachments.find(({ link }) =>
      link !== undefined && observation.links.get(link)?.ifindex === ifindex);
    if (one !== undefined) return { guest, nic: { nic: one.nic, mac: one.mac }, text };
  }
  return { guest: undefined, nic: undefined, text };
}

/** Returns the guests that a table filters, as words after its name. */
function filtered(family: FilterFamily, subjects: readonly Subject[]): string {
  const names = subjects
    .filter(({ entry, attachments }) =>
      filterFamilies([...(entry?.wired ?? []), ...(attachments ?? [])]).includes(family))
    .map(({ guest }) => quote(guest.name));
  if (names.length === 0) return '';
  const shown = names.slice(0, MOST_NAMES).join(', ');
  return `: it filters ${names.length === 1 ? 'guest' : 'guests'} ${shown}${names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : ''}`;
}

const MOST_NAMES = 5;

async function leftovers({ subjects }: Survey, { exec, protocols, mayRun }: Question): Promise<Difference[]> {
  const held = subjects.flatMap(({ entry, attachments }) => [...(entry?.wired ?? []), ...(attachments ?? [])]);
  const kept = {
    held, uuids: new Set([...subjects.map(({ guest }) => guest.uuid), ...(mayRun ?? [])]),
    protocols: allProtocols(held, protocols),
  };
  const garbage = garbageIn(await hostBeside(exec, kept), kept);
  return render(diff([], garbage)).flatMap(({ lines }) => lines).flatMap((line): Difference[] => {
    const text = difference(line);
    return text === undefined ? [] : [{ guest: undefined, nic: undefined, text: `${text}: guestwire made it, but it belongs to no guest`, leftover: true }];
  });
}
