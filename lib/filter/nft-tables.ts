/**
 * guestwire's nftables tables as text, one a family: what each holds without guests, and what a NIC adds to it. A NIC's
 * chains are reached by its ifindex, through a map or as the only hook of its link; an ifindex is not reused as names
 * are, so what is left of a dead tap never meets the next one.
 */
import { createHash } from 'node:crypto';
import {
  type Chain, chainLine, type FilterFamily, type FilterRule, ruleLines, TABLE, type TableShape,
} from '../state/nft.js';
import { SIDES } from './link-policy.js';
import { OF_GUEST, PORT_CONSTANTS } from './port-policy.js';
import { CONSTANTS } from './spoofing.js';

/**
 * Before connection tracking (-200) and before ebtables' and other people's filters, so that a forged packet costs no
 * entry there and no accept of theirs comes first. Policy is at -10: before firewalld's, Docker's and iptables' filters
 * (0).
 */
const [FIRST, POLICY] = [-300, -10];

export function hooked(
  name: string, hook: string, { prio = FIRST, rules }: { prio?: number; rules: readonly FilterRule[] },
): Chain {
  return { name, hook: { type: 'filter', hook, prio, policy: 'accept' }, rules };
}

export const QUARANTINE = 'quarantined';

export const FROM_QUARANTINE: FilterRule = { match: `iif @${QUARANTINE}`, why: 'quarantine' };
const TO_QUARANTINE: FilterRule = { match: `oif @${QUARANTINE}`, why: 'quarantine' };

const FROM_POLICY: FilterRule = { match: '', why: 'what guests send', verdict: 'iif vmap @out' };
const TO_POLICY: FilterRule = { match: '', why: 'what guests get', verdict: 'oif vmap @in' };

const BRIDGE: TableShape = {
  sets: new Map([[QUARANTINE, 'set'], ['ports', 'map'], ['guests', 'set'], ['in', 'map'], ['out', 'map']] as const),
  constants: new Map([...CONSTANTS, ...PORT_CONSTANTS]),
  chains: [
    hooked('from_guests', 'prerouting', {
      rules: [FROM_QUARANTINE, { match: '', why: 'guests', verdict: 'iif vmap @ports' }],
    }),
    // Frames for 802.1D's reserved groups never meet prerouting, and their source is learnt on the way. Those of LLDP
    // meet no hook of bridges at all (br_handle_frame, Linux 6.18): against them the bridge has `no_linklocal_learn`.
    hooked('from_guests_to_bridge', 'input', { rules: [
      FROM_QUARANTINE, FROM_POLICY,
      { match: 'iif @guests', why: 'of a guest', verdict: `meta mark set meta mark | ${OF_GUEST}` },
      { match: 'ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00', why: 'guests', verdict: 'iif vmap @ports' },
    ] }),
    hooked('to_guests', 'forward', { rules: [TO_QUARANTINE, FROM_POLICY, TO_POLICY] }),
    hooked('from_host', 'output', { rules: [TO_QUARANTINE, TO_POLICY] }),
  ],
};

/** A link's hook is a chain of the link's own; the set tells which of them are dead. */
const NETDEV: TableShape = {
  constants: CONSTANTS, sets: new Map([[QUARANTINE, 'set'], ['nics', 'set']] as const), chains: [],
};

/**
 * Of a link in a VRF, `iif` is the VRF once it is routed, and `sdif` the link (Linux Documentation/networking/vrf.rst).
 */
const NO_GUEST = 'iif != @guests meta sdif != @guests';

const ERRORS = 'destination-unreachable, time-exceeded, parameter-problem';

/**
 * On kernels from 6.16 on a chain hooks its link by name and lets go of a link that is renamed
 * (nf_tables_netdev_event()). What comes in on a guest's link without having met the chain is recognised by this bit of
 * its mark, which is set there, and taken back before anybody else looks.
 */
export const CHECKED = '0x40000000';

