/**
 * XDR (RFC 4506), as far as libvirt's protocol uses it: pure functions between bytes and values. Every codec knows its
 * bound, and nothing is allocated for a length before the bytes that it promises are known to be there. What decodes
 * encodes to the same bytes again: other padding, other booleans and trailing bytes are refused, because a peer that
 * sends them is not libvirt. Problems are ValueErrors; the caller, which knows the source of the bytes, wraps them.
 */
import { ValueError } from '../errors.js';

/** Bytes that are read, and how far. */
export interface Source {
  readonly bytes: Uint8Array;
  at: number;
}

/** Bytes that are written, `length` of them so far. */
export interface Sink {
  bytes: Uint8Array;
  length: number;
}

/** How one type is read and written. `least` is the fewest bytes a value of it takes. */
export interface Codec<T> {
  readonly least: number;
  read(from: Source): T;
  write(to: Sink, value: T): void;
}

/** The type that a codec reads and writes. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never;

/** Returns the value that `bytes` hold, all of them. */
export function decode<T>(codec: Codec<T>, bytes: Uint8Array): T {
  const from: Source = { bytes, at: 0 };
  const value = codec.read(from);
  if (from.at !== bytes.length) throw new ValueError(`${bytes.length - from.at} bytes are left over at ${from.at}`);
  return value;
}

/** Returns the bytes of `value`. A value outside the codec's bounds is a ValueError, and so is one of another type. */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const to: Sink = { bytes: new Uint8Array(256), length: 0 };
  codec.write(to, value);
  return to.bytes.slice(0, to.length);
}

/** A signed integer of 32 bits; also what enums are. */
export const int: Codec<number> = {
  least: 4,
  read: (from) => word(from) | 0,
  write: (to, value) => {
    if ((value | 0) !== value) throw new ValueError(`'${value}' is not a signed integer of 32 bits`);
    putWord(to, value >>> 0);
  },
};

/** An unsigned integer of 32 bits. */
export const uint: Codec<number> = {
  least: 4,
  read: word,
  write: (to, value) => {
    if (value >>> 0 !== value) throw new ValueError(`'${value}' is not an unsigned integer of 32 bits`);
    putWord(to, value);
  },
};

/** An unsigned integer of 64 bits. */
export const uhyper: Codec<bigint> = {
  least: 8,
  read: (from) => (BigInt(word(from)) << 32n) | BigInt(word(from)),
  write: (to, value) => {
    if (BigInt.asUintN(64, value) !== value) throw new ValueError(`'${value.toString()}' is not an unsigned integer of 64 bits`);
    putWord(to, Number(value >> 32n));
    putWord(to, Number(value & 0xffff_ffffn));
  },
};

/** Nothing at all: the arguments or the result of a procedure that has none. */
export const nothing: Codec<undefined> = { least: 0, read: () => undefined, write: () => undefined };

/** Exactly `length` bytes. */
export function opaque(length: number): Codec<Uint8Array> {
  return {
    least: padded(length),
    read: (from) => take(from, length).slice(),
    write: (to, value) => {
      if (value.length !== length) throw new ValueError(`got ${value.length} bytes instead of ${length}`);
      put(to, value);
    },
  };
}

// Without ignoreBOM a name that begins with U+FEFF would lose it.
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });
const utf8 = new TextEncoder();

/** Text of at most `most` bytes of UTF-8, without NUL: libvirt would read it as shorter than it was checked. */
export function string(most: number): Codec<string> {
  return {
    least: 4,
    read: (from) => {
      const bytes = take(from, lengthWord(from, most));
      if (bytes.includes(0)) throw new ValueError('a string holds a NUL');
      try {
        return strict.decode(bytes);
      } catch (error) {
        throw new ValueError('a string is not UTF-8', { cause: error });
      }
    },
    write: (to, value) => { putText(to, value, most); },
  };
}

/** Like {@link string}, but what is not UTF-8 is replaced: error messages quote whatever a tool printed. */
export function message(most: number): Codec<string> {
  return {
    least: 4,
    read: (from) => lenient.decode(take(from, lengthWord(from, most))),
    write: (to, value) => { putText(to, value, most); },
  };
}

