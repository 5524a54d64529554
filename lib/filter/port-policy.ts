/**
 * Whom the guest of a VLAN port may meet, as rules of nftables' family bridge: of what the bridge, or this host through
 * it, sends to the port (`in`), and of what comes from the port (`out`). Permissions are checked on every packet from
 * the side that opened the connection; replies are matched by connection tracking. A forger of the guest's address, or
 * a holder of it in another VLAN, creates a conntrack entry as the guest would, so a reply comes in only if the port
 * itself sent the request (the connection's mark is its ifindex), and goes out only if the request may come in.
 */
import type { Allow, Policy } from '../intent/policy.js';
import type { FilterRule } from '../state/nft.js';
import { drop, matchesOf, permit, type PolicyRules, policySets, type Side } from './link-policy.js';

/** Constants of these rules, as sets that all ports share. */
export const PORT_CONSTANTS: ReadonlyMap<string, string> = new Map([
  ['resolution', '{ type ether_type; elements = { arp, 0x8035 }; }'],
  ['internet', '{ type ether_type; elements = { ip, ip6 }; }'],
  // RFC 4890 section 4.4.1. Who may say which of them is decided where it enters.
  ['neighbours', '{ type icmpv6_type; elements = { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }; }'],
  ['errors6', '{ type icmpv6_type; elements = { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }; }'],
  ['errors4', '{ type icmp_type; elements = { destination-unreachable, time-exceeded, parameter-problem }; }'],
]);

/** Returns the rules of a port's policy. */
export function portPolicyRules(policy: Policy, ifindex: number): PolicyRules {
  const [incoming, outgoing] = (['in', 'out'] as const).map((direction) =>
    policy.allows.filter((allow) => allow.direction === direction));
  const ways: Ways = { policy, ifindex, incoming: incoming ?? [], outgoing: outgoing ?? [] };
  if (!restrictsIn(ways) && ways.outgoing.length === 0) return policySets(policy);
  return {
    ...(restrictsIn(ways) && {
      opens: [{
        match: 'oif != 0 ct direction original', why: 'opened by the guest', verdict: `ct mark set ${ifindex}`,
      }],
      in: inRules(ways),
    }),
    out: outRules(ways),
    ...policySets(policy),
  };
}

interface Ways {
  readonly policy: Policy;
  readonly ifindex: number;
  readonly incoming: readonly Allow[];
  readonly outgoing: readonly Allow[];
}

function restrictsIn({ policy, incoming }: Ways): boolean {
  return incoming.length > 0 || policy.profile !== 'open';
}

const IP = 'meta protocol ip';
const IP6 = 'meta protocol ip6';
const RELATED = ['ct state related'];
const ANSWER = 'ct state established,related ct direction reply';
/**
 * Of the mark of what a guest sends to this host, from there on: when this host routes it to a port, it comes from no
 * port.
 */
export const OF_GUEST = '0x20000000';

/** What this host sends has come in on no port, and what is for it goes out on none. */
const [FROM_WORLD, TO_WORLD] = [`iif != @guests meta mark & ${OF_GUEST} == 0`, 'oif != @guests'];

function inRules({ policy, ifindex, incoming }: Ways): FilterRule[] {
  const isIsolated = incoming.length === 0 && policy.profile === 'isolated';
  return [
    ...(isIsolated ? [{ match: FROM_WORLD, why: 'from the world', verdict: 'accept' }] : []),
    { match: `${ANSWER} ct mark ${ifindex}`, why: 'answers', verdict: 'accept' },
    ...needed('accept', { errors: isIsolated ? RELATED : [FROM_WORLD, ...RELATED], dhcp: [
      'udp sport 67 udp dport 68', 'udp sport 547 udp dport 546',
    ] }),
    ...fromHost(),
    ...(isIsolated
      ? []
      : echo('request').map((match): FilterRule => ({
        match: `${FROM_WORLD} ${match}`, why: 'RFC 4890', verdict: 'accept',
      }))),
    ...matches(incoming, ARRIVING).map((match) => permit(match, 'accept')),
    drop(incoming.length > 0 ? 'no rule lets it in' : isIsolated ? 'isolated: from another guest' : 'closed'),
  ];
}

