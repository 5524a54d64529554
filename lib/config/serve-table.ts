/** The table `[serve]` of the host config: what guests with routed links are told by DHCP and router advertisements. */
import * as z from 'zod/mini';
import { ValueError } from '../errors.js';
import { type Address, assertUnicast, isLinkLocal, parseAddress } from '../values/address.js';
import { quote } from '../values/quote.js';
import { read, table, type Table, type TablePath, within } from './toml.js';

/** The part of the host config that this file is about. */
export interface ServeTable {
  /** undefined: the host config has no `[serve]`. */
  readonly serve: ServeConfig | undefined;
}

export interface ServeConfig {
  /** false: nothing is served; `guestwire cloud-init` still writes `dns` and `search`. */
  readonly on: boolean;
  readonly dns: readonly Address[];
  readonly search: readonly string[];
  /** Seconds a guest keeps its default route without hearing from this host (RFC 4861: the router lifetime). */
  readonly lifetime: number;
  /** Seconds of a DHCP lease. */
  readonly lease: number;
  /** Address on the host's end of every served link with IPv6: dnsmasq serves DHCPv6 on no link without one (2.90). */
  readonly address: Address;
}

/**
 * RFC 4861 section 6.2.1 ends at 9000; advertisements come three times a lifetime and radvd sends one in 4 s at most.
 */
const LIFETIME = { least: 12, most: 9000 };
/** dnsmasq 2.90 makes a lease of 2 minutes of any shorter one. */
const LEASE = { least: 120, most: 86_400 };

const DEFAULT: ServeConfig = {
  on: true, dns: [], search: [], lifetime: 1800,
  // As short as it can be: a system that asks under another DUID waits for the end of the lease before it (dnsmasq
  // 2.90).
  lease: LEASE.least,
  // Made up as RFC 4193 wants it, and the same everywhere, as fe80::1 is: it means "this end of the link".
  address: parseAddress('fd6a:92c1:7e05::1'),
};

/** Returns what `[serve]` says; undefined when it is absent. Throws ValueError. */
export function serveConfig(value: unknown): ServeConfig | undefined {
  if (value === undefined) return undefined;
  const at: TablePath = ['serve'];
  const texts = z.optional(z.array(z.string('text in quotes'), 'a list'));
  const seconds = z.optional(z.number('a number of seconds'));
  const schema = table({
    on: z.optional(z.boolean('true or false')), dns: texts, search: texts, lifetime: seconds, lease: seconds,
    address: z.optional(z.string('an IPv6 address in quotes')),
  });
  const serve = read(schema, value as Table, at);
  return {
    on: serve.on ?? DEFAULT.on,
    dns: within(at, 'dns', () => (serve.dns ?? []).map(unicast)),
    search: within(at, 'search', () => (serve.search ?? []).map(domainName)),
    lifetime: within(at, 'lifetime', () => secondsIn(serve.lifetime ?? DEFAULT.lifetime, LIFETIME)),
    lease: within(at, 'lease', () => secondsIn(serve.lease ?? DEFAULT.lease, LEASE)),
    address: within(at, 'address', () => (serve.address === undefined ? DEFAULT.address : servingAddress(
      serve.address,
    ))),
  };
}

function unicast(text: string): Address {
  const address = parseAddress(text);
  assertUnicast(address);
  return address;
}

/** It becomes part of other programs' configuration, so nothing but a host name's letters may be in it (RFC 1123). */
function domainName(text: string): string {
  if (text.length <= 253 && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i.test(text)) return text;
  throw new ValueError(`${quote(text)} is not a domain name such as 'example.org'`);
}

function secondsIn(seconds: number, { least, most }: { readonly least: number; readonly most: number }): number {
  if (Number.isInteger(seconds) && seconds >= least && seconds <= most) return seconds;
  throw new ValueError(`'${seconds}' is not a whole number of seconds from ${least} to ${most}`);
}

function servingAddress(text: string): Address {
  const address = unicast(text);
  if (address.family === 'inet6' && !isLinkLocal(address)) return address;
  throw new ValueError(`${quote(text)} is not an IPv6 address beyond link-local: choose one such as ${quote(DEFAULT.address.text)}`);
}
