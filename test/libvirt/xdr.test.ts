// @tier fast
/** XDR: what is written is what RFC 4506 says, what is read is checked before anything is made for it. */
import { describe, expect, test } from '@jest/globals';
import { ValueError } from '../../lib/errors.js';
import {
  array, type Codec, decode, encode, int, message, nothing, opaque, optional, string, struct, uhyper, uint,
} from '../../lib/libvirt/xdr.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const pair = struct({ name: string(8), id: int });

describe('every type is written as RFC 4506 says, and read back', () => {
  test.each<[string, Codec<never>, unknown, string]>([
    ['int', int as Codec<never>, -1, 'ffffffff'],
    ['int, the least', int as Codec<never>, -2_147_483_648, '80000000'],
    ['uint', uint as Codec<never>, 4_294_967_295, 'ffffffff'],
    ['uhyper', uhyper as Codec<never>, 0xffff_ffff_0000_0001n, 'ffffffff00000001'],
    ['opaque with padding', opaque(5) as Codec<never>, bytes('0102030405'), '0102030405000000'],
    ['an empty string', string(8) as Codec<never>, '', '00000000'],
    ['a string with padding', string(8) as Codec<never>, 'web1x', '00000005 7765623178000000'],
    ['a string that is not ASCII', string(8) as Codec<never>, '\ufeffé', '00000005 efbbbfc3a9000000'],
    ['a message', message(8) as Codec<never>, 'no', '00000002 6e6f0000'],
    ['an absent value', optional(int) as Codec<never>, undefined, '00000000'],
    ['a present value', optional(int) as Codec<never>, 7, '00000001 00000007'],
    ['an array', array(pair, 2) as Codec<never>, [{ name: 'a', id: 1 }, { name: '', id: -1 }], '00000002 00000001 61000000 00000001 00000000 ffffffff'],
    ['nothing', nothing as Codec<never>, undefined, ''],
  ])('%s', (_, codec, value, wire) => {
    expect(hex(encode(codec, value as never))).toBe(wire.replaceAll(' ', ''));
    expect(decode(codec, bytes(wire))).toEqual(value);
  });
});

describe('what is no such value is refused when it is read', () => {
  test.each<[string, Codec<never>, string, string]>([
    ['a number that ends early', int as Codec<never>, '0000', 'the data ends at byte 2, inside a number'],
    ['a string that ends early', string(8) as Codec<never>, '00000005 77656231', 'the data ends at byte 8, inside 5 bytes that start at 4'],
    [
      'a string longer than its bound', string(8) as Codec<never>, '00000009 770000000000000000000000',
      'a length of 9 is more than 8',
    ],
    ['a string of 4 GiB', string(8) as Codec<never>, 'ffffffff', 'a length of 4294967295 is more than 8'],
    ['a string with a NUL', string(8) as Codec<never>, '00000003 61006200', 'a string holds a NUL'],
    ['a string that is not UTF-8', string(8) as Codec<never>, '00000001 ff000000', 'a string is not UTF-8'],
    ['padding that is not zero', string(8) as Codec<never>, '00000001 61000001', 'padding at 7 is not zero'],
    ['an array longer than its bound', array(int, 2) as Codec<never>, '00000003', 'a length of 3 is more than 2'],
    ['an array whose values are not there', array(pair, 16_384) as Codec<never>, '00004000 00000000', 'an array of 16384 does not fit into the remaining bytes'],
    ['a truth value of 2', optional(int) as Codec<never>, '00000002 00000000', 'the flag of an optional value is 2, not 0 or 1'],
    ['bytes after the value', int as Codec<never>, '00000001 00', '1 bytes are left over at 4'],
  ])('%s', (_, codec, wire, says) => {
    expect(() => decode(codec, bytes(wire))).toThrow(new ValueError(says));
  });
});

describe('what is no such value is refused when it is written', () => {
  test.each<[string, Codec<never>, unknown, string]>([
    ['a fraction', int as Codec<never>, 0.5, "'0.5' is not a signed integer of 32 bits"],
    ['an int that is too large', int as Codec<never>, 2_147_483_648, "'2147483648' is not a signed integer of 32 bits"],
    ['NaN', int as Codec<never>, Number.NaN, "'NaN' is not a signed integer of 32 bits"],
    ['a negative uint', uint as Codec<never>, -1, "'-1' is not an unsigned integer of 32 bits"],
    ['a negative uhyper', uhyper as Codec<never>, -1n, "'-1' is not an unsigned integer of 64 bits"],
    ['a string with a NUL', string(8) as Codec<never>, 'a\0b', 'a string holds a NUL'],
    ['a string with too many bytes, though not characters', string(8) as Codec<never>, 'ééééé', 'a string is longer than 8 bytes'],
    ['an array that is too long', array(int, 1) as Codec<never>, [1, 2], 'an array of 2 is longer than 1'],
    ['opaque of another length', opaque(16) as Codec<never>, bytes('00'), 'got 1 bytes instead of 16'],
  ])('%s', (_, codec, value, says) => {
    expect(() => encode(codec, value as never)).toThrow(new ValueError(says));
  });
});

test('an error message that is not UTF-8 is read with replacements', () => {
  expect(decode(message(8), bytes('00000002 ff610000'))).toBe('\ufffda');
});

test('a value larger than the first buffer is written whole', () => {
  const long = 'x'.repeat(100_000);
  expect(decode(string(100_000), encode(string(100_000), long))).toBe(long);
});
