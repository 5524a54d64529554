/** A connection through the daemon's unix socket: what each method of the interface says on the wire. */
import type { CallOptions, LimitedOptions } from './calls.js';
import type { Affect, Connection, EventOptions, ListOptions } from './connection.js';
import { LibvirtArgumentError, LibvirtError } from './errors.js';
import type { Lasting } from './reconnecting.js';
import { domainRef, networkRef, statusOf, uuidBytes, wireDomain, wireNetwork } from './refs.js';
import { EVENT_KINDS, type Registrar } from './registrations.js';
import { createSubscription } from './subscription.js';

/** virDomainModificationImpact. */
const AFFECT: Readonly<Record<Affect, number>> = { current: 0, live: 1, config: 2, both: 3 };
/** VIR_DOMAIN_DEVICE_MODIFY_FORCE. */
const FORCE = 4;
/** virDomainXMLFlags. */
const SECURE = 1;
const INACTIVE = 2;
/** virNetworkXMLFlags. */
const NETWORK_INACTIVE = 1;
/** VIR_DOMAIN_METADATA_ELEMENT. */
const ELEMENT = 2;
/** virConnectListAllDomainsFlags, virConnectListAllNetworksFlags: the two have it the other way round. */
const DOMAINS = { active: 1, inactive: 2 };
const NETWORKS = { active: 2, inactive: 1 };
/** need_results: not only their count. */
const WITH_RESULTS = 1;
/** How many events wait for a consumer that does not say. */
const MOST_EVENTS = 4096;
/** What setTimeout can wait; beyond it fires at once. */
const LONGEST = 2_147_483_647;

/** Returns the given limits, or those of the connection. LibvirtArgumentError for a time that is none. */
export function limitsOf({ timeout, signal }: CallOptions, usual: number): LimitedOptions {
  const limit = timeout ?? usual;
  if (!Number.isInteger(limit) || limit < 1 || limit > LONGEST) throw new LibvirtArgumentError(`a timeout of '${limit}' is outside 1-${LONGEST} milliseconds`);
  return { timeout: limit, signal };
}

/** Returns the interface over a connection. `timeout` is for calls that say none. */
export function createSocketConnection(lasting: Lasting, registrar: Registrar, timeout: number): Connection {
  const { call } = lasting;
  const limits = (options: CallOptions = {}): LimitedOptions => limitsOf(options, timeout);
  return {
    get uri() { return lasting.uri(); },
    transport: 'socket',
    hostname: async (options) => (await call('connect_get_hostname', undefined, limits(options))).hostname,
    version: async (options) => {
      const { version } = await call('connect_get_lib_version', undefined, limits(options));
      return {
        major: Number(version / 1_000_000n),
        minor: Number(version / 1000n % 1000n),
        release: Number(version % 1000n),
      };
    },
    ...domainCalls(lasting, limits),
    ...metadataCalls(lasting, limits),
    ...deviceCalls(lasting, limits),
    ...networkCalls(lasting, limits),
    events: (options) => subscribe(registrar, options),
    close: lasting.close,
  };
}

type Limits = (options?: CallOptions) => LimitedOptions;

type DomainCalls = Pick<Connection, 'listDomains' | 'lookupDomain' | 'domainXml' | 'domainState' | 'domainStatus'>;

function domainCalls({ call }: Lasting, limits: Limits): DomainCalls {
  const status: Connection['domainStatus'] = async (domain, options) =>
    statusOf(await call('domain_get_state', { domain: wireDomain(domain), flags: 0 }, limits(options)));
  return {
    listDomains: async (options = {}) => {
      const args = { needResults: WITH_RESULTS, flags: listFlags(options, DOMAINS) };
      const { domains } = await call('connect_list_all_domains', args, limits(options));
      return domains.map(domainRef);
    },
    lookupDomain: async (by, options) => {
      const { domain } = 'name' in by
        ? await call('domain_lookup_by_name', { name: by.name }, limits(options))
        : await call('domain_lookup_by_uuid', { uuid: uuidBytes(by.uuid) }, limits(options));
      return domainRef(domain);
    },
    domainXml: async (domain, options = {}) => {
      const flags = (options.from === 'inactive' ? INACTIVE : 0) | (options.secrets === 'include' ? SECURE : 0);
      return (await call('domain_get_xml_desc', { domain: wireDomain(domain), flags }, limits(options))).xml;
    },
    domainState: async (domain, options) => (await status(domain, options)).state,
    domainStatus: status,
  };
}

