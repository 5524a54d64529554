/** Each NIC of a survey and the state it is in. Pure. */
import { attraction, nicsAmong, type WiredNic } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { filterFamilies, livingOf } from '../attachments/wired.js';
import type { Guest } from '../domain/guest.js';
import type { Subject } from '../reconcile/owners.js';
import { difference } from '../state/differences.js';
import { tableKey } from '../state/objects/nft.js';
import type { Survey } from './survey.js';

/** 'not-wired': its link is gone, or was never wired. */
export type NicState = 'wired' | 'drifted' | 'quarantined' | 'waiting' | 'not-wired';

export interface SurveyedNic {
  readonly guest: Guest;
  /** ISO 8601. */
  readonly since: string;
  readonly wired: WiredNic;
  readonly state: NicState;
  /** The differences from the wanted state, in words; a NIC in quarantine has them, too. */
  readonly differences: readonly string[];
}

/** Returns what guestwire wires, NIC by NIC, by name of the guest. */
export function nicsIn(found: Survey, isQuarantined: (uuid: string) => boolean): SurveyedNic[] {
  const differences = differencesByNic(found);
  return found.subjects.filter(({ entry }) => entry !== undefined)
    .sort((a, b) => a.guest.name.localeCompare(b.guest.name, 'en', { numeric: true }) ||
      (a.guest.uuid < b.guest.uuid ? -1 : 1))
    .flatMap((subject) => subjectNics(subject).map((wired): SurveyedNic => {
      const words = [...(differences.get(`${subject.guest.uuid} ${wired.nic}`) ?? []), ...sharedWith(wired, found)];
      const { guest, entry } = subject;
      return {
        guest, since: entry?.since ?? '', wired, differences: words,
        state: nicState(wired, { subject, words, found, isQuarantined }),
      };
    }));
}

function subjectNics({ entry }: Subject): WiredNic[] {
  return nicsAmong(entry?.wired ?? []).sort((a, b) => a.nic - b.nic);
}

interface Circumstances {
  readonly subject: Subject;
  readonly words: readonly string[];
  readonly found: Survey;
  readonly isQuarantined: (uuid: string) => boolean;
}

function nicState(wired: Wired, { subject: { guest, entry }, words, found, isQuarantined }: Circumstances): NicState {
  if (livingOf([wired], found.observation).length === 0) return 'not-wired';
  if (isQuarantined(guest.uuid)) return 'quarantined';
  if (words.length > 0) return 'drifted';
  return entry?.incoming === true && attraction(wired) !== undefined ? 'waiting' : 'wired';
}

function differencesByNic({ changes }: Survey): Map<string, string[]> {
  const byNic = new Map<string, string[]>();
  for (const { guest, nic, line } of changes) {
    const words = difference(line);
    if (guest === undefined || nic === undefined || words === undefined) continue;
    const key = `${guest.uuid} ${nic.nic}`;
    byNic.set(key, [...(byNic.get(key) ?? []), words]);
  }
  return byNic;
}

/** A table that is gone or broken is so for all that need it. */
function sharedWith(wired: Wired, { changes }: Survey): string[] {
  const tables = filterFamilies([wired]).map(tableKey);
  return changes.flatMap(({ line }) => (tables.includes(line.operations[0]?.key ?? '')
    ? (difference(line) ?? [])
    : []));
}
