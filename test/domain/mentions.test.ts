// @tier fast
import { expect, test } from '@jest/globals';
import { mentionsIn } from '../../lib/domain/mentions.js';

const NOTHING = { asks: false, hasVlan: false, uuid: '', networks: [], bridges: [] };

test.each([
  ['nothing', "<domain><source bridge='br0'/>", { ...NOTHING, bridges: ['br0'] }],
  ["guestwire's namespace", '<x xmlns="urn:guestwire:1"', { ...NOTHING, asks: true }],
  ['a <vlan>', '<vlan><tag id="1"/>', { ...NOTHING, hasVlan: true }],
  ['a UUID', '<uuid> 11-22 </uuid>', { ...NOTHING, uuid: '11-22' }],
  ['an element that begins so', '<vlans/>', NOTHING],
  [
    'a network and its bridge', "<source network='lan' portgroup='a' bridge=\"virbr0\"/><source network='b'/>",
    { ...NOTHING, networks: ['lan', 'b'], bridges: ['virbr0'] },
  ],
])('mentionsIn tells %s of text that need not be well-formed', (_, xml, found) => {
  expect(mentionsIn(xml)).toEqual(found);
});
