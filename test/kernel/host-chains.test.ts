// @tier fast
/** Chains that drop, as iptables-legacy and nftables print them, and from which links they accept what guests need. */
import { describe, expect, test } from '@jest/globals';
import { type HostService } from '../../lib/kernel/accepting-rules.js';
import { type DroppingChain, droppingIn, droppingLegacy } from '../../lib/kernel/host-chains.js';
import type { RulesetRule } from '../../lib/kernel/host-settings.js';

const legacy = (text: string, chain = 'FORWARD', tool = 'iptables-legacy'): DroppingChain | undefined =>
  droppingLegacy({ tool, chain, text });

describe('droppingLegacy', () => {
  test('a chain of iptables-legacy is told by its policy or its last rule', () => {
    expect(legacy('-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n')).toBeUndefined();
    expect(legacy('-P FORWARD DROP\n-A FORWARD -i vnet+ -j ACCEPT\n-A FORWARD -o web1 -j ACCEPT\n-A FORWARD -i br0 -p tcp -j ACCEPT\n'))
      .toMatchObject({ kind: 'legacy', name: 'iptables-legacy', family: 'ip', from: ['vnet*'], to: ['web1'] });
    expect(legacy('-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\n')).toMatchObject({ from: [], to: [] });
  });

  test.each<[string, string, readonly string[]]>([
    ['nothing', '', []],
    ['another protocol', '-A INPUT -p tcp -j ACCEPT', []],
    ['the protocol from all links', '-A INPUT -p ipv6-icmp -j ACCEPT', ['*']],
    ['the protocol from one link', '-A INPUT -i d0 -p ipv6-icmp -j ACCEPT', ['d0']],
    ['all from some links', '-A INPUT -i vnet+ -j ACCEPT', ['vnet*']],
    ['what a chain of its own accepts', '-A INPUT -j ufw6-input', ['*']],
    ['its type', '-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT', ['*']],
    ['its type and a code', '-A INPUT -i d0 -p ipv6-icmp -m icmp6 --icmpv6-type 135/0 -j ACCEPT', ['d0']],
    ['another type', '-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT', []],
    ['another type with a chain of its own', '-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j echo', []],
    ['answers', '-A INPUT -m state --state ESTABLISHED -j ACCEPT', []],
  ])('an input chain that accepts %s', (_, line, links) => {
    const chain = legacy(`-P INPUT DROP\n${line}\n`, 'INPUT', 'ip6tables-legacy');
    expect(chain).toMatchObject({ hook: 'input', family: 'ip6' });
    expect(chain?.accepts['nd-neighbor-solicit']).toEqual(links);
  });
});

test.each<[string, readonly string[]]>([
  ['-A INPUT -p udp -m udp --dport 547 -j ACCEPT', ['*']],
  ['-A INPUT -i d0 -p udp -m multiport --dports 67,546:547 -j ACCEPT', ['d0']],
  ['-A INPUT -p udp -m udp --dport 53 -j ACCEPT', []],
  ['-A INPUT -p udp -m udp --dport 500:600 -j ACCEPT', ['*']],
  ['-A INPUT -p udp -j ACCEPT', ['*']],
])('DHCPv6 by %s', (line, links) => {
  expect(legacy(`-P INPUT DROP\n${line}\n`, 'INPUT', 'ip6tables-legacy')?.accepts.dhcpv6).toEqual(links);
});

const match = (left: object, right: unknown, op = '=='): object => ({ match: { op, left, right } });
const meta = (key: string, right: unknown, op?: string): object => match({ meta: { key } }, right, op);
const field = (protocol: string, name: string, right: unknown): object =>
  match({ payload: { protocol, field: name } }, right);
const state = (right: unknown): object => match({ ct: { key: 'state' } }, right, 'in');
const ACCEPT = { accept: null };

/** Returns from which links a chain `input` with these rules accepts the service. */
function accepted(
  service: HostService, rules: readonly object[][], others: Readonly<Record<string, object[][]>> = {},
): readonly string[] | undefined {
  const rule = (chain: string) => (expr: object[]): RulesetRule =>
    ({ family: 'inet', table: 'filter', chain, expr: expr as RulesetRule['expr'] });
  const [found] = droppingIn({
    chains: [{ family: 'inet', table: 'filter', name: 'input', hook: 'input', policy: 'drop' }],
    rules: [...rules.map(rule('input')), ...Object.entries(others).flatMap(([chain, list]) => list.map(rule(chain)))],
  });
  return found?.accepts[service];
}

