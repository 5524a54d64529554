/** What the fake kernel knows of route tables and nftables. */
import { FILTER_LINES, tableLines } from '../lib/filter.js';
import type { Batch } from '../lib/operation.js';
import { SOURCE_LINES } from '../lib/sources.js';
import type { FakeHost } from './fakekernel.js';

/** An nftables table of guestwire's: whether it is as guestwire made it, and the ifindexes in its set. Broken and without any, it is not there. */
export interface FakeTable {
  intact: boolean;
  guarded: number[];
}

export function isThere({ intact, guarded }: FakeTable): boolean {
  return intact || guarded.length > 0;
}

/** What lines of a batch look like, and what the kernel does at them. */
export type Handler = [RegExp, (match: Record<string, string | undefined>) => void];

/** Returns what the kernel does at the lines that change rules and last resorts. */
export function tableHandlers(host: Required<FakeHost>, { tool }: Batch, refuse: (reason: string) => never): Handler[] {
  const family = tool === 'ip -6' ? 'inet6' : 'inet';
  const change = <T>(list: T[], one: T, verb: string | undefined): void => {
    const index = list.findIndex((other) => JSON.stringify(other) === JSON.stringify(one));
    if ((index >= 0) === (verb === 'add')) refuse(verb === 'add' ? 'RTNETLINK answers: File exists' : 'RTNETLINK answers: No such file or directory');
    if (verb === 'add') list.push(one);
    else list.splice(index, 1);
  };
  return [
    [/^rule (?<verb>add|del) (iif (?<iif>\S+)|to (?<to>\S+)) lookup (?<table>\d+) priority (?<priority>\d+) protocol (?<protocol>\d+)$/, ({ verb, iif, to, table = '', priority, protocol }) => {
      if (to !== undefined && to.includes(':') !== (family === 'inet6')) refuse('Error: Invalid dst address.');
      change(host.rules, { family, priority: Number(priority), iif, to, table, protocol: Number(protocol) }, verb);
    }],
    [/^route (?<verb>add|del) unreachable (?<to>0\.0\.0\.0|::)\/0 table (?<table>\d+) metric 4294967295 proto (?<protocol>\d+)$/, ({ verb, to, table = '', protocol }) => {
      change(host.lastResorts, { family: to === '::' ? 'inet6' : 'inet', table, protocol: Number(protocol) }, verb);
    }],
  ];
}

/** Carries out what one line of ours for nft says, or many. */
export function applyNft({ filter, sources }: Required<FakeHost>, text: string, refuse: (reason: string) => never): void {
  const families = [['bridge', FILTER_LINES], ['inet', SOURCE_LINES]] as const;
  const whole = families.findIndex(([family, lines]) => [true, false].some((there) => tableLines(family, lines, there).join('\n') === text));
  const gone = ['bridge', 'inet'].findIndex((family) => `delete table ${family} guestwire` === text);
  const table = [filter, sources][Math.max(whole, gone)];
  if (table !== undefined) {
    if (gone >= 0 && !isThere(table)) refuse('No such file or directory');
    if (text.startsWith('create ') && isThere(table)) refuse('File exists');
    table.intact = whole >= 0;
    table.guarded = [];
    return;
  }
  const match = /^(?<verb>add|delete) element (?<set>bridge guestwire no_stp|inet guestwire routed) \{ (?<ifindex>\d+) \}$/.exec(text);
  if (match === null) throw new Error(`the fake kernel does not know 'nft ${text}'`);
  const ifindex = Number(match.groups?.['ifindex']);
  const held = match.groups?.['set']?.startsWith('inet') === true ? sources : filter;
  if (!isThere(held)) refuse('No such file or directory');
  held.guarded = held.guarded.filter((other) => other !== ifindex);
  if (match.groups?.['verb'] === 'add') held.guarded.push(ifindex);
}
