// @tier fast
/** Which guest last had an address, as files. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type Reservations, reservationsIn } from '../../lib/journal/reservations.js';
import { parsePrefix } from '../../lib/values/address.js';

const [A, B] = [
  { name: 'web 1', uuid: '11111111-2222-3333-4444-555555555555' },
  { name: 'db1', uuid: '21111111-2222-3333-4444-555555555555' },
];

let dir: string;
let record: Reservations;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-reservations-'));
  mkdirSync(join(dir, 'qemu'));
  record = reservationsIn(join(dir, 'addresses'), join(dir, 'qemu'));
});
afterEach(() => { rmSync(dir, { recursive: true }); });

const found = (...claims: string[]): string[] => record.find(claims.map(parsePrefix)).map(({ name }) => name);

test('nothing is recorded at first, and what a guest takes is found by each prefix that overlaps it', () => {
  expect(found('192.0.2.10/32')).toEqual([]);
  record.take(A, ['192.0.2.10/32', '2001:db8:0:10::/64'].map(parsePrefix));
  const met = ['192.0.2.10/32', '192.0.2.0/24', '2001:db8:0:10::5/128', '2001:db8::/32', '2001:db8:0:10::/64'];
  for (const claim of met) {
    expect([claim, found(claim)]).toEqual([claim, ['web 1']]);
  }
  expect(found('192.0.2.11/32', '2001:db8:0:11::/64', '2001:db8:0:11::5/128')).toEqual([]);
});

test('an IPv6 prefix of 32 bits is a prefix, and no IPv4 host', () => {
  record.take(A, [parsePrefix('2001:db8::/32')]);
  expect(found('2001:db8::a/128')).toEqual(['web 1']);
});

test('the last guest has it, and is named once', () => {
  record.take(A, ['192.0.2.10/32', '192.0.2.11/32'].map(parsePrefix));
  record.take(B, [parsePrefix('192.0.2.10/32')]);
  expect(found('192.0.2.10/32')).toEqual(['db1']);
  expect(found('192.0.2.8/29').sort()).toEqual(['db1', 'web 1']);
  record.take(B, [parsePrefix('192.0.2.11/32')]);
  expect(found('192.0.2.8/29')).toEqual(['db1']);
});

test('files of other programs and of a writer that was killed are not read', () => {
  record.take(A, [parsePrefix('192.0.2.10/32')]);
  symlinkSync('x', join(dir, 'addresses', '192.0.2.10_32.4711'));
  writeFileSync(join(dir, 'addresses', '192.0.2.12_32'), 'text');
  expect(found('192.0.2.0/24')).toEqual(['web 1']);
  record.take(B, [parsePrefix('192.0.2.12/32')]);
  expect(found('192.0.2.12/32')).toEqual(['db1']);
  expect(readdirSync(join(dir, 'addresses')).sort()).toEqual(['192.0.2.10_32', '192.0.2.10_32.4711', '192.0.2.12_32']);
});

test('a pipe or a directory among the definitions, and the draft of a killed run, hold up nothing', () => {
  execFileSync('mkfifo', [join(dir, 'qemu', 'db1.xml')]);
  mkdirSync(join(dir, 'qemu', 'web1.xml'));
  writeFileSync(join(dir, 'qemu', 'z.xml'), `<domain><uuid>${B.uuid}</uuid></domain>`);
  expect(record.definition(B)).toContain(B.uuid);
  mkdirSync(join(dir, 'addresses'));
  symlinkSync('x', join(dir, 'addresses', `192.0.2.10_32.${process.pid}`));
  record.take(A, [parsePrefix('192.0.2.10/32')]);
  expect(readdirSync(join(dir, 'addresses'))).toEqual(['192.0.2.10_32']);
});

test('a definition is found by its UUID, also after a rename, and not where another guest has the name', () => {
  expect(record.definition(B)).toBeUndefined();
  writeFileSync(join(dir, 'qemu', 'db1.xml'), `<domain><uuid>${A.uuid}</uuid></domain>`);
  expect(record.definition(B)).toBeUndefined();
  writeFileSync(join(dir, 'qemu', 'renamed.xml'), `<domain><uuid>${B.uuid}</uuid></domain>`);
  record.find([]);
  expect(record.definition(B)).toBe(`<domain><uuid>${B.uuid}</uuid></domain>`);
});
