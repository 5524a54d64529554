/**
 * guestwire's element in a domain's `<metadata>`, namespace `urn:guestwire:1`: what each NIC, named by its MAC, is
 * meant to be on the network. Read strictly: a misspelt word here would leave a guest on the wrong network in silence.
 * Whether the values make sense is not judged here. Messages write the prefix gw, whatever the document's is.
 */
import { about, DomainXmlError } from '../errors.js';
import { TRUST_WORDS, type TrustWord } from '../intent/policy.js';
import type { VethWords } from '../intent/veth.js';
import { quote } from '../values/quote.js';
import type { NativeVlan } from '../values/vlan.js';
import { type Domain, METADATA_NAMESPACE, vlanOf } from './domain.js';
import { guestLabel } from './guest.js';
import type { XmlElement } from './xml.js';

/** What one `<gw:interface>` says, as written; attachments/sources.ts judges the values. */
export interface NicMetadata {
  /** Lower case, as `Nic.mac`; exactly one NIC of the domain has it. */
  readonly mac: string;
  readonly vlan: NativeVlan | undefined;
  readonly isolated: string | undefined;
  readonly routed: RoutedMetadata | undefined;
  /** Absent: none of its elements is there. */
  readonly filter?: FilterMetadata | undefined;
}

/** What a NIC is trusted with, which peers its guest may reach, and the addresses that a VLAN port declares. */
export interface FilterMetadata {
  readonly trust?: Readonly<Partial<Record<TrustWord, string | undefined>>> | undefined;
  readonly allows: readonly AllowMetadata[];
  readonly policy?: { readonly profile: string | undefined; readonly log: string | undefined } | undefined;
  readonly groups: readonly string[];
  readonly ips: readonly { readonly address: string; readonly prefix: string | undefined }[];
}

