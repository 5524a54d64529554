/**
 * A kernel in memory. It understands the few words of `ip -batch` and `bridge -batch` that guestwire writes and fails
 * on any other, prints itself as sorted lines an operator could read, and fails at the nth line when told to.
 */
import { CommandError } from '../../lib/errors.js';
import type { Stored } from '../../lib/attachments/schema.js';
import type { Kernel } from '../../lib/kernel/kernel.js';
import type { LinkFacts, Observation, RouteFacts, RuleFacts, Scope } from '../../lib/kernel/observation.js';
import type { Batch } from '../../lib/state/render.js';
import { contains, parseAddress, parsePrefix } from '../../lib/values/address.js';
import { parseVids, vidsOf } from '../../lib/values/vlan.js';
import { linkFacts, membersOf, nameOf, portsOf, routeFacts, subinterfacesOf } from './kernel-facts.js';
import { applyNft, type FakeNft, filterFacts } from './nft.js';
import { print } from './print.js';
import { bridgeHandlers, makeLink, removeLink } from './bridges.js';
import { tableHandlers } from './tables.js';

/** A host as golden cases write it down. */
export interface FakeHost {
  links?: Record<string, FakeLink>;
  routes?: { type?: string; to: string; dev?: string; via?: string; table?: string; protocol?: string; src?: string }[];
  /** Networks the host is on, with its address there. */
  networks?: { dev: string; address: string; prefix: string }[];
  sysctls?: Record<string, string>;
  subinterfaces?: { ifname: string; parent: string; vid: number; protocol?: string }[];
  /** Neighbour proxies; protocol '0' when somebody made them without one. */
  proxies?: { dev: string; address: string; protocol?: string }[];
  /** guestwire's nftables tables. */
  nft?: FakeNft;
  rules?: Stored<RuleFacts>[];
  lastResorts?: { family: 'inet' | 'inet6'; table: string; protocol: number }[];
  /** Links with a default route from router advertisements. */
  routers?: string[];
  /** Connections in bridges can be tracked. */
  tracking?: boolean;
}

