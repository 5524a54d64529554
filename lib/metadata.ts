/**
 * guestwire's element in a domain's `<metadata>`, namespace `urn:guestwire:1`: what each NIC, named by its MAC, is meant
 * to be on the network. Read strictly: a misspelt word here would leave a guest on the wrong network in silence.
 */
import type { NativeVlan } from './domain.js';

export const METADATA_NAMESPACE = 'urn:guestwire:1';

/** What one `<gw:interface>` says, as written; attachment.ts judges the values. */
export interface NicIntent {
  readonly mac: string;
  readonly vlan: NativeVlan | undefined;
  readonly isolated: string | undefined;
  readonly routed: RoutedIntent | undefined;
}

export interface RoutedIntent {
  readonly ips: readonly { readonly address: string; readonly prefix: string | undefined }[];
  readonly routes: readonly {
    readonly address: string;
    readonly prefix: string | undefined;
    readonly gateway: string | undefined;
  }[];
}
