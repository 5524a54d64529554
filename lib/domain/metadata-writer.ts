/**
 * guestwire's metadata element as XML, for the programs that write it: `guestwire set` and examples. Apart from
 * metadata.ts, so that the hook, which only reads, does not carry fast-xml-parser.
 */
import { XMLBuilder } from 'fast-xml-parser';
import type { NativeVlan } from '../values/vlan.js';
import { METADATA_NAMESPACE } from './domain.js';
import type { FilterMetadata, NicMetadata, RoutedMetadata } from './metadata.js';

/**
 * Returns the `<gw:guestwire>` element that readMetadata() reads back as `intents`. The values are written as they are,
 * sensible or not; characters that XML cannot hold (U+0000, U+FFFE, half a surrogate pair) make XML that is refused.
 */
export function formatMetadata(intents: readonly NicMetadata[]): string {
  const element = { '@_xmlns:gw': METADATA_NAMESPACE, 'gw:interface': intents.map(interfaceNode) };
  // Deprecated in favour of fast-xml-builder, which is the package that fast-xml-parser re-exports here.
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  return new XMLBuilder(OPTIONS).build({ 'gw:guestwire': element }).trimEnd();
}

const OPTIONS = {
  format: true,
  ignoreAttributes: false,
  suppressEmptyNode: true,
  // By default trunk="true" would be written as a bare `trunk`, which is not XML.
  suppressBooleanAttributes: false,
  // The builder's own entities leave out tabs and line breaks, which a reader turns into spaces.
  processEntities: false,
  attributeValueProcessor: (_name: string, value: unknown) => String(value).replace(/[&<>"'\t\n\r]/g, reference),
};

function reference(character: string): string {
  return `&#${character.charCodeAt(0)};`;
}

/** An undefined member is left out by the builder. */
type Node = Readonly<Record<string, unknown>>;

function interfaceNode({ mac, vlan, isolated, routed, filter }: NicMetadata): Node {
  return {
    '@_mac': mac,
    'gw:vlan': vlan && vlanNode(vlan),
    'gw:port': isolated === undefined ? undefined : { '@_isolated': isolated },
    'gw:routed': routed && routedNode(routed),
    ...(filter && filterNodes(filter)),
  };
}

function filterNodes({ trust, allows, policy, groups, ips }: FilterMetadata): Node {
  return {
    'gw:ip': ips.map(({ address, prefix }) => ({ '@_address': address, '@_prefix': prefix })),
    'gw:trust': trust && Object.fromEntries(Object.entries(trust).map(([word, value]) => [`@_${word}`, value])),
    'gw:policy': policy && { '@_profile': policy.profile, '@_log': policy.log },
    'gw:group': groups.map((name) => ({ '@_name': name })),
    'gw:allow': allows.map(({ direction, proto, port, from, to }) => ({
      '@_direction': direction, '@_proto': proto, '@_port': port, '@_from': from, '@_to': to,
    })),
  };
}

function vlanNode({ trunk, tags }: NativeVlan): Node {
  return { '@_trunk': trunk, 'gw:tag': tags.map(({ id, nativeMode }) => ({ '@_id': id, '@_nativeMode': nativeMode })) };
}

function routedNode({ veth, ips, routes, table, vrf }: RoutedMetadata): Node {
  return {
    '@_table': table,
    '@_vrf': vrf,
    'gw:veth': veth && { '@_dev': veth.dev, '@_mtu': veth.mtu },
    'gw:ip': ips.map(({ address, prefix }) => ({ '@_address': address, '@_prefix': prefix })),
    'gw:route': routes.map(({ address, prefix, gateway }) => ({
      '@_address': address, '@_prefix': prefix, '@_gateway': gateway,
    })),
  };
}
