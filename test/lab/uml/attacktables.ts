/** What the lab's attack takes from the tests outside; the driver makes one file of it, which node reads in there. */
export { allowedEncapsulations, arrivals, ENCAPSULATIONS, LINK_PROTOCOLS, MEMBER, numberFrames, type Party, sceneOf } from '../../attackhost.js';
export { arrived, dressed, HARMLESS, lost, UNHEARD } from '../../fate.js';
export { forgedRows } from '../../forged.js';
export { openFrames } from '../../frames.js';
export { honestRows } from '../../honest.js';
export { ip, linkLocalOf, stamped, udp } from '../../packet.js';
export { packed } from '../../replayguest.js';
