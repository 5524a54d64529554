/** The interface through virsh: the command line of each method, and how its output is read (virsh 9.0 and 11.3). */
import { quote } from '../values/quote.js';
import type { CallOptions } from './calls.js';
import type { Affect, Connection } from './connection.js';
import { reasonNumberOf, type LibvirtReason } from './error-names.js';
import { LibvirtError, LibvirtProtocolError, LibvirtUnsupportedError } from './errors.js';
import { type DomainRef, type DomainState, type NetworkRef, uuidBytes } from './refs.js';
import { createVirsh, type Virsh, type VirshOptions, withFile } from './virsh.js';

const AFFECT: Readonly<Record<Affect, readonly string[]>> = {
  current: ['--current'], live: ['--live'], config: ['--config'], both: ['--live', '--config'],
};
const STATE = { active: [], inactive: ['--inactive'] };

/** What `domstate` prints. */
const STATES: Readonly<Record<string, DomainState>> = {
  'no state': 'nostate', running: 'running', idle: 'blocked', paused: 'paused',
  'in shutdown': 'shutdown', 'shut off': 'shutoff', crashed: 'crashed', pmsuspended: 'pmsuspended',
};

/** Resolves when virsh has reached the daemon once. Throws what virsh said otherwise. */
export async function connectVirsh(options: VirshOptions, call: CallOptions): Promise<Connection> {
  const { virsh, close } = createVirsh(options);
  const uri = (await virsh(['uri'], call)).trim();
  return {
    uri,
    transport: 'virsh',
    hostname: async (limits) => (await virsh(['hostname'], limits)).trim(),
    version: async (limits) => {
      const text = await virsh(['version', '--daemon'], limits);
      const [, major, minor, release] = /^Running against daemon: (\d+)\.(\d+)\.(\d+)$/m.exec(text) ?? [];
      if (release === undefined) throw unreadable('version', text);
      return { major: Number(major), minor: Number(minor), release: Number(release) };
    },
    ...domainCommands(virsh),
    ...metadataCommands(virsh),
    ...deviceCommands(virsh),
    ...networkCommands(virsh),
    events: () => { throw new LibvirtUnsupportedError(`virsh cannot deliver events of ${quote(uri)}: list at intervals, or run guestwire on that host`); },
    close,
  };
}

type DomainCommands = Pick<Connection, 'listDomains' | 'lookupDomain' | 'domainXml' | 'domainState' | 'domainStatus'>;

function domainCommands(virsh: Virsh): DomainCommands {
  const listDomains: Connection['listDomains'] = async ({ state, ...limits } = {}) => {
    const words = ['list', ...(state === undefined ? ['--all'] : STATE[state]), '--uuid', '--id', '--name'];
    return outputLines(await virsh(words, limits)).map(domainOf);
  };
  const domstate = async ({ uuid }: DomainRef, words: readonly string[], limits?: CallOptions): Promise<string> =>
    (await virsh(['domstate', ...words, `--domain=${checked(uuid)}`], limits)).trim();
  return {
    listDomains,
    // virsh itself takes a name for an id or a UUID when it looks like one.
    lookupDomain: async (by, limits) => {
      const found = (await listDomains(limits)).find(matches(by));
      return found ?? refuse('VIR_ERR_NO_DOMAIN', `Domain not found: no domain with matching ${describe(by)}`);
    },
    domainXml: async ({ uuid }, { from, secrets, ...limits } = {}) => virsh([
      'dumpxml', `--domain=${checked(uuid)}`,
      ...(from === 'inactive' ? ['--inactive'] : []),
      ...(secrets === 'include' ? ['--security-info'] : []),
    ], limits),
    domainState: async (domain, limits) => STATES[await domstate(domain, [], limits)] ?? 'unknown',
    domainStatus: async (domain, limits) => {
      const text = await domstate(domain, ['--reason'], limits);
      const [, state = '', reason] = /^(.*?)(?: \((.*)\))?$/.exec(text) ?? [];
      return { state: STATES[state] ?? 'unknown', reason: state === 'paused' ? reason : undefined };
    },
  };
}