/**
 * What the guest sends to the host is not marked, for the mark is the host's own there, and the host sends its packets
 * in pieces.
 */
function fromHost(): FilterRule[] {
  return [
    { match: `iif 0 ${ANSWER}`, why: 'answers of this host', verdict: 'accept' },
    { match: `iif 0 ${IP} ip frag-off & 0x1fff != 0`, why: 'rest of a packet', verdict: 'accept' },
    { match: `iif 0 ${IP6} frag frag-off != 0`, why: 'rest of a packet', verdict: 'accept' },
  ];
}

function outRules(ways: Ways): FilterRule[] {
  const { ifindex, outgoing } = ways;
  const opens = restrictsIn(ways) ? `goto opens_${ifindex}` : 'return';
  if (outgoing.length === 0) return [{ match: '', why: 'out', verdict: opens }];
  return [
    ...needed('return', {
      errors: [TO_WORLD, ...RELATED], dhcp: ['udp sport 68 udp dport 67', 'udp sport 546 udp dport 547'],
    }),
    ...answered(ways).map((match): FilterRule => ({
      match: `${ANSWER} ${match}`.trim(), why: 'answers', verdict: 'return',
    })),
    ...matches(outgoing, LEAVING).map((match) => permit(match, opens)),
    drop('no rule lets it out'),
  ];
}

/** What every guest needs in either direction: neighbours, groups, an address, and to hear of errors. */
function needed(
  verdict: string, { errors, dhcp: [inet, inet6] }: { errors: readonly string[]; dhcp: readonly [string, string] },
): FilterRule[] {
  const rule = (match: string, why: string): FilterRule => ({ match, why, verdict });
  return [
    rule('meta protocol @resolution', 'ARP'), rule(`${IP6} icmpv6 type @neighbours`, 'IPv6 needs it'),
    rule(`${IP} meta l4proto igmp`, 'IPv4 needs it'),
    rule(`${IP} ${inet}`, 'DHCP'), rule(`${IP6} ${inet6}`, 'DHCP'),
    ...errors.flatMap((whose) => [
      rule(`${whose} ${IP6} icmpv6 type @errors6`, 'RFC 4890'), rule(`${whose} ${IP} icmp type @errors4`, 'as in IPv6'),
    ]),
  ];
}

function echo(kind: 'request' | 'reply'): string[] {
  return [`${IP6} icmpv6 type echo-${kind}`, `${IP} icmp type echo-${kind}`];
}

/** Matches of answers to what may come in. */
function answered(ways: Ways): string[] {
  const { policy, incoming } = ways;
  if (!restrictsIn(ways)) return [''];
  if (incoming.length === 0 && policy.profile === 'isolated') return [TO_WORLD];
  return [...matches(incoming, ANSWERING), ...echo('reply').map((match) => `${TO_WORLD} ${match}`)];
}

const ARRIVING: Side = {
  address: 'saddr', links: ['iif'], host: false, port: 'dport', network: { ip: `${IP} ip`, ip6: `${IP6} ip6` },
};
const LEAVING: Side = { ...ARRIVING, address: 'daddr', links: ['oif'] };
const ANSWERING: Side = { ...LEAVING, port: 'sport' };

/**
 * Who names neither protocol nor address means any of IP: a bridge carries the rest as well, VLAN tags under a tag
 * among it.
 */
function matches(allows: readonly Allow[], side: Side): string[] {
  return allows.flatMap((allow) => matchesOf(allow, side).map((match) => (
    allow.proto === undefined && !match.startsWith('meta protocol ')
      ? `meta protocol @internet ${match}`.trim()
      : match)));
}
