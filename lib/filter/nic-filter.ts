/**
 * The filter of one NIC: which nftables family has which chains and sets of it, by what kind of link it is.
 */
import type { Guard } from '../attachments/attached.js';
import { filterOf } from '../attachments/attachment.js';
import type { Wired } from '../attachments/kinds.js';
import { type Chain, type FilterFamily, type NicFilter, PROTOCOLS, type FilterRule } from '../state/nft.js';
import { nearRules, policyRules, type PolicyRules } from './link-policy.js';
import { CHECKED, FROM_QUARANTINE, hooked, QUARANTINE } from './nft-tables.js';
import { portPolicyRules } from './port-policy.js';
import { linkRules, portRules, type SpoofRules } from './spoofing.js';

/** A NIC with how it is guarded. */
interface Guarded {
  readonly wired: Wired;
  readonly guard: Guard;
}

/** Returns what a NIC adds to the table of `family`; undefined: nothing. */
export function nicFilter(wired: Wired, family: FilterFamily): NicFilter | undefined {
  const guard = filterOf(wired);
  return guard && FILTERS[guard.how][family]?.({ wired, guard });
}

function portFilter({ wired: port, guard }: Guarded): NicFilter {
  const name = `nic_${port.ifindex}`;
  const rules = portRules(port, guard);
  const policy = policyParts(
    port, guard.policy === undefined ? NO_RULES : portPolicyRules(guard.policy, port.ifindex), ['guests'],
  );
  return {
    chains: [
      ...protocolChains(port, rules), { name, rules: [...logging(port, rules.frame), ...leadsOf(port)] },
      ...policy.chains,
    ],
    elements: [{ set: 'ports', verdict: `goto ${name}` }, ...policy.elements, ...quarantineRules(port)],
    named: policy.named,
  };
}

/**
 * On kernels from 6.16 on a chain whose link is gone hooks the next link of that name, so the first rule lets others
 * by.
 */
function ingressFilter({ wired: link, guard }: Guarded): NicFilter {
  const learns = `learnt_${link.ifindex}`;
  const spoofing = linkRules(link, guard, learns);
  const rules = [
    { match: `iif != ${link.ifindex}`, why: 'another link', verdict: 'accept' }, FROM_QUARANTINE,
    { match: '', why: 'filtered', verdict: `meta mark set meta mark | ${CHECKED}` }, ...logging(link, spoofing.frame),
    ...leadsOf(link),
  ];
  return {
    chains: [
      ...protocolChains(link, spoofing), { ...hooked(`nic_${link.ifindex}`, 'ingress', { rules }), device: link.link },
    ],
    elements: [{ set: 'nics' }, ...quarantineRules(link)], named: [], learns,
  };
}

function protocolChains(wired: Wired, rules: SpoofRules): Chain[] {
  return PROTOCOLS.map((protocol) => ({
    name: `${protocol}_${wired.ifindex}`, rules: logging(wired, rules[protocol]),
  }));
}

function leadsOf({ ifindex }: Wired): FilterRule[] {
  return PROTOCOLS.map((protocol) => ({
    match: `meta protocol ${protocol}`, why: protocol, verdict: `goto ${protocol}_${ifindex}`,
  }));
}

function policyFilter({ wired: link, guard }: Guarded): NicFilter {
  const rules = guard.policy === undefined ? NO_RULES : policyRules(guard.policy);
  const { chains, elements, named } = policyParts(
    link, { ...rules, near: nearRules(guard.linkLocal) },
    ['guests', ...(link.trust?.ip === true ? [] : ['routed'])],
  );
  return { chains, elements: [...elements, ...quarantineRules(link)], named };
}

const NO_RULES: PolicyRules = { member: [], named: [] };

const FILTERS: Readonly<Record<Guard['how'], Partial<Record<FilterFamily, (guarded: Guarded) => NicFilter>>>> = {
  port: { bridge: portFilter }, link: { netdev: ingressFilter, inet: policyFilter },
};

/** What goes out may still have to come in somewhere, so its chain returns. */
const RETURNING: ReadonlySet<string> = new Set(['out', 'near']);

function policyParts(
  wired: Wired, rules: PolicyRules, sets: readonly string[],
): Pick<NicFilter, 'chains' | 'elements' | 'named'> {
  const directions = (['opens', 'in', 'out', 'host', 'near'] as const).filter((direction) =>
    rules[direction] !== undefined);
  const chains = directions.map((direction): Chain => ({
    name: `${direction}_${wired.ifindex}`, rules: logging(wired, rules[direction] ?? []),
  }));
  const leads = directions.filter((direction) => direction !== 'opens').map((set) => ({ set, verdict: `${RETURNING.has(set) ? 'jump' : 'goto'} ${set}_${wired.ifindex}` }));
  return { chains, elements: [...leads, ...[...sets, ...rules.member].map((set) => ({ set }))], named: [
    ...new Set([...rules.member, ...rules.named]),
  ] };
}

function quarantineRules({ quarantined }: Wired): NicFilter['elements'] {
  return quarantined === true ? [{ set: QUARANTINE }] : [];
}

/** Ten lines a minute and NIC: a guest must not be able to fill the host's log. */
function logging({ logged, link }: Wired, rules: readonly FilterRule[]): FilterRule[] {
  if (logged !== true) return [...rules];
  return rules.flatMap((rule) => (rule.verdict === undefined
    ? [{ match: `${rule.match} limit rate 10/minute`.trim(), why: `log: ${rule.why}`, verdict: `log prefix "guestwire ${link}: ${rule.why}: "` }, rule]
    : [rule]));
}
