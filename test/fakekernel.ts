/**
 * A kernel in memory. It understands the few words of `ip -batch` and `bridge -batch` that guestwire writes and fails on
 * any other, prints itself as sorted lines an operator could read, and fails at the nth line when told to.
 */
import { hostPrefix, parseAddress, parsePrefix, contains, canonicalDestination } from '../lib/address.js';
import { CommandError } from '../lib/errors.js';
import { FILTER_LINES } from '../lib/filter.js';
import type { Kernel } from '../lib/kernel.js';
import type { LinkFacts, Observation, RouteFacts, RuleFacts, Scope } from '../lib/observation.js';
import type { Batch } from '../lib/operation.js';
import { SOURCE_LINES } from '../lib/sources.js';
import { parseVids, vidsOf } from '../lib/vlan.js';

/** A host as golden cases write it down. */
export interface FakeHost {
  links?: Record<string, FakeLink>;
  routes?: { type?: string; to: string; dev?: string; via?: string; table?: string; protocol?: string }[];
  /** Networks the host is on, with its address there. */
  networks?: { dev: string; address: string; prefix: string }[];
  sysctls?: Record<string, string>;
  subinterfaces?: { ifname: string; parent: string; vid: number }[];
  /** Whether guestwire's nftables table is there, and the ifindexes in its set. */
  filter?: { intact: boolean; guarded: number[] };
  /** The same of family inet. */
  sources?: { intact: boolean; guarded: number[] };
  rules?: RuleFacts[];
  lastResorts?: { family: 'inet' | 'inet6'; table: string; protocol: number }[];
  /** Links with a default route from router advertisements. */
  routers?: string[];
}

interface FakeLink {
  ifindex: number;
  up?: boolean;
  txqlen?: number;
  master?: string;
  isolated?: boolean;
  addresses?: string[];
  /** VID to flags: '', 'pvid', 'untagged', 'pvid untagged'. */
  vlans?: Record<string, string>;
  vrfTable?: string;
  bridge?: { filtering?: boolean; capable?: boolean; defaultPvid?: number };
}

export interface FakeKernel extends Kernel {
  readonly host: Required<FakeHost>;
  /** Lines carried out so far. */
  readonly done: string[];
  /** Fails before the line with this number, counted from 1 over all runs; 0: never. */
  failAt: number;
  /** Sorted lines of everything the host holds. */
  print(): string;
}

export function fakeKernel(start: FakeHost): FakeKernel {
  const host: Required<FakeHost> = {
    links: {}, routes: [], networks: [], sysctls: {}, subinterfaces: [], filter: { intact: false, guarded: [] }, sources: { intact: false, guarded: [] }, rules: [], lastResorts: [], routers: [], ...structuredClone(start),
  };
  const kernel: FakeKernel = {
    host,
    done: [],
    failAt: 0,
    print: () => print(host),
    observe: (scope) => Promise.resolve(observe(host, scope)),
    run: (batches, mode, scope) => {
      let failure: CommandError | undefined;
      const lines = batches.flatMap((batch) => batch.lines.map(({ text }) => ({ batch, text })));
      for (const { batch, text } of lines) {
        try {
          carryOut(kernel, batch, text);
        } catch (error) {
          if (mode === 'stop-at-failure') return Promise.reject(error instanceof Error ? error : new Error(String(error)));
          failure ??= error as CommandError;
        }
      }
      return Promise.resolve({ observation: observe(host, scope), failure });
    },
  };
  return kernel;
}

const NOWHERE = new Set(['blackhole', 'unreachable', 'prohibit', 'throw']);

function carryOut(kernel: FakeKernel, batch: Batch, text: string): void {
  if (kernel.failAt > 0 && kernel.done.length + 1 === kernel.failAt) {
    kernel.failAt = 0;
    throw failure(batch, text, 'told to fail');
  }
  apply(kernel.host, batch, text);
  kernel.done.push(text);
}

