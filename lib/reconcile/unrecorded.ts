/**
 * Wiring without an entry in the journal: the entry is damaged, of a newer version, or lost. The kernel still has the
 * marks of guestwire: the route protocol, aliases, the tables of nftables.
 */
import type { Kept } from '../attachments/kept.js';
import { deadObjects, leftObjects } from '../attachments/leftovers.js';
import { VerifyError } from '../errors.js';
import { deadFilters, filteredLinks, leftTables, unneededFamilies } from '../filter/state.js';
import { EMPTY_SCOPE } from '../kernel/observation.js';
import { diff } from '../state/diff.js';
import { type NetObject, netState } from '../state/netstate.js';
import { FILTER_FAMILIES } from '../state/nft.js';
import { type BatchLine, render } from '../state/render.js';
import { describeLine } from '../state/words.js';
import { type Host, listHoldings, type Marks } from './host.js';

/**
 * Removes the objects that links left when they went, and with `made` the links that were made for this guest. Other
 * guests keep their wiring, recorded or not. Throws VerifyError when an object is still there.
 */
export async function releaseDead(host: Host, guest: { readonly uuid: string; readonly made: boolean }): Promise<void> {
  await removeMarked(host, (marks) => {
    const kept = keptIn(host, marks);
    return [...deadObjects(marks, kept, guest), ...deadFilters(marks, kept.held)];
  });
}

/** Returns the objects with a mark of guestwire's and without an entry, as the changes that remove them, in words. */
export async function unrecorded(host: Host): Promise<string[]> {
  const held = listHoldings(host).flatMap(({ wired }) => wired);
  const marks = await host.marks?.(unneededFamilies(held));
  return marks === undefined ? [] : linesFor(unrecordedIn(host, marks)).map(words);
}

/**
 * Removes the objects with a mark of guestwire's and without an entry, also those of running guests: their links go
 * down first. Throws VerifyError when a link is still up, or an object is still there.
 */
export async function releaseUnrecorded(host: Host): Promise<void> {
  const marks = await host.marks?.(FILTER_FAMILIES);
  if (marks === undefined || unrecordedIn(host, marks).length === 0) return;
  const recorded = new Set(listHoldings(host).flatMap(({ wired }) => wired.map(({ ifindex }) => ifindex)));
  const filtered = filteredLinks(marks);
  const links = marks.links.filter(({ ifindex }) => filtered.has(ifindex) && !recorded.has(ifindex));
  await setLinksDown(host, links.map(({ ifname }) => ifname));
  await removeMarked(host, (now) => unrecordedIn(host, now));
}

/** Sets links down, and returns those that are there. Throws VerifyError when one is still up. */
export async function setLinksDown(host: Host, names: readonly string[]): Promise<string[]> {
  const scope = { ...EMPTY_SCOPE, links: names };
  const { links } = await host.kernel.observe(scope);
  const changes = diff(
    names.filter((dev) => links.has(dev)).map((dev): NetObject => ({ kind: 'link', dev, up: false })),
    [...links].map(([dev, { up }]): NetObject => ({ kind: 'link', dev, up })),
  );
  const batches = render(changes);
  const { observation, failure, isDry } = await host.kernel.run(batches, 'carry-on', scope);
  const up = [...observation.links.values()].filter((link) => link.up).map(({ ifname }) => ifname);
  if (isDry !== true && up.length > 0) throw failure ?? new VerifyError(`links are still up: ${up.join(', ')}`);
  for (const line of batches.flatMap(({ lines }) => lines)) host.log(`host: ${words(line)}`, line);
  return [...links.keys()];
}

async function removeMarked(host: Host, of: (marks: Marks) => readonly NetObject[]): Promise<void> {
  const marks = await host.marks?.(FILTER_FAMILIES);
  if (marks === undefined) return;
  const batches = render(diff([], netState(of(marks))));
  if (batches.length === 0) return;
  const { failure, isDry } = await host.kernel.run(batches, 'carry-on', EMPTY_SCOPE);
  const after = isDry === true ? undefined : await host.marks?.(FILTER_FAMILIES);
  const left = after === undefined ? [] : linesFor(of(after));
  if (left.length > 0) throw failure ?? new VerifyError(`objects without a record are still there: ${left.map(words).join(', ')}`);
  for (const line of batches.flatMap(({ lines }) => lines)) host.log(`host: ${words(line)}: it has no record`, line);
}

function unrecordedIn(host: Host, marks: Marks): NetObject[] {
  const kept = keptIn(host, marks);
  return [...leftObjects(marks, kept), ...leftTables(marks, kept.held)];
}

function keptIn(host: Host, { protocol }: Marks): Kept {
  const entries = listHoldings(host);
  return {
    held: entries.flatMap(({ wired }) => wired), uuids: new Set(entries.map(({ guest }) => guest.uuid)),
    protocols: [protocol],
  };
}

function linesFor(objects: readonly NetObject[]): BatchLine[] {
  return render(diff([], netState(objects))).flatMap(({ lines }) => lines);
}

function words(line: BatchLine): string {
  return describeLine(line) ?? line.text;
}