describe('an input chain of nftables accepts neighbour solicitations', () => {
  test.each<[string, object[][], readonly string[]]>([
    ['by no rule', [], []],
    ['not by answers', [[state(['established', 'related']), ACCEPT]], []],
    ['by their state', [[state({ set: ['new', 'untracked'] }), ACCEPT]], ['*']],
    ['by their type', [[field('icmpv6', 'type', { set: ['nd-router-solicit', 'nd-neighbor-solicit'] }), ACCEPT]],
      ['*']],
    ['not by another type', [[field('icmpv6', 'type', 'nd-router-advert'), ACCEPT]], []],
    ['by their protocol', [[meta('l4proto', { set: ['icmp', 'ipv6-icmp'] }), ACCEPT]], ['*']],
    ['by the next header', [[field('ip6', 'nexthdr', 'ipv6-icmp'), ACCEPT]], ['*']],
    ['not by IPv4', [[meta('nfproto', 'ipv4'), ACCEPT]], []],
    ['from one link', [[meta('iif', 'lo'), ACCEPT]], ['lo']],
    ['from some links', [[meta('iifname', { set: ['d0', 'vnet*'] }), meta('l4proto', 'ipv6-icmp'), ACCEPT]],
      ['d0', 'vnet*']],
    ['from a set that cannot be read', [[meta('iifname', '@inside'), ACCEPT]], ['*']],
    ['not by a port', [[field('tcp', 'dport', 22), ACCEPT]], []],
    ['perhaps by a map', [[{ vmap: { key: {}, data: '@zones' } }]], ['*']],
    ['not by a rule that drops', [[field('icmpv6', 'type', 'nd-neighbor-solicit'), { drop: null }]], []],
  ])('%s', (_, rules, links) => {
    expect(accepted('nd-neighbor-solicit', rules)).toEqual(links);
  });

  test('in the chains that it jumps to, from the links that both name', () => {
    const jump = (target: string): object => ({ jump: { target } });
    expect(accepted('nd-neighbor-solicit', [[jump('x')]], { x: [[ACCEPT]] })).toEqual(['*']);
    const go = { goto: { target: 'x' } };
    expect(accepted('nd-neighbor-solicit', [[meta('iifname', 'd0'), go]], { x: [[ACCEPT]] })).toEqual(['d0']);
    expect(accepted('nd-neighbor-solicit', [[jump('x')]], { x: [[meta('iifname', 'd1'), ACCEPT]] })).toEqual(['d1']);
    expect(accepted('nd-neighbor-solicit', [[jump('x')]], { x: [[jump('input')], [jump('y')]] })).toEqual([]);
  });
});

test('an input chain of nftables accepts DHCP by its port, in a range or a set', () => {
  expect(accepted('dhcp', [[field('udp', 'dport', { range: [60, 70] }), ACCEPT]])).toEqual(['*']);
  expect(accepted('dhcp', [[field('udp', 'dport', { set: [53, 67] }), ACCEPT]])).toEqual(['*']);
  expect(accepted('dhcp', [[field('udp', 'dport', 53), ACCEPT]])).toEqual([]);
  expect(accepted('dhcpv6', [[field('th', 'dport', 547), ACCEPT]])).toEqual(['*']);
  expect(accepted('dhcpv6', [[field('ip', 'saddr', '192.0.2.1'), ACCEPT]])).toEqual([]);
  expect(accepted('dhcpv6', [[meta('l4proto', 'ipv6-icmp'), ACCEPT]])).toEqual([]);
});

test("guestwire's own chains, chains that accept, and hooks that guests do not pass are left out", () => {
  const base = { family: 'inet', table: 'filter', name: 'c', hook: 'input', policy: 'drop' };
  const names = (chain: object): string[] =>
    droppingIn({ chains: [{ ...base, ...chain }], rules: [] }).map(({ name }) => name);
  expect(names({})).toEqual(['inet filter c']);
  expect(names({ table: 'guestwire' })).toEqual([]);
  expect(names({ policy: 'accept' })).toEqual([]);
  expect(names({ hook: 'output' })).toEqual([]);
  expect(names({ hook: undefined })).toEqual([]);
});
