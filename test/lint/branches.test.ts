// @tier fast
/** lint/branches.js: every form of branch on a kind is found by its type, and the list can only shrink. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { checkBranches, findBranches } from '../../lint/branches.js';
import { withTree } from './tree.js';

const KINDS = `
export interface Port { readonly kind: 'vlan-port'; readonly link: string; readonly vlans: readonly number[] }
export interface Routed { readonly kind: 'routed-link'; readonly link: string }
export type Attachment = Port | Routed;
export type Placed = Attachment | { readonly kind: 'macvtap'; readonly link: string };
`;
const OBJECTS = `
export type NetObject =
  | { readonly kind: 'vlan'; readonly dev: string; readonly vid: number }
  | { readonly kind: 'link'; readonly dev: string }
  | { readonly kind: 'route'; readonly dev: string; readonly to: string };
`;
const TREE = { 'lib/attachments/attachment.ts': KINDS, 'lib/state/objects.ts': OBJECTS };
const HEAD = `
import type { Attachment, Placed, Port } from './attachments/attachment.js';
import type { NetObject } from './state/objects.js';
`;

/** Returns the forms that one file has, as `family form`. */
function formsOf(code: string, more: Readonly<Record<string, string>> = {}): string[] {
  return withTree({ ...TREE, ...more, 'lib/use.ts': `${HEAD}${code}` }, (root) =>
    findBranches(root).filter(({ file }) => file === 'lib/use.ts').map(({ family, form }) => `${family} ${form}`));
}

describe('findBranches', () => {
  test.each([
    ['===', "export const a = (one: Placed) => one.kind === 'vlan-port';", ['attachment comparison']],
    ['!== from the right', "export const a = (one: NetObject) => 'vlan' !== one.kind;", ['object comparison']],
    ['== of what may be undefined', "export const a = (one?: NetObject) => one?.kind == 'vlan';", ['object comparison']],
    ['a kind taken out of its object', "export const a = ({ kind }: NetObject) => kind === 'link';", ['object comparison']],
    ['a kind in a constant', "export function a(one: NetObject) { const k = one.kind; return k === 'link'; }", ['object comparison']],
    ['a kind as a parameter', "export const a = (kind: NetObject['kind']) => kind === 'link';", ['object comparison']],
    ['a kind whose type was lost', "export const a = (one: { kind: string }) => one.kind === 'routed-link';", ['attachment comparison']],
    ['a kind as a member of another type', `interface Row { readonly kind: Attachment['kind'] | null }
export const a = (row: Row) => row.kind === 'vlan-port';`, ['attachment comparison']],
    ['each case', `export function a(one: NetObject) {
  switch (one.kind) {
    case 'vlan':
    case 'link': return 1;
    default: return 2;
  }
}`, ['object case', 'object case']],
    ['an import from the folder of a kind', "export type { Port as Own } from './attachments/vlan-port/port.js';", ['attachment import']],
    ['in, of an attachment', "export const a = (one: Attachment) => 'vlans' in one;", ['attachment in']],
    ['a set and what is looked for in it', `const SET: ReadonlySet<string> = new Set(['vlan', 'link']);
export const a = (one: NetObject) => SET.has(one.kind);`, ['object set', 'object membership']],
    ['an array', "export const a = (one: NetObject) => ['vlan', 'link'].includes(one.kind);", ['object membership']],
    ['a table', `const TABLE: Readonly<Record<NetObject['kind'], number>> = { vlan: 1, link: 2, route: 3 };
export const a = (one: NetObject) => TABLE[one.kind];`, ['object table']],
    ['a type guard, and the comparison in it', `export function isPort(one: Placed): one is Port {
  return one.kind === 'vlan-port';
}`, ['attachment guard', 'attachment comparison']],
    ['two kinds that are compared with each other', 'export const a = (one: NetObject, other: NetObject) => one.kind === other.kind;', []],
    ['a word that is also a kind', "export const a = (word: 'link' | 'bridge') => word === 'link';", []],
    ['a kind of something else', `type Made = { readonly kind: 'link' } | { readonly kind: 'route' };
export const a = (made: Made) => made.kind === 'link';`, []],
  ])('%s', (_name, code, forms) => {
    expect(formsOf(code)).toEqual(forms);
  });

  test('a guard of a kind\'s own room counts where it is called', () => {
    const room = `import type { Placed, Port } from '../attachment.js';
export function isPort(one: Placed): one is Port { return one.kind === 'vlan-port'; }`;
    const code = `import { isPort } from './attachments/vlan-port/port.js';
export const a = (one: Placed) => isPort(one);`;
    expect(formsOf(code, { 'lib/attachments/vlan-port/port.ts': room }))
      .toEqual(['attachment import', 'attachment guard call']);
  });

  test('a table of a kind\'s own room may be asked', () => {
    const code = `import { KINDS } from './attachments/kinds.js';
export const a = (one: Attachment) => KINDS[one.kind];`;
    expect(formsOf(code, { 'lib/attachments/kinds.ts': "export const KINDS = { 'vlan-port': 1, 'routed-link': 2 };" })).toEqual([]);
  });

  test('own rooms are free, other folders below attachments are not', () => {
    const code = (depth: string) => `import type { Placed } from '${depth}attachment.js';
export const a = (one: Placed) => one.kind === 'macvtap';`;
    const files = {
      'lib/attachments/vlan-port/a.ts': code('../'), 'lib/attachments/kinds.ts': code('./'),
      'lib/attachments/scope.ts': code('./'),
    };
    expect(withTree({ ...TREE, ...files }, findBranches).map(({ file }) => file)).toEqual(['lib/attachments/scope.ts']);
  });

  test('a tree without the unions is an error', () => {
    expect(() => withTree({ 'lib/a.ts': 'export type Placed = 1;' }, findBranches)).toThrow("no exported type Placed or Attachment with literals of 'kind'");
  });
});

