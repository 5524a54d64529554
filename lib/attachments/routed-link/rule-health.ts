/**
 * Routing rules of other programs that stand before the table of guests' routes. Each cure puts a rule for the guests
 * before them, and leaves the host's own traffic to them.
 */
import type { HostRule } from '../../kernel/host-rules.js';
import { type Address, contains } from '../../values/address.js';
import { quote } from '../../values/quote.js';
import type { Finding, HostFacts } from '../health-facts.js';

export const RULES: readonly ((facts: HostFacts) => Finding[])[] = [
  ({ rules, nics, config: { routed: { table, protocol } } }) => rules
    .filter((rule) => isBefore(rule) && rule.protocol !== protocol && rule.protocol !== KERNEL)
    .flatMap((rule): Finding[] => {
      const met = nics
        .flatMap(({ routed = [], link }) => routed.map((address) => ({ address, link })))
        .filter(({ address, link }) => address.family === rule.family && meets(rule, address, link))
        .map(({ address }) => address.text);
      if (met.length === 0) return [];
      const stops = !rule.action.startsWith('lookup ');
      const flag = rule.family === 'inet6' ? 'ip -6' : 'ip';
      return [{
        severity: stops ? 'error' : 'note', what: `a routing rule of priority ${rule.priority} (${rule.action}) decides on ${met.map(quote).join(', ')} before guestwire's routes`,
        why: stops ? 'the host forwards nothing that this rule matches' : 'this traffic of guests leaves by that table: the host does not reach them if it leads elsewhere',
        cure: [...new Set(met)].flatMap((text) => ['from', 'to'].map((side) => `${flag} rule add priority ${rule.priority - 1} ${side} ${text} lookup ${table}`)).join(' && '),
      }];
    }),
];

/** The kernel's own rules: `local`, `main`, `default` and VRFs. */
const KERNEL = 2;
/** Priority of `main`. */
const MAIN = 32766;

function isBefore({ priority, isPartial }: HostRule): boolean {
  return priority > 0 && priority < MAIN && !isPartial;
}

function meets({ from, to, iif }: HostRule, { prefix }: Address, link: string): boolean {
  if (iif !== undefined && iif !== link) return false;
  if (from === undefined && to === undefined) return true;
  return [from, to].some((one) => one !== undefined && contains(one, prefix));
}
