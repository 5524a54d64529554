/** What the lab's attack takes from the tests outside; the driver makes one file of it, which node reads in there. */
export {
  allowedEncapsulations, arrivals, ENCAPSULATIONS, LINK_PROTOCOLS, MEMBER, numberFrames, type Party, sceneOf,
} from '../../attack/host.js';
export { arrived, dressed, HARMLESS, lost, UNHEARD } from '../../attack/fate.js';
export { forgedRows } from '../../attack/forged.js';
export { openFrames } from '../../attack/frames.js';
export { honestRows } from '../../attack/honest.js';
export { ip, linkLocalOf, stamped, udp } from '../../attack/packet.js';
export { packed } from '../../places/replay-guest.js';