export interface FakeLink {
  ifindex: number;
  mac?: string;
  up?: boolean;
  txqlen?: number;
  mtu?: number;
  alias?: string;
  allmulticast?: boolean;
  /** The other end of a veth pair. */
  peer?: string;
  /** An 802.1Q sub-interface. */
  vlan?: { parent: string; vid: number };
  /** A tap that outlives who opened it. */
  tap?: { multiQueue: boolean };
  master?: string;
  isolated?: boolean;
  addresses?: string[];
  /** VID to flags: '', 'pvid', 'untagged', 'pvid untagged'. */
  vlans?: Record<string, string>;
  vrfTable?: string;
  bridge?: { filtering?: boolean; capable?: boolean; defaultPvid?: number; stp?: boolean; forwardDelay?: number };
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
    links: {}, routes: [], networks: [], sysctls: {}, subinterfaces: [], proxies: [], nft: {},
    rules: [], lastResorts: [], routers: [], tracking: true, ...structuredClone(start),
  };
  const kernel: FakeKernel = {
    host,
    done: [],
    failAt: 0,
    print: () => print(host),
    observe: (scope) => Promise.resolve(observe(host, scope)),
    run: (batches, mode, scope) => {
      let failure: CommandError | undefined;
      // nft carries out a file whole or not at all.
      const files = batches.flatMap(({ tool, lines }): Batch[] =>
        (tool === 'nft' ? [{ tool, lines }] : lines.map((line) => ({ tool, lines: [line] }))));
      for (const file of files) {
        const before = structuredClone(host.nft);
        try {
          for (const { text } of file.lines) carryOut(kernel, file, text);
        } catch (error) {
          host.nft = before;
          if (mode === 'stop-at-failure')
            return Promise.reject(error instanceof Error ? error : new Error(String(error)));
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
  const locals = host.networks.map(({ dev, address }) =>
    routeFacts({ type: 'local', to: parseAddress(address).prefix.text, dev, table: 'local' }));
  const routes = [...locals, ...host.routes.map(routeFacts), ...host.networks.map(({ dev, prefix }) =>
    routeFacts({ to: prefix, dev }))];
  const lookup = (address: string): RouteFacts | undefined => {
    const host32 = parseAddress(address).prefix;
    return routes.filter((route) => contains(route.to, host32)).sort((a, b) => b.to.length - a.to.length)[0];
  };
  return {
    links: new Map([
      ...scope.links, ...scope.bridges.flatMap((bridge) => portsOf(host, bridge)),
    ].flatMap((name): [string, LinkFacts][] => {
      const link = host.links[name];
      return link === undefined ? [] : [[name, linkFacts(name, link)]];
    })),
    vlans: new Map([
      ...scope.ports, ...scope.bridges.flatMap((bridge) => [bridge, ...portsOf(host, bridge)]),
    ].flatMap((port) => {
      const { vlans, master, bridge } = host.links[port] ?? {};
      if (bridge === undefined && (master === undefined || host.links[master]?.bridge?.capable === false)) return [];
      return [[port, membersOf(vlans)] as const];
    })),
    routes: routes.filter((route) =>
      scope.routes.some(({ dev, protocol }) => route.dev === dev && route.protocol === String(protocol))),
    lookups: new Map(
      scope.lookups.map((address) => [address, NOWHERE.has(lookup(address)?.type ?? '') ? undefined : lookup(address)]),
    ),
    nowhere: new Set(scope.lookups.filter((address) => NOWHERE.has(lookup(address)?.type ?? ''))),
    locals: locals.filter(({ to }) => scope.locals.some((prefix) => contains(parsePrefix(prefix), to))),
    nextHops: routes.filter(({ hops }) => hops.some((hop) =>
      scope.nextHops.some((prefix) => contains(prefix, hop.prefix)))),
    exact: routes.filter(({ to, table }) =>
      scope.exact.some((asked) => asked.to === to.text && (asked.table === 'all' || asked.table === table))),
    members: new Map(
      [...scope.bridges, ...scope.joined ?? []].filter((bridge) => host.links[bridge] !== undefined)
        .map((bridge) => [bridge, portsOf(host, bridge)]),
    ),
    subinterfaces: scope.subinterfaces ? subinterfacesOf(host) : [],
    proxies: new Map(scope.proxies.filter((dev) => host.links[dev] !== undefined).map((dev) => [
      dev,
      host.proxies.filter((proxy) => proxy.dev === dev).map(({ address, protocol = '0' }) => ({
        address: parseAddress(address), protocol,
      })),
    ])),
    hasLink: (dev) => host.links[dev] !== undefined,
    tracking: scope.tracking === true ? host.tracking : undefined,
    filters: new Map(
      scope.filters.map((family) => [family, filterFacts(host.nft, family, (ifindex) => nameOf(host, ifindex))]),
    ),
    routers: scope.routers === true
      ? host.routers.filter((dev) => host.sysctls[`net/ipv6/conf/${dev}/accept_ra`] === '1')
      : undefined,
    rules: scope.tables && host.rules.map((rule) => ({
      ...rule, to: rule.to === undefined ? undefined : parsePrefix(rule.to),
    })),
    lastResorts: scope.tables && host.lastResorts.filter(({ protocol }) => protocol === scope.tables?.protocol),
    sysctls: new Map(scope.sysctls.flatMap((path) =>
      (host.sysctls[path] === undefined ? [] : [[path, host.sysctls[path]] as const]))),
  };
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
    applyNft(host.nft, text, refuse);
    return;
  }
  const link = (dev: string | undefined): FakeLink =>
    host.links[dev ?? ''] ?? refuse(`Cannot find device "${dev ?? ''}"`);
  const words = text.split(' ').join(' ');
  const handlers: [RegExp, (match: Record<string, string | undefined>) => void][] = batch.tool === 'bridge' ? [
    [/^vlan add dev (?<dev>\S+) vid (?<vids>\S+)(?<flags>( pvid)?( untagged)?)$/, ({ dev, vids = '', flags = '' }) => {
      const vlans = (link(dev).vlans ??= {});
      for (const vid of vidsOf(parseVids(vids))) {
        if (flags.includes('pvid'))
          for (const other of Object.keys(vlans)) vlans[other] = (vlans[other] ?? '').replace('pvid', '').trim();
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
    ...bridgeHandlers(host, refuse),
    [/^link set dev (?<dev>\S+) (nomaster|master (?<master>\S+))$/, ({ dev = '', master }) => {
      const found = link(dev);
      if (master === undefined) delete found.master;
      else found.master = master;
      const bridge = host.links[master ?? '']?.bridge;
      if (bridge !== undefined)
        found.vlans = bridge.defaultPvid === 0 ? {} : { [bridge.defaultPvid ?? 1]: 'pvid untagged' };
      // As the kernel does when it takes the link down for it.
      found.addresses = found.addresses?.filter((address) => !address.includes(':')) ?? [];
      host.routes = host.routes.filter((route) => route.dev !== dev);
    }],
    [/^link set dev (?<dev>\S+) txqueuelen (?<length>\d+)$/, ({ dev, length }) => { link(dev).txqlen = Number(length); }],
    [/^link add name (?<dev>\S+) type veth peer name (?<peer>\S+)$/, ({ dev = '', peer = '' }) => {
      if (host.links[dev] !== undefined || host.links[peer] !== undefined) refuse('RTNETLINK answers: File exists');
      makeLink(host, dev, { peer });
      makeLink(host, peer, { peer: dev });
    }],
    [/^tuntap add dev (?<dev>\S+) mode tap user 0(?<multi> multi_queue)?$/, ({ dev = '', multi }) => {
      if (host.links[dev] !== undefined) refuse('ioctl(TUNSETIFF): Device or resource busy');
      makeLink(host, dev, { tap: { multiQueue: multi !== undefined } });
    }],
    [
      /^link del dev (?<dev>\S+)$/,
      ({ dev = '' }) => { for (const end of [dev, link(dev).peer]) if (end !== undefined) removeLink(host, end); },
    ],
    [/^link set dev (?<dev>\S+) alias (?<alias>\S+)$/, ({ dev, alias = '' }) => { link(dev).alias = alias; }],
    [/^link set dev (?<dev>\S+) mtu (?<mtu>\d+)$/, ({ dev, mtu }) => { link(dev).mtu = Number(mtu); }],
    [/^link set dev (?<dev>\S+) allmulticast (?<on>on|off)$/, ({ dev, on }) => { link(dev).allmulticast = on === 'on'; }],
    [/^link set dev (?<dev>\S+) (?<state>up|down)$/, ({ dev, state }) => { link(dev).up = state === 'up'; }],
    [/^address add (?<cidr>\S+) dev (?<dev>\S+)( nodad( preferred_lft 0)?| scope link)?$/, ({ cidr = '', dev }) => {
      const addresses = (link(dev).addresses ??= []);
      if (addresses.includes(cidr)) refuse('RTNETLINK answers: File exists');
      addresses.push(cidr);
    }],
    [/^address del (?<cidr>\S+) dev (?<dev>\S+)$/, ({ cidr = '', dev }) => {
      const found = link(dev);
      if (found.addresses?.includes(cidr) !== true) refuse('RTNETLINK answers: Cannot assign requested address');
      found.addresses = found.addresses?.filter((other) => other !== cidr) ?? [];
    }],
    [/^neigh add proxy (?<address>\S+) dev (?<dev>\S+) protocol (?<protocol>\d+)$/, ({ address = '', dev = '', protocol = '' }) => {
      link(dev);
      host.proxies = [
        ...host.proxies.filter((proxy) => proxy.dev !== dev || proxy.address !== address),
        { dev, address, protocol },
      ];
    }],
    [/^neigh del proxy (?<address>\S+) dev (?<dev>\S+)$/, ({ address, dev }) => {
      const others = host.proxies.filter((proxy) => proxy.dev !== dev || proxy.address !== address);
      host.proxies = others.length < host.proxies.length ? others : refuse('RTNETLINK answers: No such file or directory');
    }],
    [/^route add (?<to>\S+)( via (?<via>\S+))? dev (?<dev>\S+) table (?<table>\S+) proto (?<protocol>\d+)( src (?<src>\S+))?$/, (match) => {
      const { to = '', via, dev = '', table = '', protocol = '', src } = match;
      link(dev);
      if (host.routes.some((route) => route.to === to && (route.table ?? 'main') === table))
        refuse('RTNETLINK answers: File exists');
      host.routes.push({
        to, dev, table, protocol, ...(via === undefined ? {} : { via }), ...(src === undefined ? {} : { src }),
      });
    }],
    [/^route del (?<to>\S+)( via (?<via>\S+))? dev (?<dev>\S+) table (?<table>\S+) proto (?<protocol>\d+)( src \S+)?$/, ({ to, dev, protocol }) => {
      const index = host.routes.findIndex((route) =>
        route.to === to && route.dev === dev && route.protocol === protocol);
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

function failure({ tool }: Batch, text: string, reason: string): CommandError {
  return new CommandError(`${tool} failed (${text}): ${reason}`, {
    tool, args: [], exitCode: 1, signal: undefined, stderr: reason, timedOut: false, errno: undefined, line: undefined,
  });
}
