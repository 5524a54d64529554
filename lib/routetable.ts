/** Route tables and protocols as the host config and the metadata write them. Pure. */
import { ValueError } from './errors.js';
import { quote } from './quote.js';

/** Names of linux/rtnetlink.h, iproute2's rt_protos and FRR's: their routes would be taken for guestwire's. */
const PROTOCOL_OWNERS: ReadonlyMap<number, string> = new Map([
  [1, 'redirect'], [2, 'kernel'], [3, 'boot'], [4, 'static'], [8, 'gated'], [9, 'ra'], [10, 'mrt'], [11, 'zebra'],
  [12, 'bird'], [13, 'dnrouted'], [14, 'xorp'], [15, 'ntk'], [16, 'dhcp'], [17, 'mrouted'], [18, 'keepalived'],
  [42, 'babel'], [84, 'ovn'], [99, 'openr'], [186, 'bgp'], [187, 'isis'], [188, 'ospf'], [189, 'rip'], [190, 'ripng'],
  [191, 'nhrp'], [192, 'eigrp'], [193, 'ldp'], [194, 'sharp'], [195, 'pbr'], [196, 'zstatic'], [197, 'openfabric'],
  [198, 'srte'],
]);

/** rtnetlink's table numbers (rtnetlink(7)): `local` is the kernel's own, 0 stands for no table. */
const MAIN_TABLE = 254;
const LOCAL_TABLE = 255;
const LAST_TABLE = 0xffff_ffff;

export const DEFAULT_PROTOCOL = 117;

/** Returns the table as `ip route` takes it. Throws ValueError for what is none, or the kernel's own. */
export function tableOf(text: string): string {
  if (text === 'main') return text;
  if (text === 'local' || text === String(LOCAL_TABLE)) {
    throw new ValueError(`route table ${quote(text)} is the kernel's own: use 'main' or another number`);
  }
  if (!/^[1-9][0-9]{0,9}$/.test(text) || Number(text) > LAST_TABLE) {
    throw new ValueError(`route table ${quote(text)} is neither 'main' nor a number from 1 to ${LAST_TABLE}`);
  }
  return Number(text) === MAIN_TABLE ? 'main' : text;
}

/** Returns the protocol. Throws ValueError for one that is somebody else's. */
export function protocolOf(protocol: number): number {
  if (!Number.isInteger(protocol) || protocol < 1 || protocol > 255) {
    throw new ValueError(`route protocol '${protocol}' is not a number from 1 to 255`);
  }
  const owner = PROTOCOL_OWNERS.get(protocol);
  if (owner !== undefined) {
    throw new ValueError(`route protocol '${protocol}' is that of '${owner}', whose routes guestwire would take for its own: use a free one such as ${DEFAULT_PROTOCOL}`);
  }
  return protocol;
}

