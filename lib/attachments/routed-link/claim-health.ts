/** What the host config claims for routed links, held against the host. */
import type { HostConfig } from '../../config/host-config.js';
import type { Scope } from '../../kernel/observation.js';
import { isLinkLocal, width } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import { isAmong } from '../chain-cures.js';
import type { Finding, HostFacts } from '../health-facts.js';
import { unusable } from '../presence.js';
import { claimedOfHost, CURE, gatewayFault, isHostWide, sourceFault } from './host-claims.js';

type Check = (facts: HostFacts) => Finding[];

/** Returns what to ask the kernel about the claims. */
export function claimScope({ routed }: HostConfig): Partial<Scope> {
  return {
    lookups: claimedOfHost(routed), links: routed.proxy,
    locals: routed.gateways.filter(isHostWide).map(({ prefix }) => prefix.text),
  };
}

/** Returns what to ask once the first answers are known. */
export function furtherClaimScope({ routed }: HostConfig): Partial<Scope> {
  return { nextHops: routed.gateways.filter(isHostWide).map(({ prefix }) => prefix) };
}

export const CLAIMS: readonly Check[] = [
  (facts) => {
    const { config, observation: { locals, nextHops }, nics } = facts;
    const links = ['vnet*', ...nics.map(({ link }) => link)];
    return config.routed.gateways.filter(isHostWide).flatMap((gateway): Finding[] => {
      // The default gateways harm a host only through a guest that has them.
      const isUsed = nics.some(({ routed = [] }) => routed.some(({ family }) => family === gateway.family));
      if (isLinkLocal(gateway) && !isUsed) return [];
      // Without libvirt's answer a guest's link of another name looks like the host's.
      const fault = gatewayFault(gateway, {
        locals: nics.length === 0 ? [] : locals, nextHops, isGuests: (dev) => isAmong(dev, links),
      });
      return fault === undefined ? [] : [{ severity: 'error', what: fault, why: "guests on routed links do not start, and beside a guest that has it already the host's own traffic can go to that guest", cure: CURE }];
    });
  },
  ({ config: { routed }, observation: { lookups } }) => routed.sources
    .filter(({ text }) => lookups.get(text)?.type !== 'local')
    .map(({ text, family }) => ({
      severity: 'error', what: sourceFault(text), why: 'guests on routed links do not start', cure: `ip address add ${text}/${width(family)} dev lo`,
    })),
  ({ config: { routed }, observation: { links }, nics }) => routed.proxy.flatMap((dev): Finding[] => {
    const guest = nics.find(({ link }) => isAmong(dev, [link]))?.guest;
    const fault = guest === undefined ? unusable(links.get(dev)) : `is the link of guest ${quote(guest)}`;
    return fault === undefined ? [] : [{ severity: 'error', what: `proxy link ${quote(dev)} ${fault}`, why: 'no neighbour finds the guests through it', cure: "name a link towards the neighbours in 'proxy' of [routed]" }];
  }),
];
