/** Where the host answers ARP and NDP for guests. */
import type { LinkFacts } from '../kernel/observation.js';
import type { Address } from '../values/address.js';
import { quote } from '../values/quote.js';

/** Where the host answers for a guest. */
export interface Presence {
  readonly dev: string;
  readonly speaker: Speaker;
  readonly addresses: readonly Address[];
}

/** The sender of a frame on a link: its MAC, and its link-local address if it has one. */
export interface Speaker {
  readonly mac: string;
  readonly linkLocal: Address | undefined;
}

/** Returns why the kernel would not answer on a link, in words for `proxy link 'X' ...`; undefined when it would. */
export function unusable(facts: LinkFacts | undefined): string | undefined {
  if (facts === undefined) return 'does not exist';
  // The bridge takes a port's frames before ARP and NDP see them (net/bridge/br_input.c).
  if (facts.isolated === undefined) return undefined;
  const master = quote(facts.master ?? '');
  return `is a port of ${master}, which takes its frames: name ${master} instead`;
}
