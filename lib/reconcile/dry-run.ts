/**
 * A dry run: the loop itself, on a host with a kernel that runs nothing and a journal that writes nothing. It logs what
 * the loop would do in the words that the loop uses.
 */
import type { Journal } from '../journal/journal.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Observation, Scope } from '../kernel/observation.js';
import { masterOf } from '../state/objects.js';
import { accessPort } from '../values/vlan.js';
import type { Host } from './host.js';
import { lineId } from './plan-log.js';

/**
 * Returns the host on which nothing changes. A change that serves several guests is told once, with the first of them.
 */
export function dryRun(host: Host): Host {
  const told = new Set<string>();
  return {
    ...host, kernel: idle(host.kernel), journal: unwritten(host.journal),
    log: (line, change) => {
      if (change !== undefined) {
        if (told.has(lineId(change))) return;
        told.add(lineId(change));
      }
      host.log(line, change);
    },
  };
}

/** Returns a kernel that runs nothing. Links that would be put into a bridge are seen there, in its default VLAN. */
function idle(kernel: Kernel): Kernel {
  const joined = new Map<string, string>();
  const observe = async (scope: Scope): Promise<Observation> => {
    const observation = await kernel.observe(scope);
    const [links, vlans] = [new Map(observation.links), new Map(observation.vlans)];
    for (const [dev, master] of joined) {
      const facts = links.get(dev);
      if (facts === undefined) continue;
      links.set(dev, { ...facts, master });
      const vid = links.get(master)?.bridge?.defaultPvid ?? 0;
      if (vid > 0) vlans.set(dev, accessPort(vid));
    }
    return { ...observation, links, vlans };
  };
  return {
    observe,
    run: async (batches, _mode, scope) => {
      for (const { after } of batches.flatMap(({ lines }) => lines.flatMap(({ operations }) => operations))) {
        const master = after && masterOf(after);
        if (after !== undefined && master !== undefined) joined.set(after.dev, master);
      }
      return { observation: await observe(scope), failure: undefined, isDry: true };
    },
  };
}

/** Returns a journal that forgets a guest that is removed, and writes nothing. */
function unwritten(journal: Journal): Journal {
  const removed = new Set<string>();
  const ignore = (): void => undefined;
  return {
    ...journal,
    read: (uuid) => (removed.has(uuid) ? undefined : journal.read(uuid)),
    list: () => journal.list().filter(({ guest }) => !removed.has(guest.uuid)),
    remove: (uuid) => { removed.add(uuid); },
    write: ignore, markIncoming: ignore, markEnded: ignore, writeLedger: ignore,
    takeIncoming: (uuid) => journal.expectsIncoming(uuid),
  };
}
