/**
 * The link of a routed NIC: a tap that libvirt makes, or a veth pair or tap that guestwire makes, and its MTU.
 */
import type { Domain, Nic } from '../../domain/domain.js';
import { ConflictError, DomainXmlError, locate, UnsupportedError, ValueError } from '../../errors.js';
import type { VethWords } from '../../intent/veth.js';
import { assertIfname } from '../../values/ifname.js';
import { quote } from '../../values/quote.js';
import { ALIAS_PREFIX, type MadeLink } from '../made-link/made-link.js';

/** Which link a routed NIC has on this host, and what guestwire makes of it. */
export interface HostEnd {
  readonly link: string | undefined;
  readonly mtu: number | undefined;
  readonly made: MadeLink | undefined;
}

/** Bytes: the least the kernel takes for IPv4 (ETH_MIN_MTU), the least for IPv6 (RFC 8200), the most a tap takes. */
const MTU = { least: 68, leastIpv6: 1280, most: 65521 };

/** Returns the link of a routed NIC. Throws DomainXmlError, UnsupportedError or ConflictError. */
export function hostEnd(
  { domain, nic, veth }: { domain: Domain; nic: Nic; veth: VethWords | undefined },
): HostEnd {
  const mtu = locate(DomainXmlError, undefined, () => mtuOf(nic.mtu, '<mtu size>'));
  const alias = `${ALIAS_PREFIX}${domain.uuid ?? 'no-uuid'}`;
  if (nic.joins.kind === 'direct') return vethOf({ domain, nic, veth, alias, mtu });
  if (nic.joins.kind !== 'ethernet') {
    throw new UnsupportedError(`interface type ${quote(nic.type)} cannot be a routed link: use type 'ethernet'`);
  }
  if (veth !== undefined) {
    throw new UnsupportedError("a veth pair needs interface type 'direct', but this NIC has type 'ethernet' and a tap: remove the veth, or use <interface type='direct'> with <source dev='...' mode='passthrough'/>");
  }
  const { dev, managed } = nic.target;
  if (managed !== 'no') return { link: dev, mtu, made: undefined };
  if (domain.type === 'lxc') {
    throw new UnsupportedError("managed='no' works only for QEMU guests: an lxc guest has no tap: remove it");
  }
  if (dev === undefined) {
    throw new DomainXmlError("managed='no' needs a name: name the tap that guestwire makes in <target dev>");
  }
  return { link: dev, mtu, made: { kind: 'tap', dev, alias, mtu, multiQueue: Number(nic.queues ?? '1') > 1 } };
}

interface VethRequest {
  readonly domain: Domain;
  readonly nic: Nic;
  readonly veth: VethWords | undefined;
  readonly alias: string;
  readonly mtu: number | undefined;
}

function vethOf({ domain, nic, veth, alias, mtu: native }: VethRequest): HostEnd {
  if (veth === undefined) {
    throw new UnsupportedError("interface type 'direct' cannot be a routed link on its own: name the host end of a veth pair with <gw:veth dev='...'/>, or use type 'ethernet'");
  }
  const { dev: peer, mode } = nic.source;
  if (peer === undefined) throw new DomainXmlError('the veth pair has no guest end: name it in <source dev>');
  if (mode !== 'passthrough') {
    throw new UnsupportedError(`<source mode=${quote(mode ?? 'vepa')}> on a veth pair: use mode='passthrough', because the link belongs to this NIC alone`);
  }
  const { dev } = veth;
  locate(DomainXmlError, 'veth dev', () => { assertIfname(dev); });
  locate(DomainXmlError, 'source dev', () => { assertIfname(peer); });
  const wanted = locate(DomainXmlError, undefined, () => mtuOf(veth.mtu, 'mtu of the veth pair'));
  if (native !== undefined && wanted !== undefined && native !== wanted) {
    throw new ConflictError(`<mtu size> says '${native}', the veth pair says mtu '${wanted}': make them equal or remove one`);
  }
  const mtu = native ?? wanted;
  const on = domain.type === 'lxc' ? 'macvlan' : 'macvtap';
  return { link: dev, mtu, made: {
    kind: 'veth', dev, peer, alias, mtu, on, macvtap: on === 'macvtap' ? nic.target.dev : undefined,
  } };
}

/** libvirt itself takes any unsigned number; what the kernel would refuse must fail before anything is made. */
function mtuOf(text: string | undefined, what: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{1,4}$/.test(text) || Number(text) < MTU.least || Number(text) > MTU.most) {
    throw new ValueError(`${what} ${quote(text)} is not a number of bytes from ${MTU.least} to ${MTU.most}`);
  }
  return Number(text);
}

/** The kernel takes IPv6 off a link below 1280 bytes, addresses and all. */
export function assertMtuCarries(mtu: number | undefined, ipv6: boolean): void {
  if (mtu === undefined || !ipv6 || mtu >= MTU.leastIpv6) return;
  throw new DomainXmlError(`MTU '${mtu}' is too small for IPv6: use ${MTU.leastIpv6} or more, or IPv4 addresses alone`);
}
