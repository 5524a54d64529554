/**
 * Domain XML to `Domain`: what libvirt's XML says, as text, with nothing judged. A NIC that guestwire does not wire may
 * hold anything libvirt accepts, and its guest must still start, so values stay strings until a source of intent
 * configures the NIC (attachments/sources.ts). Only this file and metadata.ts know libvirt's element names.
 *
 * libvirt reads elements by XPath: those in no namespace, and the first where one is meant. A second `<source>` or
 * `<mac>` is therefore passed over here too, as libvirt 9.0 does on define; what libvirt prints never holds one.
 */
import { DomainXmlError } from '../errors.js';
import { quote } from '../values/quote.js';
import type { NativeVlan } from '../values/vlan.js';
import { parseXml, type XmlElement } from './xml.js';

/** Namespace of guestwire's element in a domain's `<metadata>`. */
export const METADATA_NAMESPACE = 'urn:guestwire:1';

/** One guest, as libvirt's XML of the moment describes it. */
export interface Domain {
  /** Driver: 'qemu', 'kvm', 'lxc', 'xen' and so on; libvirt always prints it. */
  readonly type: string | undefined;
  /** libvirt's number of this run of the guest; undefined in inactive XML. */
  readonly id?: number | undefined;
  /** As written, white space included, never empty. */
  readonly name: string;
  /** Lower case with hyphens; absent in a hand-written XML that libvirt has not defined yet. */
  readonly uuid: string | undefined;
  /** In document order; `Nic.index` counts from 0. */
  readonly nics: readonly Nic[];
  /**
   * The elements of guestwire's namespace in `<metadata>`, unread: metadata.ts does it, so that teardown never does.
   */
  readonly metadata: readonly XmlElement[];
}

/** One `<interface>`, live or inactive. Absent attributes are undefined, never ''. */
export interface Nic {
  readonly index: number;
  /** `@type` as written, 'user' without one, as in libvirt; which network it joins is in `joins`. */
  readonly type: string;
  /** The configured MAC (`mac@address`, never `currentAddress`), lower case. */
  readonly mac: string | undefined;
  readonly joins: NicJoin;
  readonly source: NicSource;
  /** `<target dev>`: the host-side link. libvirt names it from `start` on and strips it again at `stopped`. */
  readonly target: { readonly dev: string | undefined; readonly managed: string | undefined };
  readonly vlan: NativeVlan | undefined;
  /** `<port isolated>` as written. */
  readonly isolated: string | undefined;
  readonly virtualport: string | undefined;
  readonly mtu: string | undefined;
  /** `<driver queues>`: how often libvirt opens the tap; printed for virtio NICs only. */
  readonly queues: string | undefined;
  readonly linkState: string | undefined;
  readonly filterref: Filterref | undefined;
  /** Host-side `<source><ip>` and `<source><route>`, which libvirt itself applies. */
  readonly hostIp: IpConfig;
  /** Guest-side `<ip>` and `<route>`. */
  readonly guestIp: IpConfig;
  readonly backend: Readonly<Record<string, string>> | undefined;
  readonly alias: string | undefined;
}

/**
 * What the NIC joins, by what its elements say: the live XML of a libvirt network prints as type 'network', 'bridge' or
 * 'direct' depending on the network's kind (libvirt 9.0 and 11.3), so `@type` alone would mislead.
 */
export type NicJoin =
  /** A tap on a Linux bridge. */
  | { readonly kind: 'bridge'; readonly bridge: string }
  /** A bridge that Open vSwitch runs: `<virtualport type='openvswitch'>`. */
  | { readonly kind: 'openvswitch'; readonly bridge: string | undefined }
  /** A libvirt network of a kind that this XML does not show yet (inactive XML, `prepare`). */
  | { readonly kind: 'network'; readonly network: string | undefined }
  /** A tap that joins nothing, or a link made beforehand (`managed='no'`): type 'ethernet'. */
  | { readonly kind: 'ethernet' }
  /** macvtap or macvlan on `dev`. */
  | { readonly kind: 'direct'; readonly dev: string | undefined; readonly mode: string | undefined }
  /**
   * No host link that could be wired: user, vhostuser, hostdev, vdpa, mcast, udp, server, client, internal, null, vds,
   * a type of a later libvirt, and a bridge whose port another program binds (midonet).
   */
  | { readonly kind: 'none' };

export interface NicSource {
  readonly bridge: string | undefined;
  readonly dev: string | undefined;
  readonly mode: string | undefined;
  readonly network: string | undefined;
  readonly portgroup: string | undefined;
  readonly portid: string | undefined;
}

export interface Filterref {
  readonly filter: string;
  /** Parameters repeat: IP given twice is a list (libvirt formatnwfilter). */
  readonly parameters: readonly { readonly name: string; readonly value: string }[];
}

export interface IpConfig {
  readonly ips: readonly {
    readonly address: string | undefined;
    readonly prefix: string | undefined;
    readonly family: string | undefined;
    readonly peer: string | undefined;
  }[];
  readonly routes: readonly {
    readonly address: string | undefined;
    readonly prefix: string | undefined;
    readonly netmask: string | undefined;
    readonly family: string | undefined;
    readonly gateway: string | undefined;
    readonly metric: string | undefined;
  }[];
}

/**
 * Returns the domain. Throws DomainXmlError only for a text that is not a domain: not XML, another root element, no
 * name, a malformed UUID. Whatever a NIC or the metadata say, the domain is returned, because teardown needs it.
 */
