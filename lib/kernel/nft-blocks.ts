/** guestwire's tables rule by rule, as nft prints them: two tables can be compared as text. */
import type { FilterFamily } from '../state/nft.js';
import type { Exec } from '../system/exec.js';
import { listTable } from './nft-output.js';

/** Chains, sets and maps of a table by what they are and their names: definition and rules, and elements. */
export type Blocks = ReadonlyMap<string, { readonly lines: readonly string[]; readonly elements: readonly string[] }>;

/** Returns the blocks of guestwire's table; undefined: the host has no such table. Throws CommandError. */
export async function listBlocks(exec: Exec, family: FilterFamily): Promise<Blocks | undefined> {
  const text = await listTable(exec, family, '--stateless');
  return text === undefined ? undefined : parseBlocks(text);
}

/** Returns the blocks of `nft --stateless list table`. */
export function parseBlocks(text: string): Blocks {
  return new Map([...text.matchAll(/^\t((?:chain|set|map) \S+) \{\n(.*?)^\t\}$/gms)].map(([, name = '', body = '']) => {
    const elements = /^\t\telements = \{([^}]*)\}$/m.exec(body)?.[1] ?? '';
    const lines = body
      .replace(/^\t\telements = \{[^}]*\}\n/m, '')
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
    return [name, {
      lines, elements: elements.split(',').map((element) => element.trim()).filter((element) => element !== ''),
    }];
  }));
}
