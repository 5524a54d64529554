/**
 * Events in words: libvirt's numbers for what happened to a domain or a network and why, from libvirt-domain.h and
 * libvirt-network.h of libvirt 9.0.0. Numbers of a newer libvirt become 'unknown'; the number itself is kept beside.
 */
import { EVENTS } from './protocol.js';
import { type DomainRef, domainRef, type NetworkRef, networkRef } from './refs.js';
import { decode } from './xdr.js';

/** virDomainEventType, in lower case and by its place. */
const DOMAIN_EVENTS =
  ['defined', 'undefined', 'started', 'suspended', 'resumed', 'stopped', 'shutdown', 'pmsuspended', 'crashed'] as const;

/** virNetworkEventLifecycleType. */
const NETWORK_EVENTS = ['defined', 'undefined', 'started', 'stopped'] as const;

/** virDomainMetadataType. */
const METADATA_TYPES = ['description', 'title', 'element'] as const;

/** virDomainEvent*DetailType, of each event by its place. */
const DETAILS: Readonly<Record<(typeof DOMAIN_EVENTS)[number], readonly string[]>> = {
  defined: ['added', 'updated', 'renamed', 'from-snapshot'],
  undefined: ['removed', 'renamed'],
  started: ['booted', 'migrated', 'restored', 'from-snapshot', 'wakeup'],
  suspended: [
    'paused', 'migrated', 'ioerror', 'watchdog', 'restored', 'from-snapshot', 'api-error', 'postcopy',
    'postcopy-failed',
  ],
  resumed: ['unpaused', 'migrated', 'from-snapshot', 'postcopy', 'postcopy-failed'],
  stopped: ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'from-snapshot'],
  shutdown: ['finished', 'guest', 'host'],
  pmsuspended: ['memory', 'disk'],
  crashed: ['panicked', 'crashloaded'],
};

/** A domain came, went or changed its state; `detail` is why, for example 'migrated'. */
export interface DomainLifecycleEvent {
  readonly kind: 'domain-lifecycle';
  readonly domain: DomainRef;
  readonly event: (typeof DOMAIN_EVENTS)[number] | 'unknown';
  /** libvirt's word, in lower case with dashes; 'unknown' when it is of a newer libvirt. */
  readonly detail: string;
  readonly numbers: { readonly event: number; readonly detail: number };
}

/** A device was plugged in, is gone, or the guest did not let it go. `alias` is that of the live XML: 'net1'. */
export interface DeviceEvent {
  readonly kind: 'device-added' | 'device-removed' | 'device-removal-failed';
  readonly domain: DomainRef;
  readonly alias: string;
}

/** Metadata were set or taken away, of the running domain or of its config: libvirt does not say of which. */
export interface MetadataChangeEvent {
  readonly kind: 'metadata-change';
  readonly domain: DomainRef;
  readonly type: (typeof METADATA_TYPES)[number] | 'unknown';
  /** The namespace, of type 'element'. */
  readonly uri: string | undefined;
}

/** A network came, went, was started or stopped. */
export interface NetworkLifecycleEvent {
  readonly kind: 'network-lifecycle';
  readonly network: NetworkRef;
  readonly event: (typeof NETWORK_EVENTS)[number] | 'unknown';
  readonly numbers: { readonly event: number; readonly detail: number };
}

/** Events are had from here on, and what was before is unknown: list everything. */
export interface ResyncEvent {
  readonly kind: 'resync';
  /** 'start': the first item; 'reconnected': the connection is new; 'overflow': the consumer was too slow. */
  readonly reason: 'start' | 'reconnected' | 'overflow';
}

/** The connection is gone; a 'resync' follows when there is a new one. */
export interface DisconnectedEvent {
  readonly kind: 'disconnected';
  readonly cause: Error;
}

/** What libvirt itself tells. */
export type LibvirtObjectEvent = DomainLifecycleEvent | DeviceEvent | MetadataChangeEvent | NetworkLifecycleEvent;

/** What a consumer of events gets. */
export type LibvirtEvent = LibvirtObjectEvent | ResyncEvent | DisconnectedEvent;

/**
 * Returns the event that a message carries, undefined for one that this client does not know. ValueError for a body
 * that is none.
 */
export function readEvent(procedure: number, body: Uint8Array): LibvirtObjectEvent | undefined {
  switch (procedure) {
    case EVENTS.domain_event_callback_lifecycle.number: {
      const { domain, event, detail } = decode(EVENTS.domain_event_callback_lifecycle.body, body).message;
      const name = DOMAIN_EVENTS[event];
      const why = name === undefined ? undefined : DETAILS[name][detail];
      return {
        kind: 'domain-lifecycle', domain: domainRef(domain), event: name ?? 'unknown', detail: why ?? 'unknown',
        numbers: { event, detail },
      };
    }
    case EVENTS.domain_event_callback_device_removed.number: {
      const { domain, alias } = decode(EVENTS.domain_event_callback_device_removed.body, body).message;
      return { kind: 'device-removed', domain: domainRef(domain), alias };
    }
    case EVENTS.domain_event_callback_device_added.number: {
      const { domain, alias } = decode(EVENTS.domain_event_callback_device_added.body, body);
      return { kind: 'device-added', domain: domainRef(domain), alias };
    }
    case EVENTS.domain_event_callback_device_removal_failed.number: {
      const { domain, alias } = decode(EVENTS.domain_event_callback_device_removal_failed.body, body);
      return { kind: 'device-removal-failed', domain: domainRef(domain), alias };
    }
    case EVENTS.domain_event_callback_metadata_change.number: {
      const { domain, type, uri } = decode(EVENTS.domain_event_callback_metadata_change.body, body);
      return { kind: 'metadata-change', domain: domainRef(domain), type: METADATA_TYPES[type] ?? 'unknown', uri };
    }
    case EVENTS.network_event_lifecycle.number: {
      const { network, event, detail } = decode(EVENTS.network_event_lifecycle.body, body);
      return {
        kind: 'network-lifecycle', network: networkRef(network), event: NETWORK_EVENTS[event] ?? 'unknown',
        numbers: { event, detail },
      };
    }
    default:
      return undefined;
  }
}

export type EventKind = Exclude<LibvirtEvent['kind'], 'resync' | 'disconnected'>;
