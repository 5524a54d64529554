// @tier fast
/** `guestwire explain` for guests on VLAN ports: what they may send, and which of them meet. */
import { describe, expect, test } from '@jest/globals';
import { decide } from '../../lib/filter/explain.js';
import {
  A, flow, type Guest, guestOf, HOST, parties, profile, routed, type TextFlow, uuidOf, WORLD,
} from '../fakes/explain.js';

const VLAN = '<gw:vlan><gw:tag id="10"/></gw:vlan>';
const port = (n: number, more = '', bridge = 'br0'): Guest => guestOf(`p${n}`, n, { words: `${VLAN}<gw:ip address="2001:db8:9::${n}"/>${more}`, bridge });

describe('VLAN ports', () => {
  test('send from any address of a family of which they declare none', () => {
    const verdictOf = (from: string, to: string): string =>
      decide({ ...flow(from, to), sender: uuidOf(1) }, parties(port(1))).verdict;
    expect([verdictOf('192.0.2.7', '192.0.2.8'), verdictOf('2001:db8:9::7', WORLD), verdictOf('2001:db8:9::1', WORLD)])
      .toEqual(['passes', 'dropped', 'passes']);
  });

  test('meet unless both are isolated ports of one bridge and VLAN', () => {
    const isolated = '<gw:port isolated="yes"/>';
    const meet = (one: Guest, two: Guest): string =>
      decide(flow('2001:db8:9::1', '2001:db8:9::2'), parties(one, two)).verdict;
    expect(meet(port(1), port(2))).toBe('passes');
    expect(meet(port(1, isolated), port(2))).toBe('passes');
    expect(meet(port(1, isolated), port(2, isolated, 'br1'))).toBe('passes');
    expect(meet(port(1, isolated), port(2, isolated))).toBe('dropped');
  });

  const TO_2 = '2001:db8:9::2';
  const allowed = (from: string): string => `<gw:allow direction="in" proto="tcp" port="443" from="${from}"/>`;
  test.each<[string, string, Omit<TextFlow, 'to'>, 'passes' | 'dropped', string]>([
    ['isolated, from a neighbour', profile('isolated'), { from: '2001:db8:9::1' }, 'dropped', "profile 'isolated' lets no other guest in"],
    [
      'isolated, from another VLAN', profile('isolated'), { from: '2001:db8:9::3' }, 'passes',
      "profile 'isolated' lets the world in",
    ],
    [
      'isolated, from the world', profile('isolated'), { from: WORLD }, 'passes',
      "profile 'isolated' lets the world in",
    ],
    ['isolated, from this host', profile('isolated'), { from: HOST }, 'passes', "profile 'isolated' lets the world in"],
    ['closed, from this host', profile('closed'), { from: HOST }, 'dropped', "profile 'closed' lets in only what a permission names"],
    [
      'closed, echo from this host', profile('closed'), { from: HOST, proto: 'icmpv6' }, 'passes',
      'echo from the world comes in',
    ],
    ['closed, echo from a neighbour', profile('closed'), { from: '2001:db8:9::1', proto: 'icmpv6' }, 'dropped', "profile 'closed' lets in only what a permission names"],
    ['a guest by name', allowed('guest:p1'), { from: '2001:db8:9::1' }, 'passes', 'allows tcp 443 from \'guest:p1\''],
    [
      'a guest by name, from another VLAN', allowed('guest:p3'), { from: '2001:db8:9::3' }, 'dropped',
      'allows only tcp 443 from \'guest:p3\'',
    ],
    [
      'a guest by name, on a routed link', allowed('guest:a'), { from: '2001:db8::4' }, 'dropped',
      'allows only tcp 443 from \'guest:a\'',
    ],
    ['a group', allowed('group:g'), { from: '2001:db8:9::1' }, 'passes', 'allows tcp 443 from group:g'],
    ['a prefix', allowed('2001:db8:9::3'), { from: '2001:db8:9::3' }, 'passes', 'allows tcp 443 from 2001:db8:9::3'],
    ['open', profile('open'), { from: '2001:db8:9::1' }, 'passes', 'its VLANs decide, and it has no policy for this direction'],
  ])('what comes in on a VLAN port: %s', (_, words, { from, ...more }, said, rule) => {
    const others = [
      port(1, '<gw:group name="g"/>'),
      guestOf('p3', 3, { words: '<gw:vlan><gw:tag id="20"/></gw:vlan><gw:ip address="2001:db8:9::3"/>', bridge: 'br0' }),
      guestOf('a', 4, { words: routed(4) }),
    ];
    const { verdict: is, rulings } = decide({ ...flow(from, TO_2), proto: 'tcp', port: 443, ...more }, {
      ...parties(port(2, words), ...others), host: new Set([HOST]),
    });
    expect([is, rulings.at(-1)?.rule]).toEqual([said, rule]);
  });

  test('what goes out from a VLAN port', () => {
    const words = '<gw:policy profile="closed"/><gw:allow direction="out" proto="tcp" port="443" to="guest:p2,2001:db8:eeee::1"/>';
    const out = (to: string, number: number): unknown => decide(
      { ...flow('2001:db8:9::1', to), proto: 'tcp', port: number },
      { ...parties(port(1, words), port(2)), host: new Set([HOST]) },
    ).verdict;
    expect([out(TO_2, 443), out(TO_2, 22), out(HOST, 443), out(HOST, 22), out(WORLD, 443)])
      .toEqual(['passes', 'dropped', 'passes', 'dropped', 'dropped']);
    expect(decide(flow('2001:db8:9::1', WORLD), parties(port(1, profile('closed')))).rulings.map(({ rule }) => rule))
      .toEqual(["profile 'closed' lets it reach the world"]);
  });

  test('a guest on a VLAN port is of the world for one on a routed link', () => {
    const onLink = guestOf('a', 1, { words: routed(1) });
    expect(decide(flow('2001:db8:9::2', A), parties(onLink, port(2))).rulings.map(({ guest, rule }) =>
      `${guest}: ${rule}`)).toEqual([
      'p2: its VLANs decide, and it has no policy for this direction', "a: profile 'isolated' lets the world in"]);
  });
});
