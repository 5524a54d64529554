/**
 * The lines of `ip monitor` and `bridge monitor` as link changes.
 */
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