function observe(host: Required<FakeHost>, scope: Scope): Observation {
  const locals = host.networks.map(({ dev, address }) => routeFacts({ type: 'local', to: hostPrefix(parseAddress(address)).text, dev, table: 'local' }));
  const routes = [...locals, ...host.routes.map(routeFacts), ...host.networks.map(({ dev, prefix }) => routeFacts({ to: prefix, dev }))];
  const lookup = (address: string): RouteFacts | undefined => {
    const host32 = hostPrefix(parseAddress(address));
    return routes.filter((route) => contains(route.to, host32)).sort((a, b) => b.to.length - a.to.length)[0];
  };
  return {
    links: new Map(scope.links.flatMap((name): [string, LinkFacts][] => {
      const link = host.links[name];
      return link === undefined ? [] : [[name, linkFacts(name, link)]];
    })),
    vlans: new Map([...scope.ports, ...scope.bridges.flatMap((bridge) => portsOf(host, bridge))].flatMap((port) => {
      const { vlans, master } = host.links[port] ?? {};
      if (master === undefined || host.links[master]?.bridge?.capable === false) return [];
      return [[port, Object.entries(vlans ?? {}).map(([vid, flags]) => ({
        vid: Number(vid), pvid: flags.includes('pvid'), untagged: flags.includes('untagged'),
      })).sort((a, b) => a.vid - b.vid)] as const];
    })),
    routes: routes.filter((route) => scope.routes.some(({ dev, protocol }) => route.dev === dev && route.protocol === String(protocol))),
    lookups: new Map(scope.lookups.map((address) => [address, NOWHERE.has(lookup(address)?.type ?? '') ? undefined : lookup(address)])),
    nowhere: new Set(scope.lookups.filter((address) => NOWHERE.has(lookup(address)?.type ?? ''))),
    locals: locals.filter(({ to }) => scope.locals.some((prefix) => contains(parsePrefix(prefix), to))),
    nextHops: routes.filter(({ hops }) => hops.some((hop) => scope.nextHops.some((prefix) => contains(parsePrefix(prefix), hostPrefix(parseAddress(hop)))))),
    exact: routes.filter(({ to, table }) => scope.exact.some((asked) => asked.to === to.text && (asked.table === 'all' || asked.table === table))),
    members: new Map(scope.bridges.map((bridge) => [bridge, portsOf(host, bridge)])),
    subinterfaces: scope.subinterfaces ? host.subinterfaces : [],
    filter: {
      intact: scope.filter && host.filter.intact,
      guarded: new Set(scope.filter ? host.filter.guarded.map((ifindex) => nameOf(host, ifindex)) : []),
    },
    routers: scope.routers === true ? host.routers.filter((dev) => host.sysctls[`net/ipv6/conf/${dev}/accept_ra`] === '1') : undefined,
    rules: scope.tables && [...host.rules],
    lastResorts: scope.tables && host.lastResorts.filter(({ protocol }) => protocol === scope.tables?.protocol),
    sources: scope.sources === true ? { intact: host.sources.intact, guarded: new Set(host.sources.guarded.map((ifindex) => nameOf(host, ifindex))) } : undefined,
    sysctls: new Map(scope.sysctls.flatMap((path) => (host.sysctls[path] === undefined ? [] : [[path, host.sysctls[path]] as const]))),
  };
}

function portsOf({ links }: Required<FakeHost>, bridge: string): string[] {
  return Object.keys(links).filter((name) => links[name]?.master === bridge);
}

/** As nft prints an ifindex: by name when there is such a link. */
function nameOf({ links }: Required<FakeHost>, ifindex: number): string {
  return Object.keys(links).find((name) => links[name]?.ifindex === ifindex) ?? String(ifindex);
}

function linkFacts(ifname: string, link: FakeLink): LinkFacts {
  return {
    ifname,
    ifindex: link.ifindex,
    up: link.up ?? true,
    txqlen: link.txqlen ?? 1000,
    master: link.master,
    addresses: (link.addresses ?? []).map((text) => {
      const [address = '', length] = text.split('/');
      return { address, length: Number(length) };
    }),
    isolated: link.master === undefined ? undefined : (link.isolated ?? false),
    vrfTable: link.vrfTable,
    bridge: link.bridge && { capable: link.bridge.capable ?? true, filtering: link.bridge.filtering ?? true, defaultPvid: link.bridge.defaultPvid ?? 1 },
  };
}

