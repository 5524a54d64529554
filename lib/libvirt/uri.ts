/**
 * Which way a URI goes, and which socket a local one means: the rules of libvirt's own client (remote_sockets.c of
 * 9.0), except that no daemon is started, and that uri_default and uri_aliases of libvirt.conf are not read.
 */
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { quote } from '../values/quote.js';
import { ASK_HOSTS, LibvirtArgumentError, LibvirtConnectionError, START_LIBVIRT } from './errors.js';

/** A URI that this machine's own daemon serves. */
export interface LocalUri {
  readonly way: 'socket';
  /** 'qemu'; undefined: whichever daemon is there. */
  readonly driver: string | undefined;
  /** What the daemon is asked to open; '' lets it choose. */
  readonly name: string;
  /** A daemon of the user's own, if it is not root. */
  readonly session: boolean;
  /** Of the URI parameter `socket`. */
  readonly socket: string | undefined;
  /** Of the URI parameter `mode`: the driver's own daemon, libvirtd, or whichever is there. */
  readonly mode: 'auto' | 'direct' | 'legacy';
}

export type ParsedUri = LocalUri | { readonly way: 'virsh'; readonly uri: string };

const URI = /^([a-z][a-z0-9]*)(?:\+([a-z0-9]+))?:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i;
const MODES = ['auto', 'direct', 'legacy'] as const;

/** Returns what the URI says. LibvirtArgumentError unless it is one of libvirt's. */
export function parseUri(uri: string): ParsedUri {
  if (uri === '') {
    return {
      way: 'socket', driver: undefined, name: '', session: process.geteuid?.() !== 0, socket: undefined, mode: 'auto',
    };
  }
  const match = URI.exec(uri);
  if (match === null || /[\s\p{C}]/u.test(uri)) throw new LibvirtArgumentError(`${quote(uri)} is not a libvirt URI such as 'qemu:///system'`);
  const [, scheme = '', transport = '', server = '', path = '', query = ''] = match;
  const way = transport.toLowerCase();
  if (way === 'unix' && server !== '') throw new LibvirtArgumentError(`${quote(uri)} names the host ${quote(server)}, which is not reached by a unix socket: use qemu+ssh://`);
  if (server !== '' || (way !== '' && way !== 'unix')) return { way: 'virsh', uri };
  const { name, socket, mode, rest } = parseQuery(uri, query);
  return {
    way: 'socket',
    driver: scheme.toLowerCase(),
    name: name ?? `${scheme}://${path}${rest === '' ? '' : `?${rest}`}`,
    session: path === '/session' || (scheme.toLowerCase() === 'test' && way === 'unix'),
    socket,
    mode,
  };
}

interface Query {
  readonly name: string | undefined;
  readonly socket: string | undefined;
  readonly mode: LocalUri['mode'];
  /** What is left for the daemon. */
  readonly rest: string;
}

function parseQuery(uri: string, query: string): Query {
  const own = new Map<string, string>();
  const rest: string[] = [];
  for (const parameter of query.split(/[&;]/).filter((each) => each !== '')) {
    const [key = '', ...value] = parameter.split('=');
    if (['name', 'socket', 'mode'].includes(key)) own.set(key, unescape(uri, value.join('=')));
    else rest.push(parameter);
  }
  const mode = MODES.find((each) => each === (own.get('mode') ?? 'auto'));
  if (mode === undefined) throw new LibvirtArgumentError(`${quote(uri)}: mode must be one of ${MODES.join(', ')}`);
  return { name: own.get('name'), socket: own.get('socket'), mode, rest: rest.join('&') };
}

function unescape(uri: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new LibvirtArgumentError(`${quote(uri)} contains a '%' that does not start an encoded character`, { cause: error });
  }
}

export interface SocketOptions {
  readonly readOnly: boolean;
  /** Where the sockets are, instead of /run/libvirt or the user's own directory. */
  readonly directory: string | undefined;
}

/** In the order in which libvirt probes. */
const DRIVERS = ['xen', 'qemu', 'lxc', 'vbox', 'bhyve', 'vz'];

/**
 * Returns the path of the socket: that of the driver's own daemon when it is there, else libvirtd's.
 * LibvirtConnectionError when there is neither.
 */
export async function findSocket(
  { driver, session, socket, mode }: LocalUri, { readOnly, directory }: SocketOptions,
): Promise<string> {
  if (socket !== undefined) return socket;
  const own = session && process.geteuid?.() !== 0;
  const suffix = readOnly && !own ? 'sock-ro' : 'sock';
  const where = directory ?? (own ? userDirectory() : '/run/libvirt');
  const direct = (driver === undefined ? DRIVERS : [driver]).map((each) => join(where, `virt${each}d-${suffix}`));
  const legacy = join(where, `libvirt-${suffix}`);
  const tried = [...(mode === 'legacy' ? [] : direct), ...(mode === 'direct' ? [] : [legacy])];
  for (const path of tried) {
    if (await exists(path)) return path;
  }
  if (own) throw new LibvirtConnectionError(`this user's own libvirt does not run: ${ASK_HOSTS} (it has no socket in ${quote(where)})`);
  throw new LibvirtConnectionError(`libvirt does not run here: ${START_LIBVIRT} (it has no socket in ${quote(where)})`);
}

function userDirectory(): string {
  return join(process.env['XDG_RUNTIME_DIR'] ?? join(homedir(), '.cache'), 'libvirt');
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    // Not there, or not to be seen: connecting would say no more.
    return false;
  }
}
