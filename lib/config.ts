/**
 * `/etc/guestwire/config.toml` to `HostConfig`: what this host offers and permits. A file that others may write is not
 * believed: whoever writes it decides which VLANs guests are in.
 */
import type { Address, Prefix } from './address.js';
import type { VlanMember } from './vlan.js';

export const DEFAULT_CONFIG_PATH = '/etc/guestwire/config.toml';

/** What this host offers and permits. An absent file is `defaultConfig()`: all the XML asks for, on bridges that exist. */
export interface HostConfig {
  readonly bridges: ReadonlyMap<string, BridgeConfig>;
  readonly routed: RoutedConfig;
  /** By libvirt network name, then portgroup name. */
  readonly portgroups: ReadonlyMap<string, ReadonlyMap<string, { readonly vlan: readonly VlanMember[] }>>;
  /** By guest name, then MAC in lower case. */
  readonly guests: ReadonlyMap<string, ReadonlyMap<string, NicConfig>>;
}

export interface BridgeConfig {
  /** Ports towards the world, on which guests' VIDs are kept. */
  readonly uplinks: readonly string[];
  /** VIDs guestwire never removes from uplinks or from the bridge itself. */
  readonly protected: ReadonlySet<number>;
  /** VIDs a guest may ask for; undefined: all. */
  readonly allowed: ReadonlySet<number> | undefined;
}

export interface RoutedConfig {
  readonly gateways: readonly Address[];
  /** A guest may claim only what lies in one of these; undefined: anything. */
  readonly prefixes: readonly Prefix[] | undefined;
  /** Route table, as `ip route` takes it: 'main' or a number. */
  readonly table: string;
  /** Route protocol number that marks a route as guestwire's. */
  readonly protocol: number;
  /** Links on which ARP and NDP are answered for guests. */
  readonly proxy: readonly string[];
  /** 'manual': an incoming migration of a guest with routed links is let in, and `guestwire reconcile` completes it. */
  readonly migration: 'refuse' | 'manual';
}

/** Intent for one NIC from the host config, for guests whose XML should stay as it is. */
export interface NicConfig {
  readonly vlan: readonly VlanMember[] | undefined;
  readonly isolated: boolean | undefined;
  readonly routed:
    | {
        readonly addresses: readonly Address[];
        readonly routes: readonly { readonly to: Prefix; readonly gateway: Address | undefined }[];
      }
    | undefined;
}
