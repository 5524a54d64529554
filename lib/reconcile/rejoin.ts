/**
 * Ports that lost their bridge. When a bridge is deleted and made again, libvirt does not put the taps of running
 * guests back (libvirt 9.0 does so only when its daemon starts). This happens before the plan and is not an operation
 * of it: release does not take it back.
 */
import { bridgeOf } from '../attachments/attachment.js';
import { nicLabel } from '../domain/guest.js';
import { underNewNames } from '../journal/renamed-links.js';
import { type BridgeFacts, EMPTY_SCOPE } from '../kernel/observation.js';
import type { Operation } from '../state/diff.js';
import { keyOf, type NetObject } from '../state/objects.js';
import { render } from '../state/render.js';
import { quote } from '../values/quote.js';
import { type Host, readEntry, type Records } from './host.js';
import type { RunningGuest } from './request.js';

/**
 * Puts taps that have no master into the bridge that their guest's XML names, if it exists and filters: in one that
 * does not yet, guests of all VLANs would meet. Returns whether there were any. Expects the lock to be held.
 */
export async function rejoin(
  host: Pick<Host, 'kernel' | 'log'> & Records, { guest, nics = [], attachments }: RunningGuest,
): Promise<boolean> {
  const ports = underNewNames(attachments, readEntry(host, guest.uuid)?.wired ?? []).flatMap((port) => {
    const { bridge, filters } = bridgeOf(port) ?? {};
    return port.link === undefined || bridge === undefined
      ? []
      : [{ nic: port.nic, mac: port.mac, link: port.link, bridge, filters: filters === true }];
  });
  if (ports.length === 0) return false;
  let any = false;
  const { links } = await host.kernel.observe({
    ...EMPTY_SCOPE, links: ports.flatMap(({ link, bridge }) => [link, bridge]),
  });
  for (const { link: dev, bridge: master, nic, mac, filters } of ports) {
    const facts = links.get(dev);
    const bridge = links.get(master)?.bridge;
    if (facts === undefined || facts.master !== undefined || bridge === undefined || (filters && !bridge.filtering)) {
      continue;
    }
    const joins = [{ kind: 'master' as const, dev, master }, ...isolates(dev, nics[nic]?.isolated)].map(adding);
    // In this order: a link has VLANs only as a port.
    const changes = render([...joins, ...revokes(dev, bridge).map(removing)]);
    await host.kernel.run(changes, 'stop-at-failure', EMPTY_SCOPE);
    host.log(`${nicLabel(guest.name, { index: nic, mac })}: put ${quote(dev)} back into bridge ${quote(master)}`);
    any = true;
  }
  return any;
}

/**
 * libvirt's own <port isolated> is lost with the bridge (libvirt 11 sets it when it makes the port). It is not part of
 * guestwire's intent.
 */
function isolates(dev: string, isolated: string | undefined): NetObject[] {
  return isolated === 'yes' ? [{ kind: 'isolated', dev, on: true }] : [];
}

/** The default PVID is not a permission, and the plan that removes it takes a tenth of a second to make. */
function revokes(dev: string, { defaultPvid: vid }: BridgeFacts): NetObject[] {
  return vid === 0 ? [] : [{ kind: 'vlan', dev, vid, pvid: true, untagged: true }];
}

function adding(after: NetObject): Operation {
  return { key: keyOf(after), before: undefined, after };
}

function removing(before: NetObject): Operation {
  return { key: keyOf(before), before, after: undefined };
}
