/** Domains and networks between the wire and the caller: UUIDs as text, and no id where there is none. */
import { quote } from '../values/quote.js';
import { LibvirtArgumentError } from './errors.js';
import type { WireDomain, WireNetwork } from './protocol.js';

/** Returns the domain that the wire has. */
export function domainRef({ name, uuid, id }: WireDomain): DomainRef {
  return Object.freeze({ name, uuid: uuidText(uuid), id: id < 0 ? undefined : id });
}

/** Returns the network that the wire has. */
export function networkRef({ name, uuid }: WireNetwork): NetworkRef {
  return Object.freeze({ name, uuid: uuidText(uuid) });
}

/** Returns what is sent for a domain: libvirt finds it by its UUID alone. */
export function wireDomain({ name, uuid, id }: DomainRef): WireDomain {
  return { name, uuid: uuidBytes(uuid), id: id ?? -1 };
}

/** Returns what is sent for a network. */
export function wireNetwork({ name, uuid }: NetworkRef): WireNetwork {
  return { name, uuid: uuidBytes(uuid) };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Returns whether a text is a UUID: 32 hexadecimal digits with dashes. */
export function isAnyCaseUuid(text: string): boolean {
  return UUID.test(text);
}

/** Returns the UUID's 16 bytes. LibvirtArgumentError unless it is 32 hexadecimal digits with dashes. */
export function uuidBytes(uuid: string): Uint8Array {
  if (!isAnyCaseUuid(uuid)) throw new LibvirtArgumentError(`${quote(uuid)} is not a UUID`);
  const digits = uuid.replaceAll('-', '');
  return Uint8Array.from({ length: 16 }, (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

function uuidText(bytes: Uint8Array): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join(
    '-',
  );
}

/** virDomainState by its place. */
const STATES = ['nostate', 'running', 'blocked', 'paused', 'shutdown', 'shutoff', 'crashed', 'pmsuspended'] as const;

/** Returns the word for a virDomainState. */
export function stateName(number: number): DomainState {
  return STATES[number] ?? 'unknown';
}

/** virDomainPausedReason by its place, in the words of `virsh domstate --reason` (9.0). */
const PAUSED_REASONS = [
  'unknown', 'user', 'migrating', 'saving', 'dumping', 'I/O error', 'watchdog', 'from snapshot', 'shutting down',
  'creating snapshot', 'crashed', 'starting up',
  'post-copy', 'post-copy failed', 'api error',
] as const;

/** Returns the words for what domain_get_state answers. */
export function statusOf({ state: number, reason }: { readonly state: number; readonly reason: number }): DomainStatus {
  const state = stateName(number);
  return { state, reason: state === 'paused' ? PAUSED_REASONS[reason] : undefined };
}

/**
 * A domain as libvirt names it. A plain value: it stays valid for calls while the domain exists, whatever its id
 * becomes.
 */
export interface DomainRef {
  readonly name: string;
  /** Lower case, with dashes. */
  readonly uuid: string;
  /** Of a domain that ran when this was read; undefined otherwise. */
  readonly id: number | undefined;
}

/** A network as libvirt names it. */
export interface NetworkRef {
  readonly name: string;
  /** Lower case, with dashes. */
  readonly uuid: string;
}

/** virDomainState of libvirt 9.0 in its own words; 'unknown' is a state of a newer libvirt. */
export type DomainState =
  | 'nostate'
  | 'running'
  | 'blocked'
  | 'paused'
  | 'shutdown'
  | 'shutoff'
  | 'crashed'
  | 'pmsuspended'
  | 'unknown';

/** A state and why it was entered. */
export interface DomainStatus {
  readonly state: DomainState;
  /**
   * Of state 'paused' virsh's word for virDomainPausedReason ('user', 'migrating', 'starting up'); of others, and of a
   * newer libvirt's, undefined.
   */
  readonly reason: string | undefined;
}
