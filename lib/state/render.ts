/**
 * Operations to batches: the only file that writes tool text. Every line knows the operations it carries out, so that a
 * tool that stops at line 4 is reported as the change it could not make.
 */
import { formatRange, type VidRange } from '../values/vlan.js';
import type { Operation } from './diff.js';
import { disableIpv6Path, type MadeObject, type NetObject } from './netstate.js';
import { nicLines, TABLE, withoutNicLines } from './nft.js';

/** `ip`, `ip -6` (rules have one family a run) and `bridge` are fed to `TOOL -batch -`, `nft` to `nft -f -`; `sysctl` lines are `path=value`, for /proc/sys. */
export type BatchTool = 'ip' | 'ip -6' | 'bridge' | 'nft' | 'sysctl';

export interface BatchLine {
  readonly text: string;
  readonly operations: readonly Operation[];
}

/** What one run of one tool is fed. */
export interface Batch {
  readonly tool: BatchTool;
  readonly lines: readonly BatchLine[];
}

/** Returns the batches that carry out `operations` in their order; a run of one tool is one batch. */
export function render(operations: readonly Operation[]): Batch[] {
  const batches: { tool: BatchTool; lines: BatchLine[] }[] = [];
  for (const run of mergeVlanRuns(operations)) {
    const tool = toolOf(run.operations);
    const last = batches.at(-1);
    if (last?.tool === tool) last.lines.push(run);
    else batches.push({ tool, lines: [run] });
  }
  return batches;
}

/**
 * Returns the batch that empties the queues of these taps. Equivalent to `ip link set TAP txqueuelen 0` and back: what
 * was flooded to a tap before its port was exact waits in the tap's ring for the guest (measured on Linux 6.18).
 */
export function flushBatch(taps: readonly { readonly dev: string; readonly txqlen: number }[]): Batch {
  const lines = taps.flatMap(({ dev, txqlen }) => [
    { text: `link set dev ${dev} txqueuelen 0`, operations: [] },
    { text: `link set dev ${dev} txqueuelen ${txqlen}`, operations: [] },
  ]);
  return { tool: 'ip', lines };
}

export type OfMade = Exclude<MadeObject, { readonly kind: 'link' }>;

const OF_MADE: ReadonlySet<string> = new Set<OfMade['kind']>(['veth', 'tap', 'alias', 'mtu', 'ipv6', 'allmulticast']);

/** Returns whether an object is one of a link that guestwire makes. */
export function isOfMade(object: NetObject): object is OfMade {
  return OF_MADE.has(object.kind);
}

/** Neighbouring VIDs with the same change become one line: a range of 4,000 VIDs is one line, not 4,000. */
function mergeVlanRuns(all: readonly Operation[]): BatchLine[] {
  const lines: BatchLine[] = [];
  let run: { operations: Operation[]; range: VidRange; shape: string } | undefined;
  for (const operation of all) {
    const vlan = vlanOf(operation);
    if (vlan !== undefined && run?.shape === vlan.shape && run.range.last + 1 === vlan.vid) {
      run.operations.push(operation);
      run.range = { first: run.range.first, last: vlan.vid };
      lines[lines.length - 1] = { text: textOf(operation, run.range), operations: run.operations };
      continue;
    }
    const operations = [operation];
    run = vlan && { operations, range: { first: vlan.vid, last: vlan.vid }, shape: vlan.shape };
    lines.push({ text: textOf(operation, run?.range), operations });
  }
  return lines;
}

function vlanOf({ before, after }: Operation): { vid: number; shape: string } | undefined {
  const object = after ?? before;
  if (object?.kind !== 'vlan' && object?.kind !== 'uplink-vlan') return undefined;
  const flags = object.kind === 'vlan' ? flagsOf(object) : '';
  // The kernel refuses a range with the PVID flag, even a range of one.
  if (after?.kind === 'vlan' && after.pvid) return { vid: object.vid, shape: `pvid ${object.vid}` };
  return { vid: object.vid, shape: `${object.kind} ${object.dev} ${after === undefined ? 'del' : `add${flags}`}` };
}

function toolOf([operation]: readonly Operation[]): BatchTool {
  const object = operation?.after ?? operation?.before;
  switch (object?.kind) {
    case 'vlan':
    case 'uplink-vlan':
    case 'isolated':
      return 'bridge';
    case 'filter-table':
    case 'nic-filter':
    case 'filter-set':
      return 'nft';
    case 'sysctl':
    case 'ipv6':
    case 'host-sysctl':
    case 'proxy-sysctl':
      return 'sysctl';
    case 'rule':
      return object.family === 'inet6' ? 'ip -6' : 'ip';
    case 'master':
    case 'last-resort':
    case 'address':
    case 'link':
    case 'neighbour-proxy':
    case 'route':
    case 'txqlen':
    case 'veth':
    case 'tap':
    case 'alias':
    case 'mtu':
    case 'allmulticast':
    case undefined:
      return 'ip';
  }
}

