// @tier fast
/**
 * Every command of lib/ that changes the network of a host and that guestwire prints for an operator: a test runs each
 * on the host where it was printed, with pings of the host where it could cut the host off.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const DOCTOR = 'test/cli/doctor.test.ts';
const SETTINGS = 'test/kernel-real/host-settings.test.ts';
const CURES = 'test/lab/uml/cures.test.js';

const GUESTS = 'test/lab/uml/cures-guests.test.js';
const REACH = 'test/kernel-real/reach.test.ts';

/** By command, the test that runs it, and what that test looks for. X: what lib/ puts in. */
const RUN_BY: Readonly<Record<string, readonly [file: string, finds: string]>> = {
  'X -I FORWARD X X -j ACCEPT': [SETTINGS, 'a forward chain of iptables-legacy'],
  'X -I INPUT -i X X -j ACCEPT': [SETTINGS, 'an input chain of iptables-legacy'],
  'bridge vlan add dev X vid X self': [CURES, "is not in VLAN '30' itself"],
  'bridge vlan add dev X vid XX': [CURES, 'which filters VLANs'],
  'bridge vlan add dev X vid XXX': [CURES, 'the cure of a bridge that does not filter keeps the host'],
  'ip address add X/X dev lo': ['test/kernel-real/towards-host.test.ts', 'ip address add 198.51.100.1/32 dev lo'],
  'ip link add X type vrf table NUMBER': ['test/lab/tcg/tables.test.js', 'ip link add blue type vrf table 10'],
  'ip link add name X type bridge': [CURES, 'a sub-interface outside the bridge'],
  'ip link del X': ['test/kernel-real/made-link.test.ts', 'ip link del web1'],
  'ip link set dev X master X': [CURES, 'an uplink outside its bridge joins it by a command'],
  'ip link set dev X nomaster': ['test/hook/start-warnings.test.ts', 'nomaster'],
  'ip link set dev X type bridge mcast_querier 1': [CURES, 'of snooping keep the host'],
  'ip link set dev X type bridge nf_call_X 1': [DOCTOR, 'nf_call_iptables'],
  'ip link set dev X type bridge no_linklocal_learn 1': [CURES, 'of learning from link-local frames'],
  'ip link set dev X type bridge vlan_default_pvid 0': [CURES, 'the cures of a default VLAN'],
  'ip link set dev X type bridge vlan_filtering 1': [CURES, 'the cure of a bridge that does not filter keeps the host'],
  'ip link set dev X up': [CURES, 'a parent that is down'],
  'ip link set up dev NAME': ['test/kernel-real/lost-state.test.ts', 'ip link set up dev NAME'],
  'nft insert rule X': [SETTINGS, 'a prerouting chain that drops'],
  'nft insert rule X X': [SETTINGS, 'a forward chain that drops'],
  'nft list chain X': [SETTINGS, 'drops at the ingress of the uplink'],
  'sysctl -w X': [REACH, "restore them with 'sysctl -w"],
  'sysctl -w X=0': [SETTINGS, 'an uplink without IPv6'],
  'sysctl -w X=1': [SETTINGS, 'an uplink that does not forward IPv4'],
  'sysctl -w X=2': [SETTINGS, 'router advertisements do not count'],
  'sysctl -w net.X.neigh.default.gc_thresh3=X net.X.neigh.default.gc_thresh2=X': [GUESTS, 'the cure of a small neighbour table'],
  'sysctl -w net.bridge.bridge-nf-call-X=0': [DOCTOR, 'bridged frames go through iptables'],
  'sysctl -w net.ipv4.ip_forward=1': [SETTINGS, 'a host that does not forward IPv4'],
  'sysctl -w net.netfilter.nf_conntrack_max=X': [GUESTS, 'nf_conntrack_max'],
};

/** Returns the commands in the literals of a file, with X in place of values. */
function commandsIn(text: string): string[] {
  const whole = text.replace(/^\s*(?:\/\*\*|\*|\/\/).*$/gm, '').replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, 'X');
  return [...whole.matchAll(/['"`( ](?=((?:(?:ip (?:-6 )?(?:link|route|rule|address) (?:set|add|del)|bridge vlan add|sysctl -w|nft (?:insert|list)) [^'"`\n]*|X -I [^'"`\n]*)))/g)]
    .flatMap(([, command = '']) => command.split('&&').map((one) => one.trim()))
    // A link of an unknown type is named in words.
    .filter((command) => command !== '' && command !== 'ip link add X ...');
}

test('a test runs every command that guestwire prints against a fault of the host', () => {
  const found = readdirSync('lib', { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(?:attachments|doctor|cli|guests|reconcile|hook|install|survey)\/.*\.ts$/.test(name))
    .flatMap((name) => commandsIn(readFileSync(join('lib', name), 'utf8')));
  expect([...new Set(found)].sort()).toEqual(Object.keys(RUN_BY).sort());
});

test.each(Object.entries(RUN_BY))('%s', (_command, [file, finds]) => {
  expect(readFileSync(file, 'utf8')).toContain(finds);
});
