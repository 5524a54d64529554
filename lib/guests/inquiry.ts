/** How libvirt is asked: one connection for one command, and what it answers about one guest. */
import { HostError } from '../errors.js';
import type { CallOptions } from '../libvirt/calls.js';
import { connect } from '../libvirt/connect.js';
import type { Connection } from '../libvirt/connection.js';
import { ASK_HOSTS, LibvirtError } from '../libvirt/errors.js';
import type { DomainRef } from '../libvirt/refs.js';
import { quote } from '../values/quote.js';
import type { Io } from './io.js';

/** Milliseconds for one question: a daemon that hangs must not hang a command that could do without it. */
const PATIENCE = 10_000;

/**
 * Calls `ask` with a connection, and closes it. The connection changes nothing unless `readOnly` is false. Throws what
 * the connection's methods throw.
 */
export async function askLibvirt<T>(
  { exec }: Pick<Io, 'exec'>, ask: (libvirt: Connection) => Promise<T>, { readOnly = true } = {},
): Promise<T> {
  const libvirt = await connect(undefined, {
    readOnly, reconnect: false, keepalive: false, timeout: PATIENCE, exec,
  });
  try {
    return await ask(libvirt);
  } finally {
    await libvirt.close();
  }
}

/** Whether libvirt's clients ask a daemon of the user's own. */
export function isUsersOwn(): boolean {
  return process.geteuid?.() !== 0 && (process.env['LIBVIRT_DEFAULT_URI'] ?? '') === '';
}

/** Returns the error for a guest that libvirt does not know. */
export function noSuchGuest(by: string): HostError {
  return new HostError(`guest ${quote(by)} does not exist: 'virsh list --all' lists all guests${isUsersOwn() ? `, of this user only: ${ASK_HOSTS}` : ''}`);
}

/** Returns what `ask` returns; `none` when libvirt knows no such guest. */
export async function unlessGone<T, None>(ask: () => Promise<T>, none: None): Promise<T | None> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof LibvirtError && error.refusal.reason === 'VIR_ERR_NO_DOMAIN') return none;
    throw error;
  }
}

/** What libvirt answers about one guest. */
export interface Inquiry {
  readonly life: () => Promise<Life>;
  /** undefined: it does not run. */
  readonly id: () => Promise<number | undefined>;
  readonly xml: () => Promise<string>;
}

/** 'coming': its memory is still elsewhere; `shown` is libvirt's word for that. */
export type Life =
  | { readonly kind: 'here' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'coming'; readonly shown: string };

/**
 * Returns what asks for this guest. `libvirt` is called for each question, since an agent's connection may be another
 * then.
 */
export function inquiryFor(
  { uuid, name }: Pick<DomainRef, 'uuid' | 'name'>, libvirt: () => Connection, options: CallOptions = {},
): Inquiry {
  const domain: DomainRef = { uuid, name, id: undefined };
  return {
    life: () => unlessGone<Life, Life>(async () => {
      const { state, reason } = await libvirt().domainStatus(domain, options);
      return guestLife(state, reason);
    }, { kind: 'gone' }),
    id: () => unlessGone(async () => (await libvirt().lookupDomain({ uuid }, options)).id, undefined),
    xml: () => libvirt().domainXml(domain, options),
  };
}

/** The state in which libvirt reports a guest with its memory still on another host (9.0 and 11.3). */
const ON_ITS_WAY = /^(migrating|starting up|post-copy.*)$/;

/** Returns what a state and the reason of a pause say about where the guest's memory is. */
function guestLife(state: string, reason: string | undefined): Life {
  if (state === 'paused' && reason !== undefined && ON_ITS_WAY.test(reason)) {
    return { kind: 'coming', shown: `${state} (${reason})` };
  }
  return ['shutoff', 'crashed', 'nostate'].includes(state) ? { kind: 'gone' } : { kind: 'here' };
}
