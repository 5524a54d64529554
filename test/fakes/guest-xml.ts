/** Pieces of domain XML for guests with routed links. */
import { formatMetadata } from '../../lib/domain/metadata-writer.js';
import type { NicMetadata } from '../../lib/domain/metadata.js';

/** Returns guestwire's metadata for these routed NICs. */
export function metadata(
  ...intents: readonly { mac: string; ips: readonly string[]; routes?: readonly string[]; veth?: string }[]
): string {
  return formatMetadata(intents.map(({ mac, ips, routes = [], veth }): NicMetadata => ({
    mac,
    vlan: undefined,
    isolated: undefined,
    routed: {
      veth: veth === undefined ? undefined : { dev: veth, mtu: undefined },
      ips: ips.map((address) => ({ address, prefix: undefined })),
      routes: routes.map((route) => {
        const [address = '', prefix] = route.split('/');
        return { address, prefix, gateway: undefined };
      }),
    },
  })));
}

/** Returns an `<interface>` of type 'ethernet'. */
export function nic(mac: string, dev?: string): string {
  return `<interface type='ethernet'><mac address='${mac}'/>${dev === undefined ? '' : `<target dev='${dev}'/>`}</interface>`;
}
