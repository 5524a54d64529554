// @tier fast
/** What becomes of a flow: the policies of guests that run, as truth tables. */
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { Wired } from '../../lib/attachments/kinds.js';
import type { Stored } from '../../lib/attachments/schema.js';
import { parseConfig } from '../../lib/config/file.js';
import { METADATA_NAMESPACE, parseDomain } from '../../lib/domain/domain.js';
import { decide, type Flow } from '../../lib/filter/explain.js';
import type { Parties } from '../../lib/filter/parties.js';
import type { Profile, Proto } from '../../lib/intent/policy.js';
import { parseAddress } from '../../lib/values/address.js';

const uuidOf = (n: number): string => `00000000-0000-0000-0000-00000000000${n}`;

type Guest = Parties['guests'][number];

function guestOf(name: string, n: number, { words, config = '', bridge }: { words: string; config?: string; bridge?: string }): Guest {
  const mac = `52:54:00:aa:bb:0${n}`;
  const xml = `<domain><name>${name}</name><metadata><gw:guestwire xmlns:gw="${METADATA_NAMESPACE}"><gw:interface mac="${mac}">${words}</gw:interface></gw:guestwire></metadata><devices>`
    + `<interface type="${bridge === undefined ? 'ethernet' : 'bridge'}"><mac address="${mac}"/>${bridge === undefined ? '' : `<source bridge="${bridge}"/>`}<target dev="vnet${n}"/></interface></devices></domain>`;
  const wired = deriveAttachments(parseDomain(xml), parseConfig(config, 'config.toml')).map((attachment): Wired => ({ ...attachment, ifindex: n } as Wired));
  return { guest: { name, uuid: uuidOf(n) }, wired };
}

const routed = (n: number, more = ''): string => `<gw:routed><gw:ip address="2001:db8::${n}"/><gw:ip address="192.0.2.${n}"/>${more}</gw:routed>`;
const WORLD = '2001:db8:ffff::1';
const HOST = '2001:db8:eeee::1';
const A = '2001:db8::1';
const B = '2001:db8::2';

type TextFlow = Partial<Stored<Flow>> & Pick<Stored<Flow>, 'from' | 'to'>;

function flowOf({ from, to, ...flow }: TextFlow): Flow {
  return { proto: undefined, port: undefined, ...flow, from: parseAddress(from), to: parseAddress(to) };
}

/** Guest a sends, guest b receives; `a` and `b` are their words beside the routed link. */
function verdict(words: { a?: string; b?: string; config?: string; quarantined?: number[] }, flow: TextFlow): string {
  const config = words.config ?? '';
  const guests = [guestOf('a', 1, { words: routed(1) + (words.a ?? ''), config }), guestOf('b', 2, { words: routed(2, '<gw:route address="2001:db8:2::" prefix="48"/>') + (words.b ?? ''), config })];
  const parties: Parties = { guests, host: new Set([HOST]), quarantined: new Set((words.quarantined ?? []).map(uuidOf)) };
  const { verdict: said, rulings } = decide(flowOf(flow), parties);
  return [said, ...rulings.map(({ guest, direction, rule, origin }) => `${guest} ${direction}: ${rule}${origin === undefined ? '' : ` (${origin})`}`)].join('; ');
}

