/**
 * Messages and the stream of bytes they come in: each begins with its whole length, then comes a header. Pure; whatever
 * arrives in whatever pieces, no more is held than the one message that is not complete yet.
 */
import { ValueError } from '../errors.js';
import { type Header, header, HEADER_SIZE, LENGTH_SIZE, MESSAGE_MAX } from './protocol.js';
import { decode, encode } from './xdr.js';

/** A message without its length. */
export interface Message {
  readonly header: Header;
  readonly payload: Uint8Array;
}

/** Returns the bytes of a message. A message over libvirt's limit is a ValueError. */
export function encodeMessage({ header: head, payload }: Message): Uint8Array {
  const length = LENGTH_SIZE + HEADER_SIZE + payload.length;
  if (length > LENGTH_SIZE + MESSAGE_MAX) throw new ValueError(`a message of ${length} bytes is longer than libvirt accepts`);
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, length);
  bytes.set(encode(header, head), LENGTH_SIZE);
  bytes.set(payload, LENGTH_SIZE + HEADER_SIZE);
  return bytes;
}

/** Returns the message that `bytes`, whole and with its length, are. */
export function decodeMessage(bytes: Uint8Array): Message {
  const start = LENGTH_SIZE + HEADER_SIZE;
  return { header: decode(header, bytes.subarray(LENGTH_SIZE, start)), payload: bytes.subarray(start) };
}

export interface Splitter {
  /** Returns the messages that are whole with these bytes. A length outside libvirt's limits is a ValueError. */
  push(chunk: Uint8Array): readonly Message[];
  /** How many bytes of an incomplete message are held. */
  held(): number;
}

/**
 * Returns a splitter for one connection. After a ValueError it is of no more use: where the next message begins is
 * unknown.
 */
export function createSplitter(): Splitter {
  let buffer = new Uint8Array(0);
  let length = 0;

  const hold = (bytes: Uint8Array): void => {
    if (length + bytes.length > buffer.length) {
      // Grows with what has come, not with what was announced.
      const larger = new Uint8Array(Math.max(length + bytes.length, 2 * length));
      larger.set(buffer.subarray(0, length));
      buffer = larger;
    }
    buffer.set(bytes, length);
    length += bytes.length;
  };

  return {
    held: () => length,
    push: (chunk) => {
      let bytes = chunk;
      if (length > 0) {
        hold(chunk);
        bytes = buffer.subarray(0, length);
      }
      const messages: Message[] = [];
      let at = 0;
      for (let size = sizeAt(bytes, at); size !== undefined && bytes.length - at >= size; size = sizeAt(bytes, at)) {
        messages.push(decodeMessage(bytes.subarray(at, at + size)));
        at += size;
      }
      if (at === 0 && length > 0) return messages;
      // A buffer of its own from here on: the messages still lie in the old one.
      const rest = bytes.subarray(at);
      buffer = new Uint8Array(0);
      length = 0;
      if (rest.length > 0) hold(rest);
      return messages;
    },
  };
}

/** Returns the whole size of the message at `at`; undefined while not even its length is there. */
function sizeAt(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length - at < LENGTH_SIZE) return undefined;
  const size = new DataView(bytes.buffer, bytes.byteOffset + at, LENGTH_SIZE).getUint32(0);
  if (size < LENGTH_SIZE + HEADER_SIZE) throw new ValueError(`a message of ${size} bytes is shorter than its header`);
  if (size > LENGTH_SIZE + MESSAGE_MAX) throw new ValueError(`a message of ${size} bytes is longer than ${LENGTH_SIZE + MESSAGE_MAX}`);
  return size;
}
