/**
 * Files of the state directory that nothing will use any more: marks of migrations that never came, drafts, damaged
 * entries.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LEDGER_NAMES } from '../attachments/ledger.js';
import { createJournal } from '../journal/journal.js';
import { quote } from '../values/quote.js';
import { isUuid } from '../values/uuid.js';
import type { Host } from '../reconcile/host.js';
import type { Answer } from './ask-libvirt.js';
import type { Effects } from './effects.js';

/** Milliseconds for which a mark counts. After that, the process that wrote a draft is dead. */
const LASTS = 60_000;

interface Place extends Pick<Effects, 'removeFile'> {
  readonly host: Pick<Host, 'log'>;
  /** The state directory. */
  readonly dir: string;
}

/** Removes them. An entry that cannot be read stays while its guest runs: wiring the guest again replaces it. */
export function removeLeftFiles(
  { host, dir, removeFile }: Place, { mayRun, running }: Pick<Answer, 'mayRun' | 'running'>,
): void {
  // As it is on disk: what is only said to be gone is still there, and goes with its guest.
  const journal = createJournal(dir, () => undefined);
  const known = new Set(journal.list().map(({ guest }) => guest.uuid));
  const asks = (uuid: string): boolean => mayRun.has(uuid) && running.get(uuid)?.attachments.length !== 0;
  const remove = (name: string, why: string): void => {
    removeFile(join(dir, name));
    host.log(`host: remove ${quote(name)} from the state directory: ${why}`);
  };
  for (const name of namesIn(dir)) {
    const [, start = '', ending = ''] = /^([^.]+)\.((?:json|incoming|ended)(?:\.draft)?)$/.exec(name) ?? [];
    const isDraftOfAll = ending === 'json.draft' && LEDGER_NAMES.some((name) => name === start);
    if (!isDraftOfAll && (!isUuid(start) || known.has(start))) continue;
    if (ending !== 'json') {
      if (fileAge(join(dir, name)) > LASTS) remove(name, 'it is no longer needed');
    } else if (!asks(start)) remove(name, 'it cannot be read, and no guest needs it');
  }
}

function namesIn(dir: string): string[] {
  return statSync(dir, { throwIfNoEntry: false }) === undefined ? [] : readdirSync(dir).sort();
}

function fileAge(path: string): number {
  return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
}
