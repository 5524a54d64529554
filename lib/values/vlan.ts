/**
 * VLAN membership: the set of `{vid, pvid, untagged}` of a bridge port, and the `<vlan>` grammar that yields it. Shared
 * by libvirt's `<vlan>`, guestwire's metadata and the host config. Canonical form: one entry a VID, ascending.
 */
import { ValueError } from '../errors.js';
import { quote } from './quote.js';

/** libvirt's `<vlan>` or its twin in guestwire's metadata, as written. */
export interface NativeVlan {
  readonly trunk: string | undefined;
  readonly tags: readonly { readonly id: string | undefined; readonly nativeMode: string | undefined }[];
}

/** One VID of a port: `pvid` takes untagged frames in as this VID, `untagged` sends this VID out without a tag. */
export interface VlanMember {
  readonly vid: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
}

/** An inclusive run of VIDs. */
export interface VidRange {
  readonly first: number;
  readonly last: number;
}

/** The VIDs a frame can carry: 0 is the priority tag and 4095 is reserved (IEEE 802.1Q table 9-2). */
const FIRST_VID = 1;
const LAST_VID = 4094;

/**
 * Returns the membership that a `<vlan>` element means, as libvirt 11 programs it: one tag is an access port whatever
 * its nativeMode, unless trunk='yes'; more tags, or a range, are a trunk; a trunk without nativeMode has no PVID.
 * Throws ValueError.
 */
export function vlanMembership(vlan: NativeVlan): VlanMember[] {
  const ranges = vlan.tags.map((tag) => parseVids(tag.id ?? ''));
  const [only] = ranges;
  if (only === undefined) throw new ValueError("<vlan> has no <tag>: add at least one <tag id='...'/>");
  const trunk = isTrunk(vlan.trunk, ranges);
  if (!trunk) {
    vlan.tags.forEach((tag) => { nativeMode(tag.nativeMode); });
    return accessPort(only.first);
  }
  const members = vlan.tags.flatMap((tag, index) => tagMembers(ranges[index] ?? only, nativeMode(tag.nativeMode)));
  return canonicalMembership(members);
}

/** Returns the membership of an access port: exactly one VID, PVID and untagged. */
export function accessPort(vid: number): VlanMember[] {
  return [{ vid, pvid: true, untagged: true }];
}

/** Returns `members` ascending. Throws ValueError when a VID comes twice or two have the PVID. */
export function canonicalMembership(members: readonly VlanMember[]): VlanMember[] {
  const sorted = [...members].sort((a, b) => a.vid - b.vid);
  const twice = sorted.find((member, index) => sorted[index + 1]?.vid === member.vid);
  if (twice !== undefined) throw new ValueError(`VLAN ID '${twice.vid}' is listed twice: list each VLAN once`);
  const [native, second] = sorted.filter((member) => member.pvid);
  if (native !== undefined && second !== undefined) {
    throw new ValueError(`VLAN IDs '${native.vid}' and '${second.vid}' are both native: a port has one native VLAN`);
  }
  return sorted;
}

/** Returns the run that '10' or '10-19' means. Decimal only, without leading zeros. Throws ValueError. */
export function parseVids(text: string): VidRange {
  const match = /^([0-9]+)(?:-([0-9]+))?$/.exec(text);
  if (match?.[1] === undefined) {
    throw new ValueError(`VLAN ID ${quote(text)} is not a number or range of numbers: write '10' or '10-19'`);
  }
  const first = parseVid(match[1]);
  const last = match[2] === undefined ? first : parseVid(match[2]);
  if (last < first) throw new ValueError(`VLAN range ${quote(text)} runs backwards: write '${last}-${first}'`);
  return { first, last };
}

/** Returns the VIDs of a run, ascending. */
export function vidsOf(range: VidRange): number[] {
  return Array.from({ length: range.last - range.first + 1 }, (_, index) => range.first + index);
}

/**
 * Returns a membership in words: `access 10`, `trunk 20,30-40 native 10`, `trunk 20 native 10 tagged`. VIDs that leave
 * untagged without being native, which only others program, come last: `trunk 20 untagged 30`. Different memberships
 * read differently.
 */
export function formatMembership(members: readonly VlanMember[]): string {
  const [only] = members;
  if (only === undefined) return 'no VLAN';
  if (members.length === 1 && only.pvid && only.untagged) return `access ${only.vid}`;
  const native = members.find((member) => member.pvid);
  const others = members.filter((member) => !member.pvid);
  const [tagged, untagged] = [others.filter((member) => !member.untagged), others.filter((member) => member.untagged)];
  const words = ['trunk'];
  if (tagged.length > 0) words.push(formatVids(tagged.map((member) => member.vid)));
  if (native !== undefined) words.push('native', String(native.vid), ...(native.untagged ? [] : ['tagged']));
  if (untagged.length > 0) words.push('untagged', formatVids(untagged.map((member) => member.vid)));
  return words.join(' ');
}

/** Returns VIDs as `10,20-29`. */
export function formatVids(vids: readonly number[]): string {
  return runsOf(vids).map(formatRange).join(',');
}

/** Returns ascending VIDs as maximal runs. */
export function runsOf(vids: readonly number[]): VidRange[] {
  const runs: VidRange[] = [];
  for (const vid of [...vids].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run !== undefined && vid <= run.last + 1) runs[runs.length - 1] = { first: run.first, last: vid };
    else runs.push({ first: vid, last: vid });
  }
  return runs;
}

/** Returns '10' or '10-19'. */
export function formatRange(range: VidRange): string {
  return range.first === range.last ? String(range.first) : `${range.first}-${range.last}`;
}

function parseVid(text: string): number {
  const vid = Number(text);
  if (vid < FIRST_VID || vid > LAST_VID) throw new ValueError(`VLAN ID ${quote(text)} is outside 1-4094`);
  if (text.startsWith('0')) throw new ValueError(`VLAN ID ${quote(text)} has a leading zero: write '${vid}'`);
  return vid;
}

function isTrunk(trunk: string | undefined, ranges: readonly VidRange[]): boolean {
  if (trunk !== undefined && trunk !== 'yes' && trunk !== 'no') {
    throw new ValueError(`trunk=${quote(trunk)} in <vlan> is neither 'yes' nor 'no'`);
  }
  const several = ranges.length > 1 || ranges.some((range) => range.first !== range.last);
  if (trunk === 'no' && several) {
    throw new ValueError("trunk='no' in <vlan> allows only one VLAN: remove trunk='no' or keep one <tag>");
  }
  return trunk === 'yes' || several;
}

function nativeMode(mode: string | undefined): 'tagged' | 'untagged' | undefined {
  if (mode === undefined || mode === 'tagged' || mode === 'untagged') return mode;
  throw new ValueError(`nativeMode=${quote(mode)} in <tag> is neither 'tagged' nor 'untagged'`);
}

function tagMembers(range: VidRange, native: 'tagged' | 'untagged' | undefined): VlanMember[] {
  if (native !== undefined && range.first !== range.last) {
    throw new ValueError(`nativeMode is set on the VLAN range '${formatRange(range)}': a native VLAN is one VLAN ID`);
  }
  return vidsOf(range).map((vid) => ({ vid, pvid: native !== undefined, untagged: native === 'untagged' }));
}
