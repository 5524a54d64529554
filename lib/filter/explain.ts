/**
 * What becomes of a flow between a guest and somebody, by the policies of the guests that run here: the tables of
 * nftables in words, without asking them. Pure. A flow is its first packet: answers to what passed, and ICMP errors,
 * pass always and are never asked for. Routing is not looked at: a VRF or a table of its own may keep apart what passes
 * here.
 */
import type { Guard } from '../attachments/attached.js';
import { wordOf } from '../intent/permission.js';
import type { Allow, Direction, Policy, Proto } from '../intent/policy.js';
import { type Address, contains, isLinkLocal } from '../values/address.js';
import { quote } from '../values/quote.js';
import { type End, endOf, type NicEnd, type Parties, unboundNic } from './parties.js';

export interface Flow {
  /** Both of one family. */
  readonly from: Address;
  readonly to: Address;
  /** icmp and icmpv6: an echo request. undefined: a protocol that no rule names. */
  readonly proto: Proto | undefined;
  /** Destination port; undefined: one that no rule names. */
  readonly port: number | undefined;
  /** UUID of the guest that sends it, whatever the address; absent: whose the address is. */
  readonly sender?: string | undefined;
}

export type Verdict = 'passes' | 'dropped';

/** What one NIC makes of the flow. */
export interface Ruling {
  readonly guest: string;
  readonly nic: number | undefined;
  readonly mac: string | undefined;
  /** As the guest sees it. */
  readonly direction: Direction;
  readonly verdict: Verdict;
  /** Why, in words. */
  readonly rule: string;
  /** Where that is written; undefined: nowhere, it always holds. */
  readonly origin: string | undefined;
}

export interface Decision {
  readonly verdict: Verdict;
  readonly from: End;
  readonly to: End;
  /** The sender's, then the receiver's unless the sender's drops; empty when neither end is a guest. */
  readonly rulings: readonly Ruling[];
}

/** Returns the decision. */
export function decide(flow: Flow, parties: Parties): Decision {
  const to = endOf(flow.to, parties);
  const claimed = endOf(flow.from, parties);
  const isOwn = flow.sender === undefined || (claimed.kind === 'nic' && claimed.guest.uuid === flow.sender);
  const from = isOwn ? claimed : unboundNic(flow.sender ?? '', flow.from, parties);
  if (from === undefined) return { verdict: 'dropped', from: claimed, to, rulings: [forged(flow, parties)] };
  const rulings = rulingsOf(flow, { from, to, quarantined: parties.quarantined });
  return { verdict: rulings.some(({ verdict }) => verdict === 'dropped') ? 'dropped' : 'passes', from, to, rulings };
}

type Reason = Pick<Ruling, 'verdict' | 'rule' | 'origin'>;

const always = (rule: string): Reason => ({ verdict: 'passes', rule, origin: undefined });

function forged({ from, sender }: Flow, { guests }: Parties): Ruling {
  const name = guests.find(({ guest }) => guest.uuid === sender)?.guest.name ?? '';
  return {
    guest: name, nic: undefined, mac: undefined, direction: 'out', verdict: 'dropped', rule: `${quote(from.text)} is not its address: dropped as forged`, origin: undefined,
  };
}

interface Ends {
  readonly from: End;
  readonly to: End;
}

function rulingsOf(flow: Flow, { from, to, quarantined }: Ends & Pick<Parties, 'quarantined'>): Ruling[] {
  const rule = (end: End, direction: Direction, judge: (end: NicEnd) => Reason): Ruling[] => {
    if (end.kind !== 'nic') return [];
    const { guest, wired } = end;
    const reason = quarantined.has(guest.uuid) ? QUARANTINE : judge(end);
    return [{ guest: guest.name, nic: wired.nic, mac: wired.mac, direction, ...reason }];
  };
  if (
    from.kind === 'nic' &&
    to.kind === 'nic' &&
    from.guest.uuid === to.guest.uuid &&
    from.wired.nic === to.wired.nic
  ) {
    return [...rule(from, 'out', () => always('both addresses belong to this NIC: the guest sends no such packet'))];
  }
  const sent = rule(from, 'out', (end) => outOf(flow, end, to));
  return sent.some(({ verdict }) => verdict === 'dropped')
    ? sent
    : [...sent, ...rule(to, 'in', (end) => intoIt(flow, from, end))];
}

