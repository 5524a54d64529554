/**
 * Small files that make other programs of the host get along with guestwire: a name for its route protocol, completion
 * for bash, and, when asked for, the word to network daemons that its routes and taps are not theirs. A file is
 * guestwire's when its first line says so; any other stays, and so does a directory that cannot be trusted.
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { HostError } from '../errors.js';
import { quote } from '../values/quote.js';
import type { FileSpec } from './file-set.js';
import { assertSafeDirectory, linkStat } from './layout.js';

const MARK = "# guestwire: written by 'guestwire install', removed by 'guestwire uninstall'";

const PROTOCOLS = '/etc/iproute2/rt_protos.d/guestwire.conf';

/** Where package bash-completion looks, by the name of the command; it loads a file when it is first needed. */
const COMPLETIONS = '/usr/share/bash-completion/completions';
const COMPLETION = `${COMPLETIONS}/guestwire`;

interface Service {
  readonly name: string;
  /** The service is on this host when one of these is. */
  readonly signs: readonly string[];
  readonly path: string;
  readonly text: string;
  readonly afterwards: string;
}

const SERVICES: readonly Service[] = [
  {
    name: 'systemd-networkd',
    signs: ['/usr/lib/systemd/systemd-networkd', '/lib/systemd/systemd-networkd'],
    path: '/etc/systemd/networkd.conf.d/guestwire.conf',
    text: '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n',
    afterwards: "'systemctl restart systemd-networkd'",
  },
  {
    name: 'NetworkManager',
    signs: ['/etc/NetworkManager'],
    path: '/etc/NetworkManager/conf.d/guestwire.conf',
    // Appended, because a plain '=' would take the place of what another file says (NetworkManager.conf(5)).
    text: '[keyfile]\nunmanaged-devices+=interface-name:vnet*\n',
    afterwards: "'systemctl reload NetworkManager'",
  },
];

/** Every file that this part may have written, and every directory that it may have made, parents first. */
export const DROP_IN_FILES: readonly string[] = [PROTOCOLS, COMPLETION, ...SERVICES.map(({ path }) => path)];
export const DROP_IN_DIRS: readonly string[] = [PROTOCOLS, ...SERVICES.map(({ path }) => path)]
  .flatMap((path) => [dirname(dirname(path)), dirname(path)])
  .filter((path) => path !== '/etc/systemd');

/** Where a run that was killed may have left drafts. */
export const DRAFT_DIRS: readonly string[] = [...DROP_IN_DIRS, COMPLETIONS];

export interface DropIns {
  readonly files: readonly FileSpec[];
  /** Parents first. */
  readonly directories: readonly string[];
  /** What the admin should know before the files are written. */
  readonly warnings: readonly string[];
  /** Returns what to say when it is known which files changed. */
  readonly advice: (changed: readonly string[]) => string[];
}

export interface DropInRequest {
  /** undefined: the host config cannot be read, and the file stays as it is. */
  readonly protocol: number | undefined;
  /** The script for bash. */
  readonly completion: string;
  /** Whether the files for other daemons are asked for; those that are there already are kept up to date anyway. */
  readonly services: boolean;
}

/** Returns what to write on this host. */
export function dropIns({ protocol, completion, services }: DropInRequest): DropIns {
  const present = SERVICES.filter(({ signs }) => signs.some((sign) => linkStat(sign) !== undefined));
  const asked = present.filter(({ path }) => services || isOurDropIn(path));
  const wanted = [
    ...(protocol === undefined ? [] : [{ path: PROTOCOLS, text: `${protocol}\tguestwire\n` }]),
    ...(linkStat(COMPLETIONS) === undefined ? [] : [{ path: COMPLETION, text: completion }]),
    ...asked.map(({ path, text }) => ({ path, text })),
  ];
  const obstacles = new Map(wanted.map(({ path }) => [path, obstacleTo(path)]));
  const files = wanted.filter(({ path }) => obstacles.get(path) === undefined);
  return {
    files: files.map(({ path, text }): FileSpec => ({ path, content: Buffer.from(`${MARK}\n${text}`), mode: 0o644 })),
    directories: DROP_IN_DIRS.filter((directory) => files.some(({ path }) => path.startsWith(`${directory}/`))),
    warnings: wanted.flatMap(({ path }) => {
      const obstacle = obstacles.get(path);
      return obstacle === undefined ? [] : [`${quote(path)} is not written: ${obstacle}`];
    }),
    advice: (changed) => [
      ...asked.filter(({ path }) => changed.includes(path))
        .map(({ name, path, afterwards }) => `run ${afterwards} so that ${name} reads ${quote(path)}`),
      ...adviceOn(present.filter((service) => !asked.includes(service)).map(({ name }) => name)),
      ...(services && present.length === 0 ? [`no drop-ins: neither ${SERVICES.map(({ name }) => name).join(' nor ')} is on this host`] : []),
    ],
  };
}

/** Returns the network daemons of this host, running or not, that have no file of guestwire's. */
export function untoldServices(): string[] {
  return SERVICES
    .filter(({ signs, path }) => signs.some((sign) => linkStat(sign) !== undefined) && !isOurDropIn(path))
    .map(({ name }) => name);
}

/** Returns whether guestwire wrote the file that stands there. */
export function isOurDropIn(path: string): boolean {
  return linkStat(path)?.isFile() === true && readFileSync(path, 'utf8').startsWith(`${MARK}\n`);
}

function adviceOn(names: readonly string[]): string[] {
  if (names.length === 0) return [];
  return [`${names.join(' and ')} may remove routes or take over taps of guests: 'guestwire install --drop-ins' prevents that`];
}

function obstacleTo(path: string): string | undefined {
  try {
    for (const directory of [COMPLETIONS, ...DROP_IN_DIRS].filter((each) => path.startsWith(`${each}/`))) {
      assertSafeDirectory(directory);
    }
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return error.message;
  }
  return linkStat(path) === undefined || isOurDropIn(path) ? undefined : "the file there is not guestwire's";
}
