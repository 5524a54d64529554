// @tier fast
import { expect, test } from '@jest/globals';
import { mentionsIn } from '../../lib/domain/mentions.js';

test.each([
  ['nothing', "<domain><source bridge='br0'/>", { asks: false, networks: [], bridges: ['br0'] }],
  ["guestwire's namespace", '<x xmlns="urn:guestwire:1"', { asks: true, networks: [], bridges: [] }],
  ['a <vlan>', '<vlan><tag id="1"/>', { asks: true, networks: [], bridges: [] }],
  ['an element that begins so', '<vlans/>', { asks: false, networks: [], bridges: [] }],
  [
    'a network and its bridge', "<source network='lan' portgroup='a' bridge=\"virbr0\"/><source network='b'/>",
    { asks: false, networks: ['lan', 'b'], bridges: ['virbr0'] },
  ],
])('mentionsIn tells %s of text that need not be well-formed', (_, xml, found) => {
  expect(mentionsIn(xml)).toEqual(found);
});
