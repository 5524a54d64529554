/** What `doctor` finds about a host that routes to guests: forwarding, neighbour tables and forward chains. */
import type { DroppingChain } from '../../kernel/forward-chains.js';
import { type Family, isLinkLocal, width } from '../../values/address.js';
import { quote, sysctlName } from '../../values/quote.js';
import type { Finding, HostFacts, KindHealth } from '../health-facts.js';
import { unusable } from '../presence.js';
import { unforwarded } from './forwarding.js';
import { claimedOfHost, CURE, gatewayFault, isHostWide, sourceFault } from './host-claims.js';

export const routedHealth: KindHealth = {
  scope: ({ config: { routed } }) => ({
    lookups: claimedOfHost(routed), links: routed.proxy,
    locals: routed.gateways.filter(isHostWide).map(({ prefix }) => prefix.text),
  }),
  furtherScope: ({ config: { routed } }) => (
    { nextHops: routed.gateways.filter(isHostWide).map(({ prefix }) => prefix) }),
  findings: (facts) => [...FORWARDING, ...TABLES, ...CHAINS, ...CLAIMS].flatMap((check) => check(facts)),
};

type Check = (facts: HostFacts) => Finding[];

function uses({ nics }: HostFacts, family: Family): boolean {
  return nics.some(({ routed = [] }) => routed.some((address) => address.family === family));
}

const FORWARDING: readonly Check[] = [
  (facts) => (uses(facts, 'inet') && facts.sysctls.get('net/ipv4/ip_forward') === '0' ? [{
    severity: 'error', ...unforwarded('inet', []), why: 'guests on routed links do not start',
  }] : []),
  (facts) => (uses(facts, 'inet6') && facts.sysctls.get('net/ipv6/conf/all/forwarding') === '0'
    ? [{ severity: 'error', ...unforwarded('inet6', raLinks(facts, '1')), why: 'guests on routed links do not start' }]
    : []),
  (facts) => (facts.sysctls.get('net/ipv6/conf/all/forwarding') !== '1' ? [] : raLinks(facts, '1').map((dev) => ({
    severity: 'warning', what: `${quote(dev)} ignores router advertisements, because this host forwards`, why: 'a default route learned from them is gone, or disappears when it expires', cure: `sysctl -w ${sysctlName(`net/ipv6/conf/${dev}/accept_ra`)}=2`,
  }))),
];

function raLinks({ uplinks, sysctls }: HostFacts, value: string): string[] {
  return uplinks.filter((dev) => sysctls.get(`net/ipv6/conf/${dev}/accept_ra`) === value);
}

const TABLES: readonly Check[] = [
  ({ nics, sysctls }) => (['ipv4', 'ipv6'] as const).flatMap((family): Finding[] => {
    const most = Number(sysctls.get(`net/${family}/neigh/default/gc_thresh3`) ?? Infinity);
    // A guest is a neighbour by its address and its link-local one, and what it learns of others takes as much again.
    const needed = nics.filter(({ routed }) => routed !== undefined).length * 4;
    return needed < most / 2 ? [] : [{ severity: 'warning', what: `the ${family} neighbour table has room for ${most}`, why: `the guests may need ${needed} entries, and a full table makes guests unreachable at random`, cure: `sysctl -w net.${family}.neigh.default.gc_thresh3=${needed * 4} net.${family}.neigh.default.gc_thresh2=${needed * 2}` }];
  }),
];

const CHAINS: readonly Check[] = [
  ({ dropping, nics }) => dropping.flatMap((chain): Finding[] => {
    const links = [...new Set(nics
      .filter(({ routed }) => routed !== undefined)
      .map(({ link }) => link))];
    const [from, to] = [
      links.filter((link) => !isAmong(link, chain.from)), links.filter((link) => !isAmong(link, chain.to)),
    ];
    if (from.length + to.length === 0) return [];
    return [{
      severity: 'warning', what: `chain ${quote(chain.name)} drops packets that no rule accepts`, cure: [
        ...from.map((link) => acceptRule(chain, 'from', link)), ...to.map((link) => acceptRule(chain, 'to', link)),
      ].join(' && '),
      why: "Docker, ufw, firewalld or an administrator set this, and it drops traffic of guests on routed links; they may write the chain again, so add the rule to their configuration",
    }];
  }),
];

/** What the host config claims, held against the host. */
const CLAIMS: readonly Check[] = [
  (facts) => {
    const { config, observation: { locals, nextHops }, nics } = facts;
    const links = ['vnet*', ...nics.map(({ link }) => link)];
    return config.routed.gateways.filter(isHostWide).flatMap((gateway): Finding[] => {
      // The default gateways harm a host only through a guest that has them.
      if (isLinkLocal(gateway) && !uses(facts, gateway.family)) return [];
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

function isAmong(link: string, accepted: readonly string[]): boolean {
  return accepted.some((one) => one === link || (one.endsWith('*') && link.startsWith(one.slice(0, -1))));
}

/** First in the chain, because whatever drops may stand anywhere. */
function acceptRule({ kind, name }: DroppingChain, side: 'from' | 'to', link: string): string {
  if (kind === 'legacy') return `${name} -I FORWARD ${side === 'from' ? '-i' : '-o'} ${link.replace(/\*$/, '+')} -j ACCEPT`;
  return `nft insert rule ${name} ${side === 'from' ? 'iifname' : 'oifname'} '"${link}"' accept`;
}
