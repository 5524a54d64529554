/** The fake kernel as sorted lines that an operator could read. */
import type { FakeHost, FakeLink } from './kernel.js';
import { printNft } from './nft.js';

function madeWords({ mtu, alias, allmulticast, peer, tap, bridge, vlan, mac, master }: FakeLink): string {
  const words = [
    vlan && `vlan ${vlan.vid} of ${vlan.parent}`, vlan && master !== undefined && `master ${master}`,
    bridge?.forwardDelay !== undefined && `bridge${bridge.filtering === false ? '' : ' filtering'} stp ${String(bridge.stp ?? false)} forward_delay ${bridge.forwardDelay} mac ${mac ?? '-'}`,
    peer && `peer ${peer}`, tap && `tap${tap.multiQueue ? ' multi_queue' : ''}`, mtu && `mtu ${mtu}`, alias && `alias ${alias}`,
    allmulticast === true && 'allmulticast',
  ];
  return words.map((word) => (typeof word === 'string' ? ` ${word}` : '')).join('');
}

/** Returns sorted lines of everything the host holds. */
export function print({ links, routes, sysctls, proxies, nft, rules, lastResorts }: Required<FakeHost>): string {
  const lines = Object.entries(links).flatMap(([dev, link]) => [
    `link ${dev} ${link.up === false ? 'down' : 'up'} txqlen ${link.txqlen ?? 1000}${links[link.master ?? '']?.vrfTable === undefined ? '' : ` master ${link.master ?? ''}`}${link.isolated === true ? ' isolated' : ''}${madeWords(link)}`,
    ...(link.addresses ?? []).map((address) => `address ${address} dev ${dev}`),
    ...Object.entries(link.vlans ?? {}).map(([vid, flags]) => `vlan ${vid} dev ${dev} ${flags}`.trim()),
  ]);
  return [
    ...lines,
    ...printNft(nft),
    ...rules.map(({ family, priority, iif, to, table, protocol }) => `rule ${family} ${priority} ${to === undefined ? `iif ${iif ?? '-'}` : `to ${to}`} lookup ${table} proto ${protocol}`),
    ...lastResorts.map(({ family, table, protocol }) => `last resort ${family} table ${table} proto ${protocol}`),
    ...routes.map(({ to, dev, via, table = 'main', protocol = 'kernel', src }) => `route ${to}${via === undefined ? '' : ` via ${via}`} dev ${dev ?? '-'} table ${table} proto ${protocol}${src === undefined ? '' : ` src ${src}`}`),
    ...proxies.map(({ dev, address, protocol = '0' }) => `neighbour-proxy ${address} dev ${dev} proto ${protocol}`),
    ...Object.entries(sysctls).map(([path, value]) => `sysctl ${path}=${value}`),
  ].sort().join('\n');
}
