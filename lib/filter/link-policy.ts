/**
 * Whom the guest of a routed link may meet, as rules of nftables' family inet: of what is forwarded to it (`in`), of
 * what it sends through this host (`out`) and of what it sends to the host itself (`host`). Answers have passed before
 * (connection tracking), and so have the errors and the echo that RFC 4890 section 4.3.1 lets nobody drop, except
 * between guests.
 */
import { createHash } from 'node:crypto';
import type { Allow, Direction, Peer, Policy } from '../intent/policy.js';
import type { FilterRule } from '../state/nft.js';
import type { Address, Family } from '../values/address.js';

/** Rules of one NIC by what they are asked about; absent: everything passes there. */
export interface PolicyRules {
  readonly in?: readonly FilterRule[];
  readonly out?: readonly FilterRule[];
  readonly host?: readonly FilterRule[];
  /** For packets that this host forwards to link-local destinations. */
  readonly near?: readonly FilterRule[];
  /** A chain that others lead to: the connection is the guest's own. Of VLAN ports alone. */
  readonly opens?: readonly FilterRule[];
  /** Sets of links by which rules speak of guests and groups: those this NIC is in, and those its own rules name. */
  readonly member: readonly string[];
  readonly named: readonly string[];
}

/** Returns the rules of a policy. */
export function policyRules(policy: Policy): PolicyRules {
  const of = (direction: Direction): readonly Allow[] => policy.allows.filter((allow) => allow.direction === direction);
  const [incoming, outgoing] = [of('in'), of('out')];
  return {
    ...inRules(policy, incoming),
    ...(outgoing.length > 0 && { out: outRules(policy, outgoing) }),
    ...(policy.profile === 'open' && outgoing.length === 0 ? {} : { host: hostRules(policy, outgoing) }),
    ...policySets(policy),
  };
}

/** Returns the rules for link-local destinations beyond this host, of which the host opens `open` alone. */
export function nearRules(open: readonly Address[] = []): FilterRule[] {
  return [
    ...open.map(({ text }): FilterRule => (
      { match: `ip daddr ${text}`, why: 'opened by this host', verdict: 'return' })),
    drop('link-local destination'),
  ];
}

/** Returns the sets that a policy has to do with. */
export function policySets({ guest, groups, allows }: Policy): Pick<PolicyRules, 'member' | 'named'> {
  return {
    member: [setName({ kind: 'guest', name: guest }), ...groups.map((name) => setName({ kind: 'group', name }))],
    named: [...new Set(allows.flatMap(({ peers }) => peers.flatMap((peer) => (isNamed(peer) ? [setName(peer)] : []))))],
  };
}

function inRules({ profile }: Policy, allows: readonly Allow[]): Pick<PolicyRules, 'in'> {
  if (allows.length > 0) return { in: [
    ...allows.flatMap((allow) => matchesOf(allow, ARRIVING)).map((match) => permit(match, 'accept')),
    drop('no rule lets it in'),
  ] };
  if (profile === 'open') return {};
  return { in: profile === 'closed'
    ? [drop('closed')]
    : SIDES.map((side) => ({ match: `${side} @guests`, why: 'isolated: from another guest' })) };
}

/** The name servers that this host offers may be anywhere. */
function outRules(policy: Policy, allows: readonly Allow[]): FilterRule[] {
  return [
    ...dnsMatches(policy).map((match): FilterRule => ({ match, why: OFFERED, verdict: 'return' })),
    ...allows.flatMap((allow) => matchesOf(allow, LEAVING)).map((match) => permit(match, 'return')),
    drop('no rule lets it out'),
  ];
}

const OFFERED = 'offered by this host';

/** How nft calls the header of a family. */
const HEADER: Readonly<Record<Family, 'ip' | 'ip6'>> = { inet: 'ip', inet6: 'ip6' };

function dnsMatches({ offers }: Policy): string[] {
  return (['inet', 'inet6'] as const).flatMap((family) => {
    const servers = offers.dns.filter((address) => address.family === family).map(({ text }) => text);
    return servers.length === 0
      ? []
      : ['udp', 'tcp'].map((proto) => `${HEADER[family]} daddr { ${servers.join(', ')} } ${proto} dport 53`);
  });
}

function hostRules(policy: Policy, allows: readonly Allow[]): FilterRule[] {
  const offered = [
    ...(policy.offers.dhcp ? ['meta nfproto ipv4 udp dport 67', 'meta nfproto ipv6 udp dport 547'] : []),
    ...dnsMatches(policy),
  ];
  return [
    { match: '', why: 'what every guest needs', verdict: 'jump needed' },
    ...offered.map((match): FilterRule => ({ match, why: OFFERED, verdict: 'accept' })),
    ...allows.flatMap((allow) => matchesOf(allow, STAYING)).map((match) => permit(match, 'accept')),
    drop('to this host'),
  ];
}

/**
 * Of a link in a VRF, `iif` is the VRF once it is routed, and `sdif` the link (Linux Documentation/networking/vrf.rst).
 */
export const SIDES = ['iif', 'meta sdif'] as const;

/** How the other end is written. */
export interface Side {
  readonly address: 'saddr' | 'daddr';
  /** Empty: a guest is not on this side. */
  readonly links: readonly string[];
  readonly host: boolean;
  /** Where the guest's side of an answer has the port that the permission names. */
  readonly port: 'dport' | 'sport';
  /**
   * What comes before `ip` and `ip6`. In family bridge `ip saddr` alone looks at the outer ethertype, which a tag
   * hides.
   */
  readonly network: Readonly<Record<'ip' | 'ip6', string>>;
}

const NETWORK = { ip: 'ip', ip6: 'ip6' };
const ARRIVING: Side = { address: 'saddr', links: SIDES, host: false, port: 'dport', network: NETWORK };
const LEAVING: Side = { ...ARRIVING, address: 'daddr', links: ['oif'] };
const STAYING: Side = { ...LEAVING, links: [], host: true };

/** Returns a match for each peer, or one when any peer is meant; none when no peer is on this side. */
export function matchesOf({ proto, ports, peers }: Allow, side: Side): string[] {
  const range = ports.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(', ');
  const what = proto === undefined ? '' : ports.length > 0 ? `${proto} ${side.port} { ${range} }` : `meta l4proto ${proto === 'icmpv6' ? 'ipv6-icmp' : proto}`;
  if (peers.length === 0) return [what];
  return peers.flatMap((peer) =>
    peerMatches(peer, side).map((who) => [who, what].filter((part) => part !== '').join(' ')));
}

function peerMatches(peer: Peer, { address, links, host, network }: Side): string[] {
  if (isNamed(peer)) return links.map((link) => `${link} @${setName(peer)}`);
  if (peer.kind === 'host') return host ? [''] : [];
  return [`${network[HEADER[peer.prefix.family]]} ${address} ${peer.prefix.text}`];
}

type Named = Extract<Peer, { readonly name: string }>;

function isNamed(peer: Peer): peer is Named {
  return peer.kind === 'guest' || peer.kind === 'group';
}

/** Any name may be a guest's, and few of them a set's: the others go by their hash. */
function setName({ kind, name }: Named): string {
  if (/^[A-Za-z0-9._-]{1,60}$/.test(name)) return `${kind}-${name}`;
  return `${kind}_${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;
}

export function permit(match: string, verdict: string): FilterRule {
  return { match, why: 'allowed', verdict };
}

export function drop(why: string): FilterRule {
  return { match: '', why };
}