export function parseDomain(xml: string | Uint8Array): Domain {
  const root = parseXml(xml);
  if (root.uri !== '' || root.local !== 'domain') {
    const shown = root.uri === '' ? root.local : `{${root.uri}}${root.local}`;
    throw new DomainXmlError(`${quote(shown)} is not a domain: the root element of domain XML is <domain>, in no namespace`);
  }
  const name = child(root, 'name')?.text;
  if (name === undefined || name === '') throw new DomainXmlError('the domain has no name: <domain> needs a <name>');
  const interfaces = children(root, 'devices').flatMap((devices) => children(devices, 'interface'));
  return {
    type: root.attributes.get('type'),
    id: idOf(root.attributes.get('id')),
    name,
    uuid: uuidOf(name, child(root, 'uuid')?.text.trim()),
    nics: interfaces.map(nicOf),
    metadata: child(root, 'metadata')?.children.filter(({ uri }) => uri === METADATA_NAMESPACE) ?? [],
  };
}

function idOf(text: string | undefined): number | undefined {
  return /^[0-9]{1,9}$/.test(text ?? '') ? Number(text) : undefined;
}

/** Returns what a `<vlan>` says: libvirt's, or its twin in guestwire's namespace with tags of the same namespace. */
export function vlanOf(vlan: XmlElement): NativeVlan {
  const tags = vlan.children.filter(({ uri, local }) => uri === vlan.uri && local === 'tag');
  return {
    trunk: vlan.attributes.get('trunk'),
    tags: tags.map((tag) => ({ id: tag.attributes.get('id'), nativeMode: tag.attributes.get('nativeMode') })),
  };
}

/** libvirt takes hyphens anywhere and prints them in their places (virUUIDParse). */
function uuidOf(guest: string, text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined;
  const digits = text.replaceAll('-', '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) {
    throw new DomainXmlError(`<uuid> ${quote(text)} is not a UUID: it has 32 hexadecimal digits`)
      .placeAt({ guest }, `guest ${quote(guest)}`);
  }
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function nicOf(element: XmlElement, index: number): Nic {
  const type = element.attributes.get('type') ?? 'user';
  const source = child(element, 'source');
  const vlan = child(element, 'vlan');
  const backend = child(element, 'backend');
  const nicSource = parseSource(source);
  const virtualport = attribute(element, 'virtualport', 'type');
  return {
    index,
    type,
    mac: attribute(element, 'mac', 'address')?.toLowerCase(),
    joins: joinOf(type, nicSource, virtualport),
    source: nicSource,
    target: { dev: attribute(element, 'target', 'dev'), managed: attribute(element, 'target', 'managed') },
    vlan: vlan && vlanOf(vlan),
    isolated: attribute(element, 'port', 'isolated'),
    virtualport,
    mtu: attribute(element, 'mtu', 'size'),
    queues: attribute(element, 'driver', 'queues'),
    linkState: attribute(element, 'link', 'state'),
    filterref: filterrefOf(child(element, 'filterref')),
    hostIp: ipConfig(source),
    guestIp: ipConfig(element),
    backend: backend && Object.fromEntries(backend.attributes),
    alias: attribute(element, 'alias', 'name'),
  };
}

/**
 * `@bridge` counts only where libvirt reads and prints it: on 'ethernet' or 'direct' it drops the attribute, so it must
 * not make a port there.
 */
function joinOf(type: string, { bridge, dev, mode, network }: NicSource, virtualport: string | undefined): NicJoin {
  if (type === 'ethernet') return { kind: 'ethernet' };
  if (type === 'direct') return { kind: 'direct', dev, mode };
  if (type !== 'bridge' && type !== 'network') return { kind: 'none' };
  if (virtualport === 'openvswitch') return { kind: 'openvswitch', bridge };
  if (virtualport === 'midonet') return { kind: 'none' };
  if (bridge !== undefined) return { kind: 'bridge', bridge };
  return type === 'network' ? { kind: 'network', network } : { kind: 'none' };
}

function parseSource(source: XmlElement | undefined): NicSource {
  const get = (name: string): string | undefined => source?.attributes.get(name);
  return {
    bridge: get('bridge'), dev: get('dev'), mode: get('mode'),
    network: get('network'), portgroup: get('portgroup'), portid: get('portid'),
  };
}

/** libvirt takes a `<filterref>` without a filter for none, and passes over a parameter that lacks name or value. */
function filterrefOf(filterref: XmlElement | undefined): Filterref | undefined {
  const filter = filterref?.attributes.get('filter');
  if (filterref === undefined || filter === undefined) return undefined;
  const parameters = children(filterref, 'parameter').flatMap(({ attributes }) => {
    const [name, value] = [attributes.get('name'), attributes.get('value')];
    return name === undefined || value === undefined ? [] : [{ name, value }];
  });
  return { filter, parameters };
}

function ipConfig(parent: XmlElement | undefined): IpConfig {
  if (parent === undefined) return { ips: [], routes: [] };
  return {
    ips: children(parent, 'ip').map(({ attributes: of }) => ({
      address: of.get('address'), prefix: of.get('prefix'), family: of.get('family'), peer: of.get('peer'),
    })),
    routes: children(parent, 'route').map(({ attributes: of }) => ({
      address: of.get('address'), prefix: of.get('prefix'), netmask: of.get('netmask'),
      family: of.get('family'), gateway: of.get('gateway'), metric: of.get('metric'),
    })),
  };
}

function attribute(parent: XmlElement, element: string, name: string): string | undefined {
  return child(parent, element)?.attributes.get(name);
}

function child(parent: XmlElement, local: string): XmlElement | undefined {
  return parent.children.find((element) => element.uri === '' && element.local === local);
}

function children(parent: XmlElement, local: string): XmlElement[] {
  return parent.children.filter((element) => element.uri === '' && element.local === local);
}