describe('on a bridge of one VLAN', () => {
  const config = '[bridge."br{vid}"]\nparent = "eno1"\nallowed = ["30-39"]\n';
  const on = (bridge: string, n: number, words: string): Guest => guestOf(`g${n}`, n, { words: `<gw:ip address="2001:db8::${n}"/>${words}`, config, bridge });
  const between = (one: Guest, other: Guest): string => {
    const parties: Parties = { guests: [one, other], host: new Set([HOST]), quarantined: new Set() };
    return decide(flowOf({ from: A, to: B, proto: 'tcp', port: 443 }), parties).rulings.map(({ rule }) => rule).join('; ');
  };

  test('guests are neighbours, and isolated ports do not meet', () => {
    const isolated = '<gw:port isolated="yes"/>';
    expect(between(on('br30', 1, isolated), on('br30', 2, isolated))).toBe("both are isolated ports of bridge 'br30'");
    expect(between(on('br30', 1, isolated), on('br30', 2, ''))).not.toContain('isolated');
    expect(between(on('br30', 1, isolated), on('br31', 2, isolated))).not.toContain('isolated');
  });

  test('a policy of the receiver counts a neighbour as a guest, and a guest of another VLAN as the world', () => {
    const guest = '<gw:policy profile="isolated"/>';
    expect(between(on('br30', 1, ''), on('br30', 2, guest))).toContain('lets no other guest in');
    expect(between(on('br31', 1, ''), on('br30', 2, guest))).toContain('lets the world in');
  });
});

const profile = (name: Profile): string => `<gw:policy profile="${name}"/>`;

