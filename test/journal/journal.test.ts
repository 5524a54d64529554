// @tier fast
/** The journal: what is written is read again, what cannot be believed is not, and no file outlives its guest. */
import {
  chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Stored } from '../../lib/attachments/schema.js';
import { JournalError } from '../../lib/errors.js';
import { type Allow, NO_TRUST, type Policy } from '../../lib/intent/policy.js';
import { createJournal, type Entry, type Journal } from '../../lib/journal/journal.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';

const UUID = '11111111-2222-3333-4444-555555555555';
const OTHER = '99999999-2222-3333-4444-555555555555';

const ENTRY: Entry = {
  version: 1,
  guest: { name: 'wéb "1"\n', uuid: UUID },
  since: '2026-01-01T00:00:00.000Z',
  incoming: false,
  wired: [
    wiredOf({
      kind: 'vlan-port', nic: 0, mac: '52:54:00:aa:bb:01', link: 'vnet0', ifindex: 7, bridge: 'br0', uplinks: ['eno1'],
      isolated: true, vlans: [{ vid: 10, pvid: true, untagged: true }],
    }),
    wiredOf({
      kind: 'routed-link', nic: 1, mac: '52:54:00:aa:bb:02', link: 'vnet1',
      ifindex: 8, addresses: ['192.0.2.10'], gateways: ['169.254.0.1'],
      routes: [{ to: '198.51.100.0/24', via: '192.0.2.10' }], table: 'main', protocol: 117, policy: POLICY,
    }),
  ],
  original: [
    { kind: 'vlan', dev: 'vnet0', vid: 1, pvid: true, untagged: true },
    { kind: 'txqlen', dev: 'vnet0', length: 1000 },
    { kind: 'sysctl', dev: 'vnet1', path: 'net/ipv6/conf/vnet1/accept_ra', value: '1' },
    { kind: 'address', dev: 'vnet1', address: 'fe80::1', length: 64 },
    { kind: 'route', dev: 'vnet1', to: '192.0.2.0/24', via: '192.0.2.1', table: '100', protocol: 117 },
  ],
};

const RULE: Stored<Allow> = {
  direction: 'in', proto: 'tcp', ports: [{ first: 443, last: 443 }], origin: '<gw:allow> 1 in its metadata',
  peers: [
    { kind: 'prefix', prefix: '2001:db8::/32' },
    { kind: 'guest', name: 'a "b"\n' },
    { kind: 'group', name: 'front-ends' },
  ],
};
const RICH: Stored<Policy> = {
  profile: 'closed', profileOrigin: '[guest] in the host config', guest: 'a "b"\n',
  groups: ['x.y'], offers: { dhcp: true, dns: ['2001:db8::53'] },
  allows: [RULE, { direction: 'out', proto: undefined, ports: [], peers: [{ kind: 'host' }], origin: 'allow[1] of [guest] in the host config' }],
};

const textOf = (entry: Entry | undefined): unknown => JSON.parse(JSON.stringify(entry));

let top: string;
let dir: string;
let damage: string[];
let journal: Journal;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'guestwire-journal-'));
  dir = join(top, 'state');
  damage = [];
  journal = createJournal(dir, (message) => damage.push(message));
});
afterEach(() => { rmSync(top, { recursive: true }); });

const file = (uuid: string, ending = 'json'): string => join(dir, `${uuid}.${ending}`);