describe('checkBranches', () => {
  const USE = "export const a = (one: NetObject) => one.kind === 'vlan';\n";
  const check = (uses: number, entry: object | undefined, update = false) => {
    const code = HEAD + Array.from({ length: uses }, (_none, index) => USE.replace('a =', `a${index} =`)).join('');
    const list = JSON.stringify(entry === undefined
      ? []
      : [{ file: 'lib/use.ts', family: 'object', reason: 'why', ...entry }]);
    return withTree({ ...TREE, 'lib/use.ts': code, 'lint/branches.json': list }, (root) =>
      ({
        ...checkBranches({ root, update }),
        list: JSON.parse(readFileSync(join(root, 'lint/branches.json'), 'utf8')) as object[],
      }));
  };

  test('as many as listed pass, and the totals are told', () => {
    expect(check(2, { count: 2 })).toMatchObject({
      problems: [], notes: [expect.stringContaining('attachment kind outside its rooms: 0 in 0 files'), expect.stringContaining('object kind outside its rooms: 2 in 1 files')],
    });
  });

  test('more fail, with the lines', () => {
    expect(check(2, { count: 1 }).problems).toEqual([
      expect.stringMatching(/^lib\/use.ts: 2 branches on an object kind, where lint\/branches.json allows 1 \(lines 4, 5\)$/),
      expect.stringMatching(/^2 branches on an object kind, where lint\/branches.json allows 1/),
    ]);
  });

  test('fewer fail, until the list is lowered', () => {
    expect(check(1, { count: 2 }).problems).toEqual([expect.stringContaining('still allows 2')]);
    expect(check(1, { count: 2 }, true)).toMatchObject({ problems: [], list: [{ count: 1, reason: 'why' }] });
  });

  test('the list never rises', () => {
    expect(check(2, { count: 1 }, true)).toMatchObject({
      problems: [expect.anything(), expect.anything()], list: [{ count: 1 }],
    });
  });

  test('a file that moved keeps its reason', () => {
    expect(check(1, { file: 'lib/old/u-se.ts', count: 1 }, true).list).toEqual([{
      file: 'lib/use.ts', family: 'object', count: 1, reason: 'why',
    }]);
  });

  test('an entry without a reason fails', () => {
    expect(check(1, { count: 1, reason: ' ' }).problems).toEqual([expect.stringContaining(
      'gives no reason for lib/use.ts',
    )]);
  });
});
