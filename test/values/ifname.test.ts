// @tier fast
import { describe, expect, test } from '@jest/globals';
import { ValueError } from '../../lib/errors.js';
import { assertIfname } from '../../lib/values/ifname.js';

describe('assertIfname', () => {
  test.each(['eno1', 'br0', 'vnet12', 'eno1.100', 'veth_a-b+c', 'x', '0x', 'abcdefghijklmno', 'all1', 'Default'])(
    'takes %j',
    (name) => { expect(() => { assertIfname(name); }).not.toThrow(); },
  );

  test.each([
    ['', "interface name '' is empty"],
    ['abcdefghijklmnop', "interface name 'abcdefghijklmnop' has 16 characters: the kernel accepts at most 15"],
    ['57', "interface name '57' is a number: nft would take it for the index of another link"],
    ['br 0', "interface name 'br 0' contains ' ': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br0\nroute del default', "interface name 'br0\\nroute del default' contains '\\n': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br0\n', "interface name 'br0\\n' contains '\\n': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['../x', "interface name '../x' contains '/': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['eth0:1', "interface name 'eth0:1' contains ':': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['veth0@if2', "interface name 'veth0@if2' contains '@': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['vnet%d', "interface name 'vnet%d' contains '%': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br\u00e9', "interface name 'br\u00e9' contains '\u00e9': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br\u{1f600}', "interface name 'br\u{1f600}' contains '\u{1f600}': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['br\0', "interface name 'br\\u{0}' contains '\\u{0}': allowed are letters, digits, '_', '.', '+' and '-'"],
    ['-batch', "interface name '-batch' starts with a dash: tools would read it as an option"],
    ['..', "interface name '..' starts with a dot: it would be a path, not a name"],
    ['all', "interface name 'all' is reserved: the kernel uses it for the settings of all links"],
    ['default', "interface name 'default' is reserved: the kernel uses it for the settings of all links"],
  ])('refuses %j', (name, message) => {
    expect(() => { assertIfname(name); }).toThrow(new ValueError(message));
  });
});
