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
    ['abcdefghijklmnop', "interface name 'abcdefghijklmnop' has 16 characters: the kernel takes at most 15"],
    ['57', "interface name '57' is a number: nft would take another link's index for it"],
    ['br 0', "interface name 'br 0' holds ' ': letters, digits and '_', '.', '+', '-' may be in it"],
    ['br0\nroute del default', "interface name 'br0\\nroute del default' holds '\\n': letters, digits and '_', '.', '+', '-' may be in it"],
    ['br0\n', "interface name 'br0\\n' holds '\\n': letters, digits and '_', '.', '+', '-' may be in it"],
    ['../x', "interface name '../x' holds '/': letters, digits and '_', '.', '+', '-' may be in it"],
    ['eth0:1', "interface name 'eth0:1' holds ':': letters, digits and '_', '.', '+', '-' may be in it"],
    ['veth0@if2', "interface name 'veth0@if2' holds '@': letters, digits and '_', '.', '+', '-' may be in it"],
    ['vnet%d', "interface name 'vnet%d' holds '%': letters, digits and '_', '.', '+', '-' may be in it"],
    ['br\u00e9', "interface name 'br\u00e9' holds '\u00e9': letters, digits and '_', '.', '+', '-' may be in it"],
    ['br\u{1f600}', "interface name 'br\u{1f600}' holds '\u{1f600}': letters, digits and '_', '.', '+', '-' may be in it"],
    ['br\0', "interface name 'br\\u{0}' holds '\\u{0}': letters, digits and '_', '.', '+', '-' may be in it"],
    ['-batch', "interface name '-batch' starts with a dash: tools would read it as an option"],
    ['..', "interface name '..' starts with a dot: it would be a path, not a name"],
    ['all', "interface name 'all' is no link's: the kernel keeps it for the settings of all links"],
    ['default', "interface name 'default' is no link's: the kernel keeps it for the settings of all links"],
  ])('refuses %j', (name, message) => {
    expect(() => { assertIfname(name); }).toThrow(new ValueError(message));
  });
});
