/** The libvirt client: exports only. */
export type { CallOptions } from './calls.js';
export { connect, type ConnectOptions } from './connect.js';
export type { Origin, LibvirtReason } from './error-names.js';
export {
  LibvirtAbortError, LibvirtArgumentError, LibvirtClosedError, LibvirtConnectionError, LibvirtError,
  LibvirtProtocolError, LibvirtTimeoutError, LibvirtUnsupportedError, type Refusal,
} from './errors.js';
export type {
  DeviceEvent, DisconnectedEvent, DomainLifecycleEvent, LibvirtEvent, LibvirtObjectEvent, MetadataChangeEvent,
  NetworkLifecycleEvent, ResyncEvent,
} from './events.js';
export type { KeepaliveOptions } from './keepalive.js';
export type { BackoffOptions } from './reconnecting.js';
export type {
  Affect, ChangeOptions, Connection, DomainXmlOptions, EventOptions, GetMetadataOptions, ListOptions,
  SetMetadataOptions, UpdateOptions, Version, XmlOptions,
} from './connection.js';
export type { DomainRef, DomainState, DomainStatus, NetworkRef } from './refs.js';
export type { EventKind } from './events.js';
