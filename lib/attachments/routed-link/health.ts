/** What `doctor` finds about a host that routes to guests: forwarding, and its tables of neighbours and connections. */
import type { Family } from '../../values/address.js';
import { quote, sysctlName } from '../../values/quote.js';
import type { Finding, HostFacts, KindHealth } from '../health-facts.js';
import { CHAINS } from './chain-health.js';
import { CLAIMS, claimScope, furtherClaimScope } from './claim-health.js';
import { ignoredArp, unforwarded, unforwardedOn } from './forwarding.js';
import { RULES } from './rule-health.js';

function uses({ nics }: Pick<HostFacts, 'nics'>, family: Family): boolean {
  return nics.some(({ routed = [] }) => routed.some((address) => address.family === family));
}

export const routedHealth: KindHealth = {
  scope: ({ config }) => claimScope(config),
  furtherScope: ({ config }) => furtherClaimScope(config),
  findings: (facts) => [...FORWARDING, ...TABLES, ...CLAIMS].flatMap((check) => check(facts)),
  cuts: (facts) => [...SETTINGS, ...CHAINS, ...RULES].flatMap((check) => check(facts)),
};

type Check = (facts: HostFacts) => Finding[];

const FORWARDING: readonly Check[] = [
  (facts) => (uses(facts, 'inet') && facts.sysctls.get('net/ipv4/ip_forward') === '0' ? [{
    severity: 'error', ...unforwarded('inet', []), why: 'guests on routed links do not start',
  }] : []),
  (facts) => (uses(facts, 'inet6') && facts.sysctls.get('net/ipv6/conf/all/forwarding') === '0'
    ? [{ severity: 'error', ...unforwarded('inet6', raLinks(facts)), why: 'guests on routed links do not start' }]
    : []),
  (facts) => (facts.sysctls.get('net/ipv6/conf/all/forwarding') !== '1' ? [] : raLinks(facts).map((dev) => ({
    severity: 'warning', what: `${quote(dev)} ignores router advertisements, because this host forwards`, why: 'a default route learned from them is gone, or disappears when it expires', cure: `sysctl -w ${sysctlName(`net/ipv6/conf/${dev}/accept_ra`)}=2`,
  }))),
];

function raLinks({ uplinks, sysctls }: HostFacts): string[] {
  return uplinks.filter((dev) => sysctls.get(`net/ipv6/conf/${dev}/accept_ra`) === '1');
}

const TABLES: readonly Check[] = [
  ({ nics, sysctls }) => (['ipv4', 'ipv6'] as const).flatMap((family): Finding[] => {
    const most = Number(sysctls.get(`net/${family}/neigh/default/gc_thresh3`) ?? Infinity);
    // A guest is a neighbour by its address and its link-local one, and what it learns of others takes as much again.
    const needed = nics.filter(({ routed }) => routed !== undefined).length * 4;
    return needed < most / 2 ? [] : [{ severity: 'warning', what: `the ${family} neighbour table has room for ${most}`, why: `the guests may need ${needed} entries, and a full table makes guests unreachable at random`, cure: `sysctl -w net.${family}.neigh.default.gc_thresh3=${needed * 4} net.${family}.neigh.default.gc_thresh2=${needed * 2}` }];
  }),
];

/** Settings that stop guests, although each of their links has all that it needs. */
const SETTINGS: readonly Check[] = [
  (facts) => (uses(facts, 'inet') && facts.sysctls.get('net/ipv4/ip_forward') === '1' ? facts.uplinks : [])
    .flatMap((dev): Finding[] => {
      const fault = unforwardedOn(dev, facts.sysctls);
      return fault === undefined ? [] : [{ severity: 'error', ...fault, why: 'IPv4 forwards by the link a packet comes in on, so guests receive no answers through this one' }];
    }),
  (facts) => {
    const fault = ignoredArp(facts.sysctls);
    return fault === undefined || !uses(facts, 'inet') ? [] : [{ severity: 'error', ...fault, why: "the host does not answer guests' ARP requests for their gateway, so they have no IPv4" }];
  },
  (facts) => {
    const off = facts.uplinks.filter((dev) => facts.sysctls.get(`net/ipv6/conf/${dev}/disable_ipv6`) === '1');
    if (!uses(facts, 'inet6') || off.length === 0 || off.length < facts.uplinks.length) return [];
    return off.map((dev) => ({ severity: 'warning', what: `IPv6 is off on uplink ${quote(dev)}`, why: 'guests have IPv6 addresses, and no uplink passes them; set its addresses and routes again after the cure', cure: `sysctl -w ${sysctlName(`net/ipv6/conf/${dev}/disable_ipv6`)}=0` }));
  },
  ({ sysctls }) => {
    const [most, count] = ['max', 'count'].map((word) =>
      Number(sysctls.get(`net/netfilter/nf_conntrack_${word}`) ?? NaN));
    if (most === undefined || count === undefined || !(count > most * NEARLY)) return [];
    return [{ severity: 'error', what: `the table of connections has ${count} of ${most} entries`, why: 'a full table makes the kernel drop each new connection of guests and host', cure: `sysctl -w net.netfilter.nf_conntrack_max=${most * 2}` }];
  },
];

const NEARLY = 0.9;
