/**
 * Which guest last had an address or a prefix: a symbolic link each, below /var/lib, so that it outlasts the guest and
 * the host. An address belongs to that guest while libvirt has it defined, also while the guest is off.
 */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Guest } from '../domain/guest.js';
import { ValueError } from '../errors.js';
import { overlaps, parsePrefix, type Prefix } from '../values/address.js';
import { oneLine } from '../values/quote.js';

export interface Reservations {
  /** Returns the guests that last had something of what the claims cover. */
  readonly find: (claims: readonly Prefix[]) => Guest[];
  /** Records that the guest has the claims now. Throws what the file system says. */
  readonly take: (guest: Guest, claims: readonly Prefix[]) => void;
  /** Returns the XML of a guest as libvirt keeps it; undefined: libvirt has no such guest defined. */
  readonly definition: (guest: Guest) => string | undefined;
}

/** Returns the record in `dir`; `definitions` is libvirt's own directory, /etc/libvirt/qemu: the hook cannot ask. */
export function reservationsIn(dir: string, definitions: string): Reservations {
  return {
    find: (claims) => {
      // A host route meets another one only under its own name: prefixes alone are compared.
      const isWide = claims.some((claim) => !isHostRoute(fileName(claim)));
      const met = claims.length === 0 ? [] : entriesIn(dir).filter((file) =>
        (isWide || !isHostRoute(file)) && meets(file, claims));
      return distinctGuests([...claims.map(fileName), ...met].flatMap((file) => guestAt(join(dir, file)) ?? []));
    },
    take: (guest, claims) => {
      for (const claim of claims) {
        const path = join(dir, fileName(claim));
        if (guestAt(path)?.uuid === guest.uuid) continue;
        mkdirSync(dir, { recursive: true, mode: 0o700 });
        const draft = `${path}.${process.pid}`;
        rmSync(draft, { force: true });
        symlinkSync(`${guest.uuid} ${oneLine(guest.name)}`, draft);
        renameSync(draft, path);
      }
    },
    definition: (guest) => definitionIn(definitions, guest),
  };
}

/** `2001:db8::a_128`. */
function fileName({ text }: Prefix): string {
  return text.replace('/', '_');
}

function isHostRoute(file: string): boolean {
  return file.endsWith(file.includes(':') ? '_128' : '_32');
}

/** Another program, or a writer that was killed, leaves names that are not prefixes. */
function meets(file: string, claims: readonly Prefix[]): boolean {
  try {
    const prefix = parsePrefix(file.replace('_', '/'));
    return claims.some((claim) => claim.family === prefix.family && overlaps(claim, prefix));
  } catch (error) {
    if (error instanceof ValueError) return false;
    throw error;
  }
}

function entriesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function guestAt(path: string): Guest | undefined {
  try {
    const [uuid = '', ...name] = readlinkSync(path).split(' ');
    return { uuid, name: name.join(' ') };
  } catch {
    return undefined;
  }
}

/** A guest that was renamed has another file; this is rare enough to read them all. */
function definitionIn(dir: string, { name, uuid }: Guest): string | undefined {
  const isIts = (text: string | undefined): boolean => text?.includes(`<uuid>${uuid}</uuid>`) === true;
  const first = textAt(join(dir, `${name}.xml`));
  if (isIts(first)) return first;
  for (const file of entriesIn(dir)) {
    const text = file.endsWith('.xml') ? textAt(join(dir, file)) : undefined;
    if (isIts(text)) return text;
  }
  return undefined;
}

/** A named pipe would hold up the start. */
function textAt(path: string): string | undefined {
  try {
    return statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined;
  } catch {
    return undefined;
  }
}

function distinctGuests(guests: readonly Guest[]): Guest[] {
  return [...new Map(guests.map((guest) => [guest.uuid, guest])).values()];
}
