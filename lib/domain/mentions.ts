/** What the text of a domain XML mentions, for XML that cannot be parsed. */
import { METADATA_NAMESPACE } from './domain.js';

export interface Mentions {
  /** Whether the text may ask for wiring: it has guestwire's namespace, or a `<vlan>`. */
  readonly asks: boolean;
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
    asks: xml.includes(METADATA_NAMESPACE) || /<vlan[\s/>]/.test(xml),
    networks: valuesOf('network'), bridges: valuesOf('bridge'),
  };
}