const QUARANTINE: Reason = { verdict: 'dropped', rule: 'the guest is in quarantine', origin: 'guestwire quarantine' };

const UNFILTERED = always('guestwire does not filter this NIC, because only libvirt or [bridge] names its VLANs');

function outOf(flow: Flow, { guard }: NicEnd, to: End): Reason {
  const { policy } = guard;
  if (!guard.filters) return UNFILTERED;
  if (guard.how === 'link' && to.kind !== 'host' && isShut(flow.to, guard)) return SHUT;
  if (guard.how === 'port' || policy === undefined) return outOfPort(flow, guard, to);
  const offered = offeredTo(flow, policy, to);
  if (offered !== undefined) return always(offered);
  const ruled = byRules(flow, policy, { direction: 'out', other: to, fellow: routedPolicyOf(to) });
  if (ruled !== undefined) return ruled;
  if (to.kind !== 'host' || policy.profile === 'open') {
    return byProfile(policy, 'passes', to.kind === 'host'
      ? 'lets it reach all of this host'
      : to.kind === 'world' ? 'lets it reach the world' : 'leaves the decision to the receiver');
  }
  return byProfile(policy, 'dropped', 'lets it reach only ICMP and the offered DHCP and DNS of this host');
}

function isShut(to: Address, { linkLocal = [] }: Guard): boolean {
  return isLinkLocal(to) && !linkLocal.some(({ text }) => text === to.text);
}

const SHUT: Reason = {
  verdict: 'dropped', rule: 'link-local destination; [routed] link_local of the host config does not list it', origin: undefined,
};

/** What every guest needs of the host passes whatever the profile and the rules. */
function offeredTo({ to, proto, port }: Flow, { offers }: Policy, end: End): string | undefined {
  if ((proto === 'udp' || proto === 'tcp') && port === 53 && offers.dns.some(({ text }) => text === to.text)) {
    return 'DNS, which this host offers';
  }
  if (end.kind !== 'host') return undefined;
  if (proto === 'icmp' || proto === 'icmpv6') return 'echo to this host';
  const server = to.family === 'inet6' ? 547 : 67;
  return offers.dhcp && proto === 'udp' && port === server ? 'DHCP, which this host offers' : undefined;
}

function intoIt(flow: Flow, from: End, { guard }: NicEnd): Reason {
  const { policy } = guard;
  if (!guard.filters) return UNFILTERED;
  if (guard.how === 'port' || policy === undefined) return intoPort(flow, from, guard);
  if (from.kind === 'host') return always('packets of this host itself come in');
  return arriving(flow, policy, { other: from, fellow: routedPolicyOf(from) });
}

/** The guest at the other end, and its policy; undefined: it is of the world. */
type Met = { readonly other: End; readonly fellow: Policy | undefined };

function arriving(flow: Flow, policy: Policy, met: Met): Reason {
  const isGuest = met.fellow !== undefined;
  // RFC 4890 section 4.3.1: who is reached from the world answers echo requests.
  if (!isGuest && (flow.proto === 'icmp' || flow.proto === 'icmpv6')) return always('echo from the world comes in');
  const ruled = byRules(flow, policy, { direction: 'in', ...met });
  if (ruled !== undefined) return ruled;
  if (policy.profile === 'open') return byProfile(policy, 'passes', 'lets all in');
  if (policy.profile === 'closed') return byProfile(policy, 'dropped', 'lets in only what a permission names');
  return isGuest
    ? byProfile(policy, 'dropped', 'lets no other guest in')
    : byProfile(policy, 'passes', 'lets the world in');
}

/** A guest on a VLAN port comes over its bridge and a router, like all the world. */
function routedPolicyOf(end: End): Policy | undefined {
  return end.kind === 'nic' && end.guard.how === 'link' ? end.guard.policy : undefined;
}

