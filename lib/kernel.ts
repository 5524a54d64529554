/**
 * Observe and run: the kernel's state read through `ip`, `bridge` and /proc/sys for the links at hand only, and batches
 * fed to the tools. It judges nothing; every failure names the change that could not be made.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { networkOf, parseAddress, parsePrefix } from './address.js';
import { CommandError, ToolOutputError } from './errors.js';
import { assertSuccess, type Exec, type ExecRequest, lineOf } from './exec.js';
import { FILTER_TABLE } from './filter.js';
import type { FilterFacts, HostNetwork, LinkFacts, Observation, RouteFacts, Scope, Subinterface } from './observation.js';
import { type Batch, type BatchLine, describe } from './operation.js';
import { oneLine } from './quote.js';
import { parseFilter, parseLinks, parseRoutes, parseSubinterfaces, parseVlans } from './tooloutput.js';
import type { VlanMember } from './vlan.js';

/** The kernel as the pipeline sees it; tests put a fake in its place. */
export interface Kernel {
  /** Returns the facts of `scope`. Throws CommandError or ToolOutputError. */
  observe(scope: Scope): Promise<Observation>;
  /**
   * Carries out batches in order. 'stop-at-failure' leaves the lines before the failed one done; 'carry-on', for
   * teardown, does every line it can. Both throw the first CommandError.
   */
  run(batches: readonly Batch[], mode: RunMode): Promise<void>;
}

export type RunMode = 'stop-at-failure' | 'carry-on';

