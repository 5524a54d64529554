// @tier fast
/** docs/segmentation.md: every example is what it says it is. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { Attachment, Wired } from '../../lib/attachments/kinds.js';
import { parseConfig } from '../../lib/config/file.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { decide } from '../../lib/filter/explain.js';
import type { Parties } from '../../lib/filter/parties.js';
import type { Proto } from '../../lib/intent/policy.js';
import { parseAddress } from '../../lib/values/address.js';

const DOC = readFileSync('docs/segmentation.md', 'utf8');
const blocks = (language: string): string[] =>
  [...DOC.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text);
const NAMES = ['web1', 'db1', 'dns1', 'backup1', 'router1', 'db2'];
const NICS = [
  "<interface type='ethernet'><mac address='52:54:00:aa:bb:01'/><target dev='vnet0'/></interface>",
  "<interface type='bridge'><mac address='52:54:00:aa:bb:02'/><source bridge='br0'/><target dev='vnet1'/></interface>",
];

/** The router has both, and the database of a VLAN has the port alone. */
const nicsOf = (name: string): string =>
  (name === 'router1' ? NICS.join('') : name === 'db2' ? (NICS[1] ?? '').replace('bb:02', 'bb:01') : NICS[0] ?? '');

function derive(name: string, xml: string): Attachment[] {
  const config = name === 'router1' ? parseConfig(blocks('toml')[0] ?? '', 'config.toml') : defaultConfig();
  return deriveAttachments(parseDomain(`<domain><name>${name}</name><metadata>${xml}</metadata><devices>${nicsOf(name)}</devices></domain>`), config);
}

const guests = (): Parties['guests'] => NAMES.map((name, index) => ({
  guest: { name, uuid: `00000000-0000-0000-0000-00000000000${index}` },
  wired: derive(name, blocks('xml')[index] ?? '').map((attachment): Wired =>
    ({ ...attachment, ifindex: index } as Wired)),
}));

describe('docs/segmentation.md', () => {
  test('has an example a guest, and each is derived', () => {
    expect(blocks('xml')).toHaveLength(NAMES.length);
    expect(guests().map(({ wired }) => wired.map(({ kind }) => kind))).toEqual([
      ['routed-link'], ['routed-link'], ['routed-link'], ['routed-link'], ['routed-link', 'vlan-port'], ['vlan-port'],
    ]);
  });

  test.each(blocks('toml'))('host config %#', (toml) => {
    expect(() => parseConfig(toml, 'config.toml')).not.toThrow();
  });

  const [WORLD, WEB, DB, DNS, BACKUP, LAN] = [
    '2001:db8:ffff::1', '2001:db8:0:10::a', '2001:db8:0:10::d', '2001:db8:0:10::53', '2001:db8:0:10::b',
    '2001:db8:0:21::1',
  ] as const;
  test.each<[string, string, Proto, number | undefined, 'passes' | 'dropped']>([
    [WORLD, WEB, 'tcp', 443, 'passes'],
    [DB, WEB, 'tcp', 443, 'dropped'],
    [BACKUP, WEB, 'tcp', 443, 'dropped'],
    [LAN, WEB, 'tcp', 443, 'passes'],
    [WORLD, WEB, 'tcp', 22, 'dropped'],
    [WORLD, WEB, 'icmpv6', undefined, 'passes'],
    [WEB, DB, 'tcp', 5432, 'passes'],
    [WEB, DB, 'tcp', 22, 'dropped'],
    [WORLD, DB, 'tcp', 5432, 'dropped'],
    [DB, DNS, 'udp', 53, 'passes'],
    [WEB, DNS, 'tcp', 853, 'passes'],
    [WORLD, DNS, 'udp', 53, 'dropped'],
    [DNS, WORLD, 'udp', 53, 'passes'],
    [DB, WORLD, 'tcp', 443, 'dropped'],
    [BACKUP, DB, 'tcp', 22, 'dropped'],
    [WORLD, LAN, 'tcp', 80, 'passes'],
    [WEB, LAN, 'tcp', 80, 'passes'],
    ['192.0.2.10', '192.0.2.13', 'tcp', 5432, 'dropped'],
    ['192.0.2.13', '192.0.2.53', 'udp', 53, 'passes'],
    ['192.0.2.13', '198.51.100.1', 'tcp', 443, 'passes'],
    ['192.0.2.13', '198.51.100.1', 'tcp', 22, 'dropped'],
  ])('from %s to %s, %s %s: %s', (from, to, proto, port, verdict) => {
    const flow = { from: parseAddress(from), to: parseAddress(to), proto, port };
    expect(decide(flow, { guests: guests(), host: new Set(), quarantined: new Set() }).verdict).toBe(verdict);
  });
});
