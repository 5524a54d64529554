/**
 * What doctor asks of the host: the kernel, the tools, systemd and libvirt.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { guestEndOf, shownOf } from '../attachments/attachment.js';
import { deriveAttachments } from '../attachments/derive.js';
import { bridgeNamed } from '../config/bridge-tables.js';
import { loadConfig } from '../config/file.js';
import type { HostConfig } from '../config/host-config.js';
import { parseDomain } from '../domain/domain.js';
import { GuestwireError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { createKernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import { connect } from '../libvirt/connect.js';
import type { Exec, ExecRequest } from '../system/exec.js';
import type { BridgeHealth, DefinedNic, DoctorFacts, DroppingChain } from './diagnosis.js';
import { droppingIn, droppingLegacy } from './forward-chains.js';
import { madeBridgesOf } from './made-bridges.js';

/** What another room knows: whether the hook is installed, and which network daemons may take guestwire's routes away. */
export interface InstallFacts {
  readonly install: DoctorFacts['install'];
  /** Names of daemons, running or not. */
  readonly untold: readonly string[];
}

export async function factsOf(io: Io, { install, untold }: InstallFacts): Promise<DoctorFacts> {
  const config = loadConfig(io.settings.config);
  const { nics, libvirt } = await definedNics(io, config);
  const kernel = createKernel(io.exec);
  const used = nics.flatMap(({ bridge }) => bridge ?? []);
  const names = [...new Set([...config.bridges.keys(), ...used])].filter((name) => bridgeNamed(config, name)?.made === undefined);
  const { subinterfaces, routers = [] } = await kernel.observe({ ...EMPTY_SCOPE, subinterfaces: true, routers: true });
  const uplinks = [...new Set([...routers, ...config.routed.proxy, ...linksOf(await ask(io.exec, 'ip', ['-json', 'route', 'show', 'default'])), ...linksOf(await ask(io.exec, 'ip', ['-6', '-json', 'route', 'show', 'default']))])];
  return {
    bridges: await bridgesOf(io, config, names), made: await madeBridgesOf(kernel, config, used), subinterfaces, nics, sysctls: sysctlsOf(uplinks), uplinks, dropping: [...droppingIn(await ask(io.exec, 'nft', ['--json', 'list', 'ruleset'])), ...await legacyChains(io.exec)],
    untold: untold.filter(isRunning), install, libvirt, kernel: versionOf(release()),
  };
}

