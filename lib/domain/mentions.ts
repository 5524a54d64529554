/** What the text of a domain XML mentions, for XML that cannot be parsed. */
import { METADATA_NAMESPACE } from './domain.js';

export interface Mentions {
  /** Whether the text asks guestwire for something: it has guestwire's namespace. libvirt's own <vlan> does not. */
  readonly asks: boolean;
  /** Whether it may have libvirt's own <vlan>. */
  readonly hasVlan: boolean;
  /** As written; empty: none. */
  readonly uuid: string;
  /** Names of the libvirt networks and bridges of its NICs, as written. */
  readonly networks: readonly string[];
  readonly bridges: readonly string[];
}

/** Returns what `xml` mentions, whether or not it is well-formed. */
export function mentionsIn(xml: string): Mentions {
  const valuesOf = (attribute: string): string[] => {
    const sources = xml.matchAll(new RegExp(`<source [^>]*\\b${attribute}=['"]([^'"]*)`, 'g'));
    return [...sources].map(([, value = '']) => value);
  };
  return {
    asks: xml.includes(METADATA_NAMESPACE), hasVlan: /<vlan[\s/>]/.test(xml),
    uuid: /<uuid>\s*([^<\s]*)/.exec(xml)?.[1] ?? '',
    networks: valuesOf('network'), bridges: valuesOf('bridge'),
  };
}
