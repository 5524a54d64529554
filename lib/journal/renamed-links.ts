/**
 * Links that somebody renamed while their guest runs. libvirt and the journal know them by the name they had, the kernel
 * by their ifindex: entries are read as if the link had always had the name it has now, and remember the other.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isNic, namesOf, staysUntilRelease } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { renamed as underName } from '../state/objects.js';
import type { Holding, Journal } from './journal.js';

/** The names of this network namespace's links. */
export interface LinkNames {
  readonly has: (name: string) => boolean;
  /** Returns the name of the link with this ifindex; undefined when there is none or it cannot be told. */
  readonly of: (ifindex: number) => string | undefined;
}

/** Returns the names as the kernel has them now. They are read when first asked for, once. */
export function linkNames(procSys = '/proc/sys', sysNet = '/sys/class/net'): LinkNames {
  // sysfs may be that of another network namespace (`nsenter --net`), this is never.
  const has = (name: string): boolean => existsSync(join(procSys, 'net/ipv4/conf', name));
  let names: Map<number, string> | undefined;
  const of = (ifindex: number): string | undefined => {
    const name = (names ??= namesIn(sysNet)).get(ifindex);
    return name !== undefined && has(name) ? name : undefined;
  };
  return { has, of };
}

/** A file for each link takes 25 ms with 1,000 of them; those that are up are in one (net/ipv4/igmp.c), each under its groups. */
function namesIn(sysNet: string): Map<number, string> {
  const up = new Map([...textIn(GROUPS).matchAll(/^(\d+)\t(\S+)\s*:/gm)].map(([, ifindex, name = '']) => [name, Number(ifindex)]));
  return new Map(entriesOf(sysNet).flatMap((name) => {
    const ifindex = up.get(name) ?? Number(textIn(join(sysNet, name, 'ifindex')));
    return ifindex === 0 ? [] : [[ifindex, name]];
  }));
}

const GROUPS = '/proc/net/igmp';

function entriesOf(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** A link may go while it is looked at. */
function textIn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Returns the journal whose entries have links under their names of now. */
export function followRenames(journal: Journal, names = linkNames()): Journal {
  return {
    ...journal,
    read: (uuid) => {
      const entry = journal.read(uuid);
      if (entry === undefined) return undefined;
      const now = followed(entry, names);
      const renamed = new Map(entry.wired.map(({ link }, index) => [link, now.wired[index]?.link ?? link]));
      return now === entry ? entry : { ...now, original: entry.original.map((object) => underName(object, renamed.get(object.dev) ?? object.dev)) };
    },
    list: () => journal.list().map((entry) => followed(entry, names)),
  };
}

function followed<Some extends Holding>(entry: Some, names: LinkNames): Some {
  const wired = entry.wired.map((one) => nowOf(one, entry, names));
  return wired.every((one, index) => one === entry.wired[index]) ? entry : { ...entry, wired };
}

/** What guestwire makes it makes under one name. */
function nowOf(one: Wired, { wired }: Holding, names: LinkNames): Wired {
  if (!isNic(one) || wired.some((other) => staysUntilRelease(other) && namesOf(other).includes(one.link))) return one;
  const link = names.has(one.link) ? undefined : names.of(one.ifindex);
  if (link === undefined) return one;
  const was = one.was ?? one.link;
  return { ...one, link, was: was === link ? undefined : was };
}

/** Returns attachments, which have libvirt's names, with those that the links of `wired` have now. */
export function underNewNames(attachments: readonly Attachment[], wired: readonly Wired[]): Attachment[] {
  return attachments.map((attachment) => {
    const now = wired.find(({ was, kind, mac }) => was !== undefined && was === attachment.link && kind === attachment.kind && mac === attachment.mac);
    return now === undefined ? attachment : { ...attachment, link: now.link, was: now.was };
  });
}
