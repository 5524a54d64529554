/**
 * Chains of other programs that drop what guests on routed links send and receive. Each cure only opens the chain, for
 * guests alone: the host keeps what it has.
 */
import type { HostService } from '../../kernel/accepting-rules.js';
import type { DroppingChain } from '../../kernel/host-chains.js';
import type { Family } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import { distinct } from '../attached.js';
import { isAmong, lineFor, throughCure } from '../chain-cures.js';
import type { Finding, HostFacts } from '../health-facts.js';

type Check = (facts: HostFacts) => Finding[];

const WRITTEN_AGAIN = 'Docker, ufw, firewalld or an administrator set this; they may write the chain again, so add the rule to their configuration';

export const CHAINS: readonly Check[] = [
  ({ dropping, nics }) => on(dropping, 'forward').flatMap((chain): Finding[] => {
    const cure = throughCure(chain, linksOf({ nics }));
    if (cure === undefined) return [];
    return [{ severity: 'warning', what: `chain ${quote(chain.name)} drops packets that no rule accepts`, cure, why: `it drops traffic of guests on routed links: ${WRITTEN_AGAIN}` }];
  }),
  (facts) => on(facts.dropping, 'input').flatMap((chain): Finding[] => [
    ...unheard(chain, facts, {
      what: 'neighbour discovery', services: discovery(facts), match: { nft: ND, legacy: '-p ipv6-icmp' },
      why: 'guests do not find their gateway, so they have no IPv6',
    }),
    ...unheard(chain, facts, {
      what: 'DHCP', services: dhcp(facts), match: { nft: DHCP, legacy: '-p udp -m multiport --dports 67,547' },
      why: 'guests do not get the addresses that [serve] offers',
    }),
  ]),
  ({ dropping, nics }) => on(dropping, 'prerouting').flatMap((chain): Finding[] => {
    const links = linksOf({ nics }).filter((link) => !isAmong(link, chain.from));
    const addresses = nics.flatMap(({ routed = [] }) => routed).filter(({ family }) => speaks(chain, family));
    if (links.length === 0 || addresses.length === 0) return [];
    return [{
      severity: 'warning', what: `chain ${quote(chain.name)} drops packets that no rule accepts`, why: `it may drop what guests on routed links send and receive: ${WRITTEN_AGAIN}`,
      cure: [
        ...links.map((link) => lineFor(chain, `iifname "${link}"`)),
        ...addresses.map(({ family, text }) => lineFor(chain, `${family === 'inet' ? 'ip' : 'ip6'} daddr ${text}`)),
      ].join(' && '),
    }];
  }),
  ({ dropping, nics }) => (linksOf({ nics }).length === 0 ? [] : on(dropping, 'ingress', 'netdev')).map((chain) => ({
    severity: 'warning', what: `chain ${quote(chain.name)} drops frames that no rule accepts`, why: 'it may drop what guests on routed links receive before the host forwards it', cure: `a rule in it that accepts the addresses of guests; 'nft list chain ${chain.name}' shows it`,
  })),
];

const ND = 'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }';
const DHCP = 'udp dport { 67, 547 }';

function on(dropping: readonly DroppingChain[], hook: string, only?: string): DroppingChain[] {
  return dropping.filter((chain) =>
    chain.hook === hook && (only === undefined ? !['bridge', 'netdev'].includes(chain.family) : chain.family === only));
}

function linksOf({ nics }: Pick<HostFacts, 'nics'>, family?: Family): string[] {
  return distinct(nics
    .filter(({ routed }) => routed?.some((address) => family === undefined || address.family === family))
    .map(({ link }) => link));
}

function speaks({ family }: DroppingChain, of: Family): boolean {
  return family === 'inet' || (family === 'ip6') === (of === 'inet6');
}

interface Lack {
  readonly what: string;
  readonly why: string;
  /** By service, the family that needs it. */
  readonly services: readonly (readonly [HostService, Family])[];
  readonly match: { readonly nft: string; readonly legacy: string };
}

function discovery({ config }: HostFacts): Lack['services'] {
  return [
    ['nd-neighbor-solicit', 'inet6'], ['nd-neighbor-advert', 'inet6'],
    ...(config.serve === undefined ? [] : [['nd-router-solicit', 'inet6'] as const]),
  ];
}

function dhcp({ config }: HostFacts): Lack['services'] {
  return config.serve === undefined ? [] : [['dhcp', 'inet'], ['dhcpv6', 'inet6']];
}

/** What guests need of the host itself, and an input chain does not accept from their links. */
function unheard(chain: DroppingChain, facts: HostFacts, { what, why, services, match }: Lack): Finding[] {
  const links = distinct(services.filter(([, family]) => speaks(chain, family)).flatMap(([service, family]) =>
    linksOf(facts, family).filter((link) => !isAmong(link, chain.accepts[service]))));
  if (links.length === 0) return [];
  return [{
    severity: 'error', what: `chain ${quote(chain.name)} drops ${what} from ${links.map(quote).join(', ')}`, why: `${why}: ${WRITTEN_AGAIN}`,
    cure: links.map((link) => (chain.kind === 'legacy'
      ? `${chain.name} -I INPUT -i ${link.replace(/\*$/, '+')} ${match.legacy} -j ACCEPT`
      : lineFor(chain, `iifname "${link}" ${match.nft}`))).join(' && '),
  }];
}