describe('without permissions the profile decides', () => {
  const echo = { proto: 'icmpv6' as const };
  const web = { proto: 'tcp' as const, port: 443 };
  test.each<[string, TextFlow, Record<Profile, 'passes' | 'dropped'>]>([
    ['world to guest', { from: WORLD, to: A, ...web }, { open: 'passes', isolated: 'passes', closed: 'dropped' }],
    ['echo from the world', { from: WORLD, to: A, ...echo }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['guest to guest', { from: B, to: A, ...web }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['echo from a guest', { from: B, to: A, ...echo }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['from the prefix behind a guest', { from: '2001:db8:2::7', to: A, ...web }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['host to guest', { from: HOST, to: A, ...web }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['guest to world', { from: A, to: WORLD, ...web }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['guest to host', { from: A, to: HOST, proto: 'tcp', port: 22 }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['guest to its gateway', { from: A, to: 'fe80::1', proto: 'tcp', port: 22 }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['echo to host', { from: A, to: HOST, ...echo }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['DNS of the host', { from: A, to: HOST, proto: 'udp', port: 53 }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['no protocol in particular, from the world', { from: WORLD, to: A }, { open: 'passes', isolated: 'passes', closed: 'dropped' }],
    ['of IPv4', { from: '192.0.2.2', to: '192.0.2.1', ...web }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
  ])('%s', (_, flow, expected) => {
    for (const name of ['open', 'isolated', 'closed'] as const) {
      expect([name, verdict({ a: profile(name) }, flow).split(';', 1)[0]]).toEqual([name, expected[name]]);
    }
  });

  test('the sender leaves the decision to the receiver', () => {
    for (const name of ['open', 'isolated', 'closed'] as const) {
      expect(verdict({ a: profile(name), b: profile('open') }, { from: A, to: B })).toBe(
        `passes; a out: profile '${name}' leaves the decision to the receiver (its metadata); b in: profile 'open' lets all in (its metadata)`);
    }
  });
});

describe('permissions in', () => {
  const WEB = '<gw:allow direction="in" proto="tcp" port="443,8443-8450"/>';
  test.each<[string, string, TextFlow, string]>([
    ['passes what it names', WEB, { from: WORLD, to: B, proto: 'tcp', port: 8444 }, 'passes; b in: allows tcp 443,8443-8450 (<gw:allow> 1 in its metadata)'],
    ['passes it from guests too, for it names nobody', WEB, { from: A, to: B, proto: 'tcp', port: 443 }, "passes; a out: profile 'isolated' leaves the decision to the receiver (the default); b in: allows tcp 443,8443-8450 (<gw:allow> 1 in its metadata)"],
    ['drops other ports', WEB, { from: WORLD, to: B, proto: 'tcp', port: 22 }, 'dropped; b in: allows only tcp 443,8443-8450 (<gw:allow> 1 in its metadata)'],
    ['drops other protocols', WEB, { from: WORLD, to: B, proto: 'udp', port: 443 }, 'dropped; b in: allows only tcp 443,8443-8450 (<gw:allow> 1 in its metadata)'],
    ['drops a port that is not said', WEB, { from: WORLD, to: B, proto: 'tcp' }, 'dropped; b in: allows only tcp 443,8443-8450 (<gw:allow> 1 in its metadata)'],
    ['drops it though the profile is open', WEB + profile('open'), { from: WORLD, to: B, proto: 'tcp', port: 22 }, 'dropped; b in: allows only tcp 443,8443-8450 (<gw:allow> 1 in its metadata)'],
    ['keeps echo from the world', WEB + profile('closed'), { from: WORLD, to: B, proto: 'icmpv6' }, 'passes; b in: echo from the world comes in'],
    ['does not keep echo from a guest', WEB, { from: A, to: B, proto: 'icmpv6' }, "dropped; a out: profile 'isolated' leaves the decision to the receiver (the default); b in: allows only tcp 443,8443-8450 (<gw:allow> 1 in its metadata)"],
    ['keeps what the host sends', WEB, { from: HOST, to: B, proto: 'tcp', port: 22 }, 'passes; b in: packets of this host itself come in'],
    ['leaves the other direction to the profile', WEB, { from: B, to: WORLD, proto: 'tcp', port: 22 }, "passes; b out: profile 'isolated' lets it reach the world (the default)"],
    ['several are told by their number', `${WEB}<gw:allow direction="in" proto="sctp"/>`, { from: WORLD, to: B, proto: 'tcp', port: 22 }, 'dropped; b in: none of its 2 permissions for what comes in (its metadata)'],
  ])('%s', (_, b, flow, expected) => { expect(verdict({ b }, flow)).toBe(expected); });

  test.each<[string, string, string, boolean]>([
    ['guest:a', '', A, true],
    ['guest:A', '', A, false],
    ['guest:c', '', A, false],
    ['group:front', '<gw:group name="front"/>', A, true],
    ['group:front', '<gw:group name="back"/><gw:group name="front"/>', A, true],
    ['group:front', '', A, false],
    ['2001:db8::/64', '', A, true],
    ['2001:db8::1', '', A, true],
    ['2001:db8::3', '', A, false],
    ['::/0', '', A, true],
    ['0.0.0.0/0', '', A, false],
    ['2001:db8:ffff::/48', '', WORLD, true],
    ['guest:a', '', WORLD, false],
    ['guest:c,2001:db8:ffff::1', '', WORLD, true],
  ])('from %s (the sender: %j) and %s: %j', (from, a, sender, passes) => {
    const said = verdict({ a, b: `<gw:allow direction="in" from="${from}"/>` }, { from: sender, to: B, proto: 'tcp', port: 22 });
    expect(said.split(';', 1)[0]).toBe(passes ? 'passes' : 'dropped');
  });
});

describe('permissions out', () => {
  const SERVE = '[serve]\ndns = ["2001:db8:eeee::1", "2001:db8::2", "2001:db8:ffff::1"]';
  test.each<[string, string, Omit<TextFlow, 'from'>, string]>([
    ['world, allowed', 'to="2001:db8:ffff::/48" proto="tcp" port="443"', { to: WORLD, proto: 'tcp', port: 443 }, 'passes'],
    ['world, other port', 'to="2001:db8:ffff::/48" proto="tcp" port="443"', { to: WORLD, proto: 'tcp', port: 80 }, 'dropped'],
    ['world, echo', 'proto="tcp"', { to: WORLD, proto: 'icmpv6' }, 'dropped'],
    ['anybody holds the host', 'proto="tcp"', { to: HOST, proto: 'tcp', port: 22 }, 'passes'],
    ['the host by its word', 'to="host"', { to: HOST, proto: 'tcp', port: 22 }, 'passes'],
    ['the host by its word, but to the world', 'to="host"', { to: WORLD, proto: 'tcp', port: 22 }, 'dropped'],
    ['the host, not named', 'to="2001:db8:ffff::1"', { to: HOST, proto: 'tcp', port: 22 }, 'dropped'],
    ['a guest by name', 'to="guest:b"', { to: B, proto: 'tcp', port: 22 }, 'passes'],
    ['a guest by group', 'to="group:dbs"', { to: B, proto: 'tcp', port: 22 }, 'passes'],
    ['a guest, not named', 'to="guest:c"', { to: B, proto: 'tcp', port: 22 }, 'dropped'],
    ['echo to the host passes all the same', 'to="guest:c"', { to: HOST, proto: 'icmpv6' }, 'passes'],
    ['so does DHCP', 'to="guest:c"', { to: HOST, proto: 'udp', port: 547 }, 'passes'],
    ['not that of IPv4 over IPv6', 'to="guest:c"', { to: HOST, proto: 'udp', port: 67 }, 'dropped'],
    ['and DNS, of the host', 'to="guest:c"', { to: HOST, proto: 'udp', port: 53 }, 'passes'],
    ['of a guest', 'to="guest:c"', { to: B, proto: 'tcp', port: 53 }, 'passes'],
    ['of the world', 'to="guest:c"', { to: WORLD, proto: 'udp', port: 53 }, 'passes'],
  ])('%s', (_, rule, flow, expected) => {
    const said = verdict({ a: `<gw:allow direction="out" ${rule}/>`, b: `<gw:group name="dbs"/>${profile('open')}`, config: SERVE }, { from: A, ...flow });
    expect(said.split(';', 1)[0]).toBe(expected);
  });

  test('one that the sender has does not open the receiver', () => {
    expect(verdict({ a: '<gw:allow direction="out" to="guest:b"/>' }, { from: A, to: B })).toBe(
      "dropped; a out: allows anything to 'guest:b' (<gw:allow> 1 in its metadata); b in: profile 'isolated' lets no other guest in (the default)");
  });

  test('of the host config say so', () => {
    const config = '[guest.a."52:54:00:aa:bb:01"]\nallow = [{ direction = "out", to = ["host"] }, { direction = "out", to = ["guest:b"] }]';
    const { rulings } = decide(flowOf({ from: A, to: WORLD, proto: 'tcp', port: 1 }), { guests: [guestOf('a', 1, { words: routed(1), config })], host: new Set(), quarantined: new Set() });
    expect(rulings.map(({ rule, origin }) => [rule, origin])).toEqual([['none of its 2 permissions for what goes out', '[guest] in the host config']]);
  });
});

describe('quarantine drops all', () => {
  const open = { a: profile('open'), b: profile('open') };
  test.each<[string, string, number, string]>([
    ['what it sends', A, 1, 'a out'],
    ['what another sends it', A, 2, 'b in'],
    ['what the world sends it', WORLD, 2, 'b in'],
    ['what this host sends it', HOST, 2, 'b in'],
  ])('%s', (_, from, who, shown) => {
    expect(verdict({ ...open, quarantined: [who] }, { from, to: B })).toMatch(new RegExp(`^dropped.*${shown}: the guest is in quarantine \\(guestwire quarantine\\)$`));
  });
});

describe('whose an address is', () => {
  const parties = (...guests: Guest[]): Parties => ({ guests, host: new Set([HOST]), quarantined: new Set() });
  const flow = (from: string, to: string, proto?: Proto): Flow => flowOf({ from, to, proto });
  const VLAN = '<gw:vlan><gw:tag id="10"/></gw:vlan>';
  const port = (n: number, more = '', bridge = 'br0'): Guest => guestOf(`p${n}`, n, { words: `${VLAN}<gw:ip address="2001:db8:9::${n}"/>${more}`, bridge });

  test('a longer prefix goes first', () => {
    const wide = guestOf('wide', 1, { words: '<gw:routed><gw:ip address="2001:db8:1::1"/><gw:route address="2001:db8:2::" prefix="48"/></gw:routed>' });
    const inner = guestOf('inner', 2, { words: '<gw:routed><gw:ip address="2001:db8:2::5"/></gw:routed>' });
    const ends = (address: string): unknown => {
      const { to } = decide(flow(WORLD, address), parties(wide, inner));
      return to.kind === 'nic' ? to.guest.name : to.kind;
    };
    expect(['2001:db8:2::5', '2001:db8:2::6', '2001:db8:3::1', HOST, 'fe80::1'].map(ends)).toEqual(['inner', 'wide', 'world', 'host', 'host']);
  });

  test('neither end a guest: nothing decides', () => {
    expect(decide(flow(WORLD, HOST), parties())).toEqual({ verdict: 'passes', from: { kind: 'world', address: WORLD }, to: { kind: 'host', address: HOST }, rulings: [] });
  });

  test('both of one NIC: the guest does not send it', () => {
    const two = guestOf('a', 1, { words: '<gw:routed><gw:ip address="2001:db8::1"/><gw:ip address="2001:db8::5"/></gw:routed>' });
    expect(decide(flow(A, '2001:db8::5'), parties(two)).rulings.map(({ rule }) => rule)).toEqual(['both addresses belong to this NIC: the guest sends no such packet']);
  });

  test.each<[string, string, string, string, string]>([
    ['its own', '', A, 'passes', "profile 'isolated' lets it reach the world"],
    ["nobody's", '', '2001:db8::bad', 'dropped', "'2001:db8::bad' is not its address: dropped as forged"],
    ["another guest's", '', B, 'dropped', "'2001:db8::2' is not its address: dropped as forged"],
    ['any, when it is trusted', '<gw:trust ip="yes"/>', '2001:db8::bad', 'passes', "profile 'isolated' lets it reach the world"],
  ])('a guest sends from %s', (_, words, from, said, rule) => {
    const guests = [guestOf('a', 1, { words: routed(1) + words, config: '[routed]\ntrust = ["ip"]' }), guestOf('b', 2, { words: routed(2) })];
    const decision = decide({ ...flow(from, WORLD), sender: uuidOf(1) }, parties(...guests));
    expect([decision.verdict, decision.rulings.map((ruling) => `${ruling.guest}: ${ruling.rule}`)]).toEqual([said, [`a: ${rule}`]]);
  });

  test('a VLAN port that declares no address of the family sends from any', () => {
    const verdictOf = (from: string, to: string): string => decide({ ...flow(from, to), sender: uuidOf(1) }, parties(port(1))).verdict;
    expect([verdictOf('192.0.2.7', '192.0.2.8'), verdictOf('2001:db8:9::7', WORLD), verdictOf('2001:db8:9::1', WORLD)]).toEqual(['passes', 'dropped', 'passes']);
  });

  test('VLAN ports meet unless both are isolated ports of one bridge and VLAN', () => {
    const isolated = '<gw:port isolated="yes"/>';
    const meet = (one: Guest, two: Guest): string => decide(flow('2001:db8:9::1', '2001:db8:9::2'), parties(one, two)).verdict;
    expect(meet(port(1), port(2))).toBe('passes');
    expect(meet(port(1, isolated), port(2))).toBe('passes');
    expect(meet(port(1, isolated), port(2, isolated, 'br1'))).toBe('passes');
    expect(meet(port(1, isolated), port(2, isolated))).toBe('dropped');
  });

  const TO_2 = '2001:db8:9::2';
  const allowed = (from: string): string => `<gw:allow direction="in" proto="tcp" port="443" from="${from}"/>`;
  test.each<[string, string, Omit<TextFlow, 'to'>, 'passes' | 'dropped', string]>([
    ['isolated, from a neighbour', profile('isolated'), { from: '2001:db8:9::1' }, 'dropped', "profile 'isolated' lets no other guest in"],
    ['isolated, from another VLAN', profile('isolated'), { from: '2001:db8:9::3' }, 'passes', "profile 'isolated' lets the world in"],
    ['isolated, from the world', profile('isolated'), { from: WORLD }, 'passes', "profile 'isolated' lets the world in"],
    ['isolated, from this host', profile('isolated'), { from: HOST }, 'passes', "profile 'isolated' lets the world in"],
    ['closed, from this host', profile('closed'), { from: HOST }, 'dropped', "profile 'closed' lets in only what a permission names"],
    ['closed, echo from this host', profile('closed'), { from: HOST, proto: 'icmpv6' }, 'passes', 'echo from the world comes in'],
    ['closed, echo from a neighbour', profile('closed'), { from: '2001:db8:9::1', proto: 'icmpv6' }, 'dropped', "profile 'closed' lets in only what a permission names"],
    ['a guest by name', allowed('guest:p1'), { from: '2001:db8:9::1' }, 'passes', 'allows tcp 443 from \'guest:p1\''],
    ['a guest by name, from another VLAN', allowed('guest:p3'), { from: '2001:db8:9::3' }, 'dropped', 'allows only tcp 443 from \'guest:p3\''],
    ['a guest by name, on a routed link', allowed('guest:a'), { from: '2001:db8::4' }, 'dropped', 'allows only tcp 443 from \'guest:a\''],
    ['a group', allowed('group:g'), { from: '2001:db8:9::1' }, 'passes', 'allows tcp 443 from group:g'],
    ['a prefix', allowed('2001:db8:9::3'), { from: '2001:db8:9::3' }, 'passes', 'allows tcp 443 from 2001:db8:9::3'],
    ['open', profile('open'), { from: '2001:db8:9::1' }, 'passes', 'its VLANs decide, and it has no policy for this direction'],
  ])('what comes in on a VLAN port: %s', (_, words, { from, ...more }, said, rule) => {
    const others = [port(1, '<gw:group name="g"/>'), guestOf('p3', 3, { words: '<gw:vlan><gw:tag id="20"/></gw:vlan><gw:ip address="2001:db8:9::3"/>', bridge: 'br0' }), guestOf('a', 4, { words: routed(4) })];
    const { verdict: is, rulings } = decide({ ...flow(from, TO_2), proto: 'tcp', port: 443, ...more }, { ...parties(port(2, words), ...others), host: new Set([HOST]) });
    expect([is, rulings.at(-1)?.rule]).toEqual([said, rule]);
  });

  test('what goes out from a VLAN port', () => {
    const words = '<gw:policy profile="closed"/><gw:allow direction="out" proto="tcp" port="443" to="guest:p2,2001:db8:eeee::1"/>';
    const out = (to: string, number: number): unknown => decide({ ...flow('2001:db8:9::1', to), proto: 'tcp', port: number }, { ...parties(port(1, words), port(2)), host: new Set([HOST]) }).verdict;
    expect([out(TO_2, 443), out(TO_2, 22), out(HOST, 443), out(HOST, 22), out(WORLD, 443)]).toEqual(['passes', 'dropped', 'passes', 'dropped', 'dropped']);
    expect(decide(flow('2001:db8:9::1', WORLD), parties(port(1, profile('closed')))).rulings.map(({ rule }) => rule)).toEqual(["profile 'closed' lets it reach the world"]);
  });

  test('a guest on a VLAN port is of the world for one on a routed link', () => {
    const onLink = guestOf('a', 1, { words: routed(1) });
    expect(decide(flow('2001:db8:9::2', A), parties(onLink, port(2))).rulings.map(({ guest, rule }) => `${guest}: ${rule}`)).toEqual([
      'p2: its VLANs decide, and it has no policy for this direction', "a: profile 'isolated' lets the world in"]);
  });
});
