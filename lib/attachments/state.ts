/**
 * Attachments to kernel objects, desired and observed.
 */
import type { Observation } from '../kernel/observation.js';
import { type NetObject, type NetState, netState } from '../state/netstate.js';
import type { Placed } from './attachment.js';
import { desiredMacvtap, desiredMade, observedMacvtap, observedMade } from './made-link/state.js';
import { desiredLink, observedLink } from './routed-link/state.js';
import { desiredPort, observedPort } from './vlan-port/state.js';

/**
 * Returns what the kernel should hold for these attachments. `observation` decides what cannot be wished: a sysctl that
 * this kernel does not have is not asked for.
 */
export function desiredState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(
    attachments.flatMap((attachment): readonly NetObject[] => {
      switch (attachment.kind) {
        case 'vlan-port': return desiredPort(attachment, observation);
        case 'routed-link': return desiredLink(attachment, observation);
        case 'made-link': return desiredMade(attachment, observation);
        case 'macvtap': return desiredMacvtap(attachment, observation);
      }
    }),
  );
}

/**
 * Returns what of the observed kernel is guestwire's, for links that these attachments wire or once wired: of a VLAN port
 * its whole VID table, of a routed link the gateways and the routes that carry our protocol number.
 */
export function observedState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(
    attachments.flatMap((attachment): readonly NetObject[] => {
      switch (attachment.kind) {
        case 'vlan-port': return observedPort(attachment, observation);
        case 'routed-link': return observedLink(attachment, observation);
        case 'made-link': return observedMade(attachment, observation);
        case 'macvtap': return observedMacvtap(attachment, observation);
      }
    }),
  );
}

/** Returns `state` with the routed links among `wired` down. */
export function downOf(wired: readonly Placed[], state: NetState): NetState {
  const links = new Set(wired.flatMap(({ kind, link }) => (kind === 'routed-link' ? [link] : [])));
  return netState([...state, ...[...links].map((dev) => ({ kind: 'link' as const, dev, up: false }))]);
}