function outOfPort(flow: Flow, port: Guard, to: End): Reason {
  const { policy } = port;
  const peer = portNeighbour(port, to);
  if (peer?.isolated === true && port.isolated) return isolatedPorts(port);
  if (policy === undefined || isFree(policy, 'out')) return FREE;
  const ruled = byRules(flow, policy, { direction: 'out', other: to, fellow: peer?.policy });
  return ruled ?? byProfile(policy, 'passes', peer === undefined
    ? 'lets it reach the world'
    : 'leaves the decision to the receiver');
}

/** What this host sends or routes comes over the bridge, like all the world. */
function intoPort(flow: Flow, from: End, port: Guard): Reason {
  const { policy } = port;
  const peer = portNeighbour(port, from);
  if (peer?.isolated === true && port.isolated) return isolatedPorts(port);
  if (policy === undefined || isFree(policy, 'in')) return FREE;
  return arriving(flow, policy, { other: from, fellow: peer && (peer.policy ?? NAMELESS) });
}

/** What no permission can name. */
const NAMELESS: Policy = { profile: 'open', allows: [], guest: '', groups: [], offers: { dhcp: false, dns: [] } };

const FREE = always('its VLANs decide, and it has no policy for this direction');

function isolatedPorts({ bridge }: Guard): Reason {
  return { verdict: 'dropped', rule: `both are isolated ports of bridge ${quote(bridge ?? '')}`, origin: '<port isolated>' };
}

function isFree({ profile, allows }: Policy, way: Direction): boolean {
  return profile === 'open' && !allows.some(({ direction }) => direction === way);
}

/** Returns the port, if it is one, that shares a VLAN of the same bridge. */
function portNeighbour(port: Guard, other: End): Guard | undefined {
  if (other.kind !== 'nic') return undefined;
  return other.guard.segments.some((segment) => port.segments.includes(segment)) ? other.guard : undefined;
}

/** undefined: the NIC has no rule for this direction. */
function byRules(flow: Flow, { allows }: Policy, way: Met & { readonly direction: Direction }): Reason | undefined {
  const rules = allows.filter(({ direction }) => direction === way.direction);
  const [first] = rules;
  if (first === undefined) return undefined;
  const match = rules.find((allow) => allowsFlow(allow, flow, way));
  if (match !== undefined) return { verdict: 'passes', rule: `allows ${shown(match)}`, origin: match.origin };
  if (rules.length === 1) return { verdict: 'dropped', rule: `allows only ${shown(first)}`, origin: first.origin };
  return { verdict: 'dropped', rule: `none of its ${rules.length} permissions for what ${way.direction === 'in' ? 'comes in' : 'goes out'}`, origin: ruleSource(first) };
}

function allowsFlow({ proto, ports, peers }: Allow, flow: Flow, { other, fellow }: Met): boolean {
  if (proto !== undefined && proto !== flow.proto) return false;
  const { port } = flow;
  if (ports.length > 0 && (port === undefined || !ports.some(({ first, last }) => first <= port && port <= last))) {
    return false;
  }
  return peers.length === 0 || peers.some((peer) => {
    switch (peer.kind) {
      case 'prefix':
        return contains(peer.prefix, other.address.prefix);
      case 'guest':
        return fellow?.guest === peer.name;
      case 'group':
        return fellow?.groups.includes(peer.name) === true;
      case 'host':
        return other.kind === 'host';
    }
  });
}

function byProfile({ profile, profileOrigin }: Policy, verdict: Verdict, what: string): Reason {
  return { verdict, rule: `profile '${profile}' ${what}`, origin: profileOrigin ?? 'the default' };
}

/** Returns `tcp 443,8443-8450 from 'guest:web1'`. */
function shown({ direction, proto, ports, peers }: Allow): string {
  const list = ports.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(',');
  const whom = peers.length === 0 ? '' : `${direction === 'in' ? 'from' : 'to'} ${peers.map(peerShown).join(', ')}`;
  return [proto ?? 'anything', list, whom].filter((word) => word !== '').join(' ');
}

function peerShown(peer: Allow['peers'][number]): string {
  return peer.kind === 'guest' ? quote(wordOf(peer)) : wordOf(peer);
}

/** All rules of a NIC come from one source. */
function ruleSource({ origin }: Allow): string | undefined {
  return origin?.replace(/^(<gw:allow> \d+ in|allow\[\d+\] of) /, '');
}
