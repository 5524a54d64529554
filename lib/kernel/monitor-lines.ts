/** The changes of links and VLANs that `ip monitor` and `bridge monitor` report, line by line. */
import type { Follow } from '../system/follow.js';
import type { VidRange } from '../values/vlan.js';

/** What a line of `ip -o -d monitor link` or `bridge monitor link vlan` says. */
export interface LinkChange {
  readonly ifname: string;
  /** Absent: the line does not tell. */
  readonly ifindex?: number;
  /** What matters of a shared link; undefined when the line does not contain it. */
  readonly essence: string | undefined;
  /** VIDs that a port lost; absent: it lost none. */
  readonly lost?: VidRange;
}

export const GONE = 'Deleted ';

export interface Monitor {
  readonly tool: string;
  readonly args: readonly string[];
  readonly read: (line: string) => LinkChange | undefined;
}

export const MONITORS: readonly Monitor[] = [
  { tool: 'ip', args: ['-o', '-d', 'monitor', 'link'], read: readLinkLine },
  // libvirt's live change of a port's VLANs, and an admin's, without any change of the link (Linux 5.7, iproute2 5.8).
  // Into a pipe it says nothing of VLANs until something of links follows, as it does after each change of a port's;
  // with -o nothing at all (iproute2 6.1, 6.15: bridge/vlan.c does not flush, and -o takes its newline away).
  { tool: 'bridge', args: ['monitor', 'link', 'vlan'], read: readVlanLine },
];

/** Returns whether a line on standard error reports that the kernel dropped messages (ENOBUFS). */
export function reportsLoss(line: string): boolean {
  return /receive error|truncated/i.test(line);
}

/** Calls `onLink` for every link that is there. */
export function listLinks(follow: Follow, onLink: (link: LinkChange) => void): void {
  follow({ tool: 'ip', args: ['-o', '-d', 'link', 'show'] }, (line, from) => {
    const link = from === 'out' ? readLinkLine(line) : undefined;
    if (link !== undefined) onLink(link);
  });
}

/** Returns what a line of `ip -o -d monitor link` says; undefined: nothing. */
export function readLinkLine(line: string): LinkChange | undefined {
  const [, deleted = '', index, ifname] = /^(Deleted )?(\d+): ([^\s:@]+)/.exec(line) ?? [];
  if (index === undefined || ifname === undefined) return undefined;
  // Messages of the bridge about a port come in between, and are short.
  if (!line.includes(' promiscuity ')) return { ifname, ifindex: Number(index), essence: undefined };
  const flags = /<([^>]*)>/.exec(line)?.[1]?.split(',') ?? [];
  const words = ['master (\\S+)', 'vlan_filtering (\\d+)', 'vlan_default_pvid (\\d+)'].map((word) =>
    new RegExp(`\\s${word}`).exec(line)?.[1] ?? '');
  return {
    ifname, ifindex: Number(index), essence: [deleted, index, String(flags.includes('UP')), ...words].join(' '),
  };
}

/** Returns what a line of `bridge monitor link vlan` says; undefined: nothing. */
export function readVlanLine(line: string): LinkChange | undefined {
  const [, deleted, ifname, first, last = first] = /^(Deleted )?([^\s:@]+)\s+(\d+)(?:-(\d+))?/.exec(line) ?? [];
  if (ifname === undefined) return undefined;
  return { ifname, essence: undefined, ...(deleted === undefined
    ? {}
    : { lost: { first: Number(first), last: Number(last) } }) };
}
