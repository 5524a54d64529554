import * as z from 'zod/mini';
import type { rulesetSchema } from './kernel/nft-output.js';
import { shapeName, TABLES } from './ruleset.js';
import { type Chain, commentsOf, type FilterFamily } from './state/nft.js';

type Ruleset = z.infer<typeof rulesetSchema>['nftables'];

export function isIntact(ruleset: Ruleset, { family, comments }: { family: FilterFamily; comments: ReadonlyMap<string, readonly string[]> }): boolean {
  const shape = TABLES[family];
  const hasSet = ([name, kind]: readonly [string, 'set' | 'map']): boolean => ruleset.some((entry) => entry[kind]?.name === name && entry[kind].type === 'iface_index');
  const hasChain = (wanted: Chain): boolean =>
    ruleset.some(({ chain }) => chain?.name === wanted.name && HOOK_KEYS.every((key) => chain[key] === wanted.hook?.[key])) &&
    comments.get(wanted.name)?.join('\n') === commentsOf(wanted).join('\n');
  const hasConstant = (name: string): boolean => ruleset.some(({ set }) => set?.name === name && set.elem.length > 0);
  return [...shape.sets].every(hasSet) && [...shape.constants.keys()].every(hasConstant) && shape.chains.every(hasChain) && comments.has(shapeName(family));
}

const HOOK_KEYS = ['type', 'hook', 'prio', 'policy'] as const;
