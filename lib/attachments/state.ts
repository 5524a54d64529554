/** Attachments to kernel objects, desired and observed. */
import type { Observation } from '../kernel/observation.js';
import { type NetState, netState } from '../state/netstate.js';
import { isGuard, keyOf } from '../state/objects.js';
import { kindOf, type Placed } from './kinds.js';

/**
 * Returns what the kernel should hold for these attachments. `observation` decides what cannot be asked for: a sysctl
 * that this kernel does not have is left out.
 */
export function desiredState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(attachments.flatMap((one) => kindOf(one).desired(one, observation)));
}

/**
 * Returns what of the observed kernel is guestwire's, for links that these attachments wire or once wired: of a VLAN
 * port its whole VID table, of a routed link the gateways and the routes that carry guestwire's protocol number.
 */
export function observedState(attachments: readonly Placed[], observation: Observation): NetState {
  return netState(attachments.flatMap((one) => kindOf(one).observed(one, observation)));
}

/**
 * Returns `state` with the links of running guests as guestwire leaves them when it gives them up. What protects the
 * host from the guest is not set back: the guest still runs, and a person or a program may set its link up again.
 */
export function leftState(wired: readonly Placed[], state: NetState): NetState {
  const left = wired.flatMap((one) => kindOf(one).left?.(one) ?? []);
  const keys = new Set(left.map(keyOf));
  return netState([...state.filter((object) => !keys.has(keyOf(object)) && !isGuard(object)), ...left]);
}