describe('an entry', () => {
  test('is read as it was written', () => {
    journal.write(ENTRY);
    expect(journal.read(UUID)).toEqual(ENTRY);
    expect(journal.list()).toEqual([ENTRY]);
    expect(damage).toEqual([]);
  });

  test('of a NIC without a MAC, and of a port nobody declared isolated, is read as it was written', () => {
    const [port] = ENTRY.wired;
    const entry = { ...ENTRY, wired: [{ ...port, mac: undefined, isolated: undefined }] } as unknown as Entry;
    journal.write(entry);
    expect(journal.read(UUID)).toEqual(entry);
  });

  test('holds trust, declared addresses and a policy as they were derived', () => {
    const [port, link] = ENTRY.wired;
    const entry = { ...ENTRY, wired: [
      { ...port, trust: { ...NO_TRUST, ra: true }, logged: true, declared: ['192.0.2.1', '2001:db8::/64'] },
      { ...link, policy: RICH },
    ] } as unknown as Entry;
    journal.write(entry);
    expect(textOf(journal.read(UUID))).toEqual(textOf(entry));
    expect(damage).toEqual([]);
  });

  test.each<[string, object, object]>([
    ['a trust of another word', { trust: { ...NO_TRUST, ra: 'yes' } }, {}],
    ['an address that is more than one', { declared: ['192.0.2.1; drop'] }, {}],
    ['a declared address that is none', { declared: ['192.0.2.256'] }, {}],
    ['a declared prefix with host bits', { declared: ['192.0.2.1/24'] }, {}],
    ['a number for an address', { declared: [1] }, {}],
    ['a profile', {}, { profile: 'none' }],
    ['a group', {}, { groups: ['a b'] }],
    ['a server', {}, { offers: { dhcp: true, dns: ['x'] } }],
    ['a protocol', {}, { allows: [{ ...RULE, proto: 'tcp }' }] }],
    ['a port', {}, { allows: [{ ...RULE, ports: [{ first: 0, last: 1 }] }] }],
    ['half a port', {}, { allows: [{ ...RULE, ports: [{ first: 1.5, last: 2 }] }] }],
    ['a server with a length', {}, { offers: { dhcp: true, dns: ['192.0.2.0/24'] } }],
    ['a prefix', {}, { allows: [{ ...RULE, peers: [{ kind: 'prefix', prefix: '::/0 accept' }] }] }],
    ['a group of a rule', {}, { allows: [{ ...RULE, peers: [{ kind: 'group', name: '"' }] }] }],
    ['a kind of peer', {}, { allows: [{ ...RULE, peers: [{ kind: 'world' }] }] }],
    ['an origin', {}, { allows: [{ ...RULE, origin: 'a"\n' }] }],
    ['no policy', {}, { guest: 5 }],
  ])('is damaged with %s that nobody derives', (_, ofPort, ofPolicy) => {
    const [port, link] = ENTRY.wired;
    journal.write(
      { ...ENTRY, wired: [{ ...port, ...ofPort }, { ...link, policy: { ...RICH, ...ofPolicy } }] } as unknown as Entry,
    );
    expect(journal.read(UUID)).toBeUndefined();
    expect(damage).toHaveLength(1);
  });

  test('that is not there is none', () => {
    expect(journal.read(UUID)).toBeUndefined();
    expect(journal.list()).toEqual([]);
    expect(existsSync(dir)).toBe(false);
  });

  test('replaces the one before, and leaves no draft', () => {
    journal.write(ENTRY);
    journal.write({ ...ENTRY, incoming: true });
    expect(journal.read(UUID)?.incoming).toBe(true);
    expect(readdirSync(dir)).toEqual([`${UUID}.json`]);
  });

  test('can be read by its owner only', () => {
    journal.write(ENTRY);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(statSync(file(UUID)).mode & 0o777).toBe(0o600);
  });

  test('is one a guest, and removed with its marks and with drafts of a run that was killed', () => {
    journal.write(ENTRY);
    journal.write({ ...ENTRY, guest: { name: 'db1', uuid: OTHER } });
    journal.markIncoming(UUID);
    journal.markEnded(UUID);
    for (const ending of ['json', 'incoming', 'ended']) writeFileSync(file(UUID, `${ending}.draft`), '{');
    journal.remove(UUID);
    journal.remove(UUID);
    expect(readdirSync(dir)).toEqual([`${OTHER}.json`]);
  });

  test.each([
    '', '../../etc/passwd', 'AAAAAAAA-2222-3333-4444-555555555555', `${UUID}\n`, `${UUID}/x`,
  ])('of %j is never touched', (uuid) => {
    for (const act of [
      () => journal.read(uuid), () => { journal.remove(uuid); }, () => { journal.markEnded(uuid); },
      () => journal.takeIncoming(uuid),
    ]) {
      expect(act).toThrow(JournalError);
    }
  });

  test('is told from files that are none', () => {
    journal.write(ENTRY);
    for (const name of ['README', 'x.json', `${UUID}.json.draft`, '.json', 'uplinks.json'])
      writeFileSync(join(dir, name), 'x');
    expect(journal.list()).toEqual([ENTRY]);
    expect(damage).toEqual([]);
  });
});

describe('a damaged entry is taken for none and told of', () => {
  const changed = (change: (entry: Record<string, unknown>) => void): string => {
    const entry = JSON.parse(JSON.stringify(ENTRY)) as Record<string, unknown>;
    change(entry);
    return JSON.stringify(entry);
  };
  const first = (entry: Record<string, unknown>, list: string): Record<string, unknown> =>
    (entry[list] as Record<string, unknown>[])[0] ?? {};
  test.each([
    ['empty', ''],
    ['cut short', JSON.stringify(ENTRY).slice(0, -2)],
    ['another type', 'null'],
    ['another version', changed((entry) => { entry['version'] = 2; })],
    ['no guest', changed((entry) => { delete entry['guest']; })],
    ['a link without VLANs', changed((entry) => { delete first(entry, 'wired')['vlans']; })],
    ['a link of no kind', changed((entry) => { first(entry, 'wired')['kind'] = 'veth'; })],
    ['a link whose name is two words', changed((entry) => { first(entry, 'wired')['link'] = 'vnet0\nlink del eno1'; })],
    ['a link without a name', changed((entry) => { first(entry, 'wired')['link'] = ''; })],
    ['an uplink whose name is two words', changed((entry) => { first(entry, 'wired')['uplinks'] = ['eno1 down']; })],
    ['an original of two words', changed((entry) => { first(entry, 'original')['dev'] = 'vnet0 vid 1'; })],
    ['an original that is a list', changed((entry) => { first(entry, 'original')['vid'] = [1]; })],
  ])('%s', (title, text) => {
    journal.write(ENTRY);
    writeFileSync(file(UUID), text);
    expect(journal.read(UUID)).toBeUndefined();
    expect(damage).toEqual([`journal '${file(UUID)}' is damaged and is treated as empty: the wiring that it recorded stays`]);
    // What was there before is not read to know what a guest holds.
    expect(journal.list()).toHaveLength(title.startsWith('an original') ? 1 : 0);
  });
});

