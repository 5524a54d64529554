// @tier fast kernel
/**
 * A hostile guest that owns the other end of its tap: whatever it pretends to be, in whatever encapsulation, reaches no
 * victim, no uplink and not the host; and what it sends as itself arrives as it does without a filter. Both lists are
 * tables: test/attack/forged.ts and test/attack/honest.ts. Without a filter every forged frame arrives somewhere, or is
 * named here.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { arrived, dressed, HARMLESS, lost, UNHEARD } from './fate.js';
import { filterFor } from './filter.js';
import { forgedRows, type Row } from './forged.js';
import { honestRows } from './honest.js';
import {
  allowedEncapsulations, type AttackHost, ENCAPSULATIONS, hostileNic, MEMBER, type Numbered, numberFrames,
  openAttackHost, type Topology,
} from './host.js';

const NEEDED = ['root', 'netns', 'python3', 'nft'] as const;
const attackTest = testWith(...NEEDED);
const able = canRun(...NEEDED);
const hosts = new Map<Topology, AttackHost>();

beforeAll(async () => {
  if (able) for (const topology of ['bridge', 'routed'] as const) hosts.set(topology, await openAttackHost(topology));
}, 60_000);

afterAll(() => { for (const host of hosts.values()) host.close(); });

function hostOf(topology: Topology): AttackHost {
  const host = hosts.get(topology);
  if (host === undefined) throw new Error('no host');
  return host;
}

/** Sends rows and returns, of each, where any of its frames arrived. */
async function shoot(
  host: AttackHost, rows: readonly (Row & { encapsulation: string })[],
): Promise<Map<string, string[]>> {
  const { shots, numbered } = numberFrames(rows);
  const where = await host.attack(shots);
  return new Map(
    numbered.map(({ name, numbers }: Numbered) => [name, numbers.map((number) => where.get(number) ?? 'nowhere')]),
  );
}

const ALL = Object.keys(ENCAPSULATIONS);

describe.each<[string, Topology, readonly number[]]>([
  ['an access port', 'bridge', []], ['a trunk port', 'bridge', [MEMBER]], ['a routed link', 'routed', []],
])('%s', (_, topology, tags) => {
  attackTest('is where every forged frame arrives somewhere, unless something filters', async () => {
    const host = hostOf(topology);
    host.filter('');
    const shot = await shoot(host, dressed(forgedRows(host.scene), ALL));
    const unheard = UNHEARD[topology].map(([pattern]) => pattern);
    expect(lost(shot)).toEqual([...shot.keys()].filter((name) => unheard.some((pattern) => pattern.test(name))));
  }, 60_000);

  attackTest('lets no forged frame through, in no encapsulation', async () => {
    const host = hostOf(topology);
    host.filter(filterFor(topology, hostileNic(host, { tags })));
    const shot = await shoot(host, dressed(forgedRows(host.scene), ALL));
    const harmless = [...shot].filter(([name]) => HARMLESS[topology].test(name));
    expect(harmless.flatMap(([, places]) => places).filter((place) => place !== 'host' && place !== 'nowhere'))
      .toEqual([]);
    expect(arrived(new Map([...shot].filter(([name]) => !HARMLESS[topology].test(name))))).toEqual([]);
  }, 60_000);

  attackTest('lets honest frames through where they went without it, and none in an encapsulation that is not its own', async () => {
    const host = hostOf(topology);
    const allowed = allowedEncapsulations(hostileNic(host, { tags }));
    const [own, foreign] = [
      dressed(honestRows(host.scene), allowed),
      dressed(honestRows(host.scene), ALL.filter((each) => !allowed.includes(each))),
    ];
    // Connection tracking, which policy needs, puts fragments together on a routed link: only the first is then seen.
    host.filter(topology === 'routed' ? 'add rule inet probe mute ct state established' : '');
    const before = await shoot(host, own);
    expect(lost(before)).toEqual([]);
    host.filter(filterFor(topology, hostileNic(host, { tags })));
    expect(Object.fromEntries(await shoot(host, own))).toEqual(Object.fromEntries(before));
    expect(arrived(await shoot(host, foreign))).toEqual([]);
  }, 60_000);
});

test('every row of the tables has a name of its own', () => {
  for (const { scene } of hosts.values()) for (const rows of [forgedRows(scene), honestRows(scene)])
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
});
