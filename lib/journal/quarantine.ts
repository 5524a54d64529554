/**
 * Guests in quarantine: a file each, named by UUID, below /var/lib, so that it outlasts the guest, libvirtd and the
 * host. Only who is there matters; what the file says is for people.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Guest } from '../domain/guest.js';
import { JournalError } from '../errors.js';
import { oneLine, quote } from '../values/quote.js';

/**
 * Returns whether the guest of a UUID is in quarantine. Throws JournalError where nobody can tell: then nothing may
 * start.
 */
export function quarantineIn(dir: string): (uuid: string) => boolean {
  return (uuid) =>
    attempt(`read ${quote(dir)}`, () => statSync(join(dir, uuid), { throwIfNoEntry: false }) !== undefined);
}

/** Puts a guest into quarantine; one that is there stays. Returns whether it was not. */
export function putIntoQuarantine(dir: string, { name, uuid }: Guest): boolean {
  if (quarantineIn(dir)(uuid)) return false;
  attempt(`write ${quote(join(dir, uuid))}`, () => {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writeFileSync(join(dir, uuid), `${oneLine(name)}\nsince ${new Date().toISOString()}\n`, { mode: 0o600 });
  });
  return true;
}

/** Ends a guest's quarantine. Returns whether it was in any. */
export function liftQuarantine(dir: string, uuid: string): boolean {
  if (!quarantineIn(dir)(uuid)) return false;
  attempt(`remove ${quote(join(dir, uuid))}`, () => { rmSync(join(dir, uuid)); });
  return true;
}

/** Returns the guests in quarantine, by name. */
export function listQuarantine(
  dir: string,
): { readonly name: string; readonly uuid: string; readonly since: string }[] {
  return attempt(`read ${quote(dir)}`, () => namesIn(dir).map((uuid) => {
    const [name = '', since = ''] = textOf(join(dir, uuid)).split('\n');
    return { name, uuid, since: since.replace(/^since /, '') };
  })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** That the file is there cuts the guest off, whatever it is; a named pipe would hold up the reader. */
function textOf(path: string): string {
  return statSync(path).isFile() ? readFileSync(path, 'utf8') : '';
}

function namesIn(dir: string): string[] {
  return statSync(dir, { throwIfNoEntry: false }) === undefined ? [] : readdirSync(dir);
}

function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new JournalError(`quarantine: cannot ${what}: ${oneLine((error as Error).message)}`, { cause: error });
  }
}
