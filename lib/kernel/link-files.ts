/**
 * What files of /proc and /sys say of links: names, ifindexes, bytes. No program is run for them, because every start
 * of a guest may ask.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

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

/**
 * A file for each link takes 25 ms with 1,000 of them; one file has those that are up (net/ipv4/igmp.c), with their
 * groups.
 */
function namesIn(sysNet: string): Map<number, string> {
  const up = new Map([...textIn(GROUPS).matchAll(/^(\d+)\t(\S+)\s*:/gm)]
    .map(([, ifindex, name = '']) => [name, Number(ifindex)]));
  return new Map(entriesIn(sysNet).flatMap((name) => {
    const ifindex = up.get(name) ?? Number(textIn(join(sysNet, name, 'ifindex')));
    return ifindex === 0 ? [] : [[ifindex, name]];
  }));
}

const GROUPS = '/proc/net/igmp';

function entriesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** A link may go while its file is read. */
function textIn(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** A link whose name was reused has another ifindex. */
export interface LinkId {
  readonly link: string;
  readonly ifindex: number;
}

/** Returns whether the link of this name is still the one with this ifindex. */
export function isThere({ link, ifindex }: LinkId, sysNet = '/sys/class/net'): boolean {
  return textIn(join(sysNet, link, 'ifindex')).trim() === String(ifindex);
}

/**
 * How often the host asks for a guest on a routed link before it gives the guest up: for 3 s in all as the kernel does,
 * because a busy guest may be slow. No other program sets this number.
 */
export const SOLICITATIONS = '15';

/** Returns whether guestwire set up the link for a guest. It needs no record for that. */
export function hasSolicitations(link: string, procSys = '/proc/sys'): boolean {
  return ['ipv4', 'ipv6'].some((family) =>
    textIn(join(procSys, 'net', family, 'neigh', link, 'mcast_solicit')).trim() === SOLICITATIONS);
}

/** Returns whether a bridge has the link as a port. */
export function isBridgePort(link: string, sysNet = '/sys/class/net'): boolean {
  return existsSync(join(sysNet, link, 'brport'));
}

/** Bytes as the link itself counts them. */
export interface LinkBytes {
  readonly received: number;
  readonly sent: number;
}

/** Returns what passed through the link; undefined when it is gone. */
export function bytesOn(link: string, sysNet = '/sys/class/net'): LinkBytes | undefined {
  const [received, sent] = ['rx_bytes', 'tx_bytes'].map((name) => textIn(join(sysNet, link, 'statistics', name)));
  if (received === undefined || received === '' || sent === undefined || sent === '') return undefined;
  return { received: Number(received), sent: Number(sent) };
}
