/**
 * The record of one kind of kernel object: its identity, the phase of a change, the line of the tool, its words, and
 * how it belongs to guests. The files in `objects/` implement it. Code elsewhere asks the record, never for a kind.
 */
import type { Phase } from './order.js';
import type { BatchTool } from './tools.js';

/** Absent `before`: the change makes the object; absent `after`: it removes the object. */
export interface Change<O> {
  readonly before: O | undefined;
  readonly after: O | undefined;
}

/** Every method gets the object: as it is after a change, or as it was before its removal. */
export interface ObjectKind<O> {
  /** Objects with one key are one object: what differs between them is a change, not a replacement. */
  key(object: O): string;
  /** Returns the object for the time when its link has the name `dev`. Absent: only `dev` contains the name. */
  renamed?(object: O, dev: string): O;

  phase(object: O, change: Change<O>): Phase;
  /** Whether the change runs with the bottom-up half of the phases. Absent: a removal does. */
  unwires?(object: O, change: Change<O>): boolean;
  /** The place of which the kernel has one; in phase `freed` an object leaves it for another object. */
  readonly place?: { of(object: O): string | undefined; readonly freed: Phase };

  tool(object: O): BatchTool;
  /** The line that makes the object, or gives it these values. `span` are the numbers of a series: `20-29`. */
  set(object: O, span?: string): string;
  /** The line that removes it. Absent: the object is a setting, which always has some value and is never removed. */
  remove?(object: O, span?: string): string;
  /** The line that turns one into the other. Absent: `set` does. */
  replace?(before: O, after: O): string;
  /** Neighbouring numbers share a line where their changes have one shape: 4,000 VIDs are one line. */
  readonly series?: { number(object: O): number; shape(object: O, change: Change<O>): string };

  /** The object in words: `VLAN 42 pvid untagged`. */
  name(object: O, span?: string): string;
  /** The name contains the link, or the link says nothing. */
  readonly namesItsLink?: true;
  /** Verbs other than `add`, `set` and `remove`. */
  readonly verbs?: Partial<Readonly<Record<Verb, string>>>;
  /** The difference in words. Absent: `NAME should be NAME`. */
  drift?(before: O, after: O): string;

  readonly owner: ObjectOwner;
  /** The object is a link that guestwire made: it goes at `release` and nowhere else. */
  readonly made?: true;
  /** Found before the guest's first wiring, it is a leftover of an earlier run: release does not bring it back. */
  readonly leftover?: true;
  /** The object lets the guest into a network: a running guest that loses its wiring does not get an old one back. */
  readonly grant?: true;
  /**
   * The setting protects the host or other guests from the guest: a running guest that loses its wiring keeps it,
   * because its link may come up again.
   */
  readonly guards?: true;
  /** Whether the change alone keeps all frames from passing the link. */
  cuts?(change: Change<O>): boolean;
  /** Whether the object routes traffic to the guest: an incoming guest gets it when it runs on this host. */
  reaches?(object: O): boolean;
  /** Whether guestwire sees the object when it looks again after a change. Absent: it does. */
  isSeenAgain?(object: O): boolean;
  /** Whether the object exists and cannot do its work. */
  isBroken?(object: O): boolean;

  /** The key of the object that contains this one, and without which it cannot exist. */
  within?(object: O): string;
  /** The need of a guest for which the object exists: an address, or `UPLINK VID`. */
  need?(object: O): string;
  /** The path below /proc/sys. */
  path?(object: O): string;
  /** The bridge or VRF that `dev` joins. */
  master?(object: O): string;
  /** The length of a tap's transmit queue. */
  queue?(object: O): number;
}

export type Verb = 'add' | 'set' | 'remove';

/**
 * 'link': the object is on a guest's link and ends with that link. 'shared': guests share it, or it outlives the link.
 * 'filter': it is in nftables, and outlives the link too.
 */
export type ObjectOwner = 'link' | 'shared' | 'filter';

/** Returns a switch as the tools write it. */
export function onOff(on: boolean): string {
  return on ? 'on' : 'off';
}