async function definedNics(io: Io, config: HostConfig): Promise<{ nics: DefinedNic[]; libvirt: DoctorFacts['libvirt'] }> {
  try {
    const connection = await connect(undefined, { readOnly: true, reconnect: false, keepalive: false, timeout: 10_000, exec: io.exec });
    try {
      const { major, minor } = await connection.version();
      const domains = await connection.listDomains();
      const nics = await Promise.all(domains.map(async (domain) => nicsOf(io, await connection.domainXml(domain), { config, running: domain.id !== undefined })));
      return { nics: nics.flat(), libvirt: [major, minor] };
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (!(error instanceof GuestwireError) || !error.code.startsWith('ERR_LIBVIRT')) throw error;
    io.warn(`guests are not checked, because libvirt does not answer: ${error.message}`);
    return { nics: [], libvirt: undefined };
  }
}

function nicsOf(io: Io, xml: string, { config, running }: { readonly config: HostConfig; readonly running: boolean }): DefinedNic[] {
  const domain = parseDomain(xml);
  try {
    const attachments = deriveAttachments(domain, config, () => undefined);
    return domain.nics.map(({ index, mac }): DefinedNic => {
      const asked = attachments.find(({ nic }) => nic === index);
      const shown = asked && shownOf(asked);
      const end = asked && guestEndOf(asked);
      const link = asked?.link === undefined || asked.link.startsWith('vnet') ? 'vnet*' : asked.link;
      return { guest: domain.name, mac, addresses: end?.how === 'routed' ? end.addresses : [], bridge: shown?.bridge, vids: shown?.vlans?.map(({ vid }) => vid) ?? [], link, running };
    });
  } catch (error) {
    if (!(error instanceof GuestwireError)) throw error;
    io.warn(error.message);
    return [];
  }
}

async function bridgesOf(io: Io, config: HostConfig, names: readonly string[]): Promise<BridgeHealth[]> {
  const uplinksOf = (name: string): readonly string[] => config.bridges.get(name)?.uplinks ?? [];
  const ports = names.flatMap(uplinksOf);
  const { links, vlans } = await createKernel(io.exec).observe({ ...EMPTY_SCOPE, links: [...names, ...ports], ports });
  const shown = JSON.parse(await ask(io.exec, 'ip', ['-json', '-details', 'link', 'show', 'type', 'bridge'])) as readonly { readonly ifname?: string; readonly linkinfo?: { readonly info_data?: Record<string, unknown> } }[];
  return names.flatMap((name): BridgeHealth[] => {
    const bridge = links.get(name)?.bridge;
    if (bridge === undefined) return [];
    const data = shown.find(({ ifname }) => ifname === name)?.linkinfo?.info_data ?? {};
    return [{
      name, filtering: bridge.filtering, defaultPvid: bridge.defaultPvid, learnsLinkLocal: learnsLinkLocal(data), snoops: data['mcast_snooping'] === 1, queries: data['mcast_querier'] === 1,
      uplinks: new Map(uplinksOf(name).map((dev) => [dev, links.get(dev)?.master === name ? new Set((vlans.get(dev) ?? []).map(({ vid }) => vid)) : undefined])),
    }];
  });
}

/** iproute2 prints the option in its own list or among the rest, as its version has it (6.1, 6.15). */
function learnsLinkLocal(data: Readonly<Record<string, unknown>>): boolean | undefined {
  const value = data['no_linklocal_learn'];
  return value === undefined ? undefined : value === 0 || value === false;
}

function linksOf(json: string): string[] {
  return (JSON.parse(json) as readonly { readonly dev?: string }[]).flatMap(({ dev }) => dev ?? []);
}

function sysctlsOf(uplinks: readonly string[]): Map<string, string> {
  const paths = [
    'net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding', 'net/ipv4/conf/all/rp_filter', 'net/ipv4/neigh/default/gc_thresh3', 'net/ipv6/neigh/default/gc_thresh3',
    ...['iptables', 'ip6tables', 'arptables'].map((name) => `net/bridge/bridge-nf-call-${name}`),
    ...uplinks.flatMap((dev) => [`net/ipv4/conf/${dev}/rp_filter`, `net/ipv6/conf/${dev}/accept_ra`]),
  ];
  return new Map(paths.filter((path) => existsSync(`/proc/sys/${path}`)).map((path) => [path, readFileSync(`/proc/sys/${path}`, 'utf8').trim()]));
}

/** Only where the kernel has such tables already: to ask would load them. */
async function legacyChains(exec: Exec): Promise<DroppingChain[]> {
  const found: DroppingChain[] = [];
  for (const name of ['iptables', 'ip6tables'] as const) {
    const tables = `/proc/net/${name.replace('tables', '_tables')}_names`;
    if (!existsSync(tables) || !readFileSync(tables, 'utf8').split('\n').includes('filter')) continue;
    const { exitCode, stdout } = await exec({ tool: `${name}-legacy`, args: ['-S', 'FORWARD'] });
    const chain = exitCode === 0 ? droppingLegacy(`${name}-legacy`, stdout) : undefined;
    if (chain !== undefined) found.push(chain);
  }
  return found;
}

async function ask(exec: Exec, tool: string, args: readonly string[]): Promise<string> {
  const request: ExecRequest = { tool, args };
  const { exitCode, stdout } = await exec(request);
  // A host that never used nft, or has no IPv6, has nothing to show.
  return exitCode === 0 && stdout.trim() !== '' ? stdout : tool === 'nft' ? '{"nftables": []}' : '[]';
}

function isRunning(name: string): boolean {
  // The kernel keeps 15 characters of a name (proc(5)).
  return readdirSync('/proc').some((pid) => /^\d+$/.test(pid) && commOf(pid) === name.slice(0, 15));
}

function commOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function versionOf(text: string): readonly [number, number] {
  const [major = 0, minor = 0] = text.split('.').map(Number);
  return [major, minor];
}
