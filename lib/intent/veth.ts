/**
 * What a source asks for when a routed link is on a veth pair.
 */
import { ValueError } from '../errors.js';

/**
 * What metadata or host config say about a veth pair: the name of its host end, and the MTU that `<mtu>` cannot say.
 */
export interface VethWords {
  readonly dev: string;
  /** As written. */
  readonly mtu: string | undefined;
}

/** Returns what the host config says about a veth pair. Throws ValueError. */
export function vethWords({ veth, mtu }: {
  readonly veth?: string | undefined;
  readonly mtu?: number | undefined;
}): VethWords | undefined {
  if (veth !== undefined) return { dev: veth, mtu: mtu === undefined ? undefined : String(mtu) };
  if (mtu !== undefined) throw new ValueError("mtu needs veth: without a veth pair, set <mtu size> in the guest's <interface>");
  return undefined;
}
