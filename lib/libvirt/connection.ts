/**
 * What a connection to libvirt offers, by whatever way it goes: one interface for the socket and for virsh.
 */
import type { CallOptions } from './calls.js';
import type { EventKind, LibvirtEvent } from './events.js';
import type { DomainRef, DomainState, DomainStatus, NetworkRef } from './refs.js';

/** Which domains or networks are listed; all unless given. */
export interface ListOptions extends CallOptions {
  readonly state?: 'active' | 'inactive';
}

export interface XmlOptions extends CallOptions {
  /**
   * 'live': as it runs now, and of one that does not run its config; 'inactive': as it starts next. 'live' unless
   * given.
   */
  readonly from?: 'live' | 'inactive';
}

export interface DomainXmlOptions extends XmlOptions {
  /** 'include' adds passwords; libvirt refuses it on a read-only connection. 'omit' unless given. */
  readonly secrets?: 'include' | 'omit';
}

/** What a change is made to: the running domain, what it starts with next, both, or ('current') whichever it is now. */
export type Affect = 'current' | 'live' | 'config' | 'both';

export interface ChangeOptions extends CallOptions {
  /**
   * 'current' unless given. 'live' and 'both' of a domain that does not run, and 'config' and 'both' of a transient
   * one, are refused.
   */
  readonly affect?: Affect;
}

export interface UpdateOptions extends ChangeOptions {
  /** VIR_DOMAIN_DEVICE_MODIFY_FORCE: what the guest may refuse (ejecting a locked medium) is still done. */
  readonly force?: 'force';
}

export interface GetMetadataOptions extends CallOptions {
  /** The namespace of the element. */
  readonly uri: string;
  /** 'current' unless given. */
  readonly affect?: 'current' | 'live' | 'config';
}

export interface SetMetadataOptions extends ChangeOptions {
  /**
   * The namespace under which the element is kept. An element of another namespace is kept under its own (libvirt 9.0).
   */
  readonly uri: string;
  /** The prefix it gets in the domain's XML. */
  readonly key: string;
  /** One element; undefined takes away what is there, and that nothing is there is no error. */
  readonly xml: string | undefined;
}

/** The version of the daemon's libvirt: 9.0.0 is { major: 9, minor: 0, release: 0 }. */
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly release: number;
}

export interface EventOptions {
  /** Only these; all that there are unless given. 'resync' and 'disconnected' always come. */
  readonly kinds?: readonly EventKind[];
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
  /** How many events wait for the consumer before they are dropped and replaced by one 'resync'; 4096 unless given. */
  readonly most?: number;
}

/**
 * A connection. Every method that asks libvirt rejects with LibvirtError when libvirt refuses (`refusal.reason` says
 * what), with LibvirtTimeoutError, LibvirtAbortError, LibvirtConnectionError (retryable), LibvirtProtocolError,
 * LibvirtArgumentError (a NUL, or more than 4 MiB, in a string) or LibvirtClosedError, and never with anything else. A
 * call that is made while the connection is being made again waits for it within its own time; one that was under way
 * when the connection broke fails and is not repeated, because it may have taken effect.
 */
export interface Connection {
  /** What the daemon opened: 'qemu:///system'. Through virsh what its client was told: 'qemu+ssh://host/system'. */
  readonly uri: string;
  readonly transport: 'socket' | 'virsh';

  /** Returns the host's name as libvirt knows it (connect_get_hostname). */
  hostname(options?: CallOptions): Promise<string>;
  /** Returns the version of the daemon's libvirt (connect_get_lib_version), not that of QEMU. */
  version(options?: CallOptions): Promise<Version>;

  /** Returns all domains, in no order (connect_list_all_domains). libvirt refuses to list more than 16384. */
  listDomains(options?: ListOptions): Promise<readonly DomainRef[]>;
  /** Returns the domain; none is LibvirtError 'VIR_ERR_NO_DOMAIN' (domain_lookup_by_name, domain_lookup_by_uuid). */
  lookupDomain(by: { readonly name: string } | { readonly uuid: string }, options?: CallOptions): Promise<DomainRef>;
  /** Returns the domain's XML (domain_get_xml_desc). */
  domainXml(domain: DomainRef, options?: DomainXmlOptions): Promise<string>;
  /** Returns whether it runs, and how (domain_get_state). */
  domainState(domain: DomainRef, options?: CallOptions): Promise<DomainState>;
  /** Returns the same with the reason (domain_get_state). */
  domainStatus(domain: DomainRef, options?: CallOptions): Promise<DomainStatus>;

  /**
   * Returns the metadata element of a namespace, without that namespace's declaration, as libvirt gives it; undefined:
   * there is none (domain_get_metadata).
   */
  getMetadata(domain: DomainRef, options: GetMetadataOptions): Promise<string | undefined>;
  /** Replaces the metadata element of a namespace (domain_set_metadata). */
  setMetadata(domain: DomainRef, options: SetMetadataOptions): Promise<void>;

  /** Plugs a device in (domain_attach_device_flags). Returns when QEMU has it; the guest may not have seen it yet. */
  attachDevice(domain: DomainRef, xml: string, options?: ChangeOptions): Promise<void>;
  /**
   * Asks the guest to let a device go (domain_detach_device_flags). Live, it is gone when the event 'device-removed'
   * comes, and that may be never.
   */
  detachDevice(domain: DomainRef, xml: string, options?: ChangeOptions): Promise<void>;
  /** Changes a device in place (domain_update_device_flags); no event tells of it (libvirt 9.0, 11.3). */
  updateDevice(domain: DomainRef, xml: string, options?: UpdateOptions): Promise<void>;

  /** Returns all networks, in no order (connect_list_all_networks). */
  listNetworks(options?: ListOptions): Promise<readonly NetworkRef[]>;
  /**
   * Returns the network; none is LibvirtError 'VIR_ERR_NO_NETWORK' (network_lookup_by_name, network_lookup_by_uuid).
   */
  lookupNetwork(by: { readonly name: string } | { readonly uuid: string }, options?: CallOptions): Promise<NetworkRef>;
  /** Returns the network's XML (network_get_xml_desc). */
  networkXml(network: NetworkRef, options?: XmlOptions): Promise<string>;

  /**
   * Returns what happens, in libvirt's order, from now on. The first item is 'resync' as soon as events are had: list
   * then, and nothing falls between the list and the events. Another 'resync' says that events were lost: list again.
   * Ends when the connection is closed or the signal fires; throws what libvirt said when it has no such events for
   * this driver. For one consumer; leaving the loop, or `return()`, gives the subscription back. Through virsh:
   * LibvirtUnsupportedError.
   */
  events(options?: EventOptions): AsyncIterableIterator<LibvirtEvent>;

  /**
   * Says goodbye and ends; calls under way fail with LibvirtClosedError, iterations end. Never rejects; safe to call
   * twice.
   */
  close(): Promise<void>;
}