/** Returns the kernel of this network namespace, reached through `exec`. */
export function createKernel(exec: Exec, procSys = '/proc/sys'): Kernel {
  return {
    observe: (scope) => observe(exec, scope, procSys),
    run: async (batches, mode) => {
      const errors: unknown[] = [];
      for (const batch of batches) {
        try {
          if (batch.tool === 'sysctl') writeSysctls(batch.lines, procSys);
          else await runBatch(exec, batch, mode);
        } catch (error) {
          if (mode === 'stop-at-failure') throw error;
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    },
  };
}

async function observe(exec: Exec, scope: Scope, procSys: string): Promise<Observation> {
  const queries = queriesOf(scope);
  const [answers, filter] = await Promise.all([ask(exec, queries.map((query) => query.text)), observeFilter(exec, scope.filter)]);
  const found = sort(queries, answers);
  const ports = [...scope.ports.filter((port) => bridgeCapable(found.links, port)), ...[...found.members.values()].flat()];
  return {
    ...found,
    vlans: await observeVlans(exec, [...new Set(ports)]),
    filter,
    networks: scope.lookups.length === 0 ? [] : hostNetworks(),
    sysctls: readSysctls(scope.sysctls, procSys),
  };
}

type Found = Pick<Observation, 'links' | 'routes' | 'nextHops' | 'lookups' | 'members' | 'subinterfaces'>;

function sort(queries: readonly Query[], answers: readonly (unknown[] | undefined)[]): Found {
  const links = new Map<string, LinkFacts>();
  const routes: RouteFacts[] = [];
  const nextHops: RouteFacts[] = [];
  const lookups = new Map<string, RouteFacts | undefined>();
  const members = new Map<string, readonly string[]>();
  const subinterfaces: Subinterface[] = [];
  queries.forEach((query, index) => {
    const answer = answers[index];
    if (query.kind === 'lookup') lookups.set(query.address, answer === undefined ? undefined : parseRoutes(answer, query)[0]);
    else if (answer === undefined) return;
    else if (query.kind === 'link') parseLinks(answer).forEach((link) => links.set(link.ifname, link));
    else if (query.kind === 'members') members.set(query.bridge, parseLinks(answer).map(({ ifname }) => ifname));
    else if (query.kind === 'subinterfaces') subinterfaces.push(...parseSubinterfaces(answer));
    else (query.kind === 'routes' ? routes : nextHops).push(...parseRoutes(answer, query));
  });
  return { links, routes, nextHops, lookups, members, subinterfaces };
}

/** A table that is not there, and a host that has never used nft, are both an answer: nothing is guarded. */
async function observeFilter(exec: Exec, asked: boolean): Promise<FilterFacts> {
  if (!asked) return { intact: false, guarded: new Set() };
  const request: ExecRequest = { tool: 'nft', args: ['--json', 'list', 'table', 'bridge', FILTER_TABLE] };
  const result = await exec(request);
  if (/No such file or directory/.test(result.stderr)) return { intact: false, guarded: new Set() };
  assertSuccess(request, result, 'reading the filter of VLAN ports');
  return parseFilter(result.stdout);
}

/** Guests' own links have host routes and gateways only, so on a host with a thousand of them this stays short. */
function hostNetworks(): HostNetwork[] {
  return Object.entries(networkInterfaces()).flatMap(([dev, addresses = []]) =>
    addresses.flatMap(({ address, cidr, internal }): HostNetwork[] => {
      const alone = cidr === null || cidr.endsWith('/32') || cidr.endsWith('/128');
      if (internal || alone || /^(fe80:|169\.254\.)/.test(address)) return [];
      return [{ dev, address: parseAddress(address).text, prefix: parsePrefix(networkOf(cidr)) }];
    }));
}

type Query = { readonly text: string; readonly dev?: string; readonly protocol?: string; readonly via?: string } & (
  | { readonly kind: 'link' | 'routes' | 'next-hop' | 'subinterfaces' }
  | { readonly kind: 'members'; readonly bridge: string }
  | { readonly kind: 'lookup'; readonly address: string }
);

function queriesOf(scope: Scope): Query[] {
  return [
    ...scope.links.map((dev): Query => ({ kind: 'link', text: `address show dev ${dev}` })),
    ...scope.routes.map(({ dev, protocol }): Query => (
      // `table all` is also what makes one `ip` without -4 or -6 list both families.
      { kind: 'routes', text: `route show table all dev ${dev} proto ${protocol}`, dev, protocol: String(protocol) })),
    ...scope.lookups.map((address): Query => ({ kind: 'lookup', text: `route get fibmatch ${address}`, address })),
    ...scope.bridges.map((bridge): Query => ({ kind: 'members', text: `link show master ${bridge}`, bridge })),
    ...(scope.subinterfaces ? [{ kind: 'subinterfaces' as const, text: 'link show type vlan' }] : []),
    ...scope.nextHops.map((prefix): Query => ({ kind: 'next-hop', text: `route show table all via ${prefix}`, via: prefix.slice(0, prefix.indexOf('/')) })),
  ];
}

/**
 * Returns the JSON document each line of one `ip -batch` run printed, undefined where the line failed: a link that does
 * not exist and a destination without a route are answers, not errors. Anything else is one.
 */
async function ask(exec: Exec, lines: readonly string[]): Promise<(unknown[] | undefined)[]> {
  if (lines.length === 0) return [];
  const request: ExecRequest = { tool: 'ip', args: ['-json', '-details', '-force', '-batch', '-'], input: `${lines.join('\n')}\n` };
  const result = await exec(request);
  const absent = new Set<number>();
  let reasons: string[] = [];
  for (const text of result.stderr.split('\n')) {
    const line = lineOf(text);
    if (line === undefined) {
      if (text !== '') reasons.push(text);
      continue;
    }
    if (!reasons.every((reason) => NO_SUCH_THING.test(reason))) break;
    absent.add(line - 1);
    reasons = [];
  }
  if (reasons.length > 0 || (result.exitCode !== 0 && absent.size === 0)) assertSuccess(request, result, 'reading the host');
  const documents = result.stdout.split('\n').filter((text) => text.trim() !== '');
  if (documents.length !== lines.length - absent.size) {
    throw new ToolOutputError(`ip -json printed ${documents.length} answers to ${lines.length} questions, ${absent.size} of them failed`);
  }
  let next = 0;
  return lines.map((_, index) => (absent.has(index) ? undefined : parseJson('ip', documents[next++] ?? '')));
}

const NO_SUCH_THING = /^(Device ".*" does not exist\.|Cannot find device ".*"|RTNETLINK answers: (Network is unreachable|No route to host|Invalid argument|Permission denied)|Error: .*[Nn]o route.*)$/;

function parseJson(tool: string, text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ToolOutputError(`${tool} -json printed what is no JSON list: '${oneLine(text).slice(0, 100)}'`);
}

function bridgeCapable(links: ReadonlyMap<string, LinkFacts>, port: string): boolean {
  const master = links.get(port)?.master;
  return master !== undefined && links.get(master)?.bridge?.capable === true;
}

async function observeVlans(exec: Exec, ports: readonly string[]): Promise<Map<string, readonly VlanMember[]>> {
  const [only] = ports;
  if (only === undefined) return new Map();
  // `dev` filters what is printed, not what the kernel dumps, so several ports are cheaper in one dump.
  const dev = ports.length === 1 ? ['dev', only] : [];
  const request: ExecRequest = { tool: 'bridge', args: ['-json', '-compressvlans', 'vlan', 'show', ...dev] };
  const result = await exec(request);
  assertSuccess(request, result, 'reading the VLANs of bridge ports');
  const found = parseVlans(parseJson('bridge', result.stdout));
  return new Map(ports.map((port) => [port, found.get(port) ?? []]));
}

function readSysctls(paths: readonly string[], procSys: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const path of paths) {
    try {
      values.set(path, readFileSync(join(procSys, path), 'utf8').trim());
    } catch (error) {
      // The link is gone, or this kernel does not have the setting.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return values;
}

function writeSysctls(lines: readonly BatchLine[], procSys: string): void {
  lines.forEach((line, index) => {
    const [path = '', value = ''] = line.text.split('=');
    try {
      writeFileSync(join(procSys, path), value);
    } catch (error) {
      const errno = (error as NodeJS.ErrnoException).code ?? '';
      const failure = { tool: 'sysctl', args: [line.text], exitCode: undefined, signal: undefined, stderr: '', timedOut: false, errno, line: index + 1 };
      throw new CommandError(`sysctl failed (${wordsOf(line)}): ${oneLine(String(error))}`, failure, { cause: error });
    }
  });
}

async function runBatch(exec: Exec, batch: Batch, mode: RunMode): Promise<void> {
  const force = mode === 'carry-on' ? ['-force'] : [];
  const args = batch.tool === 'nft' ? ['-f', '-'] : [...force, '-batch', '-'];
  const request: ExecRequest = { tool: batch.tool, args, input: batch.lines.map((line) => `${line.text}\n`).join('') };
  const result = await exec(request);
  const failed = lineOf(result.stderr);
  const line = failed === undefined ? undefined : batch.lines[failed - 1];
  assertSuccess(request, result, line === undefined ? 'changing the host' : wordsOf(line));
}

function wordsOf(line: BatchLine): string {
  const [first, ...rest] = line.operations;
  if (first === undefined) return line.text;
  return rest.length === 0 ? describe(first) : `${describe(first)} and ${rest.length} more`;
}
