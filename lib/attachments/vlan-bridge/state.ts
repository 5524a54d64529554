/**
 * A port of a bridge of one VLAN as kernel objects, desired and observed. The bridge itself is what guests share:
 * bridges.ts.
 */
import type { Observation } from '../../kernel/observation.js';
import type { NetObject } from '../../state/netstate.js';
import type { PlacedVlanBridge } from './vlan-bridge.js';

export function desiredBridgePort(
  { link: dev, bridge, isolated }: PlacedVlanBridge, { links }: Observation,
): NetObject[] {
  const facts = links.get(dev);
  return [
    // libvirt puts the tap there; it comes back when the bridge was deleted and is made again.
    { kind: 'port', dev, bridge },
    // It is down after a running guest was given up: see `left`.
    { kind: 'link', dev, up: true },
    ...(isolated === undefined ? [] : [{ kind: 'isolated' as const, dev, on: isolated }]),
    // Wanted as it is: here for the journal, because a flush sets it to 0 for a moment.
    ...(facts === undefined ? [] : [{ kind: 'txqlen' as const, dev, length: facts.txqlen }]),
  ];
}

export function observedBridgePort({ link: dev, isolated }: PlacedVlanBridge, { links }: Observation): NetObject[] {
  const facts = links.get(dev);
  if (facts === undefined) return [];
  return [
    ...(facts.master === undefined ? [] : [{ kind: 'port' as const, dev, bridge: facts.master }]),
    { kind: 'link', dev, up: facts.up },
    ...(isolated === undefined || facts.isolated === undefined
      ? []
      : [{ kind: 'isolated' as const, dev, on: facts.isolated }]),
    { kind: 'txqlen', dev, length: facts.txqlen },
  ];
}
