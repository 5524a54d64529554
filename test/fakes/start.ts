/** A guest with a VLAN port and a routed link, and the fake host on which it starts. */
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import type { WireRequest } from '../../lib/reconcile/request.js';
import { attachmentOf } from './attachments.js';
import type { FakeHost } from './kernel.js';
import { POLICY } from './policies.js';

export const GUEST = { name: 'web1', uuid: '11111111-2222-3333-4444-555555555555' };
export const OTHER = { name: 'db1', uuid: '99999999-2222-3333-4444-555555555555' };

export const PORT: VlanPort = {
  kind: 'vlan-port', nic: 0, mac: '52:54:00:aa:bb:01', link: 'vnet0', bridge: 'br0', isolated: true, uplinks: [],
  vlans: [{ vid: 10, pvid: true, untagged: true }, { vid: 20, pvid: false, untagged: false }],
};
export const LINK = attachmentOf({
  kind: 'routed-link', nic: 1, mac: '52:54:00:aa:bb:02', link: 'vnet1', addresses: ['2001:db8:0:10::a', '192.0.2.10'],
  routes: [{ to: '2001:db8:0:20::/64', via: '2001:db8:0:10::a' }], gateways: ['169.254.0.1', 'fe80::1'], table: 'main',
  protocol: 117, policy: POLICY,
});
export const HOST: FakeHost = {
  links: {
    br0: { ifindex: 2, bridge: {} },
    vnet0: { ifindex: 10, master: 'br0', vlans: { 1: 'pvid untagged' } },
    vnet1: { ifindex: 11, up: false, addresses: ['fe80::fc54:ff:feaa:bb02/64'] },
    eno1: { ifindex: 3, addresses: ['203.0.113.2/24'] },
  },
  routes: [{ to: 'default', dev: 'eno1', via: '203.0.113.1', protocol: 'boot' }],
  networks: [{ dev: 'eno1', address: '203.0.113.2', prefix: '203.0.113.0/24' }],
  sysctls: {
    'net/ipv4/conf/all/forwarding': '1', 'net/ipv6/conf/all/forwarding': '1', 'net/ipv6/conf/vnet1/accept_ra': '1',
    'net/ipv6/conf/vnet1/disable_ipv6': '0', 'net/ipv6/conf/vnet1/forwarding': '1',
    'net/ipv4/conf/vnet1/forwarding': '0',
  },
};
export const START: WireRequest = { guest: GUEST, attachments: [PORT, LINK], fresh: true, incoming: false };
