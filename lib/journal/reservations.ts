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
  /** Removes what is recorded for these guests, which libvirt no longer has: each costs a start a search otherwise. */
  readonly drop: (guests: readonly Guest[]) => void;
}

/**
 * Returns the record in `dir`; `definitions` are libvirt's own directories, /etc/libvirt/qemu and those of other
 * drivers, separated by colons: the hook cannot ask libvirt.
 */
export function reservationsIn(dir: string, definitions: string): Reservations {
  const dirs = definitions.split(':');
  let byUuid: ReadonlyMap<string, string> | undefined;
  return {
    find: (claims) => {
      // An agent asks again and again.
      byUuid = undefined;
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
    definition: ({ name, uuid }) => {
      const first = dirs.map((one) => textAt(join(one, `${name}.xml`))).find((text) => uuidIn(text) === uuid);
      // A guest that was renamed has another file.
      return first ?? textAt((byUuid ??= filesIn(dirs)).get(uuid));
    },
    drop: (guests) => {
      const uuids = new Set(guests.map(({ uuid }) => uuid));
      // Without any definition, libvirt's directory may not be there yet.
      if (uuids.size === 0 || (byUuid ??= filesIn(dirs)).size === 0) return;
      for (const path of entriesIn(dir).map((file) => join(dir, file))) {
        if (uuids.has(guestAt(path)?.uuid ?? '')) rmSync(path, { force: true });
      }
    },
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

/** Returns the files of all definitions, by the UUIDs of their guests. */
function filesIn(dirs: readonly string[]): Map<string, string> {
  const paths = dirs.flatMap((dir) => entriesIn(dir).filter((file) => file.endsWith('.xml'))
    .map((file) => join(dir, file)));
  return new Map(paths.flatMap((path) => {
    const uuid = uuidIn(textAt(path));
    return uuid === undefined ? [] : [[uuid, path] as const];
  }));
}

/** libvirt writes the UUID of a domain before its metadata, which may have elements of that name, too. */
function uuidIn(text: string | undefined): string | undefined {
  return /<uuid>([^<]*)<\/uuid>/.exec(text ?? '')?.[1];
}

/** A named pipe would hold up the start. */
function textAt(path: string | undefined): string | undefined {
  try {
    return path !== undefined && statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined;
  } catch {
    return undefined;
  }
}

function distinctGuests(guests: readonly Guest[]): Guest[] {
  return [...new Map(guests.map((guest) => [guest.uuid, guest])).values()];
}