const INET: TableShape = {
  sets: new Map(
    [
      [QUARANTINE, 'set'], ['routed', 'set'], ['guests', 'set'], ['in', 'map'], ['out', 'map'], ['host', 'map'],
      ['near', 'map'],
    ] as const,
  ),
  constants: new Map(),
  chains: [
    // Before what jumps to it. RFC 4890 section 4.4, and what a router hears of its neighbours' groups.
    {
      name: 'needed',
      rules: [
        { match: `icmpv6 type { ${ERRORS}, packet-too-big, echo-request, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }`, why: 'IPv6 needs it', verdict: 'accept' },
        { match: `icmp type { ${ERRORS}, echo-request }`, why: 'IPv4 needs it', verdict: 'accept' },
        { match: 'meta l4proto igmp', why: 'IPv4 needs it', verdict: 'accept' },
      ],
    },
    // `fib` answers for duplicate address detection and multicast listener reports from ::, and for DHCP from 0.0.0.0,
    // with the link they came in on (net/ipv6/netfilter/nft_fib_ipv6.c, net/ipv4/netfilter/nft_fib_ipv4.c).
    hooked('from_guests', 'prerouting', {
      rules: [
        FROM_QUARANTINE, { match: `iif @guests meta mark & ${CHECKED} == 0`, why: 'not filtered' },
        { match: 'iif @guests', why: 'filtered', verdict: `meta mark set meta mark ^ ${CHECKED}` },
        { match: 'iif @routed fib saddr . iif oif 0', why: 'sources' },
      ],
    }),
    // `send_redirects` is the or of the link's and that of all links, and IPv6 has no such sysctl.
    hooked('to_guests', 'output', {
      rules: [TO_QUARANTINE, { match: 'oif @guests icmp type redirect', why: 'redirects' }, {
        match: 'oif @guests icmpv6 type nd-redirect', why: 'IPv6 redirects',
      }],
    }),
    hooked('between', 'forward', {
      prio: POLICY,
      rules: [
        TO_QUARANTINE,
        // Before the answers: no router forwards to link-local addresses (RFC 3927 section 7, RFC 4291 section 2.5.6).
        ...['ip daddr 169.254.0.0/16', 'ip6 daddr fe80::/10'].flatMap((match) => SIDES.map((side) => (
          { match, why: 'link-local destinations', verdict: `${side} vmap @near` }))),
        { match: 'ct state established,related', why: 'answers', verdict: 'accept' },
        { match: `${NO_GUEST} icmpv6 type { ${ERRORS}, packet-too-big, echo-request }`, why: 'RFC 4890', verdict: 'accept' },
        { match: `${NO_GUEST} icmp type { ${ERRORS}, echo-request }`, why: 'as in IPv6', verdict: 'accept' },
        { match: `oif != @guests icmpv6 type { ${ERRORS}, packet-too-big }`, why: 'RFC 4890', verdict: 'accept' },
        { match: `oif != @guests icmp type { ${ERRORS} }`, why: 'as in IPv6', verdict: 'accept' },
        ...SIDES.map((side) => ({ match: '', why: 'what guests send', verdict: `${side} vmap @out` })),
        TO_POLICY,
      ],
    }),
    hooked('to_host', 'input', {
      prio: POLICY,
      rules: [
        { match: 'ct state established,related', why: 'answers', verdict: 'accept' },
        ...SIDES.map((side) => ({ match: '', why: 'guests', verdict: `${side} vmap @host` })),
      ],
    }),
  ],
};

export const TABLES: Readonly<Record<FilterFamily, TableShape>> = { bridge: BRIDGE, netdev: NETDEV, inet: INET };

/**
 * Returns an empty chain's name that identifies the version of a table's rules: comments are the same in all releases.
 */
export function shapeName(family: FilterFamily): string {
  const { sets, constants, chains } = TABLES[family];
  return `shape_${createHash('sha256').update(JSON.stringify([[...sets], [...constants], chains])).digest('hex').slice(0, 8)}`;
}

/**
 * Returns the lines that make a table without guests. `create` fails where a table is, so that none adds to a
 * stranger's.
 */
export function tableLines(family: FilterFamily): string[] {
  const { constants, sets, chains } = TABLES[family];
  const table = `${family} ${TABLE}`;
  return [
    `create table ${table}`,
    ...[...constants].map(([name, set]) => `add set ${table} ${name} ${set}`),
    ...[...sets].map(([name, kind]) => `add ${kind} ${table} ${name} { type iface_index${kind === 'map' ? ' : verdict' : ''}; }`),
    `add chain ${table} ${shapeName(family)}`, ...chains.map((chain) => chainLine(family, chain)), ...chains.flatMap((chain) => ruleLines(family, chain)),
  ];
}
