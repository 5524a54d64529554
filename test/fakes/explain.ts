/** Guests made from their words in metadata, for the tests of `guestwire explain`. */
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { Wired } from '../../lib/attachments/kinds.js';
import type { Stored } from '../../lib/attachments/schema.js';
import { parseConfig } from '../../lib/config/file.js';
import { METADATA_NAMESPACE, parseDomain } from '../../lib/domain/domain.js';
import type { Flow } from '../../lib/filter/explain.js';
import type { Parties } from '../../lib/filter/parties.js';
import type { Profile, Proto } from '../../lib/intent/policy.js';
import { parseAddress } from '../../lib/values/address.js';

export const uuidOf = (n: number): string => `00000000-0000-0000-0000-00000000000${n}`;

export type Guest = Parties['guests'][number];

export function guestOf(
  name: string, n: number, { words, config = '', bridge }: { words: string; config?: string; bridge?: string },
): Guest {
  const mac = `52:54:00:aa:bb:0${n}`;
  const xml = `<domain><name>${name}</name><metadata><gw:guestwire xmlns:gw="${METADATA_NAMESPACE}"><gw:interface mac="${mac}">${words}</gw:interface></gw:guestwire></metadata><devices>`
    + `<interface type="${bridge === undefined ? 'ethernet' : 'bridge'}"><mac address="${mac}"/>${bridge === undefined ? '' : `<source bridge="${bridge}"/>`}<target dev="vnet${n}"/></interface></devices></domain>`;
  const wired = deriveAttachments(parseDomain(xml), parseConfig(config, 'config.toml')).map((attachment): Wired =>
    ({ ...attachment, ifindex: n } as Wired));
  return { guest: { name, uuid: uuidOf(n) }, wired };
}

export const routed = (n: number, more = ''): string => `<gw:routed><gw:ip address="2001:db8::${n}"/><gw:ip address="192.0.2.${n}"/>${more}</gw:routed>`;
export const WORLD = '2001:db8:ffff::1';
export const HOST = '2001:db8:eeee::1';
export const A = '2001:db8::1';
export const B = '2001:db8::2';
export const profile = (name: Profile): string => `<gw:policy profile="${name}"/>`;

export const parties = (...guests: Guest[]): Parties => ({ guests, host: new Set([HOST]), quarantined: new Set() });
export const flow = (from: string, to: string, proto?: Proto): Flow => flowOf({ from, to, proto });

export type TextFlow = Partial<Stored<Flow>> & Pick<Stored<Flow>, 'from' | 'to'>;

export function flowOf({ from, to, ...more }: TextFlow): Flow {
  return { proto: undefined, port: undefined, ...more, from: parseAddress(from), to: parseAddress(to) };
}