/** A value that may be absent; XDR writes it as a pointer. */
export function optional<T>(item: Codec<T>): Codec<T | undefined> {
  return {
    least: 4,
    read: (from) => {
      const there = word(from);
      if (there > 1) throw new ValueError(`the flag of an optional value is ${there}, not 0 or 1`);
      return there === 1 ? item.read(from) : undefined;
    },
    write: (to, value) => {
      putWord(to, value === undefined ? 0 : 1);
      if (value !== undefined) item.write(to, value);
    },
  };
}

/** At most `most` values of one type. */
export function array<T>(item: Codec<T>, most: number): Codec<readonly T[]> {
  return {
    least: 4,
    read: (from) => {
      const count = lengthWord(from, most);
      // A count that cannot be true is refused before anything is made for it.
      if (count * item.least > from.bytes.length - from.at) throw new ValueError(`an array of ${count} does not fit into the remaining bytes`);
      const values: T[] = [];
      for (let index = 0; index < count; index += 1) values.push(item.read(from));
      return values;
    },
    write: (to, values) => {
      if (values.length > most) throw new ValueError(`an array of ${values.length} is longer than ${most}`);
      putWord(to, values.length);
      for (const value of values) item.write(to, value);
    },
  };
}

/** Fields one after the other, in the order in which `fields` has them. */
export function struct<F extends Readonly<Record<string, Codec<unknown>>>>(
  fields: F,
): Codec<{ readonly [K in keyof F]: ValueOf<F[K]> }> {
  const entries = Object.entries(fields);
  return {
    least: entries.reduce((sum, [, { least }]) => sum + least, 0),
    read: (from) => Object.fromEntries(entries.map(([name, codec]) => [name, codec.read(from)])) as {
      readonly [K in keyof F]: ValueOf<F[K]>;
    },
    write: (to, value) => {
      for (const [name, codec] of entries) codec.write(to, value[name]);
    },
  };
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function word(from: Source): number {
  const { bytes, at } = from;
  if (bytes.length - at < 4) throw new ValueError(`the data ends at byte ${bytes.length}, inside a number`);
  from.at = at + 4;
  return (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at +
    3] ?? 0)) >>> 0;
}

function lengthWord(from: Source, most: number): number {
  const length = word(from);
  if (length > most) throw new ValueError(`a length of ${length} is more than ${most}`);
  return length;
}

function take(from: Source, length: number): Uint8Array {
  const { bytes, at } = from;
  const end = at + length;
  const next = at + padded(length);
  if (next > bytes.length) throw new ValueError(`the data ends at byte ${bytes.length}, inside ${length} bytes that start at ${at}`);
  for (let index = end; index < next; index += 1) {
    if (bytes[index] !== 0) throw new ValueError(`padding at ${index} is not zero`);
  }
  from.at = next;
  return bytes.subarray(at, end);
}

function putText(to: Sink, value: string, most: number): void {
  if (value.includes('\0')) throw new ValueError('a string holds a NUL');
  // No text has more bytes than three for each unit; what is too long by far is not encoded first.
  const bytes = value.length > most ? undefined : utf8.encode(value);
  if (bytes === undefined || bytes.length > most) throw new ValueError(`a string is longer than ${most} bytes`);
  putWord(to, bytes.length);
  put(to, bytes);
}

function putWord(to: Sink, value: number): void {
  grow(to, 4);
  new DataView(to.bytes.buffer).setUint32(to.length, value);
  to.length += 4;
}

function put(to: Sink, bytes: Uint8Array): void {
  grow(to, padded(bytes.length));
  to.bytes.set(bytes, to.length);
  // What is beyond `length` has never been written: padding is zero.
  to.length += padded(bytes.length);
}

function grow(to: Sink, by: number): void {
  if (to.length + by <= to.bytes.length) return;
  const larger = new Uint8Array(Math.max(to.length + by, to.bytes.length * 2));
  larger.set(to.bytes);
  to.bytes = larger;
}