function metadataCommands(virsh: Virsh): Pick<Connection, 'getMetadata' | 'setMetadata'> {
  return {
    getMetadata: async ({ uuid }, { uri, affect = 'current', ...limits }) => {
      try {
        const words = ['metadata', `--domain=${checked(uuid)}`, `--uri=${uri}`, ...AFFECT[affect]];
        return (await virsh(words, limits)).trimEnd();
      } catch (error) {
        if (error instanceof LibvirtError && error.refusal.reason === 'VIR_ERR_NO_DOMAIN_METADATA') return undefined;
        throw error;
      }
    },
    setMetadata: async ({ uuid }, { uri, key, xml, affect = 'current', ...limits }) => {
      const change = xml === undefined ? ['--remove'] : [`--key=${key}`, `--set=${xml}`];
      await virsh(['metadata', `--domain=${checked(uuid)}`, `--uri=${uri}`, ...AFFECT[affect], ...change], limits);
    },
  };
}

interface DeviceChange {
  readonly xml: string;
  readonly words: readonly string[];
  readonly limits: CallOptions;
}

function deviceCommands(virsh: Virsh): Pick<Connection, 'attachDevice' | 'detachDevice' | 'updateDevice'> {
  const change = async (
    command: string, { uuid }: DomainRef, { xml, words, limits }: DeviceChange,
  ): Promise<void> => {
    // From a file: an argument would show in the process list, and a device may hold a password.
    await withFile(xml, (path) => virsh([command, `--domain=${checked(uuid)}`, `--file=${path}`, ...words], limits));
  };
  return {
    attachDevice: (domain, xml, { affect = 'current', ...limits } = {}) =>
      change('attach-device', domain, { xml, words: AFFECT[affect], limits }),
    detachDevice: (domain, xml, { affect = 'current', ...limits } = {}) =>
      change('detach-device', domain, { xml, words: AFFECT[affect], limits }),
    updateDevice: (domain, xml, { affect = 'current', force, ...limits } = {}) => {
      const words = [...AFFECT[affect], ...(force === 'force' ? ['--force'] : [])];
      return change('update-device', domain, { xml, words, limits });
    },
  };
}

function networkCommands(virsh: Virsh): Pick<Connection, 'listNetworks' | 'lookupNetwork' | 'networkXml'> {
  const listNetworks: Connection['listNetworks'] = async ({ state, ...limits } = {}) => {
    const listed = await virsh(['net-list', ...(state === undefined ? ['--all'] : STATE[state]), '--uuid'], limits);
    // virsh prints either the names or the UUIDs.
    return Promise.all(outputLines(listed).map(async (line) => {
      const uuid = checked(line.trim());
      return { uuid, name: lastLine(await virsh(['net-name', `--network=${uuid}`], limits)) };
    }));
  };
  return {
    listNetworks,
    lookupNetwork: async (by, limits) => {
      const found = (await listNetworks(limits)).find(matches(by));
      return found ?? refuse('VIR_ERR_NO_NETWORK', `Network not found: no network with matching ${describe(by)}`);
    },
    networkXml: async ({ uuid }, { from, ...limits } = {}) =>
      virsh(['net-dumpxml', `--network=${checked(uuid)}`, ...(from === 'inactive' ? ['--inactive'] : [])], limits),
  };
}

type By = { readonly name: string } | { readonly uuid: string };

function matches(by: By): (one: NetworkRef) => boolean {
  if ('name' in by) return ({ name }) => name === by.name;
  const wanted = checked(by.uuid);
  return ({ uuid }) => uuid === wanted;
}

function describe(by: By): string {
  return 'name' in by ? `name ${quote(by.name)}` : `uuid ${quote(by.uuid)}`;
}

function refuse(reason: LibvirtReason, message: string): never {
  const reasonNumber = reasonNumberOf(reason);
  throw new LibvirtError('virsh', {
    reason, reasonNumber, origin: 'VIR_FROM_UNKNOWN', originNumber: undefined, level: 'error', message,
  });
}

/** Returns the UUID in lower case; LibvirtArgumentError unless it is one. */
function checked(uuid: string): string {
  uuidBytes(uuid);
  return uuid.toLowerCase();
}

function domainOf(line: string): DomainRef {
  const [, uuid, id, name] = /^([0-9a-f-]{36}) +(-|\d+) +(.+)$/.exec(line) ?? [];
  if (uuid === undefined || name === undefined) throw unreadable('list', line);
  return Object.freeze({ name, uuid, id: id === '-' ? undefined : Number(id) });
}

function outputLines(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

function lastLine(text: string): string {
  return outputLines(text).at(-1) ?? '';
}

function unreadable(command: string, text: string): LibvirtProtocolError {
  return new LibvirtProtocolError(`virsh ${command} printed text that this client cannot read: ${quote(text)}`);
}