function routeFacts({ type = 'unicast', to, dev, via, table = 'main', protocol = 'kernel' }: FakeHost['routes'] extends (infer R)[] | undefined ? R : never): RouteFacts {
  return { type, to: parsePrefix(canonicalDestination(to, to.includes(':') ? 'inet6' : 'inet')), dev, via, hops: via === undefined ? [] : [via], table, protocol };
}

function apply(host: Required<FakeHost>, batch: Batch, text: string): void {
  const refuse = (reason: string): never => { throw failure(batch, text, reason); };
  if (batch.tool === 'sysctl') {
    const [path = '', value = ''] = text.split('=');
    if (host.sysctls[path] === undefined) refuse('No such file or directory');
    host.sysctls[path] = value;
    return;
  }
  if (batch.tool === 'nft') {
    applyNft(host, text, refuse);
    return;
  }
  const link = (dev: string | undefined): FakeLink => host.links[dev ?? ''] ?? refuse(`Cannot find device "${dev ?? ''}"`);
  const words = text.split(' ').join(' ');
  const handlers: [RegExp, (match: Record<string, string | undefined>) => void][] = batch.tool === 'bridge' ? [
    [/^vlan add dev (?<dev>\S+) vid (?<vids>\S+)(?<flags>( pvid)?( untagged)?)$/, ({ dev, vids = '', flags = '' }) => {
      const vlans = (link(dev).vlans ??= {});
      for (const vid of vidsOf(parseVids(vids))) {
        if (flags.includes('pvid')) for (const other of Object.keys(vlans)) vlans[other] = (vlans[other] ?? '').replace('pvid', '').trim();
        vlans[vid] = flags.trim();
      }
    }],
    [/^vlan del dev (?<dev>\S+) vid (?<vids>\S+)$/, ({ dev, vids = '' }) => {
      const vlans = (link(dev).vlans ??= {});
      for (const vid of vidsOf(parseVids(vids))) Reflect.deleteProperty(vlans, String(vid));
    }],
    [/^link set dev (?<dev>\S+) isolated (?<on>on|off)$/, ({ dev, on }) => { link(dev).isolated = on === 'on'; }],
  ] : [
    ...tableHandlers(host, batch, refuse),
    [/^link set dev (?<dev>\S+) (nomaster|master (?<master>\S+))$/, ({ dev = '', master }) => {
      const found = link(dev);
      if (master === undefined) delete found.master;
      else found.master = master;
      // As the kernel does when it takes the link down for it.
      found.addresses = found.addresses?.filter((address) => !address.includes(':')) ?? [];
      host.routes = host.routes.filter((route) => route.dev !== dev);
    }],
    [/^link set dev (?<dev>\S+) txqueuelen (?<length>\d+)$/, ({ dev, length }) => { link(dev).txqlen = Number(length); }],
    [/^link set dev (?<dev>\S+) (?<state>up|down)$/, ({ dev, state }) => { link(dev).up = state === 'up'; }],
    [/^address add (?<cidr>\S+) dev (?<dev>\S+)( nodad| scope link)?$/, ({ cidr = '', dev }) => {
      const addresses = (link(dev).addresses ??= []);
      if (addresses.includes(cidr)) refuse('RTNETLINK answers: File exists');
      addresses.push(cidr);
    }],
    [/^address del (?<cidr>\S+) dev (?<dev>\S+)$/, ({ cidr = '', dev }) => {
      const found = link(dev);
      if (found.addresses?.includes(cidr) !== true) refuse('RTNETLINK answers: Cannot assign requested address');
      found.addresses = found.addresses?.filter((other) => other !== cidr) ?? [];
    }],
    [/^route add (?<to>\S+)( via (?<via>\S+))? dev (?<dev>\S+) table (?<table>\S+) proto (?<protocol>\d+)$/, (match) => {
      const { to = '', via, dev = '', table = '', protocol = '' } = match;
      link(dev);
      if (host.routes.some((route) => route.to === to && (route.table ?? 'main') === table)) refuse('RTNETLINK answers: File exists');
      host.routes.push({ to, dev, table, protocol, ...(via === undefined ? {} : { via }) });
    }],
    [/^route del (?<to>\S+)( via (?<via>\S+))? dev (?<dev>\S+) table (?<table>\S+) proto (?<protocol>\d+)$/, ({ to, dev, protocol }) => {
      const index = host.routes.findIndex((route) => route.to === to && route.dev === dev && route.protocol === protocol);
      if (index < 0) refuse('RTNETLINK answers: No such process');
      host.routes.splice(index, 1);
    }],
  ];
  for (const [pattern, act] of handlers) {
    const match = pattern.exec(words);
    if (match === null) continue;
    act(match.groups ?? {});
    return;
  }
  throw new Error(`the fake kernel does not know '${batch.tool} ${text}'`);
}

