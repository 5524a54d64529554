/**
 * Reads the kernel's state through `ip`, `bridge`, `nft` and /proc/sys, for the links of a scope only. It judges
 * nothing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ToolOutputError } from '../errors.js';
import type { BatchTool } from '../state/tools.js';
import { assertSuccess, type Exec, type ExecRequest, type ExecResult, lineOf } from '../system/exec.js';
import { oneLine } from '../values/quote.js';
import type { VlanMember } from '../values/vlan.js';
import { sortAnswers } from './answers.js';
import { askRules6, parseRules } from './ip-rule-output.js';
import { parseVlans } from './iproute-output.js';
import { observeFilters, tracksBridges } from './nft-output.js';
import type { LinkFacts, Observation, RuleFacts, Scope } from './observation.js';
import { ANSWER_FLAGS, queriesOf, type Query, vlanQuestion } from './queries.js';

/** What `ip` and `bridge` printed when they were asked at the end of a batch; absent: not asked, or no answer. */
export type Answers = Partial<Readonly<Record<BatchTool, string | undefined>>>;

/** Where an observation reads, and what was answered before. */
interface Sources {
  readonly procSys: string;
  readonly answers: Answers;
}

/**
 * Returns the facts of `scope`, and runs no tool for an answer that is given. Throws CommandError or ToolOutputError.
 */
export async function observe(exec: Exec, scope: Scope, { procSys, answers }: Sources): Promise<Observation> {
  const queries = queriesOf(scope, procSys);
  const { documents, reasons } = await answered(exec, queries, answers);
  const { rules, routers, ...found } = sortAnswers(queries, documents);
  const ofBridges = [...found.members].filter(([bridge]) => scope.bridges.includes(bridge));
  const ports = [...scope.ports.filter((port) => bridgeCapable(found.links, port)), ...ofBridges.flat(2)];
  return {
    ...found,
    nowhere: nowhereOf(queries, reasons),
    vlans: await observeVlans(exec, {
      ports: [...new Set(ports)], question: vlanQuestion(scope), answer: answers.bridge,
    }),
    filters: await observeFilters(exec, scope.filters),
    tracking: scope.tracking === true ? await tracksBridges(exec) : undefined,
    hasLink: (dev) => existsSync(join(procSys, 'net/ipv4/conf', dev)),
    rules: scope.tables && [...rules, ...await rules6(exec, answers['ip -6'])],
    routers: scope.routers === true ? routers.filter((dev) => acceptsRouters(dev, procSys)) : undefined,
    sysctls: readSysctls(scope.sysctls, procSys),
  };
}

async function answered(exec: Exec, queries: readonly Query[], { ip }: Answers): Promise<Asked> {
  const texts = queries.map(({ text }) => text);
  return ip === undefined ? ask(exec, texts) : { documents: documentsOf(ip, texts), reasons: new Map() };
}

/** Returns the addresses that a route to nowhere covers. */
function nowhereOf(queries: readonly Query[], reasons: Asked['reasons']): Set<string> {
  return new Set(queries.flatMap((query, index) =>
    (query.kind === 'lookup' && NOWHERE.test(reasons.get(index) ?? '') ? [query.address] : [])));
}

async function rules6(exec: Exec, answer: string | undefined): Promise<RuleFacts[]> {
  return parseRules(parseJson('ip', answer ?? await askRules6(exec, ANSWER_FLAGS.ip)), 'inet6');
}

interface Asked {
  readonly documents: (unknown[] | undefined)[];
  /** By index of the line, why it has no document. */
  readonly reasons: ReadonlyMap<number, string>;
}

/** A link that does not exist and a destination without a route are answers, not errors. Anything else is one. */
async function ask(exec: Exec, lines: readonly string[]): Promise<Asked> {
  if (lines.length === 0) return { documents: [], reasons: new Map() };
  const args = [...ANSWER_FLAGS.ip, '-force', '-batch', '-'];
  const request: ExecRequest = { tool: 'ip', args, input: `${lines.join('\n')}\n` };
  const result = await exec(request);
  const reasons = reasonsIn(result);
  if (reasons === undefined || (result.exitCode !== 0 && reasons.size === 0)) {
    assertSuccess(request, result, 'reading the host');
  }
  return { documents: documentsOf(result.stdout, lines, reasons), reasons: reasons ?? new Map() };
}

/**
 * Returns, by index, why lines failed that did so because there is no such thing; undefined when any failed otherwise.
 */
function reasonsIn({ stderr }: ExecResult): Map<number, string> | undefined {
  const reasons = new Map<number, string>();
  let reason = '';
  for (const text of stderr.split('\n')) {
    const line = lineOf(text);
    if (line !== undefined) {
      reasons.set(line - 1, reason);
      reason = '';
    } else if (text !== '') {
      if (!NO_SUCH_THING.test(text)) return undefined;
      reason = text;
    }
  }
  return reasons;
}

/** Returns the JSON document each line printed, undefined for those in `absent`. */
function documentsOf(
  stdout: string, lines: readonly string[], absent: ReadonlyMap<number, string> = new Map(),
): Asked['documents'] {
  const documents = stdout.split('\n').filter((text) => text.trim() !== '');
  if (documents.length !== lines.length - absent.size) {
    throw new ToolOutputError(`ip -json printed ${documents.length} answers to ${lines.length} commands, of which ${absent.size} failed`);
  }
  let next = 0;
  return lines.map((_, index) => (absent.has(index) ? undefined : parseJson('ip', documents[next++] ?? '')));
}

/**
 * EINVAL, EACCES and EHOSTUNREACH; without any route it is ENETUNREACH (net/ipv4/fib_semantics.c, net/ipv6/route.c).
 */
const NOWHERE = /Invalid argument|Permission denied|No route to host/;

const NO_SUCH_THING = new RegExp(`^(${[
  String.raw`Device ".*" does not exist\.`,
  'Cannot find device ".*"',
  'RTNETLINK answers: (Network is unreachable|No route to host|Invalid argument|Permission denied)',
  'Error: .*[Nn]o route.*',
].join('|')})$`);

function parseJson(tool: string, text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ToolOutputError(`${tool} -json printed text that is not a JSON list: '${oneLine(text).slice(0, 100)}'`);
}

function bridgeCapable(links: ReadonlyMap<string, LinkFacts>, port: string): boolean {
  const master = links.get(port)?.master;
  return master !== undefined && links.get(master)?.bridge?.capable === true;
}

interface VlanQuestion {
  readonly ports: readonly string[];
  readonly question: string;
  readonly answer: string | undefined;
}

type Memberships = Map<string, readonly VlanMember[]>;

async function observeVlans(exec: Exec, { ports, question, answer }: VlanQuestion): Promise<Memberships> {
  if (ports.length === 0) return new Map();
  const found = parseVlans(parseJson('bridge', answer ?? await askBridge(exec, question)));
  return new Map(ports.map((port) => [port, found.get(port) ?? []]));
}

async function askBridge(exec: Exec, question: string): Promise<string> {
  const request: ExecRequest = { tool: 'bridge', args: [...ANSWER_FLAGS.bridge, ...question.split(' ')] };
  const result = await exec(request);
  assertSuccess(request, result, 'reading the VLANs of bridge ports');
  return result.stdout;
}

/** With 0 no default route is the kernel's own doing, and with 2 it stays when the host forwards. */
function acceptsRouters(dev: string, procSys: string): boolean {
  const path = `net/ipv6/conf/${dev}/accept_ra`;
  return readSysctls([path], procSys).get(path) === '1';
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
