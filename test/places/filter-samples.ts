/** The objects of nftables for object-samples.ts. */
import type { NicFilter } from '../../lib/state/nft.js';
import type { Sample } from './object-samples.js';

const NIC_FILTER: NicFilter = {
  chains: [{ name: 'nic_7', rules: [{ match: 'arp saddr ip != 192.0.2.9', why: 'sender IP' }] }],
  elements: [{ set: 'ports', verdict: 'goto nic_7' }],
  named: [],
};
const NO_FILTER: NicFilter = { chains: [{ name: 'nic_7', rules: [] }], elements: [], named: ['group_web'] };

export const FILTER_SAMPLES: readonly Sample[] = [
  {
    one: { kind: 'filter-table', dev: 'guestwire', family: 'bridge', lines: ['LINES'], broken: true },
    set: 'nft: LINES',
    remove: 'nft: delete table bridge guestwire',
    words: 'add nftables table bridge guestwire',
    other: { kind: 'filter-table', dev: 'guestwire', family: 'bridge', lines: ['LINES'] },
    change: [
      'nft: add table bridge guestwire',
      'delete table bridge guestwire',
      'LINES',
    ].join('\n'),
    drift: 'nftables table bridge guestwire differs from what guestwire writes',
  },
  {
    one: { kind: 'nic-filter', dev: 'vnet0', family: 'bridge', ifindex: 7, filter: NIC_FILTER },
    set: [
      'nft: create chain bridge guestwire nic_7',
      'add rule bridge guestwire nic_7 counter comment "guestwire c76fa3d0"',
      'add rule bridge guestwire nic_7 arp saddr ip != 192.0.2.9 counter drop comment "sender IP"',
      'add element bridge guestwire ports { 7 : goto nic_7 }',
    ].join('\n'),
    remove: [
      'nft: delete element bridge guestwire ports { 7 }',
      'flush chain bridge guestwire nic_7',
      'delete chain bridge guestwire nic_7',
    ].join('\n'),
    words: "add filter of 'vnet0' (nftables table bridge guestwire)",
    other: { kind: 'nic-filter', dev: 'vnet0', family: 'bridge', ifindex: 7, filter: NO_FILTER },
    change: [
      'nft: delete element bridge guestwire ports { 7 }',
      'flush chain bridge guestwire nic_7',
      'delete chain bridge guestwire nic_7',
      'add set bridge guestwire group_web { type iface_index; }',
      'create chain bridge guestwire nic_7',
      'add rule bridge guestwire nic_7 counter comment "guestwire c432eacd"',
    ].join('\n'),
    drift: "filter of 'vnet0' (nftables table bridge guestwire) differs from what guestwire writes",
  },
  {
    one: { kind: 'nic-filter', dev: 'vnet0', family: 'inet', ifindex: 7, filter: NO_FILTER },
    set: [
      'nft: add set inet guestwire group_web { type iface_index; }',
      'create chain inet guestwire nic_7',
      'add rule inet guestwire nic_7 counter comment "guestwire c432eacd"',
    ].join('\n'),
    remove: [
      'nft: flush chain inet guestwire nic_7',
      'delete chain inet guestwire nic_7',
    ].join('\n'),
    words: "add policy of 'vnet0' (nftables table inet guestwire)",
  },
  {
    one: { kind: 'filter-set', dev: 'group_web', family: 'inet' },
    set: 'nft: add set inet guestwire group_web { type iface_index; }',
    remove: 'nft: delete set inet guestwire group_web',
    words: "add set 'group_web' (nftables table inet guestwire)",
  },
];
