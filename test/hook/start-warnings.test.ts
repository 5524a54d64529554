// @tier kernel
/** What of the host a start refuses or warns about: each message has the command that cures it. */
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

hookTest('a tap in a bridge is refused as a routed link, and starts after the command of the refusal', async () => {
  host.sh('ip link set vnet1 master br0');
  const xml = xmlOf('192.0.2.10');
  const { status, stderr } = await host.hook({ operation: 'start', xml });
  expect([status, stderr]).toEqual([1, expect.stringMatching(/link 'vnet1' is a port of 'br0'.* 'ip link set dev vnet1 nomaster'\n$/)]);
  host.sh(/'(ip link [^']*)'/.exec(stderr)?.[1] ?? 'false');
  for (const operation of ['start', 'release']) expect(await host.hook({ operation, xml })).toEqual(DONE);
});

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
