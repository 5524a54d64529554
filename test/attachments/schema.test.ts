// @tier fast
/** What the journal holds of attachments: text to values, and values to the same text. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Wired } from '../../lib/attachments/kinds.js';
import type { Stored } from '../../lib/attachments/schema.js';
import { createJournal, type Entry, type Journal } from '../../lib/journal/journal.js';
import { Address, Prefix } from '../../lib/values/address.js';

/** An entry that release 0.1.0 wrote: links of every kind, with all that XML and host config can ask for. */
const TEXT = readFileSync('fixtures/journal/entry-0.1.0.json', 'utf8');
const STORED = JSON.parse(TEXT) as Stored<Entry>;
const { uuid } = STORED.guest;

let dir: string;
let damage: string[];
let journal: Journal;
beforeEach(() => {
  dir = join(mkdtempSync(join(tmpdir(), 'guestwire-schema-')), 'state');
  mkdirSync(dir, { mode: 0o700 });
  damage = [];
  journal = createJournal(dir, (message) => damage.push(message));
});
afterEach(() => { rmSync(join(dir, '..'), { recursive: true }); });

const file = (): string => join(dir, `${uuid}.json`);

describe('an entry of release 0.1.0', () => {
  test('is written again byte for byte', () => {
    writeFileSync(file(), TEXT);
    const entry = journal.read(uuid);
    expect(damage).toEqual([]);
    if (entry !== undefined) journal.write(entry);
    expect(readFileSync(file(), 'utf8')).toBe(TEXT);
    expect(journal.list()).toEqual([entry]);
  });

  test('is read as values', () => {
    writeFileSync(file(), TEXT);
    const wired = journal.read(uuid)?.wired ?? [];
    expect(new Set(wired.map(({ kind }) => kind)).size).toBe(6);
    const link = of(wired, 'routed-link');
    const port = of(wired, 'vlan-port');
    const { offers, allows } = link.policy;
    const addresses = [...link.addresses, ...link.gateways, ...link.routes.map(({ via }) => via), ...offers.dns];
    for (const address of addresses) expect(address).toBeInstanceOf(Address);
    const peers = allows.flatMap((allow) => allow.peers)
      .flatMap((peer) => (peer.kind === 'prefix' ? peer.prefix : []));
    for (const prefix of [...link.routes.map(({ to }) => to), ...peers]) expect(prefix).toBeInstanceOf(Prefix);
    expect(port.declared?.map((own) => [own.text, own instanceof Prefix])).toEqual([
      ['192.0.2.20', false], ['2001:db8:5::/64', true], ['192.0.2.21', false],
    ]);
  });
});

function of<K extends Wired['kind']>(wired: readonly Wired[], kind: K): Extract<Wired, { kind: K }> {
  const found = wired.find((one): one is Extract<Wired, { kind: K }> => one.kind === kind);
  if (found === undefined) throw new Error(`no ${kind}`);
  return found;
}

describe('an entry is damaged with', () => {
  test.each<[string, object]>([
    ['an address that is none', { addresses: ['192.0.2.300'] }],
    ['an address with a zone', { addresses: ['fe80::1%eth0'] }],
    ['an address with more behind it', { addresses: ['::1]'] }],
    ['a number for an address', { addresses: [3_221_225_985] }],
    ['a gateway with a length', { gateways: ['169.254.0.1/32'] }],
    ['a destination without a length', { routes: [{ to: '198.51.100.0', via: '192.0.2.10' }] }],
    ['a destination with host bits', { routes: [{ to: '198.51.100.1/24', via: '192.0.2.10' }] }],
    ['a next hop that is a name', { routes: [{ to: '198.51.100.0/24', via: 'web1' }] }],
  ])('%s', (_, ofLink) => {
    const wired = STORED.wired.map((one) => (one.kind === 'routed-link' ? { ...one, ...ofLink } : one));
    writeFileSync(file(), JSON.stringify({ ...STORED, wired }));
    expect(journal.read(uuid)).toBeUndefined();
    expect(damage).toEqual([expect.stringContaining('is damaged and is treated as empty')]);
  });
});