type Handler = [RegExp, (match: Record<string, string | undefined>) => void];

function tableHandlers(host: Required<FakeHost>, { tool }: Batch, refuse: (reason: string) => never): Handler[] {
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

function applyNft({ filter, sources }: Required<FakeHost>, text: string, refuse: (reason: string) => never): void {
  const whole = [FILTER_LINES, SOURCE_LINES].findIndex((lines) => lines.join('\n') === text);
  const gone = ['bridge', 'inet'].findIndex((family) => `delete table ${family} guestwire` === text);
  const table = [filter, sources][Math.max(whole, gone)];
  if (table !== undefined) {
    if (gone >= 0 && !table.intact) refuse('No such file or directory');
    table.intact = whole >= 0;
    if (gone >= 0) table.guarded = [];
    return;
  }
  const match = /^(?<verb>add|delete) element (?<set>bridge guestwire no_stp|inet guestwire routed) \{ (?<ifindex>\d+) \}$/.exec(text);
  if (match === null) throw new Error(`the fake kernel does not know 'nft ${text}'`);
  const ifindex = Number(match.groups?.['ifindex']);
  const held = match.groups?.['set']?.startsWith('inet') === true ? sources : filter;
  if (!held.intact) refuse('No such file or directory');
  held.guarded = held.guarded.filter((other) => other !== ifindex);
  if (match.groups?.['verb'] === 'add') held.guarded.push(ifindex);
}

function failure({ tool }: Batch, text: string, reason: string): CommandError {
  return new CommandError(`${tool} failed (${text}): ${reason}`, { tool, args: [], exitCode: 1, signal: undefined, stderr: reason, timedOut: false, errno: undefined, line: undefined });
}

function print({ links, routes, sysctls, filter, sources, rules, lastResorts }: Required<FakeHost>): string {
  const lines = Object.entries(links).flatMap(([dev, link]) => [
    `link ${dev} ${link.up === false ? 'down' : 'up'} txqlen ${link.txqlen ?? 1000}${links[link.master ?? '']?.vrfTable === undefined ? '' : ` master ${link.master ?? ''}`}${link.isolated === true ? ' isolated' : ''}`,
    ...(link.addresses ?? []).map((address) => `address ${address} dev ${dev}`),
    ...Object.entries(link.vlans ?? {}).map(([vid, flags]) => `vlan ${vid} dev ${dev} ${flags}`.trim()),
  ]);
  return [
    ...lines,
    ...(filter.intact ? ['filter table'] : []),
    ...filter.guarded.map((ifindex) => `bpdu-guard ${ifindex}`),
    ...(sources.intact ? ['source filter table'] : []),
    ...rules.map(({ family, priority, iif, to, table, protocol }) => `rule ${family} ${priority} ${to === undefined ? `iif ${iif ?? '-'}` : `to ${to}`} lookup ${table} proto ${protocol}`),
    ...lastResorts.map(({ family, table, protocol }) => `last resort ${family} table ${table} proto ${protocol}`),
    ...sources.guarded.map((ifindex) => `source-guard ${ifindex}`),
    ...routes.map(({ to, dev, via, table = 'main', protocol = 'kernel' }) => `route ${to}${via === undefined ? '' : ` via ${via}`} dev ${dev ?? '-'} table ${table} proto ${protocol}`),
    ...Object.entries(sysctls).map(([path, value]) => `sysctl ${path}=${value}`),
  ].sort().join('\n');
}
