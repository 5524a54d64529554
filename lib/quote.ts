import { quote } from './values/quote.js';

/** Returns how messages name a NIC: `guest 'web1' NIC 1 (52:54:00:12:34:56)`. */
export function nicLabel(guest: string, nic: { readonly index: number; readonly mac: string | undefined }): string {
  return `guest ${quote(guest)} NIC ${nic.index}${nic.mac === undefined ? '' : ` (${nic.mac})`}`;
}
