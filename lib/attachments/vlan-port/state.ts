/**
 * A VLAN port as kernel objects, desired and observed: its VLANs, its isolation, its queue.
 */
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import type { PlacedPort } from './vlan-port.js';

export function desiredPort(port: PlacedPort, { links }: Observation): NetObject[] {
  const facts = links.get(port.link);
  return [
    ...port.vlans.map((member): NetObject => ({ kind: 'vlan', dev: port.link, ...member })),
    ...(port.isolated === undefined ? [] : [{ kind: 'isolated' as const, dev: port.link, on: port.isolated }]),
    // Wanted as it is: here for the journal, because a flush sets it to 0 for a moment.
    ...(facts === undefined ? [] : [{ kind: 'txqlen' as const, dev: port.link, length: facts.txqlen }]),
  ];
}

export function observedPort(port: PlacedPort, { links, vlans }: Observation): NetObject[] {
  const facts = links.get(port.link);
  if (facts === undefined) return [];
  const members = vlans.get(port.link) ?? [];
  return [
    ...members.map((member): NetObject => ({ kind: 'vlan', dev: port.link, ...member })),
    ...(port.isolated === undefined || facts.isolated === undefined
      ? []
      : [{ kind: 'isolated' as const, dev: port.link, on: facts.isolated }]),
    { kind: 'txqlen', dev: port.link, length: facts.txqlen },
  ];
}