describe('marks', () => {
  test('an announced migration is taken once', () => {
    journal.markIncoming(UUID);
    expect([journal.expectsIncoming(OTHER), journal.expectsIncoming(UUID)]).toEqual([false, true]);
    expect(journal.takeIncoming(OTHER)).toBe(false);
    expect(journal.takeIncoming(UUID)).toBe(true);
    expect(journal.takeIncoming(UUID)).toBe(false);
    expect(readdirSync(dir)).toEqual([]);
  });

  test.each([[59, true], [61, false]])('an announcement of %d s ago: %j', (age, taken) => {
    journal.markIncoming(UUID);
    const then = Date.now() / 1000 - age;
    utimesSync(file(UUID, 'incoming'), then, then);
    expect(journal.takeIncoming(UUID)).toBe(taken);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('guests that ended are listed until they are removed', () => {
    journal.write(ENTRY);
    journal.write({ ...ENTRY, guest: { name: 'db1', uuid: OTHER } });
    journal.markEnded(OTHER);
    journal.markEnded(UUID);
    journal.markEnded(UUID);
    expect(journal.listEnded()).toEqual([UUID, OTHER]);
    journal.remove(UUID);
    expect(journal.listEnded()).toEqual([OTHER]);
  });
});

describe('uplinks', () => {
  test('are read as they were written, and an empty list is no file', () => {
    expect(journal.readLedger().uplinks).toEqual([]);
    journal.write(ENTRY);
    journal.writeLedger('uplinks', [{ dev: 'eno1', ifindex: 3, vids: [10, 20] }]);
    expect(journal.readLedger().uplinks).toEqual([{ dev: 'eno1', ifindex: 3, vids: [10, 20] }]);
    journal.writeLedger('uplinks', []);
    journal.writeLedger('uplinks', []);
    expect(readdirSync(dir)).toEqual([`${UUID}.json`]);
  });

  test('that are damaged are taken for none and told of', () => {
    journal.write(ENTRY);
    writeFileSync(join(dir, 'uplinks.json'), '[{"dev":"eno1 down","ifindex":3,"vids":[]}]');
    expect(journal.readLedger().uplinks).toEqual([]);
    expect(damage).toEqual([`journal '${join(dir, 'uplinks.json')}' is damaged and is treated as empty: the wiring that it recorded stays`]);
  });
});

describe('a state directory', () => {
  test.each([0o722, 0o702, 0o777])('with mode %o is neither read nor written', (mode) => {
    journal.write(ENTRY);
    chmodSync(dir, mode);
    const says = `journal '${dir}' is writable by other users (owner ${process.geteuid?.() ?? ''}, mode 0${mode.toString(8)}): it must belong to root with mode 0700`;
    for (const act of [
      () => journal.read(UUID), () => journal.list(), () => { journal.write(ENTRY); },
      () => { journal.markIncoming(UUID); }, () => journal.listEnded(), () => journal.readLedger().uplinks,
      () => journal.readLedger().proxies,
    ]) {
      expect(act).toThrow(new JournalError(says));
    }
  });

  test('that is a file is an error that says so; a directory for an entry is a damaged entry', () => {
    writeFileSync(dir, '');
    expect(() => journal.list()).toThrow(new JournalError(`journal: cannot read '${dir}': ENOTDIR: not a directory`));
    expect(() => { journal.write(ENTRY); }).toThrow(new JournalError(`journal: cannot make '${dir}': EEXIST: file already exists`));
    rmSync(dir);
    mkdirSync(file(UUID), { recursive: true, mode: 0o700 });
    expect(journal.read(UUID)).toBeUndefined();
    expect(() => { journal.write(ENTRY); }).toThrow(new JournalError(`journal: cannot write '${file(UUID)}': EISDIR: illegal operation on a directory`));
    expect(readdirSync(dir)).toEqual([`${UUID}.json`]);
  });

  test('holds text that a person can read', () => {
    journal.write(ENTRY);
    expect(readFileSync(file(UUID), 'utf8')).toMatch(/^\{\n "version": 1,\n/);
  });
});
