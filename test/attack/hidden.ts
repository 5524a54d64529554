/** A forged packet in every disguise: behind extension headers, and in fragments. */
import type { Row } from './forged.js';
import {
  authentication, destinationOptions, experiment, fragmentHeader, fragments, hopByHop, ip, mobility, type Path,
  type Payload, ping, routing,
} from './packet.js';

/** A packet that may be hidden: where it goes, and what it says there. */
export type Packet = readonly [Path, (path: Path) => Payload];

/**
 * The same packet as it is, behind every extension header, and in fragments that keep its own header out of the first.
 */
export function hidden(name: string, [path, make]: Packet): Row[] {
  const payload = make(path);
  const one = (how: string, dress: (payload: Payload) => Payload): Row => ({
    name: `${name}${how}`, frames: [ip(path, dress(payload))],
  });
  const parts = (packet: Payload, cuts: readonly number[]): Buffer[] => fragments(path, packet, cuts);
  const [first = Buffer.alloc(0), ...rest] = parts(payload, [8]);
  const decoy = destinationOptions(ping(path));
  const { protocol, bytes, hops = 64 } = destinationOptions(payload);
  return [
    one('', (same) => same),
    one(' behind hop-by-hop options', hopByHop), one(' behind destination options', destinationOptions),
    one(' behind a routing header', routing),
    one(' behind an authentication header', authentication), one(' behind a mobility header', mobility),
    one(' behind an unknown header', experiment),
    one(' behind three headers', (same) => hopByHop(destinationOptions(routing(same)))),
    one(' in an atomic fragment', fragmentHeader(0, false)),
    one(' in two fragment headers', (same) => fragmentHeader(0, false)(fragmentHeader(0, false)(same))),
    one(' in an atomic fragment behind options', (same) => fragmentHeader(0, false)(destinationOptions(same))),
    { name: `${name} in fragments`, frames: [first], company: rest },
    { name: `${name} in fragments, the first with options only`, frames: parts(destinationOptions(payload), [8]) },
    { name: `${name} in fragments, the first with a part of the options`, frames: parts(destinationOptions(destinationOptions(payload)), [8]) },
    {
      name: `${name} in a fragment that overlaps`,
      company: [ip(path, fragmentHeader(0, true)({ ...decoy, hops }))],
      frames: [ip(path, fragmentHeader(8, false)({ protocol, hops, bytes: bytes.subarray(8) }))],
    },
    {
      name: `${name} in a second first fragment`,
      company: [ip(path, fragmentHeader(0, true)({ ...ping(path), hops }))],
      frames: [ip(path, fragmentHeader(0, false)(payload))],
    },
  ];
}