export interface AllowMetadata {
  readonly direction: string;
  readonly proto: string | undefined;
  readonly port: string | undefined;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

export interface RoutedMetadata {
  /** The host end of a veth pair; absent: the link is a tap. */
  readonly veth?: VethWords | undefined;
  readonly ips: readonly { readonly address: string; readonly prefix: string | undefined }[];
  readonly routes: readonly {
    readonly address: string;
    readonly prefix: string | undefined;
    readonly gateway: string | undefined;
  }[];
  readonly table?: string | undefined;
  readonly vrf?: string | undefined;
}

/**
 * Returns what the domain's metadata says, in its order; empty when it says nothing. Throws DomainXmlError for anything
 * outside the grammar and for a MAC that is not exactly one NIC's (see {@link OnStray}).
 */
export function readMetadata(domain: Domain, onStray?: OnStray): NicMetadata[] {
  const guest = guestLabel(domain.name);
  const tell: OnStray | undefined = onStray && ((message) => { onStray(`${guest}: ${message}`); });
  return about({ guest: domain.name }, guest, () => intentsIn(domain, tell));
}

function intentsIn(domain: Domain, onStray: OnStray | undefined): NicMetadata[] {
  const element = guestwireElement(domain.metadata);
  if (element === undefined) return [];
  assertElement('<gw:guestwire>', element, 'guestwire');
  const seen = new Set<string>();
  return element.children.map((child) => {
    const where = elementLabel(child, 'interface');
    assertTree(where, child, 'interface');
    const intent = nicMetadata(child);
    if (onStray !== undefined && isStray(intent.mac, domain)) {
      onStray(`${where}: no NIC has this MAC`);
      return undefined;
    }
    assertMac(where, intent.mac, domain);
    if (seen.has(intent.mac)) {
      throw new DomainXmlError(`${where}: the MAC is listed twice: merge the two <gw:interface> elements`);
    }
    seen.add(intent.mac);
    return intent;
  }).filter((intent) => intent !== undefined);
}

/** Told of an intent for a MAC that no NIC has; then that is passed over. Absent: it is an error. */
export type OnStray = (message: string) => void;

function isStray(mac: string, { nics }: Domain): boolean {
  return !nics.some((nic) => nic.mac === mac);
}

/** libvirt silently drops the second of two elements of one namespace on define: better to say so beforehand. */
function guestwireElement(elements: readonly XmlElement[]): XmlElement | undefined {
  const other = elements.find(({ local }) => local !== 'guestwire');
  if (other !== undefined) {
    throw new DomainXmlError(`<metadata>: unknown element ${quote(qualifiedName(other))}: only 'gw:guestwire' is allowed`);
  }
  if (elements.length > 1) {
    throw new DomainXmlError('<metadata>: <gw:guestwire> appears twice: merge the two, because libvirt keeps only one');
  }
  return elements[0];
}

type Name =
  | 'guestwire'
  | 'interface'
  | 'vlan'
  | 'tag'
  | 'port'
  | 'routed'
  | 'veth'
  | 'ip'
  | 'route'
  | 'trust'
  | 'allow'
  | 'policy'
  | 'group';

interface Rule {
  /** The first of them tells the elements of this name apart in messages. */
  readonly required: readonly string[];
  readonly optional: readonly string[];
  readonly once: readonly Name[];
  readonly many: readonly Name[];
}

const GRAMMAR: Readonly<Record<Name, Rule>> = {
  guestwire: { required: [], optional: [], once: [], many: ['interface'] },
  interface: { required: ['mac'], optional: [], once: ['vlan', 'port', 'routed', 'trust', 'policy'], many: [
    'allow', 'group', 'ip',
  ] },
  vlan: { required: [], optional: ['trunk'], once: [], many: ['tag'] },
  tag: { required: ['id'], optional: ['nativeMode'], once: [], many: [] },
  port: { required: ['isolated'], optional: [], once: [], many: [] },
  routed: { required: [], optional: ['table', 'vrf'], once: ['veth'], many: ['ip', 'route'] },
  veth: { required: ['dev'], optional: ['mtu'], once: [], many: [] },
  ip: { required: ['address'], optional: ['prefix'], once: [], many: [] },
  route: { required: ['address'], optional: ['prefix', 'gateway'], once: [], many: [] },
  trust: { required: [], optional: TRUST_WORDS, once: [], many: [] },
  allow: { required: ['direction'], optional: ['proto', 'port', 'from', 'to'], once: [], many: [] },
  policy: { required: [], optional: ['profile', 'log'], once: [], many: [] },
  group: { required: ['name'], optional: [], once: [], many: [] },
};

/** Refuses what GRAMMAR does not have, in the element and below it; a parent is read before its children. */
function assertTree(where: string, element: XmlElement, name: Name): void {
  assertElement(where, element, name);
  const { once, many } = GRAMMAR[name];
  for (const allowed of [...once, ...many]) {
    for (const [index, child] of childrenOf(element, allowed).entries()) {
      // Many permissions have one direction: which of them it is, only its place tells.
      assertTree(`${where}: ${allowed === 'allow' ? `<gw:allow> ${index + 1}` : elementLabel(child, allowed)}`, child, allowed);
    }
  }
}

function assertElement(where: string, element: XmlElement, name: Name): void {
  assertAttributes(where, element, GRAMMAR[name]);
  const text = element.text.trim();
  if (text !== '') throw new DomainXmlError(`${where}: text ${quote(text)} has no meaning here: remove it`);
  const { once, many } = GRAMMAR[name];
  const allowed: readonly string[] = [...once, ...many];
  for (const child of element.children) {
    const ours = child.uri === METADATA_NAMESPACE;
    if (ours && allowed.includes(child.local)) continue;
    throw new DomainXmlError(`${where}: unknown element ${quote(qualifiedName(child))}: ${listed(allowed.map((local) => `gw:${local}`))}`);
  }
  const twice = once.find((local) => childrenOf(element, local).length > 1);
  if (twice !== undefined) throw new DomainXmlError(`${where}: <gw:${twice}> appears twice: merge the two`);
}

function assertAttributes(where: string, element: XmlElement, { required, optional }: Rule): void {
  const allowed = [...required, ...optional];
  const prefixed = element.qualified.find(({ uri }) => uri === METADATA_NAMESPACE);
  if (prefixed !== undefined) {
    throw new DomainXmlError(`${where}: attribute ${quote(`gw:${prefixed.local}`)} has a prefix: remove the prefix`);
  }
  const unknown = [...element.attributes.keys()].find((name) => !allowed.includes(name));
  if (unknown !== undefined) throw new DomainXmlError(`${where}: unknown attribute ${quote(unknown)}: ${listed(allowed)}`);
  const missing = required.find((name) => !element.attributes.has(name));
  if (missing !== undefined) throw new DomainXmlError(`${where}: attribute ${quote(missing)} is missing: add it`);
}

function nicMetadata(element: XmlElement): NicMetadata {
  const [vlan] = childrenOf(element, 'vlan');
  const [port] = childrenOf(element, 'port');
  const [routed] = childrenOf(element, 'routed');
  return {
    mac: valueIn(element, 'mac').toLowerCase(),
    vlan: vlan && vlanOf(vlan),
    isolated: port?.attributes.get('isolated'),
    routed: routed && routedOf(routed),
    ...filterMetadata(element),
  };
}

function filterMetadata(element: XmlElement): Pick<NicMetadata, 'filter'> {
  const [trust] = childrenOf(element, 'trust');
  const [policy] = childrenOf(element, 'policy');
  const [allows, groups, ips] = [childrenOf(element, 'allow'), childrenOf(element, 'group'), childrenOf(element, 'ip')];
  if (trust === undefined && policy === undefined && allows.length + groups.length + ips.length === 0) return {};
  return {
    filter: {
      ...(trust && { trust: Object.fromEntries(trust.attributes) }),
      ...(policy && { policy: { profile: policy.attributes.get('profile'), log: policy.attributes.get('log') } }),
      allows: allows.map((allow) => {
        const get = (name: string): string | undefined => allow.attributes.get(name);
        return {
          direction: valueIn(allow, 'direction'), proto: get('proto'), port: get('port'), from: get('from'),
          to: get('to'),
        };
      }),
      groups: groups.map((group) => valueIn(group, 'name')),
      ips: ips.map((ip) => ({ address: valueIn(ip, 'address'), prefix: ip.attributes.get('prefix') })),
    },
  };
}

function routedOf(routed: XmlElement): RoutedMetadata {
  const [veth] = childrenOf(routed, 'veth');
  return {
    ...(veth && { veth: { dev: valueIn(veth, 'dev'), mtu: veth.attributes.get('mtu') } }),
    ips: childrenOf(routed, 'ip').map((ip) => ({
      address: valueIn(ip, 'address'), prefix: ip.attributes.get('prefix'),
    })),
    routes: childrenOf(routed, 'route').map((route) => ({
      address: valueIn(route, 'address'),
      prefix: route.attributes.get('prefix'),
      gateway: route.attributes.get('gateway'),
    })),
    table: routed.attributes.get('table'),
    vrf: routed.attributes.get('vrf'),
  };
}

/** A MAC is the only way to name a NIC: one that fits none, or two, would wire nothing, or the wrong one. */
function assertMac(where: string, mac: string, { nics }: Domain): void {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) {
    throw new DomainXmlError(`${where}: ${quote(mac)} is not a MAC address: write it like '52:54:00:aa:bb:01'`);
  }
  const matches = nics.filter((nic) => nic.mac === mac);
  if (matches.length > 1) {
    const indexes = matches.map(({ index }) => index).join(' and ');
    throw new DomainXmlError(`${where}: the MAC matches NICs ${indexes}: give each NIC its own <mac address>`);
  }
  if (matches.length === 1) return;
  const macs = nics.flatMap((nic) => (nic.mac === undefined ? [] : [quote(nic.mac)])).join(', ');
  throw new DomainXmlError(`${where}: no NIC has this MAC, the guest has ${macs === '' ? 'none' : macs}: use one of its MACs, or add <mac address=${quote(mac)}/> to the intended <interface>`);
}

function elementLabel(element: XmlElement, name: Name): string {
  const [key] = GRAMMAR[name].required;
  const value = key === undefined ? undefined : element.attributes.get(key);
  return key === undefined || value === undefined ? `<gw:${name}>` : `<gw:${name} ${key}=${quote(value)}>`;
}

/** The name as the user may have written it; a foreign namespace in full, because its prefix says nothing. */
function qualifiedName({ uri, local }: XmlElement): string {
  if (uri === METADATA_NAMESPACE) return `gw:${local}`;
  return uri === '' ? local : `{${uri}}${local}`;
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none is allowed here';
  return names.length === 1 ? `only ${quote(names[0] ?? '')} is allowed` : `allowed are ${names.map(quote).join(', ')}`;
}

function childrenOf(parent: XmlElement, name: Name): XmlElement[] {
  return parent.children.filter(({ uri, local }) => uri === METADATA_NAMESPACE && local === name);
}

/** A required attribute, which assertElement has seen. */
function valueIn(element: XmlElement, name: string): string {
  return element.attributes.get(name) ?? '';
}
