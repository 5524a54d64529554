/** Changes of guestwire's metadata as values: what `guestwire set` and `unset` make of what is there. Pure. */
import { DomainXmlError, UsageError } from '../errors.js';
import { quote } from '../values/quote.js';
import { type Domain, METADATA_NAMESPACE } from './domain.js';
import { guestLabel } from './guest.js';
import { formatMetadata } from './metadata-writer.js';
import { type NicMetadata, readMetadata } from './metadata.js';
import { parseXml } from './xml.js';

/** The changes to one NIC, as written; an undefined value stays as it is. */
export interface MetadataChange {
  readonly vlan?: string | undefined;
  readonly trunk?: string | undefined;
  readonly native?: string | undefined;
  readonly isolated?: boolean | undefined;
  readonly ips?: readonly string[] | undefined;
  /** 'PREFIX' or 'PREFIX,GATEWAY'. */
  readonly routes?: readonly string[] | undefined;
}

/** Returns what the metadata say, also about NICs that the guest does not have: they stay as they are. */
export function wholeMetadata(domain: Domain): NicMetadata[] {
  const macs = domain.metadata.flatMap(({ children }) =>
    children.map(({ attributes }) => attributes.get('mac')?.toLowerCase()));
  return readMetadata({
    ...domain, nics: [...new Set(macs)].map((mac, index) => ({ index, mac }) as Domain['nics'][number]),
  });
}

/** Returns `intents` with the change made to the NIC's. Throws UsageError for a change that contradicts itself. */
export function withChange(intents: readonly NicMetadata[], mac: string, change: MetadataChange): NicMetadata[] {
  const { filter, ...rest } = intents.find((intent) => intent.mac === mac) ?? {
    mac, vlan: undefined, isolated: undefined, routed: undefined,
  };
  const changed: NicMetadata = {
    ...rest, ...(isRouted(change) ? routedBy(rest, change) : portBy(rest, change)), ...(filter && { filter }),
  };
  return intents.some((intent) => intent.mac === mac)
    ? intents.map((intent) => (intent.mac === mac ? changed : intent))
    : [...intents, changed];
}

/** Returns `intents` without those of the NIC. */
export function withoutNic(intents: readonly NicMetadata[], mac: string): NicMetadata[] {
  return intents.filter((intent) => intent.mac !== mac);
}

/** Returns the domain as it is with these metadata, to be judged before they are written. */
export function domainWith(domain: Domain, intents: readonly NicMetadata[]): Domain {
  return { ...domain, metadata: intents.length === 0 ? [] : [parseXml(formatMetadata(intents))] };
}

/**
 * Returns the element as libvirt's API takes it, which declares the prefix of the key itself; undefined: no element is
 * left.
 */
export function metadataElement(intents: readonly NicMetadata[]): string | undefined {
  if (intents.length === 0) return undefined;
  // In values every '<' is written as a reference.
  return formatMetadata(intents).replace(` xmlns:gw="${METADATA_NAMESPACE}"`, '').replaceAll('<gw:', '<').replaceAll(
    '</gw:', '</',
  );
}

/** Throws unless the guest has exactly this NIC. Returns its MAC as metadata write it. */
export function assertNic({ name, nics }: Domain, mac: string): string {
  const wanted = mac.toLowerCase();
  if (nics.some((nic) => nic.mac === wanted)) return wanted;
  const macs = nics.flatMap((nic) => (nic.mac === undefined ? [] : [quote(nic.mac)])).join(', ');
  throw new DomainXmlError(`no NIC has the MAC ${quote(mac)}, the guest has ${macs === '' ? 'none' : macs}`)
    .placeAt({ guest: name, mac }, guestLabel(name));
}

function isRouted({ vlan, trunk, native, isolated, ips, routes }: MetadataChange): boolean {
  const port = vlan !== undefined || trunk !== undefined || native !== undefined || isolated !== undefined;
  const routed = ips !== undefined || routes !== undefined;
  if (port && routed) throw new UsageError('a NIC is a VLAN port or a routed link: give --vlan, --trunk and --isolated, or --ip and --route');
  if (!port && !routed) throw new UsageError('no option says what the NIC becomes: give --vlan, --trunk, --isolated, --ip or --route');
  return routed;
}

function routedBy(
  { routed }: Omit<NicMetadata, 'filter'>, { ips, routes }: MetadataChange,
): Pick<NicMetadata, 'vlan' | 'isolated' | 'routed'> {
  return {
    vlan: undefined,
    isolated: undefined,
    routed: {
      ...routed,
      ips: ips?.map((address) => ({ address, prefix: undefined })) ?? routed?.ips ?? [],
      routes: routes?.map(routeMetadata) ?? routed?.routes ?? [],
    },
  };
}

function routeMetadata(text: string): { address: string; prefix: string | undefined; gateway: string | undefined } {
  const [, address = '', prefix, gateway] = /^([^/,]*)(?:\/([^,]*))?(?:,(.*))?$/.exec(text) ?? [];
  return { address, prefix, gateway };
}

function portBy(
  before: Omit<NicMetadata, 'filter'>, { vlan, trunk, native, isolated }: MetadataChange,
): Pick<NicMetadata, 'vlan' | 'isolated' | 'routed'> {
  if (vlan !== undefined && trunk !== undefined) throw new UsageError("'--vlan' and '--trunk' exclude each other");
  if (native !== undefined && trunk === undefined) throw new UsageError("'--native' belongs to '--trunk'");
  return {
    routed: undefined,
    vlan: vlan !== undefined
      ? { trunk: undefined, tags: [{ id: vlan, nativeMode: undefined }] }
      : trunk !== undefined ? trunkMetadata(trunk, native) : before.vlan,
    isolated: isolated === undefined ? before.isolated : isolated ? 'yes' : 'no',
  };
}

function trunkMetadata(trunk: string, native: string | undefined): NonNullable<NicMetadata['vlan']> {
  const ids = trunk.split(',').map((id) => id.trim());
  return {
    trunk: 'yes',
    tags: [
      ...(native === undefined || ids.includes(native) ? [] : [{ id: native, nativeMode: 'untagged' }]),
      ...ids.map((id) => ({ id, nativeMode: id === native ? 'untagged' : undefined })),
    ],
  };
}
