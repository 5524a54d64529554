/**
 * What the host config lets the author of a guest ask for on a routed link. The host's own tables `[guest]` need no
 * leave.
 */
import type { HostConfig } from '../../config/host-config.js';
import { tableHeader } from '../../config/toml.js';
import { ConflictError, NotAllowedError } from '../../errors.js';
import { asPrefix, bare, overlaps, type Prefix } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import { rangeText, tableNumber } from '../../values/route-names.js';
import type { DeriveContext } from '../attached.js';
import type { RoutedIntent } from '../sources.js';

/** Throws NotAllowedError for a table or a VRF that metadata names and the host config does not offer. */
export function assertRoutingPermitted({ table, vrf, byMetadata }: RoutedIntent, { routed }: HostConfig): void {
  if (byMetadata !== true) return;
  if (vrf !== undefined && !routed.vrfs.has(vrf)) {
    throw new NotAllowedError(`VRF ${quote(vrf)} is not open to metadata: ${offered('vrfs', [...routed.vrfs])}`);
  }
  if (table === undefined || table === routed.table) return;
  const number = tableNumber(table);
  if (routed.tables.some(({ first, last }) => first <= number && number <= last)) return;
  throw new NotAllowedError(`route table ${quote(table)} is not open to metadata: ${offered('tables', routed.tables.map(rangeText))}`);
}

function offered(key: string, list: readonly string[]): string {
  return `'${key}' in [routed] of the host config ${list.length === 0 ? 'is empty' : `has ${quote(list.join(', '))}`}: add it there, or remove it from the metadata`;
}

/** Throws ConflictError for what the host config gives to another guest, whether or not that guest runs. */
export function assertNotGiven(
  claims: readonly Prefix[], { config, domain: { name, uuid } }: Pick<DeriveContext, 'config' | 'domain'>,
): void {
  for (const [guest, nics] of config.guests) {
    if (guest === name || guest === uuid) continue;
    for (const [mac, { routed }] of nics) {
      if (routed === undefined) continue;
      const given = [...routed.addresses, ...routed.routes.map(({ to }) => to)].map(asPrefix);
      const claim = claims.find((one) => given.some((held) => overlaps(held, one)));
      if (claim === undefined) continue;
      throw new ConflictError(`${quote(bare(claim))} belongs to guest ${quote(guest)} by ${tableHeader(['guest', guest, mac])} of the host config: give this guest another address`);
    }
  }
}
