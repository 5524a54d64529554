/** One object of each kind, more of a kind with several lines: what the tools are fed, and the words for it. */
import type { NetObject } from '../../lib/state/objects.js';
import { BRIDGE_SAMPLES } from './bridge-samples.js';
import { FILTER_SAMPLES } from './filter-samples.js';

export interface Sample {
  readonly one: NetObject;
  readonly set: string;
  /** Absent: it is a setting. */
  readonly remove?: string;
  readonly words: string;
  /** An object with the same key and other values. */
  readonly other?: NetObject;
  readonly change?: string;
  readonly drift?: string;
}

export const SAMPLES: readonly Sample[] = [
  {
    one: { kind: 'veth', dev: 'vnet0', peer: 'guest0' },
    set: 'ip: link add name vnet0 type veth peer name guest0',
    remove: 'ip: link del dev vnet0',
    words: "add veth pair with 'guest0' on 'vnet0'",
  },
  {
    one: { kind: 'tap', dev: 'vnet0', multiQueue: false },
    set: 'ip: tuntap add dev vnet0 mode tap user 0',
    remove: 'ip: link del dev vnet0',
    words: "add tap on 'vnet0'",
  },
  {
    one: { kind: 'tap', dev: 'vnet1', multiQueue: true },
    set: 'ip: tuntap add dev vnet1 mode tap user 0 multi_queue',
    remove: 'ip: link del dev vnet1',
    words: "add tap multi_queue on 'vnet1'",
  },
  {
    one: { kind: 'alias', dev: 'vnet0', end: 'guest0', alias: 'guestwire 1' },
    set: 'ip: link set dev guest0 alias guestwire 1',
    words: "add alias 'guestwire 1' of 'guest0' on 'vnet0'",
  },
  {
    one: { kind: 'alias', dev: 'vnet0', end: 'vnet0', alias: 'guestwire 1' },
    set: 'ip: link set dev vnet0 alias guestwire 1',
    words: "add alias 'guestwire 1' of 'vnet0' on 'vnet0'",
    other: { kind: 'alias', dev: 'vnet0', end: 'vnet0', alias: '' },
    change: 'ip: link set dev vnet0 alias ""',
    drift: "alias 'guestwire 1' of 'vnet0' on 'vnet0' should be alias '' of 'vnet0'",
  },
  {
    one: { kind: 'mtu', dev: 'vnet0', end: 'vnet0', bytes: 9000 },
    set: 'ip: link set dev vnet0 mtu 9000',
    words: "add mtu 9000 of 'vnet0' on 'vnet0'",
    other: { kind: 'mtu', dev: 'vnet0', end: 'vnet0', bytes: 1500 },
    change: 'ip: link set dev vnet0 mtu 1500',
    drift: "mtu 9000 of 'vnet0' on 'vnet0' should be mtu 1500 of 'vnet0'",
  },
  {
    one: { kind: 'allmulticast', dev: 'vnet0', on: true },
    set: 'ip: link set dev vnet0 allmulticast on',
    words: "add allmulticast on on 'vnet0'",
    other: { kind: 'allmulticast', dev: 'vnet0', on: false },
    change: 'ip: link set dev vnet0 allmulticast off',
    drift: "allmulticast on on 'vnet0' should be allmulticast off",
  },
  {
    one: { kind: 'ipv6', dev: 'vnet0', end: 'vnet0', on: false },
    set: 'sysctl: net/ipv6/conf/vnet0/disable_ipv6=1',
    words: "add IPv6 off of 'vnet0' on 'vnet0'",
    other: { kind: 'ipv6', dev: 'vnet0', end: 'vnet0', on: true },
    change: 'sysctl: net/ipv6/conf/vnet0/disable_ipv6=0',
    drift: "IPv6 off of 'vnet0' on 'vnet0' should be IPv6 on of 'vnet0'",
  },
  {
    one: { kind: 'link', dev: 'vnet0', up: true },
    set: 'ip: link set dev vnet0 up',
    words: "add link 'vnet0' up",
    other: { kind: 'link', dev: 'vnet0', up: false },
    change: 'ip: link set dev vnet0 down',
    drift: "link 'vnet0' is up and should be down",
  },
  {
    one: { kind: 'link', dev: 'vnet1', up: false },
    set: 'ip: link set dev vnet1 down',
    words: "add link 'vnet1' down",
    other: { kind: 'link', dev: 'vnet1', up: true },
    change: 'ip: link set dev vnet1 up',
    drift: "link 'vnet1' is down and should be up",
  },
  {
    one: { kind: 'txqlen', dev: 'vnet0', length: 1000 },
    set: 'ip: link set dev vnet0 txqueuelen 1000',
    words: "add txqueuelen 1000 on 'vnet0'",
    other: { kind: 'txqlen', dev: 'vnet0', length: 0 },
    change: 'ip: link set dev vnet0 txqueuelen 0',
    drift: "txqueuelen 1000 on 'vnet0' should be txqueuelen 0",
  },
  {
    one: { kind: 'master', dev: 'vnet0', master: 'vrf0' },
    set: 'ip: link set dev vnet0 master vrf0',
    remove: 'ip: link set dev vnet0 nomaster',
    words: "add master vrf0 on 'vnet0'",
    other: { kind: 'master', dev: 'vnet0', master: 'vrf1' },
    change: 'ip: link set dev vnet0 master vrf1',
    drift: "master vrf0 on 'vnet0' should be master vrf1",
  },
  {
    one: { kind: 'vlan', dev: 'vnet0', vid: 10, pvid: true, untagged: true },
    set: 'bridge: vlan add dev vnet0 vid 10 pvid untagged',
    remove: 'bridge: vlan del dev vnet0 vid 10',
    words: "add VLAN 10 pvid untagged on 'vnet0'",
    other: { kind: 'vlan', dev: 'vnet0', vid: 10, pvid: false, untagged: false },
    change: 'bridge: vlan add dev vnet0 vid 10',
    drift: "VLAN 10 pvid untagged on 'vnet0' should be VLAN 10",
  },
  {
    one: { kind: 'vlan', dev: 'vnet0', vid: 42, pvid: false, untagged: false },
    set: 'bridge: vlan add dev vnet0 vid 42',
    remove: 'bridge: vlan del dev vnet0 vid 42',
    words: "add VLAN 42 on 'vnet0'",
    other: { kind: 'vlan', dev: 'vnet0', vid: 42, pvid: true, untagged: false },
    change: 'bridge: vlan add dev vnet0 vid 42 pvid',
    drift: "VLAN 42 on 'vnet0' should be VLAN 42 pvid",
  },
  {
    one: { kind: 'uplink-vlan', dev: 'eno1', vid: 42 },
    set: 'bridge: vlan add dev eno1 vid 42',
    remove: 'bridge: vlan del dev eno1 vid 42',
    words: "add VLAN 42 on 'eno1'",
  },
  {
    one: { kind: 'isolated', dev: 'vnet0', on: true },
    set: 'bridge: link set dev vnet0 isolated on',
    words: "add port 'vnet0' isolated",
    other: { kind: 'isolated', dev: 'vnet0', on: false },
    change: 'bridge: link set dev vnet0 isolated off',
    drift: "port 'vnet0' is isolated and should not be",
  },
  {
    one: { kind: 'isolated', dev: 'vnet1', on: false },
    set: 'bridge: link set dev vnet1 isolated off',
    words: "add port 'vnet1' not isolated",
    other: { kind: 'isolated', dev: 'vnet1', on: true },
    change: 'bridge: link set dev vnet1 isolated on',
    drift: "port 'vnet1' is not isolated and should be",
  },
  {
    one: { kind: 'address', dev: 'vnet0', address: 'fe80::1', length: 64 },
    set: 'ip: address add fe80::1/64 dev vnet0 nodad',
    remove: 'ip: address del fe80::1/64 dev vnet0',
    words: "add address fe80::1/64 on 'vnet0'",
  },
  {
    one: { kind: 'address', dev: 'vnet0', address: '2001:db8::1', length: 64 },
    set: 'ip: address add 2001:db8::1/64 dev vnet0 nodad preferred_lft 0',
    remove: 'ip: address del 2001:db8::1/64 dev vnet0',
    words: "add address 2001:db8::1/64 on 'vnet0'",
  },
  {
    one: { kind: 'address', dev: 'vnet0', address: '169.254.0.1', length: 32 },
    set: 'ip: address add 169.254.0.1/32 dev vnet0 scope link',
    remove: 'ip: address del 169.254.0.1/32 dev vnet0',
    words: "add address 169.254.0.1/32 on 'vnet0'",
  },
  {
    one: { kind: 'address', dev: 'vnet0', address: '192.0.2.1', length: 32 },
    set: 'ip: address add 192.0.2.1/32 dev vnet0',
    remove: 'ip: address del 192.0.2.1/32 dev vnet0',
    words: "add address 192.0.2.1/32 on 'vnet0'",
  },
  {
    one: { kind: 'route', dev: 'vnet0', to: '192.0.2.9/32', via: undefined, table: 'main', protocol: 117 },
    set: 'ip: route add 192.0.2.9/32 dev vnet0 table main proto 117',
    remove: 'ip: route del 192.0.2.9/32 dev vnet0 table main proto 117',
    words: "add route 192.0.2.9/32 on 'vnet0'",
  },
  {
    one: { kind: 'route', dev: 'vnet0', to: '2001:db8:1::/64', via: '2001:db8::a', table: '100', protocol: 117 },
    set: 'ip: route add 2001:db8:1::/64 via 2001:db8::a dev vnet0 table 100 proto 117',
    remove: 'ip: route del 2001:db8:1::/64 via 2001:db8::a dev vnet0 table 100 proto 117',
    words: "add route 2001:db8:1::/64 via 2001:db8::a on 'vnet0'",
  },
  {
    one: { kind: 'rule', dev: 'vnet0', family: 'inet', priority: 90, to: '192.0.2.9/32', table: '100', protocol: 117 },
    set: 'ip: rule add to 192.0.2.9/32 lookup 100 priority 90 protocol 117',
    remove: 'ip: rule del to 192.0.2.9/32 lookup 100 priority 90 protocol 117',
    words: 'add IPv4 rule to 192.0.2.9/32 lookup 100',
  },
  {
    one: { kind: 'rule', dev: 'vnet0', family: 'inet', priority: 2000, to: undefined, table: '100', protocol: 117 },
    set: 'ip: rule add iif vnet0 lookup 100 priority 2000 protocol 117',
    remove: 'ip: rule del iif vnet0 lookup 100 priority 2000 protocol 117',
    words: 'add IPv4 rule iif vnet0 lookup 100',
  },
  {
    one: { kind: 'rule', dev: 'vnet0', family: 'inet6', priority: 2000, to: undefined, table: '100', protocol: 117 },
    set: 'ip -6: rule add iif vnet0 lookup 100 priority 2000 protocol 117',
    remove: 'ip -6: rule del iif vnet0 lookup 100 priority 2000 protocol 117',
    words: 'add IPv6 rule iif vnet0 lookup 100',
  },
  {
    one: { kind: 'last-resort', dev: 'lo', family: 'inet', table: '100', protocol: 117 },
    set: 'ip: route add unreachable 0.0.0.0/0 table 100 metric 4294967295 proto 117',
    remove: 'ip: route del unreachable 0.0.0.0/0 table 100 metric 4294967295 proto 117',
    words: 'add unreachable IPv4 default of table 100',
  },
  {
    one: { kind: 'last-resort', dev: 'lo', family: 'inet6', table: '100', protocol: 117 },
    set: 'ip: route add unreachable ::/0 table 100 metric 4294967295 proto 117',
    remove: 'ip: route del unreachable ::/0 table 100 metric 4294967295 proto 117',
    words: 'add unreachable IPv6 default of table 100',
  },
  {
    one: { kind: 'neighbour-proxy', dev: 'eno1', address: '192.0.2.9', protocol: 117 },
    set: 'ip: neigh add proxy 192.0.2.9 dev eno1 protocol 117',
    remove: 'ip: neigh del proxy 192.0.2.9 dev eno1',
    words: "add neighbour proxy 192.0.2.9 on 'eno1'",
  },
  {
    one: { kind: 'sysctl', dev: 'vnet0', path: 'net/ipv6/conf/vnet0/accept_ra', value: '0' },
    set: 'sysctl: net/ipv6/conf/vnet0/accept_ra=0',
    words: 'set sysctl net.ipv6.conf.vnet0.accept_ra=0',
    other: { kind: 'sysctl', dev: 'vnet0', path: 'net/ipv6/conf/vnet0/accept_ra', value: '1' },
    change: 'sysctl: net/ipv6/conf/vnet0/accept_ra=1',
    drift: 'sysctl net.ipv6.conf.vnet0.accept_ra is 0 and should be 1',
  },
  {
    one: { kind: 'sysctl', dev: 'vnet0', path: 'net/ipv6/conf/vnet0/disable_ipv6', value: '1' },
    set: 'sysctl: net/ipv6/conf/vnet0/disable_ipv6=1',
    words: 'set sysctl net.ipv6.conf.vnet0.disable_ipv6=1',
    other: { kind: 'sysctl', dev: 'vnet0', path: 'net/ipv6/conf/vnet0/disable_ipv6', value: '0' },
    change: 'sysctl: net/ipv6/conf/vnet0/disable_ipv6=0',
    drift: 'sysctl net.ipv6.conf.vnet0.disable_ipv6 is 1 and should be 0',
  },
  {
    one: { kind: 'host-sysctl', dev: 'all', path: 'net/ipv4/ip_forward', value: '1' },
    set: 'sysctl: net/ipv4/ip_forward=1',
    words: 'set sysctl net.ipv4.ip_forward=1',
    other: { kind: 'host-sysctl', dev: 'all', path: 'net/ipv4/ip_forward', value: '0' },
    change: 'sysctl: net/ipv4/ip_forward=0',
    drift: 'sysctl net.ipv4.ip_forward is 1 and should be 0',
  },
  {
    one: { kind: 'host-sysctl', dev: 'eno1', path: 'net/ipv6/conf/eno1/accept_ra', value: '2' },
    set: 'sysctl: net/ipv6/conf/eno1/accept_ra=2',
    words: 'set sysctl net.ipv6.conf.eno1.accept_ra=2',
    other: { kind: 'host-sysctl', dev: 'eno1', path: 'net/ipv6/conf/eno1/accept_ra', value: '1' },
    change: 'sysctl: net/ipv6/conf/eno1/accept_ra=1',
    drift: 'sysctl net.ipv6.conf.eno1.accept_ra is 2 and should be 1',
  },
  {
    one: { kind: 'proxy-sysctl', dev: 'eno1', path: 'net/ipv6/conf/eno1/proxy_ndp', value: '1' },
    set: 'sysctl: net/ipv6/conf/eno1/proxy_ndp=1',
    words: 'set sysctl net.ipv6.conf.eno1.proxy_ndp=1',
    other: { kind: 'proxy-sysctl', dev: 'eno1', path: 'net/ipv6/conf/eno1/proxy_ndp', value: '0' },
    change: 'sysctl: net/ipv6/conf/eno1/proxy_ndp=0',
    drift: 'sysctl net.ipv6.conf.eno1.proxy_ndp is 1 and should be 0',
  },
  ...BRIDGE_SAMPLES,
  ...FILTER_SAMPLES,
];
