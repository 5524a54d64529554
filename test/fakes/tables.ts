/** What the fake kernel knows of route tables. */
import type { Batch } from '../../lib/state/render.js';
import type { FakeHost } from './kernel.js';

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