function metadataCalls({ call }: Lasting, limits: Limits): Pick<Connection, 'getMetadata' | 'setMetadata'> {
  return {
    getMetadata: async (domain, { uri, affect = 'current', ...options }) => {
      try {
        const args = { domain: wireDomain(domain), type: ELEMENT, uri, flags: AFFECT[affect] };
        return (await call('domain_get_metadata', args, limits(options))).metadata;
      } catch (error) {
        if (error instanceof LibvirtError && error.refusal.reason === 'VIR_ERR_NO_DOMAIN_METADATA') return undefined;
        throw error;
      }
    },
    setMetadata: async (domain, { uri, key, xml, affect = 'current', ...options }) => {
      const args = { domain: wireDomain(domain), type: ELEMENT, metadata: xml, key, uri, flags: AFFECT[affect] };
      await call('domain_set_metadata', args, limits(options));
    },
  };
}

type DeviceCalls = Pick<Connection, 'attachDevice' | 'detachDevice' | 'updateDevice'>;

function deviceCalls({ call }: Lasting, limits: Limits): DeviceCalls {
  return {
    attachDevice: async (domain, xml, { affect = 'current', ...options } = {}) => {
      const args = { domain: wireDomain(domain), xml, flags: AFFECT[affect] };
      await call('domain_attach_device_flags', args, limits(options));
    },
    detachDevice: async (domain, xml, { affect = 'current', ...options } = {}) => {
      const args = { domain: wireDomain(domain), xml, flags: AFFECT[affect] };
      await call('domain_detach_device_flags', args, limits(options));
    },
    updateDevice: async (domain, xml, { affect = 'current', force, ...options } = {}) => {
      const flags = AFFECT[affect] | (force === 'force' ? FORCE : 0);
      await call('domain_update_device_flags', { domain: wireDomain(domain), xml, flags }, limits(options));
    },
  };
}

type NetworkCalls = Pick<Connection, 'listNetworks' | 'lookupNetwork' | 'networkXml'>;

function networkCalls({ call }: Lasting, limits: Limits): NetworkCalls {
  return {
    listNetworks: async (options = {}) => {
      const args = { needResults: WITH_RESULTS, flags: listFlags(options, NETWORKS) };
      const { networks } = await call('connect_list_all_networks', args, limits(options));
      return networks.map(networkRef);
    },
    lookupNetwork: async (by, options) => {
      const { network } = 'name' in by
        ? await call('network_lookup_by_name', { name: by.name }, limits(options))
        : await call('network_lookup_by_uuid', { uuid: uuidBytes(by.uuid) }, limits(options));
      return networkRef(network);
    },
    networkXml: async (network, options = {}) => {
      const flags = options.from === 'inactive' ? NETWORK_INACTIVE : 0;
      return (await call('network_get_xml_desc', { network: wireNetwork(network), flags }, limits(options))).xml;
    },
  };
}

function listFlags({ state }: ListOptions, flags: { readonly active: number; readonly inactive: number }): number {
  return state === undefined ? 0 : flags[state];
}

function subscribe(
  registrar: Registrar, { kinds = EVENT_KINDS, signal, most = MOST_EVENTS }: EventOptions = {},
): ReturnType<Connection['events']> {
  if (!Number.isInteger(most) || most < 1) throw new LibvirtArgumentError(`'${most}' is not a valid number of waiting events`);
  const leave = (): void => { void subscription.return?.(); };
  const subscription = createSubscription(new Set(kinds), most, () => {
    signal?.removeEventListener('abort', leave);
    registrar.remove(subscription);
  });
  registrar.add(subscription);
  signal?.addEventListener('abort', leave, { once: true });
  if (signal?.aborted === true) leave();
  return subscription;
}
