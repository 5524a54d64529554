/** The objects of a bridge that guestwire makes, as samples. */
import type { Sample } from './object-samples.js';

export const BRIDGE_SAMPLES: readonly Sample[] = [
  {
    one: { kind: 'bridge', dev: 'br30' },
    set: 'ip: link add name br30 mtu 68 type bridge',
    remove: 'ip: link del dev br30',
    words: "add bridge 'br30'",
  },
  {
    one: { kind: 'vlan-link', dev: 'eno1.30', parent: 'eno1', vid: 30 },
    set: 'ip: link add link eno1 name eno1.30 type vlan id 30',
    remove: 'ip: link del dev eno1.30',
    words: "add sub-interface 'eno1.30' of VLAN 30 of 'eno1'",
  },
  {
    one: { kind: 'bridge-settings', dev: 'br30', filtering: false, stp: false, forwardDelay: 0 },
    set: 'ip: link set dev br30 type bridge stp_state 0 forward_delay 0',
    words: "add bridge 'br30' with VLAN filtering off, STP off and forward delay 0 s",
  },
  {
    one: { kind: 'mac', dev: 'br30', address: '02:00:00:00:00:30' },
    set: 'ip: link set dev br30 address 02:00:00:00:00:30',
    words: "add MAC 02:00:00:00:00:30 of 'br30'",
  },
  {
    one: { kind: 'port', dev: 'vnet0', bridge: 'br30' },
    set: 'ip: link set dev vnet0 master br30',
    remove: 'ip: link set dev vnet0 nomaster',
    words: "add port 'vnet0' of bridge 'br30'",
  },
];