function textOf({ before, after }: Operation, range: VidRange | undefined): string {
  const object = after ?? before;
  if (object === undefined) return '';
  const verb = after === undefined ? 'del' : 'add';
  if (isOfMade(object)) return textOfMade(object, verb);
  switch (object.kind) {
    case 'vlan':
    case 'uplink-vlan':
      return `vlan ${verb} dev ${object.dev} vid ${vids(object.vid, range)}${after?.kind === 'vlan' ? flagsOf(after) : ''}`;
    case 'filter-table':
      return tableText(before, after);
    case 'nic-filter':
      return nicText(before, after);
    case 'filter-set':
      return `delete set ${object.family} ${TABLE} ${object.dev}`;
    case 'isolated':
      return `link set dev ${object.dev} isolated ${onOff(object.on)}`;
    case 'link':
      return `link set dev ${object.dev} ${object.up ? 'up' : 'down'}`;
    case 'txqlen':
      return `link set dev ${object.dev} txqueuelen ${object.length}`;
    case 'sysctl':
    case 'host-sysctl':
    case 'proxy-sysctl':
      return `${object.path}=${object.value}`;
    case 'neighbour-proxy':
      return `neigh ${verb} proxy ${object.address} dev ${object.dev}${after === undefined ? '' : ` protocol ${object.protocol}`}`;
    case 'master':
      return `link set dev ${object.dev} ${after === undefined ? 'nomaster' : `master ${object.master}`}`;
    case 'last-resort':
      return `route ${verb} unreachable ${object.family === 'inet' ? '0.0.0.0' : '::'}/0 table ${object.table} metric ${LAST_METRIC} proto ${object.protocol}`;
    case 'rule':
      return `rule ${verb} ${selectorOf(object)} lookup ${object.table} priority ${object.priority} protocol ${object.protocol}`;
    case 'address':
      return `address ${verb} ${object.address}/${object.length} dev ${object.dev}${after === undefined ? '' : addressFlags(object.address)}`;
    case 'route':
      return `route ${verb} ${object.to}${object.via === undefined ? '' : ` via ${object.via}`} dev ${object.dev} table ${object.table} proto ${object.protocol}`;
  }
}

/**
 * A table that may be there goes in the same transaction, which costs a grace period of the kernel (17 ms against 4 ms
 * for a table that is made, Linux 6.18).
 */
function tableText(before: NetObject | undefined, after: NetObject | undefined): string {
  const table = after ?? before;
  if (table?.kind !== 'filter-table') return '';
  const name = `${table.family} ${TABLE}`;
  if (after === undefined) return `delete table ${name}`;
  return [...(before === undefined ? [] : [`add table ${name}`, `delete table ${name}`]), ...table.lines ?? []].join('\n');
}

/** A filter that changes is made anew, in one transaction. */
function nicText(before: NetObject | undefined, after: NetObject | undefined): string {
  const gone = before?.kind === 'nic-filter' ? withoutNicLines(before.family, before.filter, before) : [];
  const made = after?.kind === 'nic-filter' ? nicLines(after.family, after.filter, after) : [];
  return [...gone, ...made].join('\n');
}

function textOfMade(object: OfMade, verb: 'add' | 'del'): string {
  switch (object.kind) {
    case 'veth':
      return verb === 'del' ? `link del dev ${object.dev}` : `link add name ${object.dev} type veth peer name ${object.peer}`;
    case 'tap':
      // With an owner nobody but root can open it; without, every user of the host could (tun_not_capable).
      return verb === 'del' ? `link del dev ${object.dev}` : `tuntap add dev ${object.dev} mode tap user 0${object.multiQueue ? ' multi_queue' : ''}`;
    case 'alias':
      return `link set dev ${object.end} alias ${object.alias === '' ? '""' : object.alias}`;
    case 'mtu':
      return `link set dev ${object.end} mtu ${object.bytes}`;
    case 'allmulticast':
      return `link set dev ${object.dev} allmulticast ${onOff(object.on)}`;
    case 'ipv6':
      return `${disableIpv6Path(object.end)}=${object.on ? '0' : '1'}`;
  }
}

/** The same gateway stands on many links, so duplicate address detection must not run: a guest could make it fail. */
function addressFlags(address: string): string {
  // Deprecated, it is no source while the host has another address: what is on every link tells nobody who speaks.
  if (address.includes(':')) return address.startsWith('fe80:') ? ' nodad' : ' nodad preferred_lft 0';
  // Link scope keeps the host from using the address as a source beyond this link (ip-address(8)).
  return address.startsWith('169.254.') ? ' scope link' : '';
}

/** Returns what a rule goes by, as ip-rule(8) has it. */
export function selectorOf({ dev, to }: Extract<NetObject, { kind: 'rule' }>): string {
  return to === undefined ? `iif ${dev}` : `to ${to}`;
}

function vids(vid: number, range: VidRange | undefined): string {
  return formatRange(range ?? { first: vid, last: vid });
}

/** Returns the flags of a VLAN as bridge(8) has them, with a space before each. */
export function flagsOf({ pvid, untagged }: { readonly pvid: boolean; readonly untagged: boolean }): string {
  return `${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}`;
}

/** Returns a switch as the tools write it. */
export function onOff(on: boolean): string {
  return on ? 'on' : 'off';
}

/** The highest there is: any default route that the admin puts into the table goes before. */
export const LAST_METRIC = 4294967295;
