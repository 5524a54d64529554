/** What of the host's own network is on a link: a cure leaves it alone. */
import type { LinkFacts } from '../kernel/observation.js';
import { isLinkLocal } from '../values/address.js';

/**
 * Returns the host's addresses on a link, as text. Link-local IPv6 addresses are left out,
 * because the kernel gives one to each link.
 */
export function hostAddresses(facts: LinkFacts | undefined): string[] {
  return (facts?.addresses ?? [])
    .filter(({ address }) => address.family === 'inet' || !isLinkLocal(address))
    .map(({ address }) => address.text);
}
