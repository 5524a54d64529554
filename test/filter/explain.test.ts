// @tier fast
/** What becomes of a flow: the policies of guests that run, as truth tables. */
import { describe, expect, test } from '@jest/globals';
import { decide } from '../../lib/filter/explain.js';
import type { Parties } from '../../lib/filter/parties.js';
import type { Profile } from '../../lib/intent/policy.js';
import {
  A, B, flow, flowOf, type Guest, guestOf, HOST, parties, profile, routed, type TextFlow, uuidOf, WORLD,
} from '../fakes/explain.js';

/** Guest a sends, guest b receives; `a` and `b` are their words beside the routed link. */
function verdict(
  words: { a?: string; b?: string; config?: string; quarantined?: number[] },
  asked: TextFlow,
): string {
  const config = words.config ?? '';
  const guests = [
    guestOf('a', 1, { words: routed(1) + (words.a ?? ''), config }),
    guestOf('b', 2, { words: routed(2, '<gw:route address="2001:db8:2::" prefix="48"/>') + (words.b ?? ''), config }),
  ];
  const parties: Parties = {
    guests, host: new Set([HOST]), quarantined: new Set((words.quarantined ?? []).map(uuidOf)),
  };
  const { verdict: said, rulings } = decide(flowOf(asked), parties);
  return [said, ...rulings.map(({ guest, direction, rule, origin }) => `${guest} ${direction}: ${rule}${origin === undefined ? '' : ` (${origin})`}`)].join('; ');
}

describe('on a bridge of one VLAN', () => {
  const config = '[bridge."br{vid}"]\nparent = "eno1"\nallowed = ["30-39"]\n';
  const on = (bridge: string, n: number, words: string): Guest => guestOf(`g${n}`, n, { words: `<gw:ip address="2001:db8::${n}"/>${words}`, config, bridge });
  const between = (one: Guest, other: Guest): string => {
    const parties: Parties = { guests: [one, other], host: new Set([HOST]), quarantined: new Set() };
    const { rulings } = decide(flowOf({ from: A, to: B, proto: 'tcp', port: 443 }), parties);
    return rulings.map(({ rule }) => rule).join('; ');
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

describe('link-local destinations beyond this host', () => {
  const SHUT = 'dropped; a out: link-local destination; [routed] link_local of the host config does not list it';
  const asked = { from: '192.0.2.1', to: '169.254.169.254', proto: 'tcp', port: 80 } as const;
  const open = '[routed]\nlink_local = ["169.254.169.254"]\n';

  test('no guest reaches them, whatever its words are', () => {
    const words = [
      '', profile('open'), profile('closed'), '<gw:allow direction="out" to="169.254.0.0/16"/>', '<gw:allow direction="out"/>',
    ];
    for (const a of words) expect([a, verdict({ a }, asked)]).toEqual([a, SHUT]);
    expect(verdict({}, { from: A, to: 'fe80::7' })).toBe(SHUT);
    expect(verdict({ config: open }, { ...asked, to: '169.254.169.253' })).toBe(SHUT);
  });

  test('the host config opens one, and the words of the guest decide then', () => {
    expect(verdict({ config: open }, asked)).toBe("passes; a out: profile 'isolated' lets it reach the world (the default)");
    const a = '<gw:allow direction="out" to="198.51.100.0/24"/>';
    expect(verdict({ config: open, a }, asked)).toContain('dropped; a out: allows only anything to 198.51.100.0/24');
  });

  test('the gateways are the host itself', () => {
    const gateway = { from: '192.0.2.1', to: '169.254.0.1', proto: 'icmp' } as const;
    expect(verdict({}, gateway)).toBe('passes; a out: echo to this host');
  });
});

describe('without permissions the profile decides', () => {
  const echo = { proto: 'icmpv6' as const };
  const web = { proto: 'tcp' as const, port: 443 };
  test.each<[string, TextFlow, Record<Profile, 'passes' | 'dropped'>]>([
    ['world to guest', { from: WORLD, to: A, ...web }, { open: 'passes', isolated: 'passes', closed: 'dropped' }],
    ['echo from the world', { from: WORLD, to: A, ...echo }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['guest to guest', { from: B, to: A, ...web }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    ['echo from a guest', { from: B, to: A, ...echo }, { open: 'passes', isolated: 'dropped', closed: 'dropped' }],
    [
      'from the prefix behind a guest', { from: '2001:db8:2::7', to: A, ...web },
      { open: 'passes', isolated: 'dropped', closed: 'dropped' },
    ],
    ['host to guest', { from: HOST, to: A, ...web }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    ['guest to world', { from: A, to: WORLD, ...web }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    [
      'guest to host', { from: A, to: HOST, proto: 'tcp', port: 22 },
      { open: 'passes', isolated: 'dropped', closed: 'dropped' },
    ],
    [
      'guest to its gateway', { from: A, to: 'fe80::1', proto: 'tcp', port: 22 },
      { open: 'passes', isolated: 'dropped', closed: 'dropped' },
    ],
    ['echo to host', { from: A, to: HOST, ...echo }, { open: 'passes', isolated: 'passes', closed: 'passes' }],
    [
      'DNS of the host', { from: A, to: HOST, proto: 'udp', port: 53 },
      { open: 'passes', isolated: 'dropped', closed: 'dropped' },
    ],
    ['no protocol in particular, from the world', { from: WORLD, to: A }, { open: 'passes', isolated: 'passes', closed: 'dropped' }],
    [
      'of IPv4', { from: '192.0.2.2', to: '192.0.2.1', ...web },
      { open: 'passes', isolated: 'dropped', closed: 'dropped' },
    ],
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
    const { rulings } = decide(flowOf({ from: A, to: WORLD, proto: 'tcp', port: 1 }), {
      guests: [guestOf('a', 1, { words: routed(1), config })], host: new Set(), quarantined: new Set(),
    });
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
  test('a longer prefix goes first', () => {
    const wide = guestOf('wide', 1, { words: '<gw:routed><gw:ip address="2001:db8:1::1"/><gw:route address="2001:db8:2::" prefix="48"/></gw:routed>' });
    const inner = guestOf('inner', 2, { words: '<gw:routed><gw:ip address="2001:db8:2::5"/></gw:routed>' });
    const ends = (address: string): unknown => {
      const { to } = decide(flow(WORLD, address), parties(wide, inner));
      return to.kind === 'nic' ? to.guest.name : to.kind;
    };
    expect(['2001:db8:2::5', '2001:db8:2::6', '2001:db8:3::1', HOST, 'fe80::1'].map(ends))
      .toEqual(['inner', 'wide', 'world', 'host', 'host']);
  });

  test('neither end a guest: nothing decides', () => {
    const { from, to } = flow(WORLD, HOST);
    expect(decide(flow(WORLD, HOST), parties())).toEqual({
      verdict: 'passes', from: { kind: 'world', address: from }, to: { kind: 'host', address: to }, rulings: [],
    });
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
    const guests = [
      guestOf('a', 1, { words: routed(1) + words, config: '[routed]\ntrust = ["ip"]' }),
      guestOf('b', 2, { words: routed(2) }),
    ];
    const decision = decide({ ...flow(from, WORLD), sender: uuidOf(1) }, parties(...guests));
    expect([decision.verdict, decision.rulings.map((ruling) => `${ruling.guest}: ${ruling.rule}`)])
      .toEqual([said, [`a: ${rule}`]]);
  });
});
