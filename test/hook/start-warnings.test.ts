// @tier kernel
/** Settings of the host that cut a guest off, although it starts: the start logs a warning with the cure. */
import { afterAll, beforeAll, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { domainXml, DONE, ethernetNic, type HookHost, openHookHost, routedXml } from '../places/hook-run.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const xmlOf = (...addresses: string[]): string =>
  domainXml({ metadata: routedXml(addresses), nics: [ethernetNic({})] });

/** Returns what a start of the guest logs; it is released again. */
async function logged(xml: string): Promise<string[]> {
  host.recorded('logger');
  for (const operation of ['prepare', 'start']) expect(await host.hook({ operation, xml })).toEqual(DONE);
  const lines = host.recorded('logger').filter((line) => /^<2[0-8]>/.test(line));
  expect(await host.hook({ operation: 'release', xml })).toEqual(DONE);
  return lines;
}

for (const [name, path, what] of [
  ['an uplink that does not forward IPv4', 'net.ipv4.conf.eno1.forwarding', "uplink 'eno1' does not forward IPv4"],
  ['ARP that the host does not answer', 'net.ipv4.conf.all.arp_ignore', 'arp_ignore of all links is 2'],
] as const) hookTest(`a start warns of ${name}, and not after the cure`, async () => {
  const [good, bad] = path.endsWith('forwarding') ? [1, 0] : [1, 2];
  host.sh(`sysctl -qw ${path}=${bad}`);
  const lines = await logged(xmlOf('192.0.2.10', '2001:db8::a'));
  expect(lines).toEqual([expect.stringContaining(`${what}, so the guest has no IPv4: run 'sysctl -w ${path}=${good}'`)]);
  expect(lines[0]).toContain("guest 'web1'");
  // An IPv6-only guest loses nothing.
  expect(await logged(xmlOf('2001:db8::a'))).toEqual([]);
  host.sh(/run '([^']*)'/.exec(lines[0] ?? '')?.[1] ?? 'false');
  expect(await logged(xmlOf('192.0.2.10', '2001:db8::a'))).toEqual([]);
});
