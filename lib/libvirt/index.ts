/** The libvirt client: exports only. */
export type { CallOptions } from './calls.js';
export { connect, type ConnectOptions } from './connect.js';
export type { Origin, Reason } from './errornames.js';
export {
  LibvirtAbortError, LibvirtArgumentError, LibvirtClosedError, LibvirtConnectionError, LibvirtError,
  LibvirtProtocolError, LibvirtTimeoutError, LibvirtUnsupportedError, type Refusal,
} from './errors.js';
export type {
  DeviceEvent, DisconnectedEvent, DomainLifecycleEvent, LibvirtEvent, LibvirtObjectEvent, MetadataChangeEvent,
  NetworkLifecycleEvent, ResyncEvent,
} from './eventnames.js';
export type { KeepaliveOptions } from './keepalive.js';
export type { BackoffOptions } from './lasting.js';
export type {
  Affect, ChangeOptions, Connection, DomainRef, DomainState, DomainStatus, DomainXmlOptions, EventKind, EventOptions,
  GetMetadataOptions, ListOptions, NetworkRef, SetMetadataOptions, UpdateOptions, Version, XmlOptions,
} from './types.js';
